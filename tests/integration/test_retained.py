# SPDX-License-Identifier: ISC
"""Retained messages with check_retain_source true (the default): the broker checks the publisher's right again."""

import pytest

from broker import wait_until

TOPIC = "devices/sensor-1/state"


def publish_retained(site, broker, device, topic=TOPIC, payload="21.5"):
    with site.connect(broker, device) as client:
        client.publish(topic, payload, retain=True)


def start(site, **options):
    fleet = site.fleet()
    eyes = site.observer(fleet)
    return fleet, eyes, site.broker(lines=["check_retain_source true"], **options)


def retained(observer, topic=TOPIC):
    """What a subscription brings at once.  A marker on the same topic filter comes after retained messages."""
    assert observer.subscribe(topic) == 1
    observer.publish(topic, "mark")
    payloads = []
    while "mark" not in payloads:
        payloads.append(observer.receive()[1])
    return payloads[:-1]


def withheld(site, broker, eyes, topic=TOPIC):
    """Does a new subscriber see nothing?"""
    with site.connect(broker, eyes) as observer:
        return retained(observer, topic) == []


def test_a_publisher_that_is_online_or_offline_keeps_its_message(site):
    fleet, eyes, broker = start(site)
    publish_retained(site, broker, fleet.issue("sensor-1"))
    observer = site.connect(broker, eyes)
    observer.subscribe(TOPIC)
    assert observer.receive() == (TOPIC, "21.5")


def test_a_revoked_publishers_message_is_withheld(site):
    fleet, eyes, broker = start(site)
    publish_retained(site, broker, fleet.issue("sensor-1"))
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    wait_until(lambda: withheld(site, broker, eyes), 1.0, "withholding")


def test_a_disabled_authoritys_devices_messages_are_withheld(site):
    other = site.fleet("other")
    _fleet, eyes, broker = start(site)
    publish_retained(site, broker, other.issue("sensor-1"))
    site.registry.set_ca_status(name="other", status="INACTIVE")
    wait_until(lambda: withheld(site, broker, eyes), 1.0, "withholding")


@pytest.mark.parametrize("cache", [1000000, 1], ids=["preloaded", "no-room-in-cache"])
def test_a_publisher_never_seen_since_the_restart_keeps_its_message(site, cache):
    fleet, eyes, broker = start(site, persistence=True, options={"device_cache_size": cache})
    publish_retained(site, broker, fleet.issue("sensor-1"))
    broker.restart()
    observer = site.connect(broker, eyes)
    observer.subscribe(TOPIC)
    assert observer.receive() == (TOPIC, "21.5")


def test_a_publisher_revoked_while_the_broker_was_down_is_found_out(site):
    fleet, eyes, broker = start(site, persistence=True)
    publish_retained(site, broker, fleet.issue("sensor-1"))
    broker.stop()
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    broker.start()
    wait_until(lambda: withheld(site, broker, eyes), 2.0, "withholding")


def test_a_revoked_publisher_that_is_not_in_memory_is_looked_up(site):
    """The broker thread waits for no database here, so the first subscriber still gets the message."""
    fleet, eyes, broker = start(site, persistence=True, options={"device_cache_size": 1})
    publish_retained(site, broker, fleet.issue("sensor-1"))
    broker.stop()
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    broker.start()
    observer = site.connect(broker, eyes)  # its record takes the only place in the cache
    assert retained(observer) == ["21.5"]
    wait_until(lambda: retained(observer) == [], 2.0, "withholding")


def test_a_publisher_that_lost_the_right_has_its_message_withheld(site):
    fleet, eyes, broker = start(site)
    rule = site.add_rule("device", "ALLOW PUBLISH shared/#")
    device = fleet.issue("sensor-1")
    observer = site.connect(broker, eyes)
    observer.subscribe("shared/state")

    def published():
        publish_retained(site, broker, device, "shared/state")
        return not observer.messages.empty()

    wait_until(published, 5.0, "the right to publish")
    observer.disconnect()
    site.registry.remove_rule(rule_id=rule)
    wait_until(lambda: withheld(site, broker, eyes, "shared/state"), 1.0, "withholding")


def test_a_retained_message_on_a_forbidden_topic_is_not_kept(site):
    fleet, eyes, broker = start(site)
    publish_retained(site, broker, fleet.issue("sensor-1"), "devices/sensor-2/state")
    assert withheld(site, broker, eyes, "devices/sensor-2/state")
