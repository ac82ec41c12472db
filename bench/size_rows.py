# SPDX-License-Identifier: ISC
"""Rows of scripts/bench about size: memory of a session, and large configurations that change while clients are connected."""

import os
import statistics
import time

import pki
from broker import wait_until
from kit import Bench, Pings, Result, resident_kb
from rows import admit_all, row, scaled

SESSIONS = 5000  # each is a file of the broker and one of the load, and four connects of the row
ROUNDS = 5


@row
def sessions(server, folder, scale):
    """memory of the plugin for each live session, by difference to Mosquitto alone (5,000 sessions)"""
    count = scaled(SESSIONS, scale, 200)
    used = []
    with Bench(server, folder) as bench:
        load = bench.load()
        bench.mint(load, 0, count)
        broker = bench.with_plugin(options={"tls_resumption": "off"})
        admit_all(load, 0, broker, count)
        for one in (bench.without_plugin(), broker):
            # Buffers that OpenSSL and malloc keep are there before.
            load.do("storm", 0, one.ports["device"], 8, scaled(500, scale, 50))
            before = resident_kb(one.process)
            load.do("open", 0, one.ports["device"], 32)
            used.append((resident_kb(one.process) - before) * 1024 / count)
            load.do("close", 0)
    bare, plugin = used
    return [Result("sessions", "a session of Mosquitto alone", "bytes", bare, None, None, None, None),
            Result("sessions", "what the plugin adds", "bytes", plugin - bare, None, None, None, 400)]


# Large configurations

CAS, RULES, PREFIXES, SERIALS = 10000, 100000, 100000, 1000000


def add_cas(bench, count):
    """Copies of one certificate's shape would be one CA: each has a name and a key of its own."""
    for number in range(count):
        bench.registry.register_ca(pem=pki.root("bench %d" % number).pem, name="bench-%d" % number)


def add_rules(bench, count):
    bench.registry.query(
        "INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)"
        " SELECT 'device', 'ALLOW', '{PUBLISH}', 'plants/' || n %% 97 || '/lines/' || n || '/#' FROM generate_series(1, %s) n", count)


def add_prefixes(bench, count):
    bench.registry.query(
        "INSERT INTO iot_auth.ip_rule (effect, network, scope)"
        " SELECT 'DENY', ('10.' || n / 65536 || '.' || n / 256 %% 256 || '.' || n %% 256 || '/32')::cidr, 'GLOBAL'"
        " FROM generate_series(1, %s) n", count)


def add_list(bench, count):
    """A list of so many serial numbers of 16 bytes, of a CA of its own."""
    authority = pki.root("revoker")
    bench.registry.register_ca(pem=authority.pem, name="revoker")
    serials = (int.from_bytes(b"\1" + os.urandom(15), "big") for _ in range(count))
    bench.registry.add_crl(ca_name="revoker", crl=authority.crl(*serials))


def effect_ms(bench, broker, number):
    """From a change that only a new snapshot shows until the session of a device of that CA is closed."""
    name = "victim %s" % number
    authority = bench.site.register(bench.site.root.intermediate(name), name)
    device = authority.issue("device of " + name)
    wait_until(lambda: bench.site.try_connect(broker, device) == 0, 60, "the CA")
    session = bench.site.connect(broker, device)
    begun = time.monotonic()
    bench.registry.set_ca_status(name=name, status="INACTIVE")
    session.wait_closed()
    took = (time.monotonic() - begun) * 1000
    session.disconnect()
    bench.site.clients.remove(session)
    return took


def pings_of(load, seconds):
    load.do("pings", 0)
    time.sleep(seconds)
    return Pings(*load.do("pings", 0))


@row
def rebuild(server, folder, scale):
    """a change of a CA beside 100,000 prefixes, 100,000 rules, and 10,000 CAs"""
    return change_beside(server, folder, scale, (("%d prefixes" % PREFIXES, add_prefixes, PREFIXES),
                                                 ("%d rules" % RULES, add_rules, RULES), ("%d CAs" % CAS, add_cas, CAS)))


@row
def rebuild_list(server, folder, scale):
    """a change of a CA beside a list of a million serial numbers"""
    return change_beside(server, folder, scale, (("a list of %d" % SERIALS, add_list, SERIALS),))


def change_beside(server, folder, scale, parts):
    """Each part is added to those before it."""
    results = []
    with Bench(server, folder) as bench:
        broker, load = bench.with_plugin(), bench.load()
        bench.mint(load, 0, 1, "watcher-")
        admit_all(load, 0, broker, 1)
        load.do("open", 0, broker.ports["device"], 1)
        load.do("ping", 0, 2)
        idle = pings_of(load, 1)
        effect_ms(bench, broker, "first")
        for number, (what, add, count) in enumerate((("nothing else", None, 0), *parts)):
            if add:
                add(bench, scaled(count, scale, 10))
                effect_ms(bench, broker, "after %d" % number)  # the broker has read what was added
            load.do("pings", 0)
            took = [effect_ms(bench, broker, "%d-%d" % (number, one)) for one in range(ROUNDS)]
            pings = Pings(*load.do("pings", 0))
            results += [Result("rebuild", "change in effect, with " + what, "ms", statistics.median(took), None, None, None, 2000),
                        Result("rebuild", "PINGRESP, 99 %, above an idle broker's, with " + what, "ms",
                               (pings.p99 - idle.p99) / 1000, None, None, None, 1)]
    return results
