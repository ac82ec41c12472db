# SPDX-License-Identifier: ISC
"""Databases that are slow, that fail and return, and that move to another host."""

import contextlib
import subprocess
import time

import pytest

import pg
from broker import wait_until
from outage_kit import AT_ONCE, BACK, BACK_WITHIN, LOST, NOTICED_WITHIN, UNDISTURBED, OutageSite, lines_of, logged_once


def test_a_slow_database_delays_unknown_devices_only(outage):
    """Half a second for each query: new devices are parked meanwhile."""
    site = outage
    acme = site.fleet("acme")
    broker = site.broker()
    known = acme.issue("known")
    site.connect(broker, known).disconnect()
    with site.bystander(broker, acme) as bystander:
        site.proxy.delay(0.5)
        for _ in range(3):
            begun = time.monotonic()
            site.connect(broker, known).disconnect()
            assert time.monotonic() - begun < AT_ONCE + 0.2
        unknown_devices = [acme.issue("new-%d" % number) for number in range(8)]
        results = site.connect_all([site.client(broker, credential) for credential in unknown_devices])
        assert results == [0] * 8
        assert bystander.longest() < UNDISTURBED
    live = site.connect(broker, known)
    site.registry.set_device_status(device_id="known", status="INACTIVE")
    live.wait_closed(5.0)
    assert not lines_of(broker, LOST, 0)
    broker.stop(timeout=2)


def test_a_short_restart_is_hardly_felt(outage):
    site = outage
    acme = site.fleet("acme")
    broker = site.broker()
    known = acme.issue("known")
    site.connect(broker, known).disconnect()
    for _ in range(2):
        mark = broker.mark()
        site.server.restart()
        broker.wait_for_log(BACK, timeout=BACK_WITHIN, since=mark)
        logged_once(broker, mark)
        site.connect(broker, known).disconnect()
    site.reconnect_admin()
    site.connect(broker, acme.issue("new"))


def test_reconnecting_backs_off_up_to_five_seconds_and_out_of_step(outage):
    site = outage
    site.fleet("acme")
    brokers = [site.broker(), site.broker()]
    marks = [broker.mark() for broker in brokers]
    site.proxy.accepted.clear()
    site.proxy.hang_up()
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 12, 15, "twelve seconds")
    attempts = [moment - begun for moment in site.proxy.accepted]
    assert len([moment for moment in attempts if moment < 1.0]) >= 4  # soon at first
    assert 4 <= len([moment for moment in attempts if moment > 2.0]) <= 20  # seldom later
    assert max(b - a for a, b in zip(attempts, attempts[1:])) < 5.5
    for broker, mark in zip(brokers, marks):
        logged_once(broker, mark)
        broker.stop(timeout=2)


class Standby(pg.Server):
    """A hot standby of another server."""

    def __init__(self, primary):
        self._primary = primary
        super().__init__()

    def _initdb(self):
        subprocess.run(
            [self.bin / "pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast", "-U", pg.SUPERUSER,
             "-h", self._primary.host, "-p", str(self._primary.port)],
            check=True, stdout=subprocess.DEVNULL, cwd=self.base, **self._user,
        )
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write("port = %d\nunix_socket_directories = '%s'\n" % (self.port, self.base))


@pytest.mark.parametrize("first", ["primary", "standby"])
def test_a_fail_over_moves_the_broker_to_the_new_primary(plugin, broker_kind, tmp_path, pki_of_listeners, first):
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(pg.Server())
        site = OutageSite(broker_kind, tmp_path, pki_of_listeners, primary)
        stack.callback(site.proxy.close)
        acme = site.fleet("acme")
        standby = stack.enter_context(Standby(primary))
        order = [primary, standby] if first == "primary" else [standby, primary]
        conninfo = site.database.conninfo(
            host=",".join(server.host for server in order), port=",".join(str(server.port) for server in order),
            target_session_attrs="read-write",
        )
        broker = site.broker(options={"db_conninfo": conninfo})
        known = acme.issue("known")
        live = site.connect(broker, known)
        there = pg.Database(standby, site.database.name)
        wait_until(lambda: there.value("SELECT count(*) FROM iot_auth.device") == 1, what="replication")
        mark = broker.mark()

        primary.kill()
        broker.wait_for_log(LOST, timeout=NOTICED_WITHIN, since=mark)
        assert site.timed_refusal(broker, acme.issue("new-1")) < AT_ONCE
        site.connect(broker, known, client_id="known")
        standby.connect("postgres").cursor().execute("SELECT pg_promote()")
        broker.wait_for_log(BACK, timeout=BACK_WITHIN, since=mark)
        logged_once(broker, mark)

        site.connect(broker, acme.issue("new-2"))
        assert there.value("SELECT count(*) FROM iot_auth.device WHERE device_id = 'new-2'") == 1
        there.query("UPDATE iot_auth.device SET status = 'REVOKED' WHERE device_id = 'known'")
        live.wait_closed(2.0)
        wait_until(lambda: site.try_connect(broker, known) != 0, 1.0, "refusal")
        for client in site.clients:
            client.disconnect()
        broker.stop(timeout=2)
