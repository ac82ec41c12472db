# SPDX-License-Identifier: ISC
"""SIGHUP makes the broker call BASIC_AUTH again for every client, connected or not: no client may lose or gain by it.
"""

import signal
import threading

import pytest

from broker import wait_until
from client import V5
from tokens import Provider


def hangups(broker, number=20, pause=0.05):
    """`number` SIGHUPs within a second; returns when the broker has handled the last."""
    mark = broker.mark()
    for _ in range(number - 1):
        broker.process.send_signal(signal.SIGHUP)
        threading.Event().wait(pause)
    broker.wait_for_log("Reloading config", since=mark)
    broker.sighup()


@pytest.mark.parametrize("cache", [1000000, 2], ids=["large-cache", "small-cache"])
def test_connected_devices_stay_connected(site, cache):
    fleet = site.fleet()
    broker = site.broker(options={"device_cache_size": cache})
    protocols = [4, V5] * 3
    clients = [site.connect(broker, fleet.issue("s-%d" % i), protocol=p) for i, p in enumerate(protocols)]
    for number, client in enumerate(clients):
        assert client.subscribe("devices/s-%d/#" % number) == 1
    hangups(broker)
    for number, client in enumerate(clients):
        topic = "devices/s-%d/x" % number
        client.publish(topic, "alive")
        assert client.receive() == (topic, "alive")
        assert client.subscribe("devices/other/x") >= 128


@pytest.mark.parametrize("cache", [1000000, 1], ids=["large-cache", "small-cache"])
def test_sleeping_sessions_keep_their_queues(site, cache):
    fleet = site.fleet()
    eyes = site.observer(fleet)
    broker = site.broker(options={"device_cache_size": cache})
    device = fleet.issue("sensor-1")
    with site.connect(broker, device, clean=False) as client:
        assert client.subscribe("devices/sensor-1/#") == 1
    writer = site.connect(broker, eyes)
    writer.publish("devices/sensor-1/in", "before")
    hangups(broker)
    writer.publish("devices/sensor-1/in", "after")
    again = site.connect(broker, device, clean=False)
    assert [again.receive()[1], again.receive()[1]] == ["before", "after"]


def test_a_disabled_device_gains_nothing(site):
    fleet = site.fleet()
    broker = site.broker()
    device = fleet.issue("sensor-1")
    client = site.connect(broker, device)
    site.registry.set_device_status(device_id="sensor-1", status="INACTIVE")
    hangups(broker)
    client.wait_closed(2.0)
    assert site.try_connect(broker, device) != 0


@pytest.mark.parametrize("listener", ["plain", "app", "plain_websockets", "websockets"])
def test_a_client_under_the_same_names_is_never_admitted(site, listener):
    """Answering 'from memory' by name would be a login without a credential."""
    fleet = site.fleet()
    device = fleet.issue("sensor-1")
    broker = site.broker(listeners=("device", "plain", listener) if listener != "plain" else ("device", "plain"))
    holder = site.connect(broker, device)
    credential = site.root.intermediate("unknown").issue("sensor-1") if listener == "websockets" else None
    ended = threading.Event()
    outcomes = []

    def hammer():
        while not ended.is_set():
            for name in ("sensor-1", "sleeper"):
                outcomes.append(site.try_connect(broker, credential, client_id=name, listener=listener, username=name,
                                                 password="x"))

    with site.connect(broker, fleet.issue("sleeper"), clean=False) as sleeper:
        sleeper.subscribe("devices/sleeper/#")
    attacker = threading.Thread(target=hammer)
    attacker.start()
    while len(outcomes) < 6:  # some of them between RELOAD and TICK
        hangups(broker)
    ended.set()
    attacker.join()
    assert 0 not in outcomes
    assert holder.connected


def test_token_sessions_go_on(site):
    provider = Provider()
    site.role("reader", "ALLOW SUBSCRIBE,RECEIVE devices/#")
    provider.register(site.registry)
    site.registry.map_scope(issuer_name="corp", scope="read", role="reader")
    eyes = site.observer(site.fleet())
    broker = site.broker()
    app = site.connect(broker, client_id="app:corp:dashboard", password=provider.token(scope="read"))
    assert app.subscribe("devices/#") == 1
    with site.connect(broker, client_id="app:corp:dashboard/2", clean=False,
                      password=provider.token(scope="read")) as sleeper:
        assert sleeper.subscribe("devices/#") == 1
    hangups(broker)
    writer = site.connect(broker, eyes)
    writer.publish("devices/x/y", "hello")
    assert app.receive() == ("devices/x/y", "hello")
    again = site.connect(broker, client_id="app:corp:dashboard/2", clean=False, password=provider.token(scope="read"))
    assert again.receive() == ("devices/x/y", "hello")


def test_a_changed_registry_is_seen_as_before(site):
    fleet = site.fleet()
    broker = site.broker()
    client = site.connect(broker, fleet.issue("sensor-1"))
    hangups(broker, 3)
    rule = site.add_rule("device", "ALLOW SUBSCRIBE shared/#")
    wait_until(lambda: client.subscribe("shared/x") == 1, 1.0, "the new right")
    assert rule
    site.connect(broker, fleet.issue("sensor-2"))
