# SPDX-License-Identifier: ISC
"""Wills are checked and published after the connection has ended: rights outlive it, but not a revocation."""

import pytest

from broker import wait_until
from client import V5


@pytest.fixture
def world(site):
    fleet = site.fleet()
    eyes = site.observer(fleet)
    broker = site.broker()
    observer = site.connect(broker, eyes)
    assert observer.subscribe("#") == 1
    return site, fleet, broker, observer


def will(device_id="sensor-1", topic="will", **options):
    return {"topic": "devices/%s/%s" % (device_id, topic), "payload": "lost", **options}


def lose(broker, client):
    """Returns when the broker has noticed, so that what is published next comes after the will."""
    mark = broker.mark()
    client.drop()
    broker.wait_for_log(r"Client %s (\[\S+\] )?(closed|disconnected)" % client.client_id, since=mark)


def assert_nothing_came(observer):
    observer.received_nothing_before("mark", lambda: observer.publish("mark"))


@pytest.mark.parametrize("protocol", [4, V5])
def test_a_will_is_published_when_the_connection_is_lost(world, protocol):
    site, fleet, broker, observer = world
    site.connect(broker, fleet.issue("sensor-1"), protocol=protocol, will=will()).drop()
    assert observer.receive() == ("devices/sensor-1/will", "lost")


def test_a_persistent_sessions_will_is_published_on_connection_loss(world):
    site, fleet, broker, observer = world
    site.connect(broker, fleet.issue("sensor-1"), clean=False, will=will()).drop()
    assert observer.receive() == ("devices/sensor-1/will", "lost")


def test_a_delayed_will_is_published_long_after_the_connection(world):
    site, fleet, broker, observer = world
    options = {"protocol": V5, "session_expiry": 60, "will": will(delay=2)}
    site.connect(broker, fleet.issue("sensor-1"), **options).drop()
    assert_nothing_came(observer)
    assert observer.receive(8) == ("devices/sensor-1/will", "lost")


def test_a_will_on_a_forbidden_topic_is_not_published(world):
    site, fleet, broker, observer = world
    lose(broker, site.connect(broker, fleet.issue("sensor-1"), will=will("sensor-2")))
    assert_nothing_came(observer)


def test_a_will_under_the_event_prefix_is_not_published(site):
    """Reserved topics, whatever the rules allow."""
    fleet = site.fleet()
    site.add_rule("device", "ALLOW PUBLISH $iot-auth/#")
    eyes = site.observer(fleet)
    site.add_rule("role of observer", "ALLOW SUBSCRIBE,RECEIVE $iot-auth/#")
    broker = site.broker()
    observer = site.connect(broker, eyes)
    assert observer.subscribe("$iot-auth/#") == 1
    assert observer.subscribe("mark") == 1
    for device, topic in (("sensor-1", "$iot-auth/other"), ("sensor-2", "$iot-auth/events/device/registered")):
        lose(broker, site.connect(broker, fleet.issue(device), will={"topic": topic, "payload": "lost at " + topic}))
    assert [p for p in payloads_before_mark(observer) if p.startswith("lost")] == ["lost at $iot-auth/other"]


def payloads_before_mark(observer):
    observer.publish("mark")
    payloads = []
    while True:
        topic, payload = observer.receive()
        if topic == "mark":
            return payloads
        payloads.append(payload)


@pytest.mark.parametrize("status", ["REVOKED", "INACTIVE"])
@pytest.mark.parametrize("protocol", [4, V5])
def test_a_device_that_is_thrown_out_leaves_no_will(world, status, protocol):
    site, fleet, broker, observer = world
    client = site.connect(broker, fleet.issue("sensor-1"), protocol=protocol, will=will())
    site.registry.set_device_status(device_id="sensor-1", status=status)
    client.wait_closed(1.0)
    assert_nothing_came(observer)


def test_devices_of_a_disabled_authority_leave_no_wills(site):
    eyes = site.observer(site.fleet("acme"))
    other = site.fleet("other")
    broker = site.broker()
    observer = site.connect(broker, eyes)
    observer.subscribe("#")
    clients = [site.connect(broker, other.issue("s-%d" % i), will=will("s-%d" % i)) for i in range(5)]
    site.registry.set_ca_status(name="other", status="INACTIVE")
    for client in clients:
        client.wait_closed(1.0)
    assert_nothing_came(observer)


def test_a_delayed_will_of_a_device_revoked_meanwhile_is_not_published(world):
    site, fleet, broker, observer = world
    options = {"protocol": V5, "session_expiry": 60}
    site.connect(broker, fleet.issue("sensor-1"), will=will(delay=2), **options).drop()
    site.connect(broker, fleet.issue("sensor-2"), will=will("sensor-2", delay=3), **options).drop()
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    assert observer.receive(10) == ("devices/sensor-2/will", "lost")


@pytest.mark.parametrize("statement", [
    "DELETE FROM iot_auth.device WHERE device_id = 'sensor-1'",
    "DELETE FROM iot_auth.device_certificate WHERE device_id = 'sensor-1'",
], ids=["device", "certificate"])
def test_a_delayed_will_of_a_device_deleted_meanwhile_is_not_published(world, statement):
    """A record that was not in memory any more was taken for evicted, and then the ended session's own copy counted."""
    site, fleet, broker, observer = world
    options = {"protocol": V5, "session_expiry": 60}
    site.connect(broker, fleet.issue("sensor-1"), will=will(delay=3), **options).drop()
    site.connect(broker, fleet.issue("sensor-2"), will=will("sensor-2", delay=4), **options).drop()
    site.registry.query(statement)
    assert observer.receive(10) == ("devices/sensor-2/will", "lost")


def test_a_refused_client_leaves_no_will(world):
    site, fleet, broker, observer = world
    bad = site.client(broker, fleet.issue("sensor-1"), client_id="sensor-2", will=will())
    assert bad.connect() != 0
    bad.drop()
    assert_nothing_came(observer)


def test_a_taken_over_connections_will_is_published(world):
    site, fleet, broker, observer = world
    device = fleet.issue("sensor-1")
    first = site.connect(broker, device, will=will())
    site.connect(broker, device)
    first.wait_closed()
    assert observer.receive() == ("devices/sensor-1/will", "lost")


def test_a_will_of_a_device_without_the_right_is_not_published(site):
    fleet = site.fleet()
    rule = site.add_rule("device", "ALLOW PUBLISH,SUBSCRIBE shared/#")
    eyes = site.observer(fleet)
    broker = site.broker()
    observer = site.connect(broker, eyes)
    observer.subscribe("#")
    client = site.connect(broker, fleet.issue("sensor-1"), will={"topic": "shared/wills"})
    site.registry.remove_rule(rule_id=rule)
    wait_until(lambda: client.subscribe("shared/x") == 128, 1.0, "the end of the right")
    lose(broker, client)
    assert_nothing_came(observer)
