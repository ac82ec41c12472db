# SPDX-License-Identifier: ISC
"""What a broker does without a database: at its start, from memory, and with what it has to write."""

import datetime
import time

import pytest

from broker import wait_until
from outage_kit import AT_ONCE, BACK, BACK_WITHIN, LOST, lines_of, logged_once


@pytest.mark.parametrize("how", ["refuse", "black_hole"])
def test_a_broker_that_starts_without_a_database_serves_when_it_comes(outage, how):
    site = outage
    acme = site.fleet("acme")
    known = acme.issue("known")
    site.registry.register_device(device_id="known", pem=known.pem, ca_name="acme")
    getattr(site.proxy, how)()
    begun = time.monotonic()
    broker = site.new_broker(options={"startup_wait_ms": "700"}).start()
    assert 0.7 <= time.monotonic() - begun < 0.7 + 3.0
    broker.wait_for_log("no snapshot after startup_wait_ms")
    for _ in range(2):
        assert site.timed_refusal(broker, known) < AT_ONCE
    assert site.try_connect(broker, known) != 0
    other = site.new_broker(options={"startup_wait_ms": "100"}).start()
    assert site.timed_refusal(other, known) < AT_ONCE  # Mosquitto loses a SIGTERM right after it has logged 'running'
    other.stop(timeout=2)
    site.proxy.heal()
    site.connect_within(BACK_WITHIN, broker, known)
    logged_once(broker, 0)
    assert len(lines_of(broker, BACK, 0)) == 1


def test_start_up_waits_for_the_database_no_longer_than_needed(outage):
    site = outage
    acme = site.fleet("acme")
    site.proxy.refuse()
    broker = site.new_broker(options={"startup_wait_ms": "20000"}).start(wait=False)
    broker.wait_for_log("no database")
    site.proxy.heal()
    broker.wait_for_log("mosquitto version .* running", timeout=8)
    assert site.connect(broker, acme.issue("sensor-1")).connected


# Limits of memory


def test_after_stale_max_s_nobody_new_is_let_in(outage):
    site = outage
    acme = site.fleet("acme")
    broker = site.broker(options={"stale_max_s": "2"})
    known = acme.issue("known")
    site.connect(broker, known).disconnect()
    live = site.connect(broker, acme.issue("live"))
    site.proxy.refuse()
    wait_until(lambda: site.try_connect(broker, known) != 0, 12, "refusal")
    broker.wait_for_log("snapshot_stale")
    assert live.subscribe("devices/live/x") == 1
    site.proxy.heal()
    site.connect_within(BACK_WITHIN, broker, known)
    assert live.connected


def test_an_address_rule_that_expires_during_an_outage_ends_sessions(outage):
    site = outage
    acme = site.fleet("acme")
    broker = site.broker()
    site.registry.allow_ip(network="10.0.0.0/8", scope="CA", scope_key="acme")
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=4)
    site.registry.allow_ip(network="127.0.0.0/8", scope="CA", scope_key="acme", expires_at=until)
    live = site.connect_within(1.0, broker, acme.issue("live"))
    mark = broker.mark()
    site.proxy.refuse()
    broker.wait_for_log(LOST, since=mark)
    left = (until - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    live.wait_closed(left + 1.0)


# What the broker has to write


def test_what_happened_during_an_outage_is_written_after_it(outage):
    site = outage
    acme = site.fleet("acme")
    broker = site.broker()
    known = acme.issue("known")
    site.connect(broker, known).disconnect()
    mark = broker.mark()
    seen = "SELECT last_connected_at FROM iot_auth.device WHERE device_id = 'known'"
    before = wait_until(lambda: site.registry.value(seen), what="last_connected_at")
    site.proxy.refuse()
    broker.wait_for_log(LOST, since=mark)
    since = site.registry.last_event()
    assert site.try_connect(broker, acme.issue("new")) != 0
    site.connect(broker, known).disconnect()
    assert site.registry.last_event() == since
    site.proxy.heal()
    event = site.registry.wait_for_event(kind="device/refused", principal="new", since=since, timeout=BACK_WITHIN)
    assert event["reason"] == "registry_unavailable"
    wait_until(lambda: site.registry.value(seen) > before, what="last_connected_at")


def test_what_is_queued_is_written_before_the_broker_ends(outage):
    site = outage
    acme = site.fleet("acme")
    broker = site.broker()
    known = acme.issue("known")
    site.connect(broker, known).disconnect()
    since = site.registry.last_event()
    site.proxy.delay(0.15)
    assert site.try_connect(broker, known, client_id="not its own") != 0
    broker.stop(timeout=2)
    refused = [event for event in site.registry.events(since) if event["reason"] == "client_id_mismatch"]
    assert len(refused) == 1
