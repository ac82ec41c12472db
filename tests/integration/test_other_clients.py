# SPDX-License-Identifier: ISC
"""Clients that this plugin never authenticated, and clients that it defers to the password file (`other_clients
defer`).

Mosquitto gives little information about them: a pointer that may have belonged to another client, an address that stays
after the client has disconnected, a username that may come from a certificate.  Kicking a client that is not connected
corrupts the memory of 2.0.
"""

import subprocess

import pytest

import pki
from app_kit import Issuer
from client import V5, NOT_AUTHORIZED

ELSEWHERE = "10.9.0.0/16"


def wait_for_a_round(site, broker, fleet):
    """Returns when every session marked before has been disconnected, because one marked later has been."""
    number = len(site.registry.devices())
    last = site.connect(broker, fleet.issue("last-%d" % number))
    site.registry.set_device_status(device_id="last-%d" % number, status="REVOKED")
    last.wait_closed(1.0)


def ended_by_us(broker, mark):
    """The clients that were disconnected since, except those of wait_for_a_round."""
    return [line for line in broker.log(mark).splitlines() if "iot-auth: ended" in line and "last-" not in line]


# By use_identity_as_username


@pytest.fixture
def identity(site):
    """A listener without BASIC_AUTH (use_identity_as_username), an authority that chooses the usernames, and an
    observer."""
    fleet = site.fleet()
    other = site.register(pki.root("other"), "other", device_id_template="${cert.subject.serialNumber}")
    eyes = site.observer(fleet)
    broker = site.broker(listeners=("device", "identity"))
    site.connect(broker, fleet.issue("victim"))
    observer = site.connect(broker, eyes)
    assert observer.subscribe("devices/#") == 1
    return site, fleet, other, broker, observer


def forged(payload, **options):
    return {"topic": "devices/victim/will", "payload": payload, **options}


@pytest.mark.parametrize("protocol", [4, V5])
@pytest.mark.parametrize("reused", [False, True], ids=["new-pointer", "pointer-of-an-ended-session"])
def test_an_unauthenticated_clients_will_is_withheld_and_no_kick_follows(identity, reused, protocol):
    """2.0.22 and 2.1 ask for the will before they close the socket, so its sender looked connected: it was marked for
    disconnect, and TICK kicked a client that was closed.  When an ended session had the same pointer, the disconnect
    was not even noticed."""
    site, fleet, other, broker, observer = identity
    mark = broker.mark()
    for number in range(6):
        if reused:
            device = fleet.issue("before-%d" % number)
            with site.connect(broker, device, protocol=V5) as before:
                assert before.subscribe("devices/before-%d/x" % number) == 1
            broker.wait_for_log(r"Client before-%d .*disconnected" % number, since=mark)
        outside = site.client(broker, other.issue("victim"), client_id="x%d" % number, listener="identity",
                              protocol=protocol, will=forged("forged"))
        assert outside.connect() == 0
        outside.drop()
    wait_for_a_round(site, broker, fleet)
    assert broker.running()
    assert not ended_by_us(broker, mark)
    observer.received_nothing_before("devices/mark", lambda: observer.publish("devices/mark"))


def test_a_delayed_will_is_not_published_under_another_devices_name(identity):
    """By then the socket is closed, and nothing distinguishes its sender from the device of that name any more."""
    site, fleet, other, broker, observer = identity
    for number in range(4):
        site.connect(broker, fleet.issue("before-%d" % number), protocol=V5).disconnect()
        outside = site.client(broker, other.issue("victim"), client_id="x%d" % number, listener="identity",
                              protocol=V5, session_expiry=60, will=forged("forged", delay=1))
        assert outside.connect() == 0
        outside.drop()
    honest = {"topic": "devices/honest/will", "payload": "honest", "delay": 2}
    site.connect(broker, fleet.issue("honest"), protocol=V5, session_expiry=60, will=honest).drop()
    assert observer.receive(8) == ("devices/honest/will", "honest")


# On a listener with certificates that are not the gate's


@pytest.fixture
def passwords(site):
    """The lines of a password file with the user `ops`, who may do all under ops/."""
    path, rights = site.folder / "passwords", site.folder / "acl"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "ops", "secret"], check=True, capture_output=True)
    rights.write_text("user ops\ntopic readwrite ops/#\n")
    return ["password_file %s" % path, "acl_file %s" % rights]


@pytest.fixture
def internal(site, passwords):
    """A listener with its own `cafile`, whose clients' certificates are not the plugin's business."""
    fleet = site.fleet()
    eyes = site.observer(fleet)
    corp = Issuer().register(site, {"use": ["ALLOW PUBLISH apps/#"]})
    authority = pki.root("internal")
    own = site.folder / "own.pem"
    own.write_text(authority.pem)
    broker = site.broker(listeners=("device", "internal"), internal_ca=own, lines=passwords,
                         options={"tls_gate": "{device}", "other_clients": "defer"})
    observer = site.connect(broker, eyes)
    assert observer.subscribe("#") == 1
    return site, fleet, corp, authority.issue("worker"), broker, observer


@pytest.mark.parametrize("topic,published", [("apps/will", True), ("other/will", False)], ids=["allowed", "denied"])
def test_the_rights_decide_the_will_of_an_app_with_a_foreign_certificate(internal, topic, published):
    """Its certificate was not the session's, so the lost connection counted as unauthenticated: no will, and a kick."""
    site, fleet, corp, worker, broker, observer = internal
    mark = broker.mark()
    client = site.connect(broker, worker, "app:corp:dashboard", listener="internal", username="x",
                          password=corp.token(), clean=False, will={"topic": topic, "payload": "lost"})
    client.drop()
    assert_will(site, fleet, broker, observer, (topic, "lost") if published else None, mark)


