#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Checks the formulas of docs/scaling.md ("Sizing") as far as this machine goes, and says what they give for a fleet.

  bench/fleet.py [--rows N] [--brokers N] [--connections N] [--tolerance F]
  bench/fleet.py --fleet DEVICES BROKERS [--connected F] [--reconnects-s S] [--changes N] [--new N]

Every cost is measured twice: with a tenth of the rows and one broker, and with all rows and all brokers.  The first gives the
coefficients, the formulas say from them what the second has to be, and the second is measured.  Rows are real rows of a real
PostgreSQL; connections are a sample, each of which is a TLS handshake and a CONNECT.  The exit status is 1 where a measured
value is more than `--tolerance` times what the formula said.  Brokers, PostgreSQL and load share this machine's cores, so CPU time
is measured (of PostgreSQL: of the sessions, without its background processes) and not what passes on the clock.

--fleet takes the coefficients of the last run (build/fleet.json).  Needs scripts/bench's build: cmake --build --preset bench.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[1]
os.environ.setdefault("IOT_AUTH_PLUGIN", str(SOURCE / "build/bench/plugin/mosquitto_iot_auth.so"))
os.environ.setdefault("IOT_AUTH_SWARM", str(SOURCE / "build/bench/tests/swarm/swarm"))
sys.path.insert(0, str(SOURCE / "bench"))

import kit  # noqa: E402
import pg  # noqa: E402
import rows  # noqa: E402

COEFFICIENTS = SOURCE / "build/fleet.json"
IDLE_S = 21  # four heartbeats
SETTLE_S = 6  # a heartbeat: PostgreSQL's counters of a session are written with its next transaction
CHANGES, NEW, KNOWN = 200, 640, 256

# What is measured at each point, what it is per, and the words for it.
COSTS = {
    "disk": ("bytes", "a device", "PostgreSQL: rows, indexes and TOAST on the disk"),
    "memory": ("bytes", "a device", "broker: memory for a device in memory"),
    "session": ("bytes", "a connection", "broker: memory for a connection, TLS and MQTT included"),
    "read": ("µs CPU", "a device and broker", "PostgreSQL: reading all devices (start, resync)"),
    "connect": ("µs CPU", "a connect", "broker: full handshake and CONNECT of a known device"),
    "resumed": ("µs CPU", "a connect", "broker: the same with a resumed TLS session"),
    "connect_db": ("µs CPU", "a connect", "PostgreSQL: a known device's connect (last_connected_at)"),
    "connect_commits": ("commits", "a connect", "PostgreSQL: the same"),
    "register": ("µs CPU", "a new device", "broker: handshake, registration and CONNECT"),
    "register_db": ("µs CPU", "a new device", "PostgreSQL: registration, in batches"),
    "register_commits": ("commits", "a new device", "PostgreSQL: the same"),
    "change_db": ("µs CPU", "a change", "PostgreSQL: the administrator's change of a status"),
    "notify_db": ("µs CPU", "a change and broker", "PostgreSQL: a broker's look-up after a notification"),
    "notify": ("µs CPU", "a change and broker", "broker: the same"),
    "notify_commits": ("commits", "a change and broker", "PostgreSQL: the same"),
    "idle_db": ("µs CPU", "a second and broker", "PostgreSQL: heartbeat, counters"),
    "idle_commits": ("commits", "a second and broker", "PostgreSQL: the same"),
}


# One point


