# SPDX-License-Identifier: ISC
"""The rows of scripts/bench.  A row is a function of (server, folder, scale), which returns results; `scale` is 1 for the whole
run and less for a quick look."""

import collections
import statistics
import subprocess
import time

import broker as brokers
import pki
from broker import wait_until
from fault_proxy import FaultProxy
from kit import Bench, Pings, Result, Variants, cpu_us, has_valgrind, resident_kb
from site_kit import Registry
from tokens import Provider

ROWS = {}
DEVICES = 50
STORM, AT_A_TIME = 400, 32
PINGS_MS = 2
ROUNDS = 5

StormRound = collections.namedtuple("StormRound", "admitted rate ratio ping_ms")


def row(function):
    ROWS[function.__name__] = function
    return function


def scaled(number, scale, least=1):
    return max(least, int(number * scale))


# A connect


def connect_cost(load, group, broker, count, listener="device", accepted=True):
    """CPU of the broker for one connection, in microseconds."""
    def measure():
        before = cpu_us(broker.process)
        storm = load.storm(group, broker.ports[listener], 1, count)
        good = storm.accepted if accepted else storm.refused + storm.failed
        assert good == count, storm
        return (cpu_us(broker.process) - before) / count
    return measure


def connects(server, folder, scale, kind, tls, must_full, must_resumed):
    """Full and resumed handshakes of known devices against Mosquitto's own cafile."""
    with Bench(server, folder, kind) as bench:
        load, bare, broker = bench.load(), bench.without_plugin(), bench.with_plugin()
        for group in (0, 1):
            bench.mint(load, group, DEVICES, "g%d-" % group)
            load.do("set", group, "tls", tls)
        load.do("set", 1, "resume", "on")
        for group in (0, 1, 1):
            admit_all(load, group, broker, DEVICES)
        load.storm(0, bare.ports["device"], 1, DEVICES)
        count = scaled(400, scale, DEVICES)
        variants = Variants("connect %s TLS %s" % (kind, tls), "µs CPU", scaled(11, scale, 3))
        variants.add("Mosquitto alone (cafile), full handshake", connect_cost(load, 0, bare, count))
        variants.add("with the plugin, full handshake", connect_cost(load, 0, broker, count), must_full)
        variants.add("with the plugin, resumed", connect_cost(load, 1, broker, count), must_resumed)
        results = variants.results()
        storm = load.storm(1, broker.ports["device"], 1, DEVICES)
        assert storm.resumed == DEVICES, storm
        return results


def admit_all(load, group, broker, count, listener="device"):
    """Until the broker knows all devices of the group."""
    wait_until(lambda: load.storm(group, broker.ports[listener], 8, count).accepted == count, 60, "the fleet")


@row
def connect(server, folder, scale):
    """mTLS connect, Mosquitto 2.0 of this machine"""
    return (connects(server, folder / "13", scale, "host", "1.3", 0.68, 0.32)
            + connects(server, folder / "12", scale, "host", "1.2", 0.85, 0.25))


@row
def connect_sid(server, folder, scale):
    """the same on Mosquitto 2.1 of scripts/get-brokers"""
    return (connects(server, folder / "13", scale, "sid", "1.3", 0.85, 0.50)
            + connects(server, folder / "12", scale, "sid", "1.2", 0.85, 0.30))


def instructions_of(bench, make, clients, count, listener="device"):
    """Instructions of the broker for one connection, by callgrind.  clients(load) makes 20 of group 0."""
    out = bench.folder / "callgrind.out"
    real = brokers.command
    brokers.command = lambda kind: ["valgrind", "--tool=callgrind", "--callgrind-out-file=%s" % out] + real(kind)
    try:
        broker = make()
    finally:
        brokers.command = real
    load = bench.load()
    clients(load)
    admit_all(load, 0, broker, 20, listener)
    load.storm(0, broker.ports[listener], 1, 20)
    control = ["callgrind_control", str(broker.process.pid)]
    subprocess.run(control + ["-z"], check=True, capture_output=True)
    assert load.storm(0, broker.ports[listener], 1, count).accepted == count
    subprocess.run(control + ["--dump"], check=True, capture_output=True)
    broker.kill()
    # The last dump; "summary:" or "totals:" is the sum.
    dump = max(bench.folder.glob("callgrind.out.*"), key=lambda path: path.stat().st_mtime)
    totals = [line for line in dump.read_text().splitlines() if line.startswith(("summary:", "totals:"))]
    for path in bench.folder.glob("callgrind.out*"):
        path.unlink()
    return int(totals[-1].split()[1]) / count