@pytest.mark.parametrize("protocol", [4, V5])
@pytest.mark.parametrize("topic,published", [("ops/will", True), ("other/will", False)], ids=["allowed", "denied"])
def test_the_will_of_a_handed_on_client_is_as_its_acl_file_says(internal, topic, published, protocol):
    site, fleet, _corp, worker, broker, observer = internal
    mark = broker.mark()
    client = site.connect(broker, worker, "ops1", listener="internal", username="ops", password="secret",
                          protocol=protocol, clean=False, will={"topic": topic, "payload": "lost"})
    client.drop()
    assert_will(site, fleet, broker, observer, (topic, "lost") if published else None, mark)


def assert_will(site, fleet, broker, observer, expected, mark):
    """The expected will is published, or none; and no client was disconnected."""
    if expected:
        assert observer.receive() == expected
    wait_for_a_round(site, broker, fleet)
    assert broker.running()
    assert not ended_by_us(broker, mark)
    observer.received_nothing_before("mark", lambda: observer.publish("mark"))


# Deferred to the password file


@pytest.fixture
def handing_on(site, passwords):
    fleet = site.fleet()
    eyes = site.observer(fleet)
    broker = site.broker(options={"other_clients": "defer"}, lines=[*passwords, "check_retain_source true"],
                         listeners=("device", "plain"))
    return site, fleet, broker, site.connect(broker, eyes)


def ops(site, broker, **options):
    return site.connect(broker, client_id="ops1", listener="plain", username="ops", password="secret", **options)


def sleeper(site, broker, protocol):
    """Options of a persistent session that is subscribed to ops/# and not connected."""
    options = {"clean": False, "protocol": protocol, **({"session_expiry": 60} if protocol == V5 else {})}
    with ops(site, broker, **options) as client:
        assert client.subscribe("ops/#") == 1
    return options


def test_the_acl_file_decides_the_retained_message_of_a_deferred_client(handing_on):
    site, _fleet, broker, observer = handing_on
    publisher = ops(site, broker, clean=False)
    publisher.publish("ops/state", "on", retain=True)
    assert observer.subscribe("ops/state") == 1
    assert observer.receive() == ("ops/state", "on")
    assert observer.unsubscribe("ops/state") is None
    (site.folder / "acl").write_text("user ops\ntopic read ops/#\n")
    broker.sighup()
    assert observer.subscribe("ops/state") == 1
    observer.publish("ops/state", "mark")
    assert observer.receive() == ("ops/state", "mark")


@pytest.mark.parametrize("protocol", [4, V5])
def test_a_sleeping_session_that_was_handed_on_keeps_its_queue(handing_on, protocol):
    """Mosquitto keeps the address of a client that is disconnected.  Once its session was forgotten here it was taken
    for a connected unauthenticated client: its messages were denied, and it was kicked though offline."""
    site, fleet, broker, writer = handing_on
    options = sleeper(site, broker, protocol)
    mark = broker.mark()
    for number in range(2):
        wait_for_a_round(site, broker, fleet)
        writer.publish("ops/x", "queued %d" % number)
    assert not ended_by_us(broker, mark)
    again = ops(site, broker, **options)
    assert again.session_present
    assert [again.receive()[1], again.receive()[1]] == ["queued 0", "queued 1"]


@pytest.mark.parametrize("protocol", [4, V5])
def test_an_offline_deferred_session_survives_sighup_and_other_rules(handing_on, protocol):
    """SIGHUP authenticates the session again, which made a live session of a client that was not connected; and it was
    checked without an address, which is denied as soon as there is any rule."""
    site, fleet, broker, writer = handing_on
    options = sleeper(site, broker, protocol)
    mark = broker.mark()
    writer.publish("ops/x", "before")
    broker.sighup()
    site.registry.deny_ip(network=ELSEWHERE)
    wait_for_a_round(site, broker, fleet)
    broker.sighup()
    writer.publish("ops/x", "after")
    wait_for_a_round(site, broker, fleet)
    assert not ended_by_us(broker, mark)
    again = ops(site, broker, **options)
    assert again.session_present
    assert [again.receive()[1], again.receive()[1]] == ["before", "after"]


@pytest.mark.parametrize("protocol", [4, V5])
def test_a_client_that_was_handed_on_is_kicked_for_its_own_address_only(handing_on, protocol):
    site, fleet, broker, writer = handing_on
    client = ops(site, broker, protocol=protocol)
    assert client.subscribe("ops/#") == 1
    rule = site.registry.deny_ip(network=ELSEWHERE)
    wait_for_a_round(site, broker, fleet)
    broker.sighup()
    site.registry.remove_ip_rule(rule_id=rule)
    wait_for_a_round(site, broker, fleet)
    writer.publish("ops/x", "still here")
    assert client.receive() == ("ops/x", "still here")
    mark = broker.mark()
    site.registry.deny_ip(network="127.0.0.0/8")
    client.wait_closed(1.0)
    broker.wait_for_log(r"ended reason=address_denied \S+ client=ops1 ", since=mark)


def test_a_deferred_client_loses_its_session_to_no_other_client(handing_on):
    site, fleet, broker, _writer = handing_on
    options = sleeper(site, broker, 4)
    broker.sighup()
    wait_for_a_round(site, broker, fleet)
    assert site.try_connect(broker, client_id="ops1", listener="plain", username="ops",
                            password="wrong") in NOT_AUTHORIZED
    assert ops(site, broker, **options).session_present
