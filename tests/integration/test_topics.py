# SPDX-License-Identifier: ISC
"""What a device may publish, subscribe to and receive on a real broker."""

import pytest

from broker import wait_until
from client import PUBACK, PUBREC, REFUSED, SUBACK, V5, publish_packet, subscribe_packet

DENIED = (128, 0x87)


@pytest.fixture
def world(site):
    fleet = site.fleet()
    eyes = site.observer(fleet)
    broker = site.broker()
    observer = site.connect(broker, eyes)
    assert observer.subscribe("#") == 1
    return site, fleet, broker, observer


FILTERS = [
    # (filter, granted to sensor-1 by the seeded role)
    ("devices/sensor-1/#", True),
    ("devices/sensor-1", True),
    ("devices/sensor-1/+", True),
    ("devices/sensor-1/a/b/c", True),
    ("devices/sensor-1/+/#", True),
    ("devices/sensor-2/#", False),
    ("devices/+/a", False),
    ("devices/#", False),
    ("devices", False),
    ("devices/sensor-10/a", False),
    ("Devices/sensor-1/a", False),
    ("+/sensor-1/a", False),
    ("#", False),
    ("/devices/sensor-1/a", False),
    ("$SYS/#", False),
    ("$SYS/broker/version", False),
    ("$CONTROL/#", False),
    ("$CONTROL/dynamic-security/v1/response", False),
    ("$iot-auth/events/#", False),
    ("$unknown/devices/sensor-1/a", False),
    ("$share/group/devices/sensor-1/#", True),
    ("$share/group/devices/sensor-2/#", False),
    ("$share/group/#", False),
    ("$share/group/$SYS/#", False),
]


@pytest.mark.parametrize("protocol", [4, V5])
def test_subscriptions_of_a_device(world, protocol):
    site, fleet, broker, _observer = world
    client = site.connect(broker, fleet.issue("sensor-1"), protocol=protocol)
    wrong = [(f, code) for f, granted in FILTERS for code in [client.subscribe(f)] if (code == 1) != granted]
    assert not wrong


@pytest.mark.parametrize("malformed", ["$share//devices/sensor-1/a", "$share/+/devices/sensor-1/a", "$share/group",
                                       "$share/group/", "$share/#", "devices/sensor-1/a#", "devices/sensor-1/+a", ""])
def test_malformed_subscriptions_are_refused(world, malformed):
    """By the plugin with a code, or by the broker as a protocol error."""
    site, fleet, broker, observer = world
    with site.raw(broker, fleet.issue("sensor-1")) as raw:
        wait_until(lambda: raw.connect("sensor-1") == 0)
        answer = raw.send(subscribe_packet(malformed)).receive()
        assert answer is None or (answer[0] == SUBACK and answer[2][-1] >= 128), answer
    assert observer.connected


