#!/usr/bin/python3
"""What the plugin costs a whole broker, in CPU time of its process: with it and without it, on the same listener.

  bench/whole_broker.py connect [--connects N]   one mTLS connect of a known device
  bench/whole_broker.py flood [--messages N]     one QoS 0 message from a device to a subscriber, with 20 and 100,000 rules
  bench/whole_broker.py preload [--devices N]    start-up with a registry of a million devices: seconds, and memory

Brokers with and without take turns in the same run, because these machines are noisy: read the ratio.  Needs a
built plugin (IOT_AUTH_PLUGIN, default build/release) and what scripts/test installs.
"""

import argparse
import contextlib
import os
import pathlib
import socket
import statistics
import sys
import tempfile
import threading
import time

SOURCE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests/integration"))

import client as clients  # noqa: E402
import pg  # noqa: E402
from broker import Broker, wait_until  # noqa: E402
from site_kit import Registry, Site, TestPki  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
ROUNDS = 7
FLOOD_TOPIC = "devices/sender/flood"


def serves(broker):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", broker.ports["device"]), timeout=1).close()
        return True


def start_quietly(broker):
    """Log lines cost more than what is measured here; the one that says 'running' goes with them."""
    config = broker.config
    broker.config = lambda: config().replace("log_type all", "log_type error")
    broker.start(wait=False)
    wait_until(lambda: serves(broker), timeout=30, what="the broker")
    return broker


def cpu_seconds(broker):
    fields = pathlib.Path("/proc/%d/stat" % broker.process.pid).read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Bench:
    def __init__(self, server, folder):
        self.registry = Registry(server.create_database())
        self.site = Site("host", folder, TestPki(folder), self.registry)
        self.fleet = self.site.fleet()
        self.listeners_pki = self.site.listeners_pki

    def with_plugin(self):
        return start_quietly(self.site.new_broker(listeners=("device",)))

    def without_plugin(self):
        """The same listener, with the fleet's root as its cafile."""
        trust = self.site.folder / "fleet-root.pem"
        trust.write_text(self.site.root.pem)
        broker = Broker("host", self.site.folder / "bare", self.listeners_pki.server, trust, listeners=("device",),
                        plugin=False, lines=("allow_anonymous true",), global_anonymous=False)
        self.site.brokers.append(broker)
        return start_quietly(broker)

    def connect(self, broker, credential, name):
        raw = self.site.raw(broker, credential)
        assert raw.connect(name) == 0, "%s was refused" % name
        return raw


def report(unit, rows):
    """rows: (label, microseconds of each round); the first is what the others are compared with."""
    base = statistics.median(rows[0][1])
    print("%-28s %12s %8s" % ("", "µs per " + unit, "ratio"))
    for label, rounds in rows:
        print("%-28s %12.2f %8.2f" % (label, statistics.median(rounds), statistics.median(rounds) / base))


def bench_connect(bench, connects):
    names = ["device-%d" % n for n in range(50)]
    credentials = [bench.fleet.issue(name) for name in names]
    contexts = [bench.site.context(credential) for credential in credentials]
    brokers = [("without the plugin", bench.without_plugin(), []), ("with the plugin", bench.with_plugin(), [])]

    def storm(broker, count):
        for n in range(count):
            with clients.Raw(broker.ports["device"], contexts[n % len(contexts)], timeout=30) as raw:
                assert raw.connect(names[n % len(names)]) == 0

    for _label, broker, _rounds in brokers:
        storm(broker, len(names))  # every device is known from here on
    for _ in range(ROUNDS):
        for _label, broker, rounds in brokers:
            before = cpu_seconds(broker)
            storm(broker, connects)
            rounds.append((cpu_seconds(broker) - before) * 1e6 / connects)
    report("connect", [(label, rounds) for label, _broker, rounds in brokers])


def add_rules(bench, role, count):
    """Rules that a fleet could have, so that `count` rules stand in the role."""
    bench.registry.query(
        "INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)"
        " SELECT %s, 'ALLOW', '{PUBLISH,RECEIVE}', 'plants/' || n %% 97 || '/lines/' || n || '/#'"
        " FROM generate_series(1, %s) n", role, count)


