#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What the plugin costs a whole broker, in CPU time of its process: with it and without it, on the same listener.

  bench/whole_broker.py connect [--connects N]   one mTLS connect of a known device
  bench/whole_broker.py flood [--messages N]     one QoS 0 message from a device to a subscriber, with 20 and 100,000
                                                 rules: all to one topic, then spread over topics of many rules
  bench/whole_broker.py preload [--devices N]    start-up with a registry of a million devices: seconds, and memory

Brokers with and without take turns in the same run, because these machines are noisy: read the ratio, which is the
median of the rounds' ratios.  --broker trixie or sid: those that scripts/get-brokers has fetched.  Needs a built plugin
(IOT_AUTH_PLUGIN, default build/release) and what scripts/test installs.
"""

import argparse
import contextlib
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
from broker import KINDS, Broker, wait_until  # noqa: E402
from site_kit import Registry, Site, TestPki  # noqa: E402

ROUNDS = 11
BLOCK = 200      # messages that are sent in one piece
AHEAD = 20000    # messages that the reader may be behind
PLANTS = 97


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
    """Of all its threads, to the nanosecond: /proc counts in steps of 10 ms."""
    return time.clock_gettime(~broker.process.pid << 3 | 2)  # as clock_getcpuclockid(3)


class Bench:
    def __init__(self, server, folder, kind):
        self.registry = Registry(server.create_database())
        self.site = Site(kind, folder, TestPki(folder), self.registry)
        self.fleet = self.site.fleet()
        self.listeners_pki = self.site.listeners_pki

    def with_plugin(self):
        return start_quietly(self.site.new_broker(listeners=("device",)))

    def without_plugin(self):
        """The same listener, with the fleet's root as its cafile."""
        trust = self.site.folder / "fleet-root.pem"
        trust.write_text(self.site.root.pem)
        broker = Broker(self.site.kind, self.site.folder / "bare", self.listeners_pki.server, trust, listeners=("device",),
                        plugin=False, lines=("allow_anonymous true",), global_anonymous=False)
        self.site.brokers.append(broker)
        return start_quietly(broker)

    def connect(self, broker, credential, name):
        raw = self.site.raw(broker, credential)
        assert raw.connect(name) == 0, "%s was refused" % name
        return raw


def take_turns(runs):
    """runs: (label, measure, rounds), the first being what the others are compared with.  Each round asks all, in turn
    forwards and backwards: what the machine does meanwhile meets all of them."""
    for number in range(ROUNDS):
        for _label, measure, rounds in runs if number % 2 == 0 else runs[::-1]:
            rounds.append(measure() * 1e6)


def report(unit, runs):
    base = runs[0][2]
    print("%-36s %12s %8s" % ("", "µs per " + unit, "ratio"))
    for label, _measure, rounds in runs:
        ratio = statistics.median(one / other for one, other in zip(rounds, base))
        print("%-36s %12.2f %8.2f" % (label, statistics.median(rounds), ratio))


def bench_connect(bench, connects):
    names = ["device-%d" % n for n in range(50)]
    credentials = [bench.fleet.issue(name) for name in names]
    contexts = [bench.site.context(credential) for credential in credentials]
    brokers = [bench.without_plugin(), bench.with_plugin()]

    def storm(broker, count):
        before = cpu_seconds(broker)
        for n in range(count):
            with clients.Raw(broker.ports["device"], contexts[n % len(contexts)], timeout=30) as raw:
                assert raw.connect(names[n % len(names)]) == 0
        return (cpu_seconds(broker) - before) / count

    for broker in brokers:
        storm(broker, len(names))  # every device is known from here on
    runs = [(label, lambda broker=broker: storm(broker, connects), [])
            for label, broker in zip(("without the plugin", "with the plugin"), brokers)]
    take_turns(runs)
    report("connect", runs)


