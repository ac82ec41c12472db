# SPDX-License-Identifier: ISC
"""Devices by token: an issuer with principals 'device' makes devices, in everything else as a CA does."""

import time

import pytest

from app_kit import AuthClient, Issuer, app_within, bearer, thumbprint
from broker import wait_until
from client import REFUSED, TRY_AGAIN

OWN = ["ALLOW PUBLISH,SUBSCRIBE,RECEIVE things/${device_id}/#"]


@pytest.fixture
def world(site):
    """An issuer of devices that registers them, whose role lets them use things/<device id>/."""
    site.role("thing", *OWN)
    maker = Issuer("maker").register(site, principals="device", auto_registration=True, roles=["thing"])
    return site, maker, site.broker()


def token_of(issuer, device_id, **claims):
    return issuer.token(sub=device_id, client_id=None, **claims)


def device(site, broker, issuer, device_id, **claims):
    """A connected device.  A device that is not in memory is admitted at a later attempt."""
    return site.connect(broker, client_id=device_id, password=token_of(issuer, device_id, **claims), listener="plain")


def auth_device(site, broker, data, client_id):
    def attempt():
        client = AuthClient(site, broker, client_id, listener="plain")
        outcome = client.connect(data)
        assert outcome == 0 or outcome in TRY_AGAIN, outcome
        return client if outcome == 0 else None

    return wait_until(attempt, 10, "admission of " + client_id)


def refused(world_, reason, device_id, client_id=None, **claims):
    site, issuer, broker = world_
    return site.assert_refused(reason, broker, client_id=client_id or device_id, listener="plain",
                               password=token_of(issuer, device_id, **claims))


def settled(world_, reason, device_id):
    """Refused for that reason once broker and registry know of it; the first attempts may come before that."""
    site, issuer, broker = world_
    since = site.registry.last_event()

    def final():
        assert site.try_connect(broker, client_id=device_id, password=token_of(issuer, device_id), listener="plain") != 0
        return [e for e in site.registry.events(since) if e["reason"] == reason
                and e["kind"].endswith("/refused") and e["principal"] in (None, device_id)]

    return wait_until(final, 10, "a refusal of %s: %s" % (device_id, reason))[0]


def row(site, device_id):
    rows = site.registry.query("SELECT ca_id, issuer_name, status, registered_by, tenant FROM iot_auth.device WHERE device_id = %s",
                               device_id)
    return rows[0] if rows else None


# Admission

def test_a_device_registered_in_advance_connects_by_token_and_is_that_device(world):
    site, maker, broker = world
    maker.set(site, auto_registration=False)
    site.registry.create_device(device_id="lamp-1", issuer_name="maker", roles=[], attributes={"room": "hall"})
    site.role("room", "ALLOW PUBLISH,SUBSCRIBE,RECEIVE rooms/${attr.room}/#")
    site.registry.grant_device_role(device_id="lamp-1", role="room")
    lamp = device(site, broker, maker, "lamp-1")
    for topic, granted in (("things/lamp-1/state", 1), ("rooms/hall/state", 1), ("things/lamp-2/state", 128), ("devices/lamp-1/x", 128)):
        assert lamp.subscribe(topic) == granted, topic
    assert row(site, "lamp-1") == (None, "maker", "ACTIVE", "admin", None)
    wait_until(lambda: site.registry.value("SELECT last_connected_at FROM iot_auth.device WHERE device_id = 'lamp-1'"))
    assert settled(world, "device_unknown", "lamp-2")["kind"] == "device/refused"
    assert row(site, "lamp-2") is None


def test_an_unknown_device_is_refused_as_retryable_while_it_is_registered_and_then_admitted(world):
    site, maker, broker = world
    token = token_of(maker, "lamp-1")
    assert site.try_connect(broker, client_id="lamp-1", password=token, listener="plain") in TRY_AGAIN
    wait_until(lambda: row(site, "lamp-1"), what="the registration")
    wait_until(lambda: site.try_connect(broker, client_id="lamp-1", password=token, listener="plain") == 0, what="admission")
    assert row(site, "lamp-1") == (None, "maker", "ACTIVE", "jitr", None)
    registered = site.registry.wait_for_event(kind="device/registered", principal="lamp-1")
    assert (registered["ca_id"], registered["detail"]["issuer"], registered["detail"]["status"]) == (None, "maker", "ACTIVE")
    broker.wait_for_log(r"registered device=lamp-1 issuer=maker status=ACTIVE")