@row
def instructions(server, folder, scale):
    """instructions of an mTLS connect (TLS 1.3), by callgrind where it is installed"""
    if not has_valgrind():
        return []
    count = scaled(100, scale, 20)
    with Bench(server, folder) as bench:
        def full_clients(load):
            bench.mint(load, 0, 20, "callgrind-")

        def resuming_clients(load):
            full_clients(load)
            load.do("set", 0, "resume", "on")

        bare = instructions_of(bench, bench.without_plugin, full_clients, count)
        full = instructions_of(bench, bench.with_plugin, full_clients, count)
        resumed = instructions_of(bench, bench.with_plugin, resuming_clients, count)
    return [Result("instructions", what, "instructions", value, bare, value / bare, None, must)
            for what, value, must in (("Mosquitto alone (cafile), full handshake", bare, None),
                                      ("with the plugin, full handshake", full, 0.58),
                                      ("with the plugin, resumed", resumed, None))]


# Storms of new devices


def storm_and_pings(bench, load, group, count, broker, watcher):
    """One storm while a live session pings: (Storm, Pings)."""
    watcher.do("pings", 7)
    storm = load.storm(group, broker.ports["device"], AT_A_TIME, count)
    return storm, Pings(*watcher.do("pings", 7))


def storm_round(bench, load, group, count, broker, watcher, away_ms):
    """Devices that nobody registered, and the same devices again, against what they can reach: the rate of the second storm, or one
    round trip there and back for each device of those that connect at a time."""
    bench.mint(load, group, count, "new-%d-" % group)
    new, new_pings = storm_and_pings(bench, load, group, count, broker, watcher)
    admit_all(load, group, broker, count)
    again, again_pings = storm_and_pings(bench, load, group, count, broker, watcher)
    rate, known = new.accepted / new.us * 1e6, again.accepted / again.us * 1e6
    possible = min(known, AT_A_TIME / (2 * away_ms / 1000)) if away_ms else known
    return StormRound(new.accepted, rate, rate / possible, (new_pings.p99 - again_pings.p99) / 1000)


def storm_at(server, folder, scale, away_ms, must, kind="host"):
    with Bench(server, folder, kind) as bench:
        proxy = FaultProxy(server.host, server.port)
        conninfo = bench.database.conninfo().replace("port=%d" % server.port, "port=%d" % proxy.port)
        load, watcher = bench.load(), bench.load()
        broker = bench.with_plugin(options={"db_conninfo": conninfo})
        bench.mint(watcher, 7, 1, "watcher-")
        admit_all(watcher, 7, broker, 1)
        watcher.do("open", 7, broker.ports["device"], 1)
        watcher.do("ping", 7, PINGS_MS)
        proxy.delay(away_ms / 1000)
        count = scaled(STORM, scale, 64)
        rounds = [storm_round(bench, load, group, count, broker, watcher, away_ms) for group in range(scaled(ROUNDS, scale, 1))]
    name = "storm, database %d ms away" % away_ms + (" (Mosquitto 2.1)" if kind == "sid" else "")
    admitted = min(one.admitted for one in rounds)
    rate = statistics.median(one.rate for one in rounds)
    ratios = sorted(one.ratio for one in rounds)
    return [Result(name, "new devices admitted at the first try", "of %d" % count, admitted, count, admitted / count, None, -1.0),
            Result(name, "new devices a second", "1/s", rate, None, statistics.median(ratios), (ratios[0], ratios[-1]), -must),
            Result(name, "PINGRESP of a live session, 99 %, above known devices'", "ms",
                   statistics.median(one.ping_ms for one in rounds), None, None, None, 10)]


@row
def storm(server, folder, scale):
    """400 devices that nobody registered, 32 at a time; the database 0, 10 and 40 ms away"""
    return (storm_at(server, folder / "0", scale, 0, 0.85) + storm_at(server, folder / "10", scale, 10, 0.8)
            + storm_at(server, folder / "40", scale, 40, 0.8))


@row
def storm_sid(server, folder, scale):
    """the same on Mosquitto 2.1 of scripts/get-brokers"""
    return [result for away_ms, must in ((0, 0.85), (10, 0.8), (40, 0.8))
            for result in storm_at(server, folder / str(away_ms), scale, away_ms, must, "sid")]


@row
def registration(server, folder, scale):
    """10,000 new devices, local database"""
    with Bench(server, folder) as bench:
        load, broker, count = bench.load(), bench.with_plugin(), scaled(10000, scale, 100)
        bench.mint(load, 0, count)
        measured = []
        for _ in range(2):
            before = cpu_us(broker.process)
            made = load.storm(0, broker.ports["device"], AT_A_TIME, count)
            measured.append((made.accepted / made.us * 1e6, (cpu_us(broker.process) - before) / count, made.accepted))
            admit_all(load, 0, broker, count)
        (rate, cpu, accepted), (known_rate, known_cpu, _) = measured
        return [Result("registration", "admitted at the first try", "of %d" % count, accepted, count, accepted / count, None, -1.0),
                Result("registration", "a second", "1/s", rate, known_rate, rate / known_rate, None, -0.85),
                Result("registration", "CPU of the broker", "µs CPU", cpu, known_cpu, cpu / known_cpu, None, 1.25)]


