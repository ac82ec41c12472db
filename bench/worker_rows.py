# SPDX-License-Identifier: ISC
"""Rows of scripts/bench about registrations: by the worker alone, without a broker; and with all that a registration can give."""

import io
import statistics
import subprocess

import kit
import pki
from fault_proxy import FaultProxy
from rows import AT_A_TIME, STORM, row, scaled

PROGRAM = kit.SOURCE / "build/bench/bench/bench_register"


@row
def worker(server, _folder, scale):
    """400 registrations by the worker alone, 32 at a time; the database 0, 10 and 40 ms away"""
    results = []
    for away_ms in (0, 10, 40):
        database = server.create_database()
        ca_id = database.value("SELECT iot_auth.register_ca(pem => %s, name => 'bench', auto_registration => true)",
                               (pki.root("Bench Root").pem,))
        proxy = FaultProxy(server.host, server.port)
        proxy.delay(away_ms / 1000)
        conninfo = "host=127.0.0.1 port=%d dbname=%s user=iot_auth_broker" % (proxy.port, database.name)
        command = [PROGRAM, conninfo, str(ca_id), str(scaled(STORM, scale, 64)), str(AT_A_TIME)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rate, p50, p99, refused = map(float, printed.split())
        proxy.reset()
        assert refused == 0, printed
        name = "worker, database %d ms away" % away_ms
        results += [kit.Result(name, what, unit, value, None, None, None, None)
                    for what, unit, value in (("registrations a second", "1/s", rate), ("wait, median", "ms", p50),
                                              ("wait, 99 %", "ms", p99))]
    return results


TEMPLATE = {"attributes": {"site": "${cert.cn|field:-,1}", "serial": "${cert.serial}", "line": "7"}, "roles": ["device"],
            "required": ["site"]}
LISTED = 100000  # entries of devices that do not come


def expect(bench, ca_name, prefix, count):
    rows = io.StringIO("".join("%s,%s%d\n" % (ca_name, prefix, n) for n in range(count)))
    with bench.database.superuser() as connection, connection.cursor() as cursor:
        cursor.copy_expert("COPY iot_auth.expected_device (ca_name, device_id) FROM STDIN (FORMAT csv)", rows)


@row
def provisioned(server, folder, scale):
    """storms of new devices under a CA with a template and a list of expected devices, and under a plain CA, in turns"""
    with kit.Bench(server, folder) as bench:
        listed = bench.site.fleet("listed", registration="expected", provisioning=TEMPLATE, roles=[])
        expect(bench, "listed", "other-", scaled(LISTED, scale))
        broker, count = bench.with_plugin(), scaled(STORM, scale, 64)
        rates = {"plain": [], "given": []}
        for turn in range(scaled(15, scale, 4)):
            load = bench.load()
            expect(bench, "listed", "given-%d-" % turn, count)
            for group, (kind, authority) in enumerate((("plain", bench.fleet), ("given", listed))):
                bench.mint(load, group, count, "%s-%d-" % (kind, turn), authority)
                storm = load.storm(group, broker.ports["device"], AT_A_TIME, count)
                assert storm.accepted == count, storm
                rates[kind].append(storm.accepted / storm.us * 1e6)
        given = bench.database.value("SELECT count(*) FROM iot_auth.device d WHERE attributes ->> 'line' = '7' AND EXISTS"
                                     " (SELECT FROM iot_auth.device_role r WHERE r.device_id = d.device_id)")
        assert given == count * len(rates["given"])
        ratios = [plain / given for plain, given in zip(rates["plain"], rates["given"])][1:]
        plain, given = (statistics.median(rates[kind]) for kind in ("plain", "given"))
        return [kit.Result("storm", "new devices with template and expected list, time", "1/s", given, plain,
                           statistics.median(ratios), None, 1.10)]
