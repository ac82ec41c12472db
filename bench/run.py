#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs the rows of scripts/bench and writes bench/RESULTS.md."""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import kit  # noqa: E402
import other_rows  # noqa: E402, F401  (adds its rows)
import pg  # noqa: E402
import psk_rows  # noqa: E402, F401  (adds its rows)
import report  # noqa: E402
import rows  # noqa: E402
import size_rows  # noqa: E402, F401  (adds its rows)
import worker_rows  # noqa: E402, F401  (adds its row)


def versions():
    found = [kit.versions(kind) for kind in kit.brokers.KINDS if kit.brokers.usable(kind)]
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.split(" (")[0].strip()
    return [", ".join(found), openssl + " on this machine"]


def run_row(row, server, folder, scale):
    """(results, 0), or ([], 1): the other rows run also when this one fails."""
    try:
        return rows.ROWS[row](server, folder, scale), 0
    except Exception:  # pylint: disable=broad-exception-caught
        print("%s failed:" % row, flush=True)
        traceback.print_exc()
        return [], 1


def main():
    described = "".join("  %-14s %s\n" % (name, row.__doc__) for name, row in rows.ROWS.items())
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__ + "\n\nrows:\n" + described,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", nargs="*", help="these only; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="less than 1: fewer connections and rounds, for a quick look")
    parser.add_argument("--out", default=str(kit.SOURCE / "bench"), help="folder for RESULTS.md and the charts")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.row if name not in rows.ROWS]
    if unknown:
        parser.error("no such row: %s" % " ".join(unknown))
    results, failures = [], 0
    with tempfile.TemporaryDirectory() as name, pg.Server() as server:
        for row in arguments.row or rows.ROWS:
            if row.endswith("_sid") and not kit.brokers.usable("sid"):
                print("%s: scripts/get-brokers has not been run" % row, flush=True)
                continue
            made, failed = run_row(row, server, pathlib.Path(name) / row, arguments.scale)
            failures += failed
            for result in made:
                print("%-34s %s" % (result.row, report.line(result).strip()), flush=True)
            results += made
    pathlib.Path(arguments.out).mkdir(parents=True, exist_ok=True)
    report.write(arguments.out, results, versions(), arguments.row)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
