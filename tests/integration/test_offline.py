# SPDX-License-Identifier: ISC
"""Sessions that outlive their connection: no queued message is lost, and no forbidden one is delivered."""

import pytest

from broker import wait_until
from client import V5
from tokens import Provider

OWN = "devices/sensor-1/"


def start(site, **options):
    fleet = site.fleet()
    eyes = site.observer(fleet)
    broker = site.broker(persistence=True, **options)
    return fleet, broker, eyes


def persistent(protocol):
    return {"protocol": V5, "session_expiry": 600, "clean": False} if protocol == V5 else {"clean": False}


def fall_asleep(site, broker, device, *filters, protocol=4):
    client = site.connect(broker, device, **persistent(protocol))
    for topic_filter in filters:
        assert client.subscribe(topic_filter) == 1
    client.disconnect()


def wake_up(site, broker, device, protocol=4):
    """Connected again; paho hands over messages as they come."""
    options = persistent(protocol)
    client = site.connect(broker, device, **options)
    assert client.session_present
    return client


@pytest.mark.parametrize("protocol", [4, V5])
def test_messages_wait_for_a_sleeping_device(site, protocol):
    fleet, broker, eyes = start(site)
    device = fleet.issue("sensor-1")
    fall_asleep(site, broker, device, OWN + "#", protocol=protocol)
    with site.connect(broker, eyes) as writer:
        for number in range(5):
            writer.publish(OWN + "in", str(number))
    reader = wake_up(site, broker, device, protocol)
    assert [reader.receive() for _ in range(5)] == [(OWN + "in", str(n)) for n in range(5)]


@pytest.mark.parametrize("cache", [1000000, 1], ids=["preloaded", "no-room-in-cache"])
@pytest.mark.parametrize("protocol", [4, V5])
def test_messages_before_across_and_after_a_restart_all_arrive(site, protocol, cache):
    fleet, broker, eyes = start(site, options={"device_cache_size": cache})
    device = fleet.issue("sensor-1")
    fall_asleep(site, broker, device, OWN + "#", protocol=protocol)
    with site.connect(broker, eyes) as writer:
        writer.publish(OWN + "in", "before")
    broker.restart()
    with site.connect(broker, eyes) as writer:  # this run of the broker has never seen the offline client
        writer.publish(OWN + "in", "after")
    broker.restart()
    reader = wake_up(site, broker, device, protocol)
    with site.connect(broker, eyes) as writer:
        writer.publish(OWN + "in", "awake")
    assert [reader.receive()[1] for _ in range(3)] == ["before", "after", "awake"]


def test_a_right_that_went_while_the_device_slept_delivers_nothing(site):
    """As in CVE-2021-34434: the subscription still exists, the right does not."""
    fleet, broker, eyes = start(site)
    rule = site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    device = fleet.issue("sensor-1")
    client = site.connect(broker, device, clean=False)
    wait_until(lambda: client.subscribe("shared/#") == 1, what="the right")
    client.subscribe(OWN + "#")
    client.disconnect()
    writer = site.connect(broker, eyes)
    writer.publish("shared/a", "queued while allowed")
    site.registry.remove_rule(rule_id=rule)
    probe = site.connect(broker, fleet.issue("sensor-2"))
    wait_until(lambda: probe.subscribe("shared/x") == 128, 1.0, "the end of the right")
    writer.publish("shared/b", "published when forbidden")
    writer.publish(OWN + "mark", "own")
    reader = wake_up(site, broker, device)
    assert reader.receive() == (OWN + "mark", "own")
    writer.publish("shared/c", "after waking up")
    reader.received_nothing_before(OWN + "end", lambda: writer.publish(OWN + "end"))


def test_a_right_that_went_while_the_broker_was_down_delivers_nothing(site):
    fleet, broker, eyes = start(site)
    rule = site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    device = fleet.issue("sensor-1")
    client = site.connect(broker, device, clean=False)
    wait_until(lambda: client.subscribe("shared/#") == 1, what="the right")
    client.subscribe(OWN + "#")
    client.disconnect()
    with site.connect(broker, eyes) as writer:
        writer.publish("shared/a", "queued while allowed")
    broker.stop()
    site.registry.remove_rule(rule_id=rule)
    broker.start()
    writer = site.connect(broker, eyes)
    writer.publish("shared/b", "published when forbidden")
    writer.publish(OWN + "mark", "own")
    reader = wake_up(site, broker, device)
    assert reader.receive() == (OWN + "mark", "own")


def test_a_device_revoked_while_it_slept_gets_nothing(site):
    """The device cannot reconnect, so its queue is read from the broker's persistence file."""
    fleet, broker, eyes = start(site)
    device = fleet.issue("sensor-1")
    fall_asleep(site, broker, device, OWN + "#")
    fall_asleep(site, broker, fleet.issue("sensor-2"), "devices/sensor-2/#")
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    site.assert_refused_soon("device_revoked", broker, device, clean=False)
    with site.connect(broker, eyes) as writer:
        writer.publish(OWN + "in", "too late")
        writer.publish("devices/sensor-2/in", "of another")
    broker.stop()
    waiting = (broker.folder / "mosquitto.db").read_bytes()
    assert b"of another" in waiting
    assert b"too late" not in waiting