def test_a_pending_device_waits_for_its_activation(world):
    site, maker, broker = world
    maker.set(site, registered_status="PENDING", tenant="acme")
    settled(world, "device_pending", "lamp-1")
    assert row(site, "lamp-1") == (None, "maker", "PENDING", "jitr", "acme")
    site.registry.set_device_status(device_id="lamp-1", status="ACTIVE")
    wait_until(lambda: site.try_connect(broker, client_id="lamp-1", password=token_of(maker, "lamp-1"), listener="plain") == 0)


def test_quotas_of_an_issuer_hold(world):
    site, maker, broker = world
    maker.set(site, max_devices=2)
    for name in ("lamp-1", "lamp-2"):
        device(site, broker, maker, name)
    event = settled(world, "quota_exceeded", "lamp-3")
    assert (event["kind"], event["detail"]["issuer"], row(site, "lamp-3")) == ("device/refused", "maker", None)
    maker.set(site, max_devices=None, max_registrations_per_minute=2)
    assert "2 registrations a minute" in settled(world, "quota_exceeded", "lamp-4")["detail"]["detail"]
    maker.set(site, max_registrations_per_minute=None)  # the registry's answer counts for a second
    wait_until(lambda: site.try_connect(broker, client_id="lamp-4", password=token_of(maker, "lamp-4"), listener="plain") == 0)
    assert site.registry.value("SELECT remedy FROM iot_auth.why_refused('lamp-3') LIMIT 1").startswith("max_devices or")


def test_no_issuer_takes_a_device_of_a_ca_or_of_another_issuer_nor_does_a_ca(world):
    site, maker, broker = world
    acme = site.fleet("acme")
    other = Issuer("other").register(site, principals="device", auto_registration=True)
    site.connect(broker, acme.issue("press-1"))
    device(site, broker, other, "lamp-9")
    site.registry.create_device(device_id="key-1")
    for name, owner in (("press-1", "CA 'acme'"), ("lamp-9", "issuer 'other'"), ("key-1", "neither")):
        event = settled(world, "device_conflict", name)
        assert event["kind"] == "device/refused" and owner in event["detail"]["detail"], event
    lamp = acme.issue("lamp-9")

    def conflict_of_certificate():  # the first attempts may come before the registry's answer
        assert site.try_connect(broker, lamp) in REFUSED
        return [e for e in site.registry.events(event["event_id"]) if e["reason"] == "device_conflict" and e["ca_id"]]

    wait_until(conflict_of_certificate)
    assert [row(site, n)[1] for n in ("press-1", "lamp-9", "key-1")] == [None, "other", None]


def test_a_hostile_device_id_is_refused_as_identity_invalid(world):
    site, maker, broker = world
    site.registry.query("INSERT INTO iot_auth.reserved_name VALUES ('boss')")
    hostile = ("a/b", "+", "#", "", "$SYS", "app:corp:dashboard", "x" * 129, "tab\there", "nul\0", 7, True, ["lamp-1"], {"a": "b"})
    for claim in hostile:
        mark, token = broker.mark(), maker.token(sub=claim, client_id=None)
        assert site.try_connect(broker, client_id="lamp-1", password=token, listener="plain") in REFUSED
        broker.wait_for_log(r"refused reason=identity_invalid device=\S+ client=", since=mark)
    event = site.registry.wait_for_event(reason="identity_invalid", kind="device/refused")
    assert (event["principal"], event["detail"]["issuer"]) == (None, "maker")
    settled(world, "identity_invalid", "boss")  # a reserved name, as broker or registry know it
    assert site.registry.devices() == []


