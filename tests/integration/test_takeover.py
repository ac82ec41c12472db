# SPDX-License-Identifier: ISC
"""A CONNECT with a connected client's id: the new one inherits the session, so it must be the same device."""

import pytest

import pki
from broker import wait_until
from client import REFUSED, V5


@pytest.fixture
def world(site):
    """A fleet whose template binds the client id to the device, and a victim that is connected and subscribed."""
    fleet = site.fleet()
    eyes = site.observer(fleet)
    broker = site.broker()
    victim = fleet.issue("victim")
    client = site.connect(broker, victim, clean=False)
    assert client.subscribe("devices/victim/#") == 1
    return site, fleet, broker, victim, client, site.connect(broker, eyes)


def test_another_device_cannot_take_over(world):
    site, fleet, broker, _victim, client, observer = world
    site.assert_refused("client_id_mismatch", broker, fleet.issue("attacker"), client_id="victim")
    assert client.connected
    observer.publish("devices/victim/x", "still mine")
    assert client.receive() == ("devices/victim/x", "still mine")


def test_a_client_without_a_credential_cannot_take_over(world):
    site, _fleet, broker, _victim, client, _observer = world
    for listener in ("app", "plain"):
        site.assert_refused("no_credential", broker, client_id="victim", listener=listener, username="victim")
    assert client.connected


def test_a_forged_certificate_cannot_take_over(world):
    site, fleet, broker, _victim, client, _observer = world
    assert site.try_connect(broker, fleet.same_name().issue("victim")) != 0
    assert client.connected


def test_another_authoritys_device_of_the_same_name_cannot_take_over(world):
    site, _fleet, broker, _victim, client, _observer = world
    rival = site.register(pki.root("rival"), "rival")
    site.connect_within(1.0, broker, rival.issue("of-rival")).disconnect()
    assert site.try_connect(broker, rival.issue("victim")) in REFUSED
    assert client.connected


def test_a_revoked_device_cannot_take_its_successor_over(world):
    site, fleet, broker, victim, client, _observer = world
    new = fleet.issue("victim")
    site.registry.revoke_certificate(fingerprint_hex=victim.fingerprint.hex())
    client.wait_closed(1.0)
    current = site.connect(broker, new, clean=False)
    assert site.try_connect(broker, victim) in REFUSED
    assert current.connected


@pytest.mark.parametrize("end", ["revoked", "deleted"])
def test_a_rotated_device_keeps_its_session_without_its_old_certificate(world, end):
    """The kick deleted its subscriptions, as if the device itself had been revoked."""
    site, fleet, broker, victim, client, observer = world
    new = fleet.issue("victim")
    site.registry.register_device(device_id="victim", pem=new.pem, ca_name="acme")
    if end == "revoked":
        site.registry.revoke_certificate(fingerprint_hex=victim.fingerprint.hex())
    else:
        site.registry.query("DELETE FROM iot_auth.device_certificate WHERE fingerprint = %s", victim.fingerprint)
    client.wait_closed(1.0)
    observer.publish("devices/victim/x", "while it was away")
    again = site.connect(broker, new, clean=False)
    assert again.session_present
    assert again.receive() == ("devices/victim/x", "while it was away")
    observer.publish("devices/victim/x", "and after")
    assert again.receive() == ("devices/victim/x", "and after")


@pytest.mark.parametrize("protocol", [4, V5])
@pytest.mark.parametrize("same_certificate", [True, False], ids=["same-certificate", "rotated"])
def test_the_device_itself_takes_over_with_its_rights_and_queue(world, same_certificate, protocol):
    site, fleet, broker, victim, client, observer = world
    options = {"session_expiry": 60} if protocol == V5 else {}
    again = site.connect(broker, victim if same_certificate else fleet.issue("victim"), clean=False,
                         protocol=protocol, **options)
    client.wait_closed()
    assert again.session_present
    observer.publish("devices/victim/x", "for the new one")
    assert again.receive() == ("devices/victim/x", "for the new one")
    again.publish("devices/victim/y", "own")
    assert again.receive() == ("devices/victim/y", "own")


def test_taking_over_again_and_again_leaves_one_session(world):
    site, _fleet, broker, victim, client, observer = world
    for _ in range(20):
        client = site.connect(broker, victim, clean=False)
    observer.publish("devices/victim/x", "last")
    assert client.receive() == ("devices/victim/x", "last")
    site.registry.set_device_status(device_id="victim", status="REVOKED")
    client.wait_closed(1.0)


def test_after_a_takeover_only_the_new_connection_is_kicked(world):
    site, _fleet, broker, victim, _client, observer = world
    current = site.connect(broker, victim, clean=False)
    site.registry.set_device_status(device_id="victim", status="INACTIVE")
    current.wait_closed(1.0)
    assert broker.running()
    assert observer.connected


# With the template `*`, only the sessions show who owns a client id


@pytest.fixture
def free_ids(site):
    fleet = site.fleet(client_id_templates=["*"])
    return site, fleet, site.broker(persistence=True)


def test_a_free_client_id_in_use_is_anothers(free_ids):
    site, fleet, broker = free_ids
    first = site.connect(broker, fleet.issue("first"), client_id="shared")
    site.assert_refused("client_id_mismatch", broker, fleet.issue("second"), client_id="shared")
    assert first.connected


def test_a_free_client_id_of_a_sleeping_session_is_anothers(free_ids):
    site, fleet, broker = free_ids
    site.connect(broker, fleet.issue("first"), client_id="shared", clean=False).disconnect()
    site.assert_refused("client_id_mismatch", broker, fleet.issue("second"), client_id="shared", clean=False)
    again = site.connect(broker, fleet.issue("first"), client_id="shared", clean=False)
    assert again.session_present


