# SPDX-License-Identifier: ISC
"""Devices that the broker does not have in memory: their connections are held back in the socket until the registry has
answered, and the broker serves the others meanwhile."""

import contextlib
import os
import socket
import struct
import threading
import time

import pytest

from broker import wait_until
from client import CLOSED, TRY_AGAIN, Raw, connect_packet, packet, PUBLISH
from site_kit import common_name
from swarm import Swarm, measure_undisturbed

AT_ONCE = 0.3  # a TLS handshake on a busy machine
HELD = 0.3
TIMES = 40


class NewDevice(threading.Thread):
    """One attempt of an unknown device, as a thread: its outcome, and when it had it."""

    def __init__(self, site, broker, credential, tls13=True, client_id=None):
        super().__init__(daemon=True)
        self._port = broker.ports["device"]
        self._context = site.context(credential, tls13=tls13)
        self._client_id = client_id or common_name(credential)
        self.result = self.took = self.raw = None
        self.start()

    def run(self):
        begun = time.monotonic()
        try:
            self.raw = Raw(self._port, self._context, timeout=20)
            self.result = self.raw.connect(self._client_id)
        except OSError:
            self.result = CLOSED
        self.took = time.monotonic() - begun

    def outcome(self):
        self.join(30)
        assert self.result is not None, "no answer"
        return self.result


@pytest.fixture
def lot(outage):
    """A site whose database is behind a proxy, with a fleet."""
    outage.acme = outage.fleet()
    return outage


def parked(site, broker, what="now"):
    """A figure of the broker's row in iot_auth.node."""
    name = broker.options["node_name"]
    counters = site.registry.value("SELECT counters FROM iot_auth.node WHERE node_name = %s", name)
    return (counters or {}).get("parked/" + what, 0)


