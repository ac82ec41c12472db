# SPDX-License-Identifier: ISC
"""A row of scripts/bench without a broker: the worker alone."""

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