def test_a_free_client_id_that_nobody_holds_any_more_is_free(free_ids):
    site, fleet, broker = free_ids
    site.connect(broker, fleet.issue("first"), client_id="shared").disconnect()

    def free():
        return site.try_connect(broker, fleet.issue("second"), client_id="shared") == 0

    wait_until(free, what="release of the client id")


def test_a_free_client_id_of_an_mqtt5_session_that_kept_nothing_is_free(free_ids):
    """A plugin cannot see how long an MQTT 5 session lasts, so each was assumed to last without a limit.  2.1 reports
    what it keeps under a client id; on 2.0 the id remains the first client's."""
    site, fleet, broker = free_ids
    if broker.version < (2, 1):
        pytest.skip("this broker cannot be asked")
    site.connect(broker, fleet.issue("first"), client_id="shared", protocol=V5).disconnect()

    def free():
        return site.try_connect(broker, fleet.issue("second"), client_id="shared") == 0

    wait_until(free, 1.0, "release of the client id")


def test_a_free_client_id_of_an_mqtt5_session_that_is_kept_is_anothers(free_ids):
    site, fleet, broker = free_ids
    options = {"client_id": "shared", "protocol": V5, "session_expiry": 60, "clean": False}
    site.connect(broker, fleet.issue("first"), **options).disconnect()
    site.assert_refused("client_id_mismatch", broker, fleet.issue("second"), **options)
    assert site.connect(broker, fleet.issue("first"), **options).session_present


@pytest.mark.parametrize("protocol", [4, V5])
def test_a_session_that_survives_a_restart_goes_to_its_owner_alone(free_ids, protocol):
    """Mosquitto 2.0 reports no session that it restores: it went to whoever came first."""
    site, fleet, broker = free_ids
    options = {"client_id": "shared", "clean": False, "protocol": protocol, **({"session_expiry": 600} if protocol == V5 else {})}
    owner, other, observer = fleet.issue("owner"), fleet.issue("other"), site.observer(fleet)
    site.role("common", "ALLOW SUBSCRIBE,RECEIVE common/#")
    site.registry.grant_ca_role(ca_name="acme", role="common")
    site.connect(broker, other, client_id="another").disconnect()
    with site.connect_within(2.0, broker, owner, **options) as client:
        assert client.subscribe("common/#") < 128
    site.connect_within(2.0, broker, observer, client_id="w").publish("common/x", "for the owner")
    for _ in range(2):
        broker.restart()
        for clean in (False, True):
            assert site.try_connect(broker, other, **{**options, "clean": clean}) in REFUSED
    again = site.connect(broker, owner, **options)
    assert again.session_present
    assert again.receive() == ("common/x", "for the owner")


def test_a_released_client_id_is_free_after_a_restart_too(free_ids):
    site, fleet, broker = free_ids
    site.connect(broker, fleet.issue("owner"), client_id="shared", clean=False).disconnect()
    broker.stop()
    site.registry.release_client_id(client_id="shared")
    broker.start()
    if broker.version < (2, 1):  # 2.1 knows whose session it has, and the release was made before its start
        site.connect_within(2.0, broker, fleet.issue("other"), client_id="shared", clean=False)


def test_the_name_of_a_device_is_no_other_devices_client_id(free_ids):
    """Its session needs no row: nobody else can have its client id, before and after a restart."""
    site, fleet, broker = free_ids
    site.connect(broker, fleet.issue("victim"), clean=False).disconnect()
    broker.restart()
    apps = ("app:corp:dashboard", "app:corp:dashboard/1") if broker.version < (2, 1) else ()  # 2.1 can be asked
    for client_id in ("victim", *apps):
        assert site.try_connect(broker, fleet.issue("other"), client_id=client_id, clean=False) in REFUSED
    assert site.registry.query("SELECT client_id FROM iot_auth.client_id_owner") == []


def test_what_a_free_client_id_inherits_after_a_restart_is_not_delivered(free_ids):
    """No row says whose session it was; the rights of the new client decide about each message."""
    site, fleet, broker = free_ids
    owner = fleet.issue("owner")
    writer_credential = site.observer(fleet)
    with site.connect(broker, owner, client_id="shared", clean=False) as client:
        assert client.subscribe("devices/owner/#") == 1
    with site.connect_within(2.0, broker, writer_credential, client_id="w") as writer:
        writer.publish("devices/owner/secret", "for the owner")
    broker.restart()
    thief = site.client(broker, fleet.issue("thief"), client_id="shared", clean=False)
    if thief.connect() == 0:
        writer = site.connect(broker, writer_credential, client_id="w")
        assert thief.subscribe("devices/thief/#") == 1
        writer.publish("devices/owner/secret", "once more")
        thief.received_nothing_before("devices/thief/x", lambda: writer.publish("devices/thief/x"))


# Released by an administrator


def test_a_released_client_id_may_be_taken_by_another_device(site):
    """On 2.0 an ended session of MQTT 5 may be kept for all that a plugin can see, so its client id stays its owner's."""
    fleet = site.fleet(client_id_templates=["shared"])
    broker = site.broker()
    first, second = fleet.issue("first"), fleet.issue("second")
    site.connect(broker, first, client_id="shared", clean=False).drop()
    site.assert_refused("client_id_mismatch", broker, second, client_id="shared")
    site.registry.release_client_id(client_id="shared")
    site.connect_within(2.0, broker, second, client_id="shared")


def test_a_released_client_id_stays_with_an_owner_that_is_connected(site):
    fleet = site.fleet(client_id_templates=["shared"])
    broker = site.broker()
    client = site.connect(broker, fleet.issue("first"), client_id="shared")
    site.registry.release_client_id(client_id="shared")
    site.assert_refused("client_id_mismatch", broker, fleet.issue("second"), client_id="shared")
    assert client.connected