def test_refusals_before_the_device_is_known_are_of_a_device(world):
    site, maker, broker = world
    maker.set(site, auto_registration=False)  # nothing is to register before the broker knows of the changes below
    event = refused(world, "token_expired", "lamp-1", lifetime=-60)
    assert (event["kind"], event["principal"], event["detail"]["issuer"]) == ("device/refused", None, "maker")
    site.registry.deny_ip(network="127.0.0.1/32", scope="ISSUER", scope_key="maker")
    assert settled(world, "address_denied", "lamp-1")["kind"] == "device/refused"
    site.registry.set_issuer_status(name="maker", status="INACTIVE")
    assert settled(world, "issuer_inactive", "lamp-1")["kind"] == "device/refused"
    assert site.registry.devices() == []


def test_the_client_id_is_the_device_id_unless_the_templates_say_otherwise(world):
    site, maker, broker = world
    device(site, broker, maker, "lamp-1")
    assert refused(world, "client_id_mismatch", "lamp-1", client_id="lamp-2")["principal"] == "lamp-1"
    site.registry.set_issuer(name="maker", client_id_templates=["${device_id}/${claim.slot}"])
    wait_until(lambda: site.try_connect(broker, client_id="lamp-1/a", password=token_of(maker, "lamp-1", slot="a"), listener="plain") == 0)


def test_the_claim_of_the_device_id_is_any_pointer(world):
    site, maker, broker = world
    site.registry.set_issuer(name="maker", device_id_claim="/thing/serial")
    token = maker.token(sub="no#id", thing={"serial": "s-77"})
    wait_until(lambda: site.try_connect(broker, client_id="s-77", password=token, listener="plain") == 0, what="the other claim")
    refused(world, "identity_invalid", "lamp-1")
    assert site.registry.devices() == ["s-77"]


def test_a_token_beside_a_certificate_must_be_bound_to_it_and_of_its_device(world):
    site, maker, broker = world
    acme = site.fleet("acme", roles=[])
    press = acme.issue("press-1")
    site.connect(broker, press).disconnect()
    site.role("extra", "ALLOW SUBSCRIBE,RECEIVE extra/#")
    site.registry.map_scope(issuer_name="maker", scope="use", role="extra")
    site.assert_refused("token_unbound", broker, press, password=token_of(maker, "press-1"))
    event = site.assert_refused("device_conflict", broker, press, password=token_of(maker, "lamp-1", cnf=thumbprint(press)))
    assert (event["kind"], event["principal"]) == ("device/refused", "press-1")
    refused(world, "token_unbound", "lamp-1", cnf=thumbprint(press))

    def with_both():
        return site.client(broker, press, password=token_of(maker, "press-1", cnf=thumbprint(press)))

    client = with_both()
    wait_until(lambda: client.connect() == 0)
    wait_until(lambda: client.subscribe("extra/x") == 1, what="the rights of the scope")
    assert client.subscribe("things/press-1/x") == 1
    assert row(site, "press-1")[:2] == (site.registry.value("SELECT ca_id FROM iot_auth.ca"), None)
    site.registry.set_device_status(device_id="press-1", status="REVOKED")
    client.wait_closed()


# Live sessions

def test_a_device_by_token_ends_with_its_row_as_any_device(world):
    site, maker, broker = world
    lamps = [device(site, broker, maker, "lamp-%d" % n) for n in range(4)]
    site.registry.set_device_status(device_id="lamp-0", status="INACTIVE")
    site.registry.deny_ip(network="127.0.0.1/32", scope="DEVICE", scope_key="lamp-1")
    site.registry.query("DELETE FROM iot_auth.device WHERE device_id = 'lamp-2'")
    for lamp in lamps[:3]:
        lamp.wait_closed()
    for name, reason in (("lamp-0", "device_inactive"), ("lamp-1", "address_denied"), ("lamp-2", "device_unknown")):
        site.registry.wait_for_event(kind="session/ended", principal=name, reason=reason)
    assert lamps[3].connected
    settled(world, "device_inactive", "lamp-0")
    site.registry.query("SELECT iot_auth.revoke_tokens('maker', '/sub', 'lamp-3')")
    lamps[3].wait_closed()
    status = site.registry.events(kind="device/status")[0]["detail"]
    assert (status["issuer"], status["ca"], status["new"]) == ("maker", None, "INACTIVE")