def drain(raw, wanted, seen):
    while seen[0] < wanted:
        data = raw.socket.recv(1 << 20)
        if not data:
            return
        seen[0] += data.count(b"flood")


def flood(bench, broker, sender, reader, messages):
    """Microseconds of the broker's CPU per message."""
    packet = clients.publish_packet(FLOOD_TOPIC, b"x" * 64)
    block = packet * 200
    seen = [0]
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(bench.connect(broker, sender, "sender"))
        sink = stack.enter_context(bench.connect(broker, reader, "reader"))
        sink.send(clients.subscribe_packet(FLOOD_TOPIC)).receive()
        sink.socket.settimeout(30)
        thread = threading.Thread(target=drain, args=(sink, messages, seen))
        thread.start()
        before = cpu_seconds(broker)
        for sent in range(0, messages, 200):
            source.send(block)
            wait_until(lambda mark=sent: seen[0] > mark - 20000, timeout=30, what="the reader")
        thread.join()
        assert seen[0] >= messages, "messages were lost"
        return (cpu_seconds(broker) - before) * 1e6 / messages


def flood_site(server, folder, rules):
    bench = Bench(server, folder)
    reader = bench.site.device_with_role(bench.fleet, "acme", "reader", "ALLOW SUBSCRIBE,RECEIVE devices/#")
    add_rules(bench, "device", rules)
    add_rules(bench, "role of reader", rules)
    sender = bench.fleet.issue("sender")
    broker = bench.with_plugin()
    bench.connect(broker, sender, "sender").close()
    return bench, broker, sender, reader


def bench_flood(server, folder, messages):
    few = flood_site(server, folder / "few", 20)
    many = flood_site(server, folder / "many", 100000)
    bare = (few[0], few[0].without_plugin(), few[2], few[3])
    runs = [("without the plugin", bare, []), ("with 20 rules", few, []), ("with 100,000 rules", many, [])]
    for _ in range(ROUNDS):
        for _label, parts, rounds in runs:
            rounds.append(flood(*parts, messages))
    report("message", [(label, rounds) for label, _parts, rounds in runs])
    for bench in (few[0], many[0]):
        bench.site.close()


def fill_registry(bench, devices):
    bench.registry.query(
        "INSERT INTO iot_auth.device (device_id, ca_id, status, registered_by)"
        " SELECT 'device-' || n, ca_id, 'ACTIVE', 'admin' FROM iot_auth.ca, generate_series(1, %s) n", devices)
    bench.registry.query(
        "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, serial, not_before, not_after, status)"
        " SELECT sha256(('device-' || n)::bytea), 'device-' || n, ca_id, n::text, now(), now() + '1 year', 'ACTIVE'"
        " FROM iot_auth.ca, generate_series(1, %s) n", devices)


def resident_kb(broker):
    status = pathlib.Path("/proc/%d/status" % broker.process.pid).read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def bench_preload(bench, devices):
    empty = bench.site.broker(listeners=("device",))
    base = resident_kb(empty)
    fill_registry(bench, devices)
    begun = time.monotonic()
    broker = bench.site.new_broker(listeners=("device",), options={"startup_wait_ms": 120000}).start(wait=False)
    broker.wait_for_log(r"%d device certificates in memory" % devices, timeout=120)
    print("%d devices in %.1f s, %.0f MB" % (devices, time.monotonic() - begun, (resident_kb(broker) - base) / 1024))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("connect", "flood", "preload"))
    parser.add_argument("--connects", type=int, default=400)
    parser.add_argument("--messages", type=int, default=200000)
    parser.add_argument("--devices", type=int, default=1000000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, pg.Server() as server:
        folder = pathlib.Path(name)
        for part in ("few", "many"):
            (folder / part).mkdir()
        if arguments.what == "flood":
            bench_flood(server, folder, arguments.messages)
            return
        bench = Bench(server, folder)
        if arguments.what == "preload":
            bench_preload(bench, arguments.devices)
        else:
            bench_connect(bench, arguments.connects)
        bench.site.close()


if __name__ == "__main__":
    main()
