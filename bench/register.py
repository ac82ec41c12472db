#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""How many devices a second the worker registers, with PostgreSQL 0, 10 and 40 ms away (round trip).

  bench/register.py [--devices N] [--at-a-time N] [PROGRAM]      PROGRAM: build/bench/bench/bench_register

The distance is a proxy that delivers each packet of the client later.
"""

import argparse
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests/integration"))

import pg  # noqa: E402
import pki  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=400)
    parser.add_argument("--at-a-time", type=int, default=32)
    parser.add_argument("program", nargs="?", default=str(SOURCE / "build/bench/bench/bench_register"))
    options = parser.parse_args()
    with pg.Server() as server:
        for away_ms in (0, 10, 40):
            db = server.create_database()
            ca_id = db.value("SELECT iot_auth.register_ca(pem => %s, name => 'bench', auto_registration => true)",
                             (pki.root("Bench Root").pem,))
            proxy = FaultProxy(server.host, server.port)
            proxy.delay(away_ms / 1000)
            conninfo = f"host=127.0.0.1 port={proxy.port} dbname={db.name} user=iot_auth_broker"
            print(f"{away_ms:2} ms: ", end="", flush=True)
            subprocess.run([options.program, conninfo, str(ca_id), str(options.devices), str(options.at_a_time)],
                           check=True)
            proxy.reset()


if __name__ == "__main__":
    main()
