# SPDX-License-Identifier: ISC
"""Rows of scripts/bench about pre-shared keys."""

import io
import secrets
import time

from kit import Bench, Result, Variants, has_valgrind, resident_kb
from psk_kit import KeyFile, seal
from rows import DEVICES, admit_all, connect_cost, instructions_of, row, scaled

KEYS = 1000000
STORED = 10  # lines of Mosquitto's psk_file


def copy_rows(connection, table, lines):
    with connection.cursor() as cursor:
        cursor.copy_expert("COPY iot_auth.%s FROM STDIN" % table, io.StringIO("".join(lines)))


def add_devices(bench, key_file, names):
    """Devices with a key each: {name: key in hexadecimal digits}."""
    kek = bytes.fromhex(key_file.lines[1])
    keys = {name: secrets.token_bytes(32) for name in names}
    connection = bench.database.admin()
    copy_rows(connection, "device (device_id, status)", ("%s\tACTIVE\n" % name for name in names))
    copy_rows(connection, "device_role (device_id, role)", ("%s\tdevice\n" % name for name in names))
    copy_rows(connection, "device_psk (identity, device_id, key_id, sealed)",
              ("%s\t%s\t1\t\\\\x%s\n" % (name, name, seal(kek, 1, name, name, key).hex()) for name, key in keys.items()))
    connection.close()
    return {name: key.hex() for name, key in keys.items()}


class Keys:
    """A broker with the plugin and one without, and clients that all have keys: group 0 of all devices, group 1 of those in
    psk_file, group 2 of keys that are wrong, group 3 of identities that nobody knows, group 4 with certificates."""

    def __init__(self, bench):
        self.key_file = KeyFile(bench.folder)
        keys = add_devices(bench, self.key_file, ["meter-%d" % n for n in range(DEVICES)])
        stored = list(keys)[:STORED]
        psk_file = bench.folder / "psk_file"
        psk_file.write_text("".join("%s:%s\n" % (name, keys[name]) for name in stored))
        options = {"psk_key_file": self.key_file.path}
        self.broker = bench.with_plugin(options=options, listeners=("psk",))
        self.stock = bench.without_plugin(("allow_anonymous true", "psk_file %s" % psk_file), ("psk",))
        self.certificates = bench.without_plugin()
        self.load = bench.load()
        for name, key in keys.items():
            self.load.do("psk", 0, name, key)
            self.load.do("psk", 2, name, "00" * 32)
            self.load.do("psk", 3, "un" + name, key)
        for name in stored:
            self.load.do("psk", 1, name, keys[name])
        bench.mint(self.load, 4, DEVICES)

    def speak(self, version):
        for group in range(5):
            self.load.do("set", group, "tls", version)
        admit_all(self.load, 0, self.broker, DEVICES, "psk")

    def cost(self, group, broker, count, listener="psk", accepted=True):
        return connect_cost(self.load, group, broker, count, listener, accepted)


def against_certificate(keys, kind, scale, count):
    """TLS 1.3, psk_dhe_ke."""
    keys.speak("1.3")
    variants = Variants("pre-shared keys %s TLS 1.3" % kind, "µs CPU", scaled(11, scale, 3))
    variants.add("Mosquitto alone (cafile), certificate", keys.cost(4, keys.certificates, count, "device"))
    variants.add("with the plugin, key", keys.cost(0, keys.broker, count), 0.45)
    return variants.results()


def against_psk_file(keys, kind, version, scale, count):
    keys.speak(version)
    variants = Variants("pre-shared keys %s TLS %s" % (kind, version), "µs CPU", scaled(11, scale, 3))
    variants.add("Mosquitto alone (psk_file of %d lines)" % STORED, keys.cost(1, keys.stock, count))
    variants.add("with the plugin", keys.cost(0, keys.broker, count), 1.05)
    return variants.results()


