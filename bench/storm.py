#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A storm of devices that nobody has registered, with PostgreSQL 0, 10 and 40 ms away (round trip), against the same storm
of known devices: how many are admitted at the first try, how many a second, and how long a live session waits for its
PINGRESP.

  bench/storm.py [--devices N] [--at-a-time N] [--broker KIND]

The distance is a proxy that delivers each packet of the broker later.  Needs a built plugin and what scripts/test installs.
"""

import argparse
import pathlib
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests/integration"))

import pg  # noqa: E402
from broker import KINDS  # noqa: E402
from outage_kit import OutageSite  # noqa: E402
from site_kit import TestPki  # noqa: E402
from swarm import Swarm, measure_undisturbed  # noqa: E402


def storm(swarm, group, broker, bystander, options):
    """(admitted, devices a second, the longest PINGRESP in ms)"""
    time.sleep(0.1)  # so that the live session has been measured since the last storm
    bystander.longest()
    begun = time.monotonic()
    admitted = swarm.open(group, broker.ports["device"], options.at_a_time)
    took = time.monotonic() - begun
    longest = 1000 * bystander.longest()
    swarm.close_all(group)
    return admitted, admitted / took, longest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=400)
    parser.add_argument("--at-a-time", type=int, default=32)
    parser.add_argument("--broker", choices=KINDS, default="host")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, pg.Server() as server, Swarm(pathlib.Path(name)) as swarm:
        folder = pathlib.Path(name)
        site = OutageSite(options.broker, folder, TestPki(folder), server)
        acme = site.fleet()
        broker = site.broker()
        with site.bystander(broker, acme) as bystander:
            measure_undisturbed(bystander.process)
            for group, away_ms in enumerate((0, 10, 40)):
                swarm.mint(group, f"storm-{group}-", options.devices, acme)
                for what in ("new", "known"):
                    site.proxy.delay(away_ms / 1000)
                    admitted, rate, longest = storm(swarm, group, broker, bystander, options)
                    print(f"{away_ms:2} ms away, {what:5}: {admitted} of {options.devices} at the first try,"
                          f" {rate:4.0f} a second, longest PINGRESP {longest:3.0f} ms", flush=True)
        site.close()


if __name__ == "__main__":
    main()