# Refusals


@row
def refused(server, folder, scale):
    """a denied address, and a chain of an unknown CA, against an accepted connect"""
    with Bench(server, folder) as bench:
        load, broker, count = bench.load(), bench.with_plugin(), scaled(400, scale, DEVICES)
        denying = bench.with_plugin(options={"node_name": "denying", "db_conninfo": denying_registry(server, bench)})
        bench.mint(load, 0, DEVICES)
        bench.mint(load, 1, DEVICES, "unknown-", pki.root("unknown").intermediate("unknown"))
        admit_all(load, 0, broker, DEVICES)
        variants = Variants("refused", "µs CPU", scaled(11, scale, 3))
        variants.add("accepted connect", connect_cost(load, 0, broker, count))
        variants.add("unknown CA", connect_cost(load, 1, broker, count, accepted=False), 0.60)
        variants.add("denied address", connect_cost(load, 0, denying, count, accepted=False), 0.08)
        return variants.results()


def denying_registry(server, bench):
    """Another database, in which loopback is denied: brokers of one registry have the same rules."""
    database = server.create_database()
    registry = Registry(database)
    registry.register_ca(pem=bench.fleet.pem, name="acme", auto_registration=True)
    registry.deny_ip(network="127.0.0.0/8")
    registry.close()
    return database.conninfo()


# Apps


@row
def app(server, folder, scale):
    """an app's connect with an RS256 token, against a password file of one user"""
    with Bench(server, folder) as bench:
        provider = Provider()
        provider.register(bench.registry)
        passwords = bench.folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "app", "secret"], check=True, capture_output=True)
        bare = bench.without_plugin(("allow_anonymous false", "password_file %s" % passwords), ("app",))
        broker, load, count = bench.with_plugin(listeners=("app",)), bench.load(), scaled(200, scale, 20)
        load.do("login", 0, "app", "app", "secret")
        load.do("login", 1, "app:corp:dashboard", "x", provider.token(lifetime=3600))

        wait_until(lambda: load.storm(1, broker.ports["app"], 1, 1).accepted == 1, 30, "the issuer")
        variants = Variants("app", "µs CPU", scaled(11, scale, 3))
        variants.add("Mosquitto alone (password_file of one user)", connect_cost(load, 0, bare, count, "app"))
        variants.add("token that was seen before", connect_cost(load, 1, broker, count, "app"), 1.02)
        return variants.results() + first_token(bench, provider, broker, connect_cost(load, 0, bare, count, "app"), scale)


def first_token(bench, provider, broker, of_password, scale):
    """Each connection with a token that the broker has not seen."""
    def measure():
        load, count = bench.load(), 20
        for number in range(count):
            load.do("login", 0, "app:corp:dashboard", "x", provider.token(lifetime=3600, jti="%f" % (time.time() + number)))
        before = cpu_us(broker.process)
        made = load.storm(0, broker.ports["app"], 1, count)
        assert made.accepted == count, made
        return (cpu_us(broker.process) - before) / count
    variants = Variants("app", "µs CPU", scaled(11, scale, 3))
    variants.add("Mosquitto alone (password_file of one user)", of_password)
    variants.add("token that was not seen before", measure, 1.15)
    return variants.results()[1:]


# Messages

BLOCK, AHEAD = 2000, 20000
PLANTS = 97


def add_rules(bench, role, count):
    """Rules that a fleet could have, so that `count` rules more stand in the role."""
    bench.registry.query(
        "INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)"
        " SELECT %s, 'ALLOW', '{PUBLISH,RECEIVE}', 'plants/' || n %% %s || '/lines/' || n || '/#'"
        " FROM generate_series(1, %s) n", role, PLANTS, count)


