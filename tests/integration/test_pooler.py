# SPDX-License-Identifier: ISC
"""A connection pooler between broker and database: in session mode nothing changes; in transaction mode notifications
are lost, which the broker notices and says, and changes are seen by the slow resync all the same."""

import os
import pathlib
import pwd
import shutil
import subprocess

import pytest

import pg
from broker import free_port, wait_until

PGBOUNCER = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
DEAF = "the database's notifications do not arrive"
TWO_HEARTBEATS = 12.0


class Pooler:
    def __init__(self, database, mode):
        self.port = free_port()
        self.folder = pathlib.Path(database.server.base) / ("pooler-%d" % self.port)
        self.database = database
        self.mode = mode
        self.process = None

    def __enter__(self):
        server = self.database.server
        self.folder.mkdir()
        (self.folder / "users").write_text('"%s" ""\n' % pg.BROKER)
        (self.folder / "pgbouncer.ini").write_text(
            "[databases]\n%s = host=%s port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"
            "unix_socket_dir =\nauth_type = trust\nauth_file = %s/users\npool_mode = %s\nlogfile = %s/log\n"
            % (self.database.name, server.host, server.port, self.port, self.folder, self.mode, self.folder))
        user = {}
        if os.geteuid() == 0:  # PgBouncer refuses root
            account = pwd.getpwnam("postgres")
            user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen([PGBOUNCER, self.folder / "pgbouncer.ini"], cwd=self.folder,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)
        wait_until(lambda: (self.folder / "log").exists() and "process up" in (self.folder / "log").read_text(),
                   what="PgBouncer")
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        self.process.wait(10)

    def conninfo(self):
        return self.database.conninfo(port=self.port)


@pytest.fixture
def pooled(site):
    if not os.path.exists(PGBOUNCER):
        pytest.fail("these tests need the package pgbouncer")
    poolers = []

    def start(mode, **options):
        pooler = Pooler(site.registry.database, mode)
        poolers.append(pooler.__enter__())
        return site.broker(options={"db_conninfo": pooler.conninfo(), **options})

    yield start
    for pooler in poolers:
        pooler.__exit__()


def test_transaction_pooling_is_noticed_and_named(site, pooled):
    acme = site.fleet()
    broker = pooled("transaction")
    site.connect(broker, acme.issue("sensor-1"))
    wait_until(lambda: DEAF in broker.log(), TWO_HEARTBEATS, "report of the lost notifications")
    assert "transaction mode" in broker.log()


def test_changes_are_seen_by_the_resync_where_notifications_are_lost(site, pooled):
    acme = site.fleet()
    broker = pooled("transaction", resync_s=1)
    ends, stays = [site.connect(broker, acme.issue(name)) for name in ("ends", "stays")]
    site.registry.set_device_status(device_id="ends", status="REVOKED")
    ends.wait_closed(4.0)
    other = site.fleet("other")
    site.connect_within(4.0, broker, other.issue("sensor-1"))
    assert stays.connected


def test_session_pooling_changes_nothing(site, pooled):
    acme = site.fleet()
    broker = pooled("session")
    client = site.connect(broker, acme.issue("sensor-1"))
    with pytest.raises(AssertionError):
        wait_until(lambda: DEAF in broker.log(), TWO_HEARTBEATS, "report of the lost notifications")
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    client.wait_closed(1.0)