@pytest.mark.parametrize("topic", ["devices/sensor-1/a", "devices/sensor-1", "devices/sensor-1/a/b/c/d"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_device_publishes_under_its_own_topics(world, topic, qos):
    site, fleet, broker, observer = world
    site.connect(broker, fleet.issue("sensor-1")).publish(topic, "hi", qos=qos)
    assert observer.receive() == (topic, "hi")


ELSEWHERE = ["devices/sensor-2/a", "devices", "other", "/devices/sensor-1/a", "devices//a", "$unknown/a",
             "$iot-auth/events/device/registered",
             "$SYS/broker/connection/sensor-1/state"]  # the only $SYS topic for which the plugin is asked: for bridges


@pytest.mark.parametrize("topic", ELSEWHERE + ["$SYS/broker/version", "$CONTROL/dynamic-security/v1"])
def test_a_device_publishes_nowhere_else_and_gets_a_reason_code(world, topic):
    """Only MQTT 5 clients get it, but for topics without subscribers too."""
    site, fleet, broker, _observer = world
    device = fleet.issue("sensor-1")
    site.connect(broker, device).disconnect()  # registers it
    with site.raw(broker, device) as raw:
        assert raw.connect("sensor-1", protocol=V5) == 0
        for qos, answer in ((1, PUBACK), (2, PUBREC)):
            kind, _flags, body = raw.send(publish_packet(topic, qos=qos, protocol=V5)).receive()
            assert (kind, body[2:3]) == (answer, b"\x87"), "QoS %d" % qos


@pytest.mark.parametrize("topic", ELSEWHERE)
@pytest.mark.parametrize("protocol", [4, V5])
def test_what_a_device_publishes_elsewhere_reaches_nobody(world, topic, protocol):
    site, fleet, broker, observer = world
    filters = ("$unknown/#", "$iot-auth/#", "$SYS/broker/connection/#")
    for topic_filter in filters:
        site.add_rule("role of observer", "ALLOW SUBSCRIBE,RECEIVE " + topic_filter)
    wait_until(lambda: all(observer.subscribe(f) == 1 for f in filters), what="the right to see them")
    client = site.connect(broker, fleet.issue("sensor-1"), protocol=protocol)
    for qos in (0, 1, 2):
        client.publish(topic, "forged", qos)
    client.publish("devices/sensor-1/mark")
    messages = messages_before(observer, "devices/sensor-1/mark")
    assert "forged" not in [payload for _topic, payload in messages], messages


def messages_before(observer, marker_topic):
    messages = []
    while not messages or messages[-1][0] != marker_topic:
        messages.append(observer.receive())
    return messages[:-1]


def test_the_event_prefix_is_nobodys_whatever_the_rules_say(site):
    fleet = site.fleet()
    site.add_rule("device", "ALLOW PUBLISH,SUBSCRIBE,RECEIVE $iot-auth/#")
    site.add_rule("device", "ALLOW PUBLISH,SUBSCRIBE,RECEIVE #")
    broker = site.broker()
    reader = site.connect(broker, fleet.issue("reader"))
    assert reader.subscribe("$iot-auth/#") == 1
    assert reader.subscribe("mark") == 1
    writer = site.connect(broker, fleet.issue("writer"))
    for topic in ("$iot-auth/events/device/registered", "$iot-auth/events", "$iot-auth/events/x"):
        writer.publish(topic, "forged")
    writer.publish("mark", "end")
    payloads = [reader.receive()[1]]
    while payloads[-1] != "end":
        payloads.append(reader.receive()[1])
    assert "forged" not in payloads


def test_wildcards_do_not_open_the_trees_with_a_dollar(site):
    fleet = site.fleet()
    site.add_rule("device", "ALLOW PUBLISH,SUBSCRIBE,RECEIVE #")
    site.add_rule("device", "ALLOW PUBLISH,SUBSCRIBE,RECEIVE +/broker/#")
    broker = site.broker()
    client = site.connect(broker, fleet.issue("sensor-1"))
    assert client.subscribe("#") == 1
    for topic_filter in ("$SYS/#", "$SYS/broker/version", "$CONTROL/#", "$share/g/$SYS/#"):
        assert client.subscribe(topic_filter) == 128, topic_filter


def test_a_rule_opens_sys(site):
    fleet = site.fleet()
    site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE $SYS/#")
    broker = site.broker()
    client = site.connect(broker, fleet.issue("sensor-1"))
    assert client.subscribe("$SYS/broker/version") == 1
    assert client.receive()[0] == "$SYS/broker/version"


def test_deny_wins_and_what_it_touches_is_kept_back(site):
    fleet = site.fleet()
    site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    site.add_rule("device", "DENY RECEIVE,SUBSCRIBE shared/secret/#")
    eyes = site.observer(fleet)
    broker = site.broker()
    writer = site.connect(broker, eyes)
    client = site.connect(broker, fleet.issue("sensor-1"))
    assert client.subscribe("shared/secret/a") == 128
    assert client.subscribe("shared/#") == 1
    writer.publish("shared/secret/a", "secret")
    client.received_nothing_before("shared/news", lambda: writer.publish("shared/news"))


def test_receive_is_a_right_of_its_own(site):
    fleet = site.fleet()
    site.add_rule("device", "ALLOW SUBSCRIBE shared/#")
    eyes = site.observer(fleet)
    broker = site.broker()
    writer = site.connect(broker, eyes)
    client = site.connect(broker, fleet.issue("sensor-1"))
    assert client.subscribe("shared/#") == 1
    assert client.subscribe("devices/sensor-1/#") == 1
    writer.publish("shared/a", "withheld")
    client.received_nothing_before("devices/sensor-1/m", lambda: writer.publish("devices/sensor-1/m"))
    assert writer.connected, "a denied READ must not disconnect the publisher"


def test_a_shared_subscription_delivers_only_what_may_be_received(site):
    fleet = site.fleet()
    site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    eyes = site.observer(fleet)
    broker = site.broker()
    writer = site.connect(broker, eyes)
    client = site.connect(broker, fleet.issue("sensor-1"))
    assert client.subscribe("$share/workers/shared/#") == 1
    writer.publish("shared/a", "job")
    assert client.receive() == ("shared/a", "job")


def test_variables_of_the_session_open_their_level(site):
    fleet = site.fleet("acme", tenant="north")
    for topic_filter in ("t/${tenant}/#", "c/${ca}/+", "i/${client_id}"):
        site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE " + topic_filter)
    broker = site.broker()
    client = site.connect(broker, fleet.issue("sensor-1"))
    granted = {f: client.subscribe(f) for f in ("t/north/x", "t/south/x", "c/acme/x", "c/other/x", "i/sensor-1", "i/x")}
    assert granted == {"t/north/x": 1, "t/south/x": 128, "c/acme/x": 1, "c/other/x": 128, "i/sensor-1": 1, "i/x": 128}


def test_an_unset_variable_opens_nothing_and_denies_all(site):
    fleet = site.fleet()
    site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE a/${attr.site}/#")
    site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE b/#")
    site.add_rule("device", "DENY SUBSCRIBE b/${attr.site}/secret")
    broker = site.broker()
    client = site.connect(broker, fleet.issue("sensor-1"))
    assert client.subscribe("a//x") == 128
    assert client.subscribe("a/any/x") == 128
    assert client.subscribe("b/any/secret") == 128
    assert client.subscribe("b/any/open") == 1


def test_a_mount_point_is_part_of_the_topic(site):
    fleet = site.fleet()
    site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE,PUBLISH berlin/own/${device_id}/#")
    broker = site.broker(listener_lines={"device": "mount_point berlin/\n"})
    client = site.connect(broker, fleet.issue("sensor-1"))
    assert client.subscribe("devices/sensor-1/#") == 128
    assert client.subscribe("own/sensor-1/#") == 1
    client.publish("own/sensor-1/x", "hi")
    assert client.receive()[0].endswith("own/sensor-1/x")  # 2.0 does not take the mount point off again


def test_a_rule_may_bound_the_qos_and_forbid_retained_messages(site):
    fleet = site.fleet()
    eyes = site.observer(fleet)
    for topic_filter, bounds in (("quick/#", {"max_qos": 0}), ("brief/#", {"allow_retain": False})):
        site.registry.add_rule(
            role="device", effect="ALLOW", actions=["PUBLISH"], topic_filter=topic_filter, **bounds
        )
    broker = site.broker()
    observer = site.connect(broker, eyes)
    observer.subscribe("#")
    client = site.connect(broker, fleet.issue("sensor-1"))
    client.publish("quick/a", "qos 1", qos=1)
    client.publish("quick/a", "qos 2", qos=2)
    client.publish("brief/a", "retained", retain=True)
    client.publish("quick/a", "qos 0", qos=0)
    client.publish("brief/a", "passing", qos=2)
    assert {observer.receive()[1], observer.receive()[1]} == {"qos 0", "passing"}


def test_a_device_without_roles_may_nothing(site):
    fleet = site.fleet(roles=[])
    broker = site.broker()
    client = site.connect(broker, fleet.issue("sensor-1"))
    assert client.subscribe("devices/sensor-1/#") == 128
    assert client.subscribe("#") == 128
    assert client.connected


def test_a_device_with_too_many_roles_may_nothing_and_the_event_says_why(site):
    """A rule that was left out might have been the DENY; 'no rule allows it' misled administrators."""
    fleet = site.fleet()
    broker = site.broker()
    client = site.connect(broker, fleet.issue("sensor-1"))
    site.registry.query("INSERT INTO iot_auth.role (role) SELECT 'r' || i FROM generate_series(1, 300) i")
    grant = ("INSERT INTO iot_auth.device_role (device_id, role)"
             " SELECT 'sensor-1', 'r' || i FROM generate_series(%s, %s) i")
    site.registry.query(grant, 1, 200)
    site.connect_within(1.0, broker, fleet.issue("sensor-2"))
    assert client.subscribe("devices/sensor-1/x") == 1
    site.registry.query(grant, 201, 256)  # with the role of its CA they are 257
    wait_until(lambda: client.subscribe("devices/sensor-1/x") == 128, 1.0, "the end of its rights")
    event = site.registry.wait_for_event(reason="topic_denied", principal="sensor-1")
    assert "more than 256" in event["detail"]["detail"]
    site.registry.query("DELETE FROM iot_auth.device_role WHERE role > 'r2'")
    wait_until(lambda: client.subscribe("devices/sensor-1/x") == 1, 1.0, "its rights")


def test_a_publisher_is_not_punished_for_a_reader_without_the_right(world):
    """A READ check that is answered with anything but denied disconnects the publisher."""
    site, fleet, broker, observer = world
    readers = [site.connect(broker, fleet.issue("reader-%d" % i)) for i in range(3)]
    for number, reader in enumerate(readers):
        assert reader.subscribe("devices/reader-%d/#" % number) == 1
    writer = site.connect(broker, fleet.issue("writer"))
    for number in range(20):
        writer.publish("devices/writer/%d" % number, qos=number % 3)
    assert writer.connected and observer.connected
    assert all(reader.messages.empty() for reader in readers)


def test_one_listener_without_a_plugin_of_its_own_is_no_way_in(site):
    """A global plugin is asked for every listener, also without TLS."""
    site.fleet()
    broker = site.broker()
    assert site.try_connect(broker, client_id="sensor-1", listener="plain", username="sensor-1") in REFUSED