def flood_cost(bench, broker, topic, topics, messages, readers=1):
    """CPU of the broker for one message that is delivered to all readers, from one sender."""
    source, sink = bench.load(), bench.load()
    bench.mint(source, 0, 1, "sender-")
    bench.mint(sink, 0, readers, "reader-")
    for load, count in ((source, 1), (sink, readers)):
        admit_all(load, 0, broker, count)
        load.do("open", 0, broker.ports["device"], 32)
    sink.do("subscribe", 0, topic.split("/")[0] + "/#")

    def measure():
        before = cpu_us(broker.process)
        for _ in range(max(1, messages // BLOCK)):
            block = min(BLOCK, messages)
            source.do("publish", 0, block, topic, topics)
            got = sink.do("received", 0, block * readers, 30000)[0]
            assert got == block * readers, "%d of %d messages" % (got, block * readers)
        return (cpu_us(broker.process) - before) / (max(1, messages // BLOCK) * min(BLOCK, messages))
    return measure


def with_rules(server, folder, rules):
    bench = Bench(server, folder)
    for rule in ("ALLOW SUBSCRIBE,RECEIVE,PUBLISH plants/#", "ALLOW SUBSCRIBE,RECEIVE,PUBLISH one/topic"):
        bench.site.add_rule("device", rule)
    add_rules(bench, "device", rules)
    return bench


@row
def flood(server, folder, scale):
    """QoS 0 messages, with 20 and 100,000 rules in the role: all to one topic, and to 200 topics in turn"""
    messages = scaled(40000, scale, BLOCK)
    with with_rules(server, folder / "few", 20) as few, with_rules(server, folder / "many", scaled(100000, scale, 1000)) as many:
        bare, of_few, of_many = few.without_plugin(), few.with_plugin(), many.with_plugin()
        results = []
        for name, topics, must in (("one topic", 1, 1.05), ("200 topics", 200, 1.07)):
            topic = "plants/1/lines"
            variants = Variants("QoS 0 flood, " + name, "µs CPU", scaled(9, scale, 3))
            variants.add("Mosquitto alone", flood_cost(few, bare, topic, topics, messages))
            variants.add("with the plugin, 20 rules", flood_cost(few, of_few, topic, topics, messages), must)
            variants.add("with the plugin, 100,000 rules", flood_cost(many, of_many, topic, topics, messages), must)
            results += variants.results()
        return results


@row
def fanout(server, folder, scale):
    """one message to 1,000 subscribers"""
    readers = scaled(1000, scale, 50)
    with with_rules(server, folder, 20) as bench:
        bare, broker = bench.without_plugin(), bench.with_plugin()
        variants = Variants("fan-out 1 to %d" % readers, "µs CPU", scaled(9, scale, 3))
        variants.add("Mosquitto alone", flood_cost(bench, bare, "plants/1", 1, 20, readers))
        variants.add("with the plugin", flood_cost(bench, broker, "plants/1", 1, 20, readers), 1.10)
        return variants.results()


# Size


def fill_registry(bench, devices):
    bench.registry.query(
        "INSERT INTO iot_auth.device (device_id, ca_id, status, registered_by)"
        " SELECT 'stored-' || n, ca_id, 'ACTIVE', 'admin' FROM iot_auth.ca, generate_series(1, %s) n", devices)
    bench.registry.query(
        "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, serial, not_before, not_after, status)"
        " SELECT sha256(('stored-' || n)::bytea), 'stored-' || n, ca_id, n::text, now(), now() + '1 year', 'ACTIVE'"
        " FROM iot_auth.ca, generate_series(1, %s) n", devices)


@row
def million(server, folder, scale):
    """a registry of a million devices: start-up, memory, connect"""
    devices = scaled(1000000, scale, 1000)
    with Bench(server, folder / "small") as small, Bench(server, folder / "large") as large:
        fill_registry(small, 1000)
        fill_registry(large, devices)
        few = small.with_plugin()
        begun = time.monotonic()
        many = large.with_plugin(options={"startup_wait_ms": 120000})
        took = time.monotonic() - begun
        memory = (resident_kb(many.process) - resident_kb(few.process)) / 1024
        results = [Result("1 M devices", "start-up", "s", took, None, None, None, 4),
                   Result("1 M devices", "memory", "MB", memory, None, None, None, 150)]
        variants = Variants("1 M devices", "µs CPU", scaled(11, scale, 3))
        for bench, broker, what, must in ((small, few, "connect with 1,000 devices", None),
                                          (large, many, "connect with 1 M devices", 1.05)):
            load = bench.load()
            bench.mint(load, 0, DEVICES)
            admit_all(load, 0, broker, DEVICES)
            variants.add(what, connect_cost(load, 0, broker, scaled(400, scale, DEVICES)), must)
        return results + variants.results()


@row
def revocation(server, folder, scale):
    """from COMMIT of a revocation until the sessions of the device on two brokers are closed"""
    count = scaled(100, scale, 10)
    with Bench(server, folder) as bench:
        pair = [bench.with_plugin() for _ in range(2)]
        took = []
        for number in range(count):
            credential = bench.fleet.issue("victim-%d" % number)
            sessions = [bench.site.connect(broker, credential) for broker in pair]
            begun = time.monotonic()
            bench.registry.set_device_status(device_id="victim-%d" % number, status="REVOKED")
            for session in sessions:
                session.wait_closed()
            took.append((time.monotonic() - begun) * 1000)
            for session in sessions:
                session.disconnect()
                bench.site.clients.remove(session)
        took.sort()
        return [Result("revocation", "from COMMIT until disconnected, two brokers: median", "ms", statistics.median(took), None,
                       None, None, 20),
                Result("revocation", "99 %", "ms", took[len(took) * 99 // 100], None, None, None, 200)]