def is_held(attempts, seconds=0.15):
    """Nobody has an answer within that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(one.result is not None for one in attempts):
            return False
        time.sleep(0.01)
    return True


def test_new_devices_are_held_back_together_and_all_are_admitted(lot):
    broker = lot.broker()
    with lot.bystander(broker, lot.acme) as bystander:
        lot.proxy.delay(HELD)
        begun = time.monotonic()
        attempts = [
            NewDevice(lot, broker, lot.acme.issue("new-%d" % n), tls13=n % 2 == 0) for n in range(TIMES)
        ]
        assert [one.outcome() for one in attempts] == [0] * TIMES
        took = time.monotonic() - begun
        longest = bystander.longest()
    assert min(one.took for one in attempts) >= HELD * 0.9
    assert took < 5.0, "one after the other: %.1f s" % took
    assert longest < 0.2, "a live session waited %.3f s" % longest
    lot.proxy.delay(0)
    wait_until(lambda: parked(lot, broker, "total") >= TIMES, 8.0, "the counter")
    assert parked(lot, broker, "expired") == 0
    assert set(lot.registry.devices()) >= {"new-%d" % n for n in range(TIMES)}


def test_new_devices_by_websocket_are_held_back_too(lot):
    """2.0 does not show plugins the certificate of a WebSocket client, so nobody is admitted there; but the connection
    is held back and served all the same."""
    broker = lot.broker(listeners=("device", "plain", "websockets"))
    lot.proxy.delay(HELD)
    clients = [lot.client(broker, lot.acme.issue("ws-%d" % n), listener="websockets") for n in range(10)]
    begun = time.monotonic()
    results = lot.connect_all(clients)
    assert time.monotonic() - begun >= HELD * 0.9
    if broker.version >= (2, 1):
        assert results == [0] * 10
    assert set(lot.registry.devices()) == {"ws-%d" % n for n in range(10)}


def test_a_websocket_is_held_back_for_four_seconds_at_most(lot):
    """libwebsockets closes what is silent for 5 s.  A TCP listener holds back as long as auth_wait_ms says."""
    broker = lot.broker(listeners=("device", "plain", "websockets"), options={"auth_wait_ms": 20000})
    lot.connect(broker, lot.acme.issue("known"))
    lot.proxy.drop_answers()
    tcp = NewDevice(lot, broker, lot.acme.issue("tcp"))
    client = lot.client(broker, lot.acme.issue("ws"), listener="websockets")
    begun = time.monotonic()
    assert client.connect() != 0
    assert 3.5 < time.monotonic() - begun < 5.0
    assert tcp.result is None
    lot.proxy.refuse()
    assert tcp.outcome() in TRY_AGAIN


def test_whoever_has_no_answer_in_time_is_refused_and_in_at_the_next_try(lot):
    broker = lot.broker(options={"auth_wait_ms": 400})
    lot.proxy.delay(1.0)
    device = lot.acme.issue("late")
    one = NewDevice(lot, broker, device)
    assert one.outcome() in TRY_AGAIN
    assert 0.35 < one.took < 0.4 + AT_ONCE
    lot.proxy.delay(0)
    wait_until(lambda: "late" in lot.registry.devices(), what="the registration")
    wait_until(lambda: NewDevice(lot, broker, device).outcome() == 0, 2.0, "admission")
    wait_until(lambda: parked(lot, broker, "expired") == 1, 8.0, "the counter")


def test_nobody_is_held_back_where_auth_wait_ms_is_0(lot):
    broker = lot.broker(options={"auth_wait_ms": 0})
    lot.proxy.delay(HELD)
    device = lot.acme.issue("new")
    one = NewDevice(lot, broker, device)
    assert one.outcome() in TRY_AGAIN
    assert one.took < AT_ONCE
    lot.proxy.delay(0)
    wait_until(lambda: NewDevice(lot, broker, device).outcome() == 0, 3.0, "admission")


def test_beyond_parked_max_new_devices_are_refused_at_once(lot):
    broker = lot.broker(options={"parked_max": 2})
    lot.proxy.delay(1.0)
    first = [NewDevice(lot, broker, lot.acme.issue("first-%d" % n)) for n in range(2)]
    assert is_held(first)
    one = NewDevice(lot, broker, lot.acme.issue("third"))
    assert one.outcome() in TRY_AGAIN
    assert one.took < AT_ONCE
    assert [other.outcome() for other in first] == [0, 0]


@contextlib.contextmanager
def watching(site, broker):
    """An observer, and a function that waits until so many connections are parked."""
    with site.connect(broker, site.observer(site.acme)) as observer:
        wait_until(lambda: observer.subscribe("$SYS/broker/iot-auth/parked/now") == 1, what="the observer's role")

        def wait_parked(count, seconds=3.0):
            wait_until(lambda: observer.receive()[1] == str(count), seconds, "%d parked" % count)

        yield wait_parked


@pytest.mark.parametrize("end", ["close", "reset", "half-close"])
def test_a_client_that_goes_while_it_is_held_back_is_forgotten(lot, end):
    """Also when its CONNECT lies in the socket."""
    broker = lot.broker(options={"auth_wait_ms": 60000})
    with watching(lot, broker) as wait_parked:
        lot.proxy.drop_answers()
        with lot.raw(broker, lot.acme.issue("leaver")) as leaver, lot.raw(broker, lot.acme.issue("stays")) as stays:
            leaver.send(connect_packet("leaver"))
            stays.send(connect_packet("stays"))
            wait_parked(2)
            if end == "reset":
                leaver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if end == "half-close":
                with socket.socket(fileno=os.dup(leaver.socket.fileno())) as beside_tls:
                    beside_tls.shutdown(socket.SHUT_WR)
            else:
                leaver.close()
            wait_parked(1)


def test_a_client_that_sends_without_end_is_released_and_refused(lot):
    broker = lot.broker(options={"auth_wait_ms": 60000})
    with watching(lot, broker) as wait_parked:
        lot.proxy.drop_answers()
        with lot.raw(broker, lot.acme.issue("flood")) as flood:
            flood.send(connect_packet("flood"))
            wait_parked(1)
            flood.send(packet(PUBLISH, b"\0\1t" + b"x" * 300000))
            assert flood.wait_closed(3.0) is not None
            wait_parked(0)
    assert "reason=registry_unavailable" in broker.log()


def test_held_connections_cost_nothing(lot):
    """20 clients, 5 of which have sent their CONNECT and more."""
    broker = lot.broker()
    lot.proxy.drop_answers()
    with contextlib.ExitStack() as open_ones:
        for n in range(20):
            raw = open_ones.enter_context(lot.raw(broker, lot.acme.issue("idle-%d" % n)))
            raw.send(connect_packet("idle-%d" % n) + (packet(PUBLISH, b"\0\1t" + b"x" * 20000) if n < 5 else b""))
        before, begun = broker.cpu_seconds(), time.monotonic()
        time.sleep(1.0)  # the measurement itself
        used = (broker.cpu_seconds() - before) / (time.monotonic() - begun)
    assert used < 0.10, "%.0f %% of a core" % (100 * used)


def test_a_lost_database_releases_all_who_are_held_back(lot):
    broker = lot.broker()
    lot.proxy.drop_answers()
    attempts = [NewDevice(lot, broker, lot.acme.issue("new-%d" % n)) for n in range(10)]
    assert is_held(attempts, 0.4)
    begun = time.monotonic()
    lot.proxy.refuse()
    assert set(one.outcome() for one in attempts) <= set(TRY_AGAIN)
    assert time.monotonic() - begun < 1.0
    one = NewDevice(lot, broker, lot.acme.issue("later"))
    assert one.outcome() in TRY_AGAIN
    assert one.took < AT_ONCE


def test_a_broker_that_stops_leaves_nobody_behind(lot):
    broker = lot.broker()
    lot.proxy.drop_answers()
    attempts = [NewDevice(lot, broker, lot.acme.issue("new-%d" % n)) for n in range(10)]
    assert is_held(attempts, 0.4)
    broker.stop(timeout=4)
    assert set(one.outcome() for one in attempts) == {CLOSED}


def test_a_change_made_meanwhile_counts(lot):
    """A device that is revoked, and a CA that is disabled, between the question and the answer."""
    doomed = lot.fleet("doomed")
    broker = lot.broker()
    lot.proxy.delay(1.0)
    revoked, orphan = lot.acme.issue("revoked"), doomed.issue("orphan")
    lot.registry.register_device(device_id="revoked", pem=revoked.pem, ca_name="acme")
    attempts = [NewDevice(lot, broker, one) for one in (revoked, orphan)]
    assert is_held(attempts)
    lot.registry.set_device_status(device_id="revoked", status="REVOKED")
    lot.registry.set_ca_status(name="doomed", status="INACTIVE")
    assert all(one.outcome() != 0 for one in attempts)


def test_whatever_its_connect_says_a_proven_certificate_registers(lot):
    broker = lot.broker()
    assert NewDevice(lot, broker, lot.acme.issue("new"), client_id="another").outcome() != 0
    assert lot.registry.devices() == ["new"]
    assert NewDevice(lot, broker, lot.acme.issue("new")).outcome() == 0


STORM = 120
AT_A_TIME = 32


def storm(lot, broker, bystander, swarm, group):
    """All devices of a group connect, once: how many were admitted, and how long a live session waited."""
    bystander.longest()
    admitted = swarm.open(group, broker.ports["device"], AT_A_TIME)
    longest = bystander.longest()
    swarm.close_all(group)
    return admitted, longest


def test_a_storm_of_new_devices_is_admitted_at_the_first_try(lot, tmp_path, capsys):
    """With a database at 0, 10 and 40 ms; a live session waits as in a storm of known devices."""
    broker = lot.broker()
    delays = (0.0, 0.010, 0.040)
    with Swarm(tmp_path) as swarm, lot.bystander(broker, lot.acme) as bystander:
        measure_undisturbed(broker.process, swarm.process, bystander.process)
        for group, _ in enumerate(delays):
            swarm.mint(group, "storm-%d-" % group, STORM, lot.acme)
        waited = {}
        for group, delay in enumerate(delays):
            lot.proxy.delay(delay)
            admitted, waited[delay] = storm(lot, broker, bystander, swarm, group)
            assert admitted == STORM, "%d of %d with the database %g ms away" % (admitted, STORM, 1000 * delay)
        lot.proxy.delay(0)
        admitted, known = storm(lot, broker, bystander, swarm, 0)
        assert admitted == STORM
        with capsys.disabled():
            print(" [longest PINGRESP: known %.0f ms, new %s]" % (
                1000 * known, ", ".join("%.0f ms" % (1000 * one) for one in waited.values())), end="")
        assert max(waited.values()) < known + 0.1