class Point:
    """A registry with so many devices, so many brokers on it, and what has been measured there."""

    def __init__(self, server, folder, devices, brokers):
        self.server, self.devices = server, devices
        self.bench = kit.Bench(server, folder)
        self.load = self.bench.load()
        empty = self.broker()
        rows.fill_registry(self.bench, devices)
        self.bench.registry.query("VACUUM ANALYZE")
        before = self.read_cpu_of(empty)
        self.brokers = [self.broker() for _ in range(brokers)]
        self.costs = {
            "disk": float(self.bench.registry.value("SELECT sum(pg_total_relation_size(c)) FROM unnest(ARRAY["
                                                    "'iot_auth.device', 'iot_auth.device_certificate']::regclass[]) c")) / devices,
            "memory": (kit.resident_kb(self.brokers[0].process) - before["resident"]) * 1024 / devices,
            "read": (self.sessions_cpu_us() - before["read"] * brokers) / devices / brokers,
        }

    def broker(self):
        return self.bench.with_plugin(options={"startup_wait_ms": 120000})

    def read_cpu_of(self, broker):
        """What a broker of an empty registry costs, which is then stopped."""
        found = {"resident": kit.resident_kb(broker.process), "read": self.sessions_cpu_us()}
        broker.stop()
        self.bench.site.brokers.remove(broker)
        return found

    def sessions_cpu_us(self):
        """CPU time of the brokers' sessions in PostgreSQL, since these began."""
        pids = self.bench.registry.query("SELECT pid FROM pg_stat_activity WHERE usename = 'iot_auth_broker'")
        return sum(int(pathlib.Path("/proc/%d/schedstat" % pid).read_text().split()[0]) for pid, in pids) / 1000

    def own_session_cpu_us(self):
        """Of the administrator's session."""
        return int(pathlib.Path("/proc/%d/schedstat" % self.bench.registry.value("SELECT pg_backend_pid()")).read_text().split()[0]) / 1000

    def close(self):
        self.bench.close()

    def now(self):
        commits = self.bench.registry.value("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        return {"s": time.monotonic(), "db": self.sessions_cpu_us(), "commits": commits, "own": self.own_session_cpu_us(),
                "broker": sum(kit.cpu_us(broker.process) for broker in self.brokers)}

    def during(self, work, idle=None):
        """What `work` used, without what an idle second uses."""
        before = self.now()
        work()
        time.sleep(SETTLE_S)
        after = self.now()
        used = {name: after[name] - before[name] for name in before}
        return {name: value - (idle or {}).get(name, 0) * used["s"] for name, value in used.items()}

    def measure_idle(self):
        time.sleep(SETTLE_S)
        used = self.during(lambda: time.sleep(IDLE_S - SETTLE_S))
        idle = {name: used[name] / used["s"] for name in ("db", "commits", "broker")}
        self.costs["idle_db"] = idle["db"] / len(self.brokers)
        self.costs["idle_commits"] = idle["commits"] / len(self.brokers)
        return idle

    def measure_connects(self, idle):
        """Of as many devices as there are connects: a broker writes the last connect of a device only."""
        port = self.brokers[0].ports["device"]
        for group in (0, 1):
            self.bench.mint(self.load, group, KNOWN, "known-%d-" % group)
        self.load.do("set", 1, "resume", "on")
        for group in (0, 1, 1):
            rows.admit_all(self.load, group, self.brokers[0], KNOWN)
        time.sleep(SETTLE_S)
        for group, name in ((0, "connect"), (1, "resumed")):
            used = self.during(lambda group=group: self.load.storm(group, port, 1, KNOWN), idle)
            self.costs[name] = used["broker"] / KNOWN
            if group == 0:
                self.costs["connect_db"], self.costs["connect_commits"] = used["db"] / KNOWN, used["commits"] / KNOWN

    def measure_registrations(self, idle):
        self.bench.mint(self.load, 2, NEW, "new-")
        used = self.during(lambda: self.load.storm(2, self.brokers[0].ports["device"], rows.AT_A_TIME, NEW), idle)
        registered = self.bench.registry.value("SELECT count(*) FROM iot_auth.device WHERE device_id LIKE 'new-%%'")
        self.costs.update(register=used["broker"] / registered, register_db=used["db"] / registered,
                          register_commits=used["commits"] / registered)

    def measure_sessions(self, connections):
        process = self.brokers[0].process
        self.bench.mint(self.load, 3, connections, "open-")
        rows.admit_all(self.load, 3, self.brokers[0], connections)
        time.sleep(1)
        before = kit.resident_kb(process)
        opened = self.load.do("open", 3, self.brokers[0].ports["device"], 32)[0]
        assert opened == connections, "%d of %d" % (opened, connections)
        self.costs["session"] = (kit.resident_kb(process) - before) * 1024 / connections
        self.load.do("close", 3)

    def change_devices(self):
        for number in range(1, CHANGES + 1):
            self.bench.registry.set_device_status(device_id="stored-%d" % number, status="INACTIVE")

    def measure_changes(self, idle):
        used = self.during(self.change_devices, idle)
        for name, cost in (("db", "notify_db"), ("broker", "notify")):
            self.costs[cost] = used[name] / CHANGES / len(self.brokers)
        self.costs["notify_commits"] = (used["commits"] - CHANGES) / CHANGES / len(self.brokers)
        self.costs["change_db"] = used["own"] / CHANGES


def measure(server, folder, devices, brokers, connections):
    point = Point(server, folder, devices, brokers)
    try:
        idle = point.measure_idle()
        point.measure_connects(idle)
        point.measure_sessions(connections)
        point.measure_registrations(idle)
        point.measure_changes(idle)
        return point.costs
    finally:
        point.close()


# What the formulas say

# Too small a difference to be wrong about.
NEGLIGIBLE = {"bytes": 16, "µs CPU": 40, "commits": 0.1, "read": 1}


def number(value):
    return "%.3g" % value if value < 100 else "{:,.0f}".format(value)


