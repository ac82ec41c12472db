# SPDX-License-Identifier: ISC
"""What the rows of scripts/bench share: the load generator, brokers on one core and load on another, CPU time, rounds."""

import collections
import contextlib
import os
import pathlib
import shutil
import socket
import statistics
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests/integration"))

import broker as brokers  # noqa: E402
import pki  # noqa: E402
from broker import Broker, wait_until  # noqa: E402
from site_kit import Registry, Site, TestPki  # noqa: E402
from swarm import Swarm  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))
BROKER_CORE, LOAD_CORE = CORES[0], CORES[-1]

# `must`: the ratio (or value, where there is nothing to compare with) that is to be reached at most, or at least.
Result = collections.namedtuple("Result", "row what unit value base ratio spread must")


def pin(process, core):
    """All threads of a process to one core."""
    for thread in os.listdir("/proc/%d/task" % process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), {core})


class Load(Swarm):
    """Clients on a core of their own; answers are numbers."""

    def __init__(self, folder):
        super().__init__(folder)
        pin(self.process, LOAD_CORE)

    def finish(self):
        return [int(word) for word in super().finish()]

    def storm(self, group, port, parallel, count):
        """Connections one after the other, `parallel` at a time; a Storm."""
        return Storm(*self.do("storm", group, port, parallel, count))


Storm = collections.namedtuple("Storm", "accepted refused failed resumed us")
Pings = collections.namedtuple("Pings", "count p50 p99 longest")


class Bench:
    """One row's world: a registry, a fleet below a registered intermediate, brokers and load."""

    def __init__(self, server, folder, kind="host"):
        folder.mkdir(parents=True, exist_ok=True)
        self.database = server.create_database()
        self.site = Site(kind, folder, TestPki(folder), Registry(self.database))
        self.registry = self.site.registry
        self.folder = folder
        self.fleet = self.site.fleet()
        self._loads = []

    def close(self):
        for load in self._loads:
            load.close()
        self.site.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def load(self):
        self._loads.append(Load(self.folder))
        return self._loads[-1]

    def mint(self, load, group, count, prefix="device-", authority=None):
        """Devices of the fleet, whose broker does not know them yet."""
        authority = authority or self.fleet
        chain, key = self.folder / ("ca-%d.pem" % group), self.folder / ("ca-%d.key" % group)
        chain.write_text(authority.pem)
        key.write_text(pki.Credential(authority.key, None).key_pem)
        load.do("mint", group, prefix, count, chain, key)

    def _start(self, broker):
        """The log says errors only, with and without the plugin: lines cost more than what is measured."""
        config = broker.config
        broker.config = lambda: config().replace("log_type all", "log_type error")
        broker.start(wait=False)
        wait_until(lambda: serves(broker), timeout=60, what="the broker")
        pin(broker.process, BROKER_CORE)
        return broker

    def with_plugin(self, **given):
        given.setdefault("listeners", ("device",))
        return self._start(self.site.new_broker(**given))

    def without_plugin(self, lines=("allow_anonymous true",), listeners=("device",)):
        """Mosquitto alone: the same listener, with the fleet's root as its cafile."""
        trust = self.folder / "fleet-root.pem"
        trust.write_text(self.site.root.pem)
        bare = Broker(self.site.kind, self.folder / ("bare-%d" % len(self.site.brokers)), self.site.listeners_pki.server, trust,
                      listeners=listeners, plugin=False, lines=lines, global_anonymous=False)
        self.site.brokers.append(bare)
        return self._start(bare)


def serves(broker):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", next(iter(broker.ports.values()))), timeout=1).close()
        return True


def cpu_us(process):
    """Of all threads, to the nanosecond (schedstat): /proc/PID/stat counts in steps of 10 ms."""
    total = 0
    for thread in os.listdir("/proc/%d/task" % process.pid):
        with contextlib.suppress(OSError):
            total += int(pathlib.Path("/proc/%d/task/%s/schedstat" % (process.pid, thread)).read_text().split()[0])
    return total / 1000


def resident_kb(process):
    return int(pathlib.Path("/proc/%d/status" % process.pid).read_text().split("VmRSS:")[1].split()[0])


def has_valgrind():
    return shutil.which("valgrind") and shutil.which("callgrind_control")


def versions(kind):
    return "Mosquitto %s" % ".".join(map(str, brokers.version(kind)))


class Variants:
    """What is compared: each round asks all, forwards and backwards in turn, so that what the machine does meanwhile meets
    all of them.  The first is what the others are compared with."""

    def __init__(self, row, unit, rounds):
        self.row, self.unit, self.rounds = row, unit, rounds
        self._all = []

    def add(self, what, measure, must=None):
        self._all.append((what, measure, must, []))

    def results(self):
        for number in range(self.rounds):
            for _what, measure, _must, values in self._all if number % 2 == 0 else self._all[::-1]:
                values.append(measure())
        base = self._all[0][3]
        made = []
        for what, _measure, must, values in self._all:
            ratios = sorted(one / other for one, other in zip(values, base))
            spread = (ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4])
            made.append(Result(self.row, what, self.unit, statistics.median(values), statistics.median(base),
                               statistics.median(ratios), spread, must))
        return made
