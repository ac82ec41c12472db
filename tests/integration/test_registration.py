# SPDX-License-Identifier: ISC
"""Just-in-time registration: which devices appear in the registry, and when."""

import contextlib

import pytest

import pki
from broker import wait_until
from client import NOT_AUTHORIZED, REFUSED, TRY_AGAIN

ANY_REFUSAL = REFUSED + TRY_AGAIN


def test_a_new_device_is_in_the_registry_when_it_is_accepted(site):
    fleet = site.fleet(tenant="north")
    broker = site.broker()
    device = fleet.issue("sensor-1")
    client = site.connect(broker, device)
    assert client.connected
    row = site.registry.query(
        "SELECT d.status, d.tenant, d.registered_by, c.name FROM iot_auth.device d JOIN iot_auth.ca c USING (ca_id)"
        " WHERE device_id = 'sensor-1'"
    )
    assert row == [("ACTIVE", "north", "jitr", "acme")]
    certificate = site.registry.query(
        "SELECT serial, subject, not_before, not_after, status FROM iot_auth.device_certificate WHERE fingerprint = %s",
        device.fingerprint,
    )
    [(serial, subject, not_before, not_after, status)] = certificate
    assert status == "ACTIVE"
    assert int(serial, 16) == device.certificate.serial_number
    assert "sensor-1" in subject
    assert not_before.replace(tzinfo=None) == device.certificate.not_valid_before
    assert not_after.replace(tzinfo=None) == device.certificate.not_valid_after


def test_a_registration_is_an_event(site):
    fleet = site.fleet()
    broker = site.broker()
    device = fleet.issue("sensor-1")
    site.connect(broker, device)
    event = site.registry.wait_for_event(kind="device/registered")
    assert (event["principal"], event["node"]) == ("sensor-1", "node-1")
    detail = event["detail"]
    assert detail["device_id"] == "sensor-1"
    assert detail["fingerprint"] == device.fingerprint.hex()
    assert detail["ca"] == "acme"
    assert detail["ca_fingerprint"] == fleet.fingerprint.hex()
    assert detail["status"] == "ACTIVE"


def test_a_registration_is_published(site):
    fleet = site.fleet()
    eyes = site.observer(fleet)
    site.add_rule("role of observer", "ALLOW SUBSCRIBE,RECEIVE $iot-auth/#")
    broker = site.broker()
    observer = site.connect(broker, eyes)
    assert observer.subscribe("$iot-auth/events/device/registered") == 1
    site.connect(broker, fleet.issue("sensor-1"))
    topic, payload = observer.receive()
    assert topic == "$iot-auth/events/device/registered"
    assert '"sensor-1"' in payload


def test_a_registered_device_comes_back_without_a_registration(site):
    fleet = site.fleet()
    broker = site.broker()
    device = fleet.issue("sensor-1")
    for _ in range(3):
        site.connect(broker, device).disconnect()
    broker.restart()
    site.connect(broker, device)
    assert len(site.registry.events(kind="device/registered")) == 1
    assert site.registry.certificates("sensor-1") == {device.fingerprint}


def test_without_auto_registration_an_unregistered_device_is_refused(site):
    fleet = site.fleet(auto_registration=False)
    site.assert_refused("device_unknown", site.broker(), fleet.issue("sensor-1"))
    assert site.registry.devices() == []


def test_a_device_registered_by_hand_is_admitted(site):
    fleet = site.fleet(auto_registration=False)
    device = fleet.issue("sensor-1")
    site.registry.register_device(device_id="sensor-1", pem=device.pem, ca_name="acme")
    site.connect(site.broker(), device)


def test_a_device_registered_by_hand_while_the_broker_runs_is_admitted(site):
    fleet = site.fleet(auto_registration=False)
    broker = site.broker()
    device = fleet.issue("sensor-1")
    site.assert_refused("device_unknown", broker, device)
    site.registry.register_device(device_id="sensor-1", pem=device.pem, ca_name="acme")
    site.connect_within(1.0, broker, device)


def test_pending_devices_wait_for_an_administrator(site):
    fleet = site.fleet(registered_status="PENDING")
    broker = site.broker()
    device = fleet.issue("sensor-1")
    event = site.assert_refused("device_pending", broker, device, codes=ANY_REFUSAL)
    assert event["principal"] == "sensor-1"
    assert site.registry.device_status("sensor-1") == "PENDING"
    site.assert_refused("device_pending", broker, fleet.issue("sensor-2"), codes=ANY_REFUSAL)
    site.registry.set_device_status(device_id="sensor-1", status="ACTIVE")
    site.connect_within(1.0, broker, device)