def add_rules(bench, role, count):
    """Rules that a fleet could have, so that `count` rules more stand in the role."""
    bench.registry.query(
        "INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)"
        " SELECT %s, 'ALLOW', '{PUBLISH,RECEIVE}', 'plants/' || n %% %s || '/lines/' || n || '/#'"
        " FROM generate_series(1, %s) n", role, PLANTS, count)


def one_topic(_rules):
    return ["devices/sender/flood"]


def many_topics(rules):
    """Allowed by rules that lie all over the role."""
    numbers = (1 + k * (rules - 1) // (BLOCK - 1) for k in range(BLOCK))
    return ["plants/%d/lines/%d/sensor-%d" % (n % PLANTS, n, k % 10) for k, n in enumerate(numbers)]


def drain(raw, wanted, seen):
    while seen[0] < wanted:
        data = raw.socket.recv(1 << 20)
        if not data:
            return
        seen[0] += data.count(b"*")


class Flood:
    """A broker, who sends, and who reads."""

    def __init__(self, bench, broker, sender, reader):
        self.bench, self.broker, self.sender, self.reader = bench, broker, sender, reader

    def run(self, topics, messages):
        """Seconds of the broker's CPU per message."""
        block = b"".join(clients.publish_packet(topics[n % len(topics)], b"*" + b"x" * 63) for n in range(BLOCK))
        seen = [0]
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(self.bench.connect(self.broker, self.sender, "sender"))
            sink = stack.enter_context(self.bench.connect(self.broker, self.reader, "reader"))
            sink.send(clients.subscribe_packet(topics[0].split("/")[0] + "/#")).receive()
            sink.socket.settimeout(30)
            thread = threading.Thread(target=drain, args=(sink, messages, seen))
            thread.start()
            before = cpu_seconds(self.broker)
            for sent in range(0, messages, BLOCK):
                source.send(block)
                wait_until(lambda mark=sent: seen[0] > mark - AHEAD, timeout=30, what="the reader")
            thread.join()
            assert seen[0] >= messages, "messages were lost"
            return (cpu_seconds(self.broker) - before) / messages


def flood_with_rules(server, folder, kind, rules):
    folder.mkdir()
    bench = Bench(server, folder, kind)
    reader = bench.site.device_with_role(bench.fleet, "acme", "reader", "ALLOW SUBSCRIBE,RECEIVE devices/#",
                                         "ALLOW SUBSCRIBE plants/#")
    add_rules(bench, "device", rules)
    add_rules(bench, "role of reader", rules)
    sender = bench.fleet.issue("sender")
    broker = bench.with_plugin()
    bench.connect(broker, sender, "sender").close()  # registers itself
    return Flood(bench, broker, sender, reader)


def bench_flood(server, folder, kind, messages):
    few = flood_with_rules(server, folder / "few", kind, 20)
    many = flood_with_rules(server, folder / "many", kind, 100000)
    bare = Flood(few.bench, few.bench.without_plugin(), few.sender, few.reader)
    for title, topics in (("one topic", one_topic), ("%d topics" % BLOCK, many_topics)):
        runs = [("%s: without the plugin" % title, lambda: bare.run(topics(20), messages), []),
                ("%s: with 20 rules" % title, lambda: few.run(topics(20), messages), []),
                ("%s: with 100,000 rules" % title, lambda: many.run(topics(100000), messages), [])]
        take_turns(runs)
        report("message", runs)
    few.bench.site.close()
    many.bench.site.close()


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
    parser.add_argument("--broker", choices=KINDS, default="host")
    parser.add_argument("--connects", type=int, default=400)
    parser.add_argument("--messages", type=int, default=100000)
    parser.add_argument("--devices", type=int, default=1000000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, pg.Server() as server:
        folder = pathlib.Path(name)
        if arguments.what == "flood":
            bench_flood(server, folder, arguments.broker, arguments.messages)
            return
        bench = Bench(server, folder, arguments.broker)
        if arguments.what == "preload":
            bench_preload(bench, arguments.devices)
        else:
            bench_connect(bench, arguments.connects)
        bench.site.close()


if __name__ == "__main__":
    main()