def test_a_session_ends_at_exp_and_renews_by_auth_as_the_same_device(world):
    site, maker, broker = world
    maker.set(site, leeway_s=0)
    device(site, broker, maker, "lamp-1").disconnect()
    device(site, broker, maker, "lamp-2").disconnect()
    device(site, broker, maker, "lamp-3").disconnect()
    renewed = auth_device(site, broker, bearer(token_of(maker, "lamp-1", lifetime=4)), "lamp-1")
    left = auth_device(site, broker, bearer(token_of(maker, "lamp-2", lifetime=4)), "lamp-2")
    wrong = auth_device(site, broker, bearer(token_of(maker, "lamp-3")), "lamp-3")
    renewed.assert_reauthenticated(bearer(token_of(maker, "lamp-1", lifetime=600)))
    wrong.reauthenticate(bearer(token_of(maker, "lamp-1")))
    assert site.registry.wait_for_event(reason="token_claims", kind="device/refused")["principal"] == "lamp-3"
    assert site.registry.wait_for_event(reason="token_expired", kind="session/ended", timeout=15)["principal"] == "lamp-2"
    assert left.raw.wait_closed(10)
    renewed.ping()


def test_rights_come_from_issuer_device_and_scopes_and_change_at_once(world):
    site, maker, broker = world
    maker.grant(site, "read", "ALLOW SUBSCRIBE,RECEIVE shared/${claim.plant}/${issuer}/#")
    lamp = device(site, broker, maker, "lamp-1", scope="read", plant="p1")
    wait_until(lambda: lamp.subscribe("shared/p1/maker/x") == 1, what="the rights of the scope")
    assert [lamp.subscribe(t) for t in ("things/lamp-1/x", "shared/p2/maker/x")] == [1, 128]
    site.role("none", "DENY PUBLISH,SUBSCRIBE,RECEIVE things/#")
    site.registry.grant_issuer_role(issuer_name="maker", role="none")
    wait_until(lambda: lamp.subscribe("things/lamp-1/y") == 128, what="the denial")
    site.registry.revoke_issuer_role(issuer_name="maker", role="none")
    wait_until(lambda: lamp.subscribe("things/lamp-1/y") == 1, what="the former rights")


def test_a_change_of_principals_ends_the_sessions_of_its_tokens(world):
    site, maker, broker = world
    corp = Issuer("corp").register(site)
    lamp = device(site, broker, maker, "lamp-1")
    app = app_within(5, site, broker, corp.token(), listener="plain")
    site.registry.set_issuer(name="maker", principals="app")
    site.registry.set_issuer(name="corp", principals="device")
    lamp.wait_closed()
    app.wait_closed()
    for name in ("lamp-1", "app:corp:dashboard"):
        site.registry.wait_for_event(kind="session/ended", principal=name, reason="rights_changed")
    wait_until(lambda: site.try_connect(broker, client_id="app:maker:lamp-1", password=maker.token(client_id="lamp-1"),
                                        listener="plain") == 0, what="the app")
    assert site.registry.value("SELECT client_id_templates FROM iot_auth.oauth_issuer WHERE name = 'corp'") == ["${device_id}"]


def test_a_device_by_token_survives_a_restart_of_broker_and_database(world):
    site, maker, broker = world
    device(site, broker, maker, "lamp-1").disconnect()
    broker.restart()
    token = token_of(maker, "lamp-1")
    wait_until(lambda: site.try_connect(broker, client_id="lamp-1", password=token, listener="plain") == 0)


def test_many_devices_register_by_token_at_the_same_time(world):
    site, maker, broker = world
    names = ["lamp-%03d" % n for n in range(40)]
    clients = [site.client(broker, client_id=n, password=token_of(maker, n), listener="plain") for n in names]
    site.connect_all(clients)
    begun = time.monotonic()
    wait_until(lambda: site.registry.devices() == names, 20, "the registrations")
    assert time.monotonic() - begun < 20
    wait_until(lambda: all(client.connected or client.connect() == 0 for client in clients), 30, "all connections")