@pytest.mark.parametrize("protocol", [4, V5])
def test_a_kick_leaves_a_persistent_session_its_subscriptions_and_queue(site, protocol):
    """A kick makes the broker check each subscription again and delete the denied ones."""
    fleet, broker, eyes = start(site)
    writer = site.connect(broker, eyes)
    device = fleet.issue("sensor-1")
    client = site.connect(broker, device, **persistent(protocol))
    assert client.subscribe(OWN + "#") == 1
    site.registry.set_device_status(device_id="sensor-1", status="INACTIVE")
    client.wait_closed(1.0)
    writer.publish(OWN + "in", "while inactive")
    site.registry.set_device_status(device_id="sensor-1", status="ACTIVE")
    writer.publish(OWN + "in", "before it is back")

    def back():
        again = site.client(broker, device, **persistent(protocol))
        return again if again.connect() == 0 else None

    reader = wait_until(back, 1.0, "return of the device")
    assert reader.session_present
    assert reader.receive() == (OWN + "in", "while inactive")
    assert reader.receive() == (OWN + "in", "before it is back")


def test_a_kick_does_not_touch_other_sessions(site):
    fleet, broker, eyes = start(site)
    fall_asleep(site, broker, fleet.issue("sensor-2"), "devices/sensor-2/#")
    client = site.connect(broker, fleet.issue("sensor-1"), clean=False)
    client.subscribe(OWN + "#")
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    client.wait_closed(1.0)
    with site.connect(broker, eyes) as writer:
        writer.publish("devices/sensor-2/in", "still there")
    reader = site.connect(broker, fleet.issue("sensor-2"), clean=False)
    assert reader.receive() == ("devices/sensor-2/in", "still there")


def test_sleeping_sessions_of_disabled_devices_expire_in_good_order(site):
    """On 2.0 a kick of a client that is not connected corrupts the broker's list of expiries."""
    fleet, broker, eyes = start(site)
    for number in range(10):
        device = fleet.issue("sensor-%d" % number)
        client = site.connect(broker, device, protocol=V5, clean=False, session_expiry=2)
        client.subscribe("devices/sensor-%d/#" % number)
        client.disconnect()
    for status in ("INACTIVE", "ACTIVE", "REVOKED"):
        site.registry.query("UPDATE iot_auth.device SET status = %s WHERE device_id LIKE 'sensor-%%'", status)
    observer = site.connect(broker, eyes)
    observer.subscribe("$SYS/broker/clients/expired")
    wait_until(lambda: observer.receive()[1] == "10", 10, "expiry of ten sessions")


def test_unsubscribe_works_after_the_right_was_removed(site):
    fleet, broker, eyes = start(site)
    rule = site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    client = site.connect(broker, fleet.issue("sensor-1"), protocol=V5)
    wait_until(lambda: client.subscribe("shared/#") == 1, what="the right")
    site.registry.remove_rule(rule_id=rule)
    wait_until(lambda: client.subscribe("shared/x") == 0x87, 1.0, "the end of the right")
    assert client.unsubscribe("shared/#") == 0
    rule = site.add_rule("device", "ALLOW RECEIVE shared/#")
    writer = site.connect(broker, eyes)
    client.subscribe(OWN + "#")
    writer.publish("shared/a")
    client.received_nothing_before(OWN + "mark", lambda: writer.publish(OWN + "mark"))


def test_a_refused_client_takes_nothing_from_the_offline_session(site):
    """The DISCONNECT callback of a refused connection contains the offline session's id, which proves nothing."""
    fleet, broker, eyes = start(site)
    device = fleet.issue("sensor-1")
    fall_asleep(site, broker, device, OWN + "#")
    for _ in range(3):
        assert site.try_connect(broker, fleet.issue("attacker"), client_id="sensor-1", clean=False) != 0
        assert site.try_connect(broker, client_id="sensor-1", listener="plain", clean=False) != 0
        assert site.try_connect(broker, client_id="sensor-1", listener="app", clean=True) != 0
    with site.connect(broker, eyes) as writer:
        writer.publish(OWN + "in", "kept")
    assert wake_up(site, broker, device).receive() == (OWN + "in", "kept")


def test_a_sleeping_apps_queue_survives_a_restart(site):
    """An app has neither certificate nor row: after a restart only its session is known."""
    _fleet, broker, eyes = start(site)
    provider = Provider()
    site.role("reader", "ALLOW SUBSCRIBE,RECEIVE devices/#")
    provider.register(site.registry)
    site.registry.map_scope(issuer_name="corp", scope="read", role="reader")
    options = {"client_id": "app:corp:dashboard", "clean": False, "listener": "app"}
    app = site.connect_within(2.0, broker, None, password=provider.token(scope="read"), **options)
    wait_until(lambda: app.subscribe("devices/#") == 1, 1.0, "the right of its scope")
    app.disconnect()
    broker.restart()
    with site.connect(broker, eyes) as writer:
        writer.publish("devices/x/in", "while away")
    app = site.connect(broker, None, password=provider.token(scope="read"), **options)
    assert app.receive() == ("devices/x/in", "while away")
