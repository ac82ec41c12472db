# SPDX-License-Identifier: ISC
"""What the broker's thread and the plugin's worker share, and what they do not."""

import os
import pathlib

import pytest

import pg
from broker import VALGRIND

STANDARD = 3  # descriptors of stdin, stdout and stderr


def open_files(task):
    """{open file: descriptor} of one thread, except those that it was started with."""
    files = {}
    for entry in (task / "fd").iterdir():
        if int(entry.name) >= STANDARD:
            files[os.readlink(entry)] = int(entry.name)
    return files


def tables(broker):
    """The open files of the broker's thread, and of the worker."""
    tasks = pathlib.Path("/proc/%d/task" % broker.process.pid)
    (worker,) = (task for task in tasks.iterdir() if int(task.name) != broker.process.pid)
    return open_files(tasks / str(broker.process.pid)), open_files(worker)


@pytest.mark.skipif(VALGRIND, reason="valgrind keeps files of its own in every table")
def test_the_worker_shares_no_file_with_the_broker_but_what_wakes_it(site):
    """A shared descriptor table would cost the broker 5 % of its CPU, and keep the disk space of a rotated log."""
    acme = site.fleet()
    log = site.folder / "rotated.log"
    broker = site.broker(lines=("log_dest file %s" % log,))
    site.connect(broker, acme.issue("sensor-1"))
    log.rename(site.folder / "rotated.log.1")
    broker.sighup()
    mine, workers = tables(broker)
    shared = mine.keys() & workers.keys()
    assert all("eventfd" in name for name in shared), shared
    assert any(name.startswith("socket:") for name in workers), "the connection to PostgreSQL"
    assert not any(str(log) in name for name in workers)


def test_the_broker_serves_and_stops_after_the_worker_lost_its_files(site):
    """The worker closes none of the broker's descriptors, neither when its connection is lost nor at its end."""
    acme = site.fleet()
    broker = site.broker()
    sensor = site.connect(broker, acme.issue("sensor-1"))
    _, before = tables(broker)
    site.registry.database.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND datname = current_database()",
        (pg.BROKER,))
    broker.wait_for_log("the database is back", timeout=15)
    _, after = tables(broker)
    assert before != after
    assert sensor.subscribe("devices/sensor-1/x") == 1
    sensor.publish("devices/sensor-1/x", "still here")
    assert sensor.receive() == ("devices/sensor-1/x", "still here")