def compare(small, large, tolerance):
    """Each cost is the same at both points, or the formula that multiplies it is wrong."""
    wrong = []
    print("\n%-56s %-28s %9s %9s" % ("", "", "formula", "measured"))
    for name, (unit, per, words) in COSTS.items():
        expected, found = small[name], large[name]
        off = max(expected, found) > tolerance * min(expected, found) and abs(expected - found) > NEGLIGIBLE.get(name, NEGLIGIBLE[unit])
        wrong += [name] * off
        print("%-56s %-28s %9s %9s%s" % (words, unit + " for " + per, number(expected), number(found), "  !" if off else ""))
    return wrong


def fleet(costs, arguments):
    """What D devices on B brokers need, one line each."""
    devices, brokers = arguments.fleet
    connected = devices * arguments.connected
    a_broker = connected / brokers
    seconds = a_broker * costs["connect"] / 1e6
    resumed = a_broker * costs["resumed"] / 1e6
    resync = devices * costs["read"] / 1e6
    day = 86400
    idle = costs["idle_db"] * brokers / 1e6
    writes = devices / arguments.reconnects_s * costs["connect_db"] / 1e6
    changes = arguments.changes * (costs["change_db"] + brokers * costs["notify_db"]) / 1e6
    print("""
{devices:,.0f} devices on {brokers:,.0f} brokers, {connected:,.0f} of them connected:

a broker
  memory for all devices             {cache:,.1f} GB (device_cache_size of its own {a_broker:,.0f}: {own:,.2f} GB)
  memory for {a_broker:,.0f} connections     {session:,.1f} GB
  all its devices back after an outage  {seconds:,.0f} s of one core, {resumed:,.0f} s where all resume their TLS sessions
  each of {changes_s:,.3g} changes a second  {notify:,.3g} % of a core
PostgreSQL
  disk                               {disk:,.0f} GB
  commits                            {commits:,.0f} a second (a connect of each device every {reconnects:,.0f} s, {changes_s:,.3g} changes)
  CPU of that                        {cpu:,.2f} cores
  notifications                      {notifications:,.0f} a second
  reading all devices                {resync:,.0f} s of a core for each broker; once a day: {daily:,.2f} cores
  after an outage of everything      {outage_commits:,.0f} commits, {outage_cpu:,.0f} s of a core
  {new:,.0f} new devices on one day   {register:,.0f} s of a core
""".format(devices=devices, brokers=brokers, connected=connected, a_broker=a_broker, cache=devices * costs["memory"] / 1e9,
           own=a_broker * costs["memory"] / 1e9, session=a_broker * costs["session"] / 1e9, seconds=seconds, resumed=resumed,
           changes_s=arguments.changes, notify=arguments.changes * costs["notify"] / 1e4, disk=devices * costs["disk"] / 1e9,
           commits=costs["idle_commits"] * brokers + devices / arguments.reconnects_s * costs["connect_commits"]
           + arguments.changes * (1 + brokers * costs["notify_commits"]),
           reconnects=arguments.reconnects_s, cpu=idle + writes + changes, notifications=arguments.changes * brokers, resync=resync,
           daily=resync * brokers / day, outage_commits=connected * costs["connect_commits"],
           outage_cpu=connected * costs["connect_db"] / 1e6, new=arguments.new, register=arguments.new * costs["register_db"] / 1e6))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--brokers", type=int, default=4)
    parser.add_argument("--connections", type=int, default=1000, help="that are open at a time")
    parser.add_argument("--tolerance", type=float, default=2.0)
    parser.add_argument("--fleet", nargs=2, type=float, metavar=("DEVICES", "BROKERS"), help="only say what the last run gives for this")
    parser.add_argument("--connected", type=float, default=1.0, help="part of the devices that are connected")
    parser.add_argument("--reconnects-s", type=float, default=86400, help="a device connects every so many seconds")
    parser.add_argument("--changes", type=float, default=1.0, help="changes of single devices a second")
    parser.add_argument("--new", type=float, default=1e6, help="devices that register on one day")
    arguments = parser.parse_args()
    if arguments.fleet:
        fleet(json.loads(COEFFICIENTS.read_text()), arguments)
        return 0
    with tempfile.TemporaryDirectory() as name, pg.Server(settings={"shared_buffers": "1GB"}) as server:
        folder = pathlib.Path(name)
        small = measure(server, folder / "small", arguments.rows // 10, 1, arguments.connections)
        print("%s: %d rows, 1 broker" % (kit.versions("host"), arguments.rows // 10), flush=True)
        large = measure(server, folder / "large", arguments.rows, arguments.brokers, arguments.connections)
        print("%s: %d rows, %d brokers" % (kit.versions("host"), arguments.rows, arguments.brokers), flush=True)
    wrong = compare(small, large, arguments.tolerance)
    COEFFICIENTS.write_text(json.dumps(large, indent=1))
    arguments.fleet = (100e6, 100)
    fleet(large, arguments)
    if wrong:
        print("not as the formula says: " + ", ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