@pytest.mark.parametrize(
    "status,reason", [("PENDING", "device_pending"), ("INACTIVE", "device_inactive"), ("REVOKED", "device_revoked")]
)
def test_a_device_that_is_not_active_is_refused(site, status, reason):
    fleet = site.fleet()
    device = fleet.issue("sensor-1")
    site.registry.register_device(device_id="sensor-1", pem=device.pem, ca_name="acme", status=status)
    broker = site.broker()
    event = site.assert_refused(reason, broker, device, codes=ANY_REFUSAL)
    assert event["ca_id"] == site.registry.value("SELECT ca_id FROM iot_auth.ca WHERE name = 'acme'")
    site.connect(broker, fleet.issue("sensor-2"))


def test_a_revoked_certificate_is_refused_but_not_the_devices_other_one(site):
    fleet = site.fleet()
    broker = site.broker()
    old, new = fleet.issue("sensor-1"), fleet.issue("sensor-1")
    site.connect(broker, old).disconnect()
    site.connect(broker, new).disconnect()
    site.registry.revoke_certificate(fingerprint_hex=old.fingerprint.hex())
    site.assert_refused_soon("certificate_revoked", broker, old)
    site.connect(broker, new)


def test_a_revoked_device_does_not_come_back_with_a_new_certificate(site):
    fleet = site.fleet()
    broker = site.broker()
    site.connect(broker, fleet.issue("sensor-1")).disconnect()
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    site.assert_refused_soon("device_revoked", broker, fleet.issue("sensor-1"))


# Conflicts and rotation


def test_another_authority_cannot_take_a_device_over(site):
    fleet = site.fleet()
    rival = site.register(pki.root("rival"), "rival")
    broker = site.broker()
    site.connect(broker, fleet.issue("sensor-1"))
    event = site.assert_refused("device_conflict", broker, rival.issue("sensor-1"))
    assert event["ca_id"] == site.registry.value("SELECT ca_id FROM iot_auth.ca WHERE name = 'rival'")
    assert len(site.registry.certificates("sensor-1")) == 1


def test_a_second_certificate_of_the_same_authority_is_a_rotation(site):
    fleet = site.fleet()
    broker = site.broker()
    old, new = fleet.issue("sensor-1"), fleet.issue("sensor-1")
    site.connect(broker, old)
    site.connect(broker, new)
    assert site.registry.devices() == ["sensor-1"]
    assert site.registry.certificates("sensor-1") == {old.fingerprint, new.fingerprint}


def test_a_successor_takes_devices_over(site):
    old = site.fleet("acme", tenant="north")
    new = site.register(old.same_name(), "acme-2", replaces="acme", tenant="north")
    broker = site.broker()
    site.connect(broker, old.issue("sensor-1"))
    site.connect(broker, new.issue("sensor-1"))
    assert len(site.registry.certificates("sensor-1")) == 2


def test_a_predecessor_does_not_take_devices_back(site):
    old = site.fleet("acme")
    new = site.register(old.same_name(), "acme-2", replaces="acme")
    broker = site.broker()
    site.connect(broker, new.issue("sensor-1"))
    site.assert_refused("device_conflict", broker, old.issue("sensor-1"))


def test_rotation_needs_auto_registration(site):
    fleet = site.fleet(auto_registration=False)
    first, second = fleet.issue("sensor-1"), fleet.issue("sensor-1")
    site.registry.register_device(device_id="sensor-1", pem=first.pem, ca_name="acme")
    broker = site.broker()
    site.connect(broker, first)
    site.assert_refused("device_unknown", broker, second)
    site.registry.register_device(device_id="sensor-1", pem=second.pem, ca_name="acme")
    site.connect_within(1.0, broker, second)


# Quotas


def test_max_devices_is_kept(site):
    fleet = site.fleet(max_devices=2)
    broker = site.broker()
    first = fleet.issue("sensor-1")
    site.connect(broker, first)
    site.connect(broker, fleet.issue("sensor-2"))
    site.assert_refused("quota_exceeded", broker, fleet.issue("sensor-3"), codes=ANY_REFUSAL)
    assert site.registry.devices() == ["sensor-1", "sensor-2"]
    site.connect(broker, first)
    site.connect(broker, fleet.issue("sensor-2"))  # a rotation is no new device