def failed(keys, kind, version, scale, count):
    keys.speak(version)
    variants = Variants("pre-shared keys %s TLS %s, refused" % (kind, version), "µs CPU", scaled(11, scale, 3))
    variants.add("accepted connect", keys.cost(0, keys.broker, count))
    variants.add("wrong key", keys.cost(2, keys.broker, count, accepted=False), 1.0)
    variants.add("unknown identity", keys.cost(3, keys.broker, count, accepted=False), 1.0)
    return variants.results()


def measure(server, folder, scale, kind, stock_versions):
    """On Mosquitto 2.1 a psk_file turns TLS 1.3 off."""
    with Bench(server, folder, kind) as bench:
        keys, count = Keys(bench), scaled(400, scale, DEVICES)
        results = against_certificate(keys, kind, scale, count)
        for version in stock_versions:
            results += against_psk_file(keys, kind, version, scale, count)
        for version in ("1.2", "1.3"):
            results += failed(keys, kind, version, scale, count)
        return results


@row
def psk(server, folder, scale):
    """a connect with a pre-shared key, against certificates and psk_file; refused keys; Mosquitto 2.0 of this machine"""
    return measure(server, folder, scale, "host", ("1.2", "1.3"))


@row
def psk_sid(server, folder, scale):
    """the same on Mosquitto 2.1 of scripts/get-brokers"""
    return measure(server, folder, scale, "sid", ("1.2",))


@row
def psk_instructions(server, folder, scale):
    """instructions of a connect with a pre-shared key against psk_file, by callgrind where it is installed"""
    if not has_valgrind():
        return []
    count, results = scaled(100, scale, 20), []
    with Bench(server, folder) as bench:
        key_file = KeyFile(bench.folder)
        keys = add_devices(bench, key_file, ["meter-%d" % n for n in range(20)])
        psk_file = bench.folder / "psk_file"
        psk_file.write_text("".join("%s:%s\n" % pair for pair in keys.items()))

        def stock():
            return bench.without_plugin(("allow_anonymous true", "psk_file %s" % psk_file), ("psk",))

        def plugin():
            return bench.with_plugin(options={"psk_key_file": key_file.path}, listeners=("psk",))

        for version in ("1.2", "1.3"):
            def clients(load, version=version):
                for name, key in keys.items():
                    load.do("psk", 0, name, key)
                load.do("set", 0, "tls", version)

            base = instructions_of(bench, stock, clients, count, "psk")
            mine = instructions_of(bench, plugin, clients, count, "psk")
            name = "pre-shared keys TLS %s, instructions" % version
            results += [Result(name, "Mosquitto alone (psk_file of 20 lines)", "instructions", base, base, 1, None, None),
                        Result(name, "with the plugin", "instructions", mine, base, mine / base, None, 1.05)]
        return results


def start(bench, options):
    """Seconds until the broker serves, and its memory."""
    begun = time.monotonic()
    broker = bench.with_plugin(options={"startup_wait_ms": 120000, "device_cache_size": 1, **options}, listeners=("psk",))
    took, memory = time.monotonic() - begun, resident_kb(broker.process) * 1024
    broker.kill()
    return took, memory


@row
def psk_read(server, folder, scale):
    """a million pre-shared keys read at start: time and memory, by difference to a start without psk_key_file"""
    with Bench(server, folder) as bench:
        key_file, count = KeyFile(bench.folder), scaled(KEYS, scale, 1000)
        add_devices(bench, key_file, ["%032d" % n for n in range(count)])
        bench.registry.query("VACUUM ANALYZE")
        start(bench, {})  # now PostgreSQL has the tables in memory
        without = start(bench, {})
        with_keys = start(bench, {"psk_key_file": key_file.path})
        return [Result("pre-shared keys, %d at start" % count, "read", "s", with_keys[0] - without[0], None, None, None, 5),
                Result("pre-shared keys, %d at start" % count, "memory of one", "bytes", (with_keys[1] - without[1]) / count, None, None,
                       None, 200)]