def test_max_registrations_per_minute_is_kept(site):
    fleet = site.fleet(max_registrations_per_minute=1)
    broker = site.broker()
    site.connect(broker, fleet.issue("sensor-1"))
    site.assert_refused("quota_exceeded", broker, fleet.issue("sensor-2"), codes=ANY_REFUSAL)
    assert site.registry.devices() == ["sensor-1"]


def test_max_devices_is_kept_under_a_storm(site):
    fleet = site.fleet(max_devices=5)
    broker = site.broker()
    site.connect_all([site.client(broker, fleet.issue("sensor-%d" % i)) for i in range(20)])
    wait_until(lambda: len(site.registry.devices()) == 5, what="five registrations")
    for i in range(5):  # late registrations would still arrive
        site.try_connect(broker, fleet.issue("late-%d" % i))
    assert len(site.registry.devices()) == 5


# Many at once


def reconnect_until_in(site, broker, credentials, seconds=30, **options):
    """All at once; devices that are asked to retry do so, as real ones would.  Returns the connected clients."""
    waiting, inside = list(credentials), []

    def all_in():
        nonlocal waiting
        attempts = [site.client(broker, credential, **options) for credential in waiting]
        results = site.connect_all(attempts)
        assert not set(results) - {0, *TRY_AGAIN}, results
        inside.extend(client for client, result in zip(attempts, results) if result == 0)
        waiting = [credential for credential, result in zip(waiting, results) if result != 0]
        return not waiting

    wait_until(all_in, seconds, "connection of all")
    return inside


def test_fifty_new_devices_at_once(site):
    fleet = site.fleet()
    broker = site.broker()
    clients = reconnect_until_in(site, broker, [fleet.issue("sensor-%d" % i) for i in range(50)])
    assert all(client.connected for client in clients)
    assert len(site.registry.devices()) == 50
    wait_until(lambda: len(site.registry.events(kind="device/registered")) == 50, what="50 events")


def test_one_new_certificate_on_ten_connections_at_once(site):
    fleet = site.fleet(client_id_templates=["${device_id}-*"])
    broker = site.broker()
    device = fleet.issue("sensor-1")
    results = site.connect_all([site.client(broker, device, client_id="sensor-1-%d" % i) for i in range(10)])
    assert set(results) <= {0, *TRY_AGAIN} and 0 in results, results
    site.connect(broker, device, client_id="sensor-1-x")
    assert site.registry.devices() == ["sensor-1"]
    assert site.registry.certificates("sensor-1") == {device.fingerprint}
    assert len(site.registry.events(kind="device/registered")) == 1


# Several brokers on one registry


def test_two_brokers_share_one_registry(site):
    fleet = site.fleet(client_id_templates=["${device_id}-*"])
    first, second = site.broker(), site.broker()
    device = fleet.issue("sensor-1")
    attempts = [site.client(b, device, client_id="sensor-1-%d" % i) for i in range(5) for b in (first, second)]
    results = site.connect_all(attempts)
    assert set(results) <= {0, *TRY_AGAIN}, results
    site.connect(first, device, client_id="sensor-1-a")
    site.connect(second, device, client_id="sensor-1-b")
    assert site.registry.devices() == ["sensor-1"]
    assert len(site.registry.events(kind="device/registered")) == 1
    nodes = site.registry.query("SELECT node_name FROM iot_auth.node ORDER BY 1")
    assert nodes == [("node-1",), ("node-2",)]


def test_a_revocation_reaches_every_broker(site):
    fleet = site.fleet(client_id_templates=["${device_id}-*"])
    brokers = [site.broker(), site.broker()]
    device = fleet.issue("sensor-1")
    clients = [site.connect(b, device, client_id="sensor-1-%d" % i) for i, b in enumerate(brokers)]
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    for client in clients:
        client.wait_closed(1.0)
    for broker in brokers:
        assert site.try_connect(broker, device, client_id="sensor-1-x") in NOT_AUTHORIZED


def test_a_database_with_another_isolation_level_registers_too(site):
    database = site.registry.database
    with contextlib.closing(database.superuser()) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER DATABASE %s SET default_transaction_isolation = 'repeatable read'" % database.name)
    acme = site.fleet()
    site.connect(site.broker(), acme.issue("sensor-1"))
    assert site.registry.devices() == ["sensor-1"]
