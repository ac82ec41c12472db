# SPDX-License-Identifier: ISC
"""The registry on every PostgreSQL at hand: that of this machine, and those in the roots of newer Debian releases.

scripts/get-brokers makes the roots; `apt-get install postgresql` inside one adds its server (17 in trixie, 18 in sid)."""

import contextlib
import pathlib
import shutil
import signal
import subprocess
import tempfile

import broker as brokers
import pg
import pki
import pytest
from sql_kit import Cursor, cursor, register


def roots():
    """(release, folder, major version) of each root with a server."""
    found = [(path.parents[5].name, path.parents[5], path.parts[-3])
             for path in brokers.ROOTS.glob("*/usr/lib/postgresql/*/bin/postgres")]
    return [("host", None, None), *sorted(found)]


class RootServer(pg.Server):
    """A server inside a root: its programs see that folder as /, and run as the root's user postgres."""

    def __init__(self, root, version):
        self.root = root
        self.programs = f"/usr/lib/postgresql/{version}/bin"
        super().__init__()

    def _initdb(self):
        shutil.rmtree(self.base)
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="ia-pg-", dir=self.root / "tmp"))
        self.inside = pathlib.Path("/") / self.base.relative_to(self.root)
        self.data, self.log = self.base / "data", self.base / "log"
        user = next(line.split(":") for line in (self.root / "etc/passwd").read_text(encoding="utf-8").splitlines()
                    if line.startswith("postgres:"))
        self._as = ["chroot", self.root, "setpriv", f"--reuid={user[2]}", f"--regid={user[3]}", "--clear-groups", "--pdeathsig=QUIT"]
        subprocess.run(["chown", f"{user[2]}:{user[3]}", self.base], check=True)
        subprocess.run([*self._as, f"{self.programs}/initdb", "-D", self.inside / "data", "-U", pg.SUPERUSER, "-A", "trust", "-E", "UTF8",
                        "--locale=C.UTF-8", "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd="/")
        self._settings["unix_socket_directories"] = f"'{self.inside}'"
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            for name, value in self._settings.items():
                conf.write(f"{name} = {value}\n")

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self._as, f"{self.programs}/postgres", "-D", self.inside / "data"], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, cwd="/")
        pg.wait_until(self._answers, 60, "PostgreSQL's start")
        return self

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        shutil.rmtree(self.base, ignore_errors=True)


@pytest.fixture(scope="module", params=roots(), ids=lambda found: found[0])
def server(request):
    _, root, version = request.param
    with (RootServer(root, version) if root else pg.Server()) as running:
        yield running


@pytest.fixture
def registry(server):
    """A registry that belongs to a database owner with CREATEROLE, as on managed services: nobody here is superuser."""
    server.run("DROP DATABASE IF EXISTS managed WITH (FORCE)")
    server.run("DROP ROLE IF EXISTS landlord")
    server.run("CREATE ROLE landlord LOGIN CREATEROLE")
    server.run("CREATE DATABASE managed OWNER landlord ENCODING 'UTF8' TEMPLATE template0")
    database = pg.Database(server, "managed")
    with contextlib.closing(database.connect("landlord")) as connection:
        pg.migrate(connection)
    yield database
    server.run("DROP DATABASE managed WITH (FORCE)")
    server.run("DROP ROLE landlord")
    for name in ("iot_auth_admin", "iot_auth_broker", "iot_auth_monitor"):
        server.run(f"DROP ROLE {name}")


def test_an_owner_that_is_no_superuser_installs_and_upgrades(registry):
    with contextlib.closing(registry.connect("landlord")) as connection:
        pg.migrate(connection)
        assert Cursor(connection).one("SELECT max(version) FROM iot_auth.schema_version") == int(pg.migrations()[-1].name[:4])
        Cursor(connection).all("CREATE ROLE alice LOGIN")
        Cursor(connection).all("GRANT iot_auth_admin TO alice")
        Cursor(connection).all("DROP ROLE alice")


def test_a_device_lives_its_life(registry):
    root = pki.root()
    with cursor(registry, pg.ADMIN) as admin, cursor(registry, pg.BROKER) as broker, contextlib.closing(pg.Listener(registry)) as ear:
        ca = admin.call("register_ca", " ".join(root.pem.split("\n")), "acme", auto_registration=True, max_devices=2)
        admin.call("add_crl", "acme", root.crl())
        admin.call("register_issuer", "corp", "https://id/", ["a"], jwks='{"keys": [{"kty": "EC", "d": null}]}')
        ear.drain()
        assert [register(broker, bytes([n]) * 32, f"d{n}", ca)["outcome"] for n in range(3)] == ["registered", "registered", "quota_exceeded"]
        assert ear.drain() == []
        admin.call("set_device_status", "d1", "REVOKED")
        assert sorted(ear.drain())[0] == ("device", ["d1"])
        broker.all("SELECT iot_auth.broker_heartbeat('n1', '{}', 'x', 'local', NULL)")
        assert ear.drain() == [("nonce", ["x"])]
        for view in "device ca crl role rule ip issuer scope unparsed event reserved_name client_id_release".split():
            broker.all(f"SELECT * FROM iot_auth.broker_{view}")
        broker.all("SELECT iot_auth.broker_write_events('n1', ARRAY[now()], '{device/refused}', '{d1}', ARRAY[NULL::bigint], '{192.0.2.1}', '{device_revoked}', ARRAY['{\"cn\": \"c\"}'])")
        assert admin.one("SELECT count(*) FROM iot_auth.why_refused('c')") == 1
        assert admin.one("SELECT count(*) FROM iot_auth.audit WHERE who = %s", pg.ADMIN) >= 4
        admin.call("set_ca_status", "acme", "REVOKED")
    with cursor(registry, "iot_auth_monitor") as monitor:
        assert monitor.one("SELECT sum(devices) FROM iot_auth.monitor_device") == 2


def test_months_come_and_go(registry):
    with cursor(registry, "landlord") as owner, cursor(registry, pg.BROKER) as broker:
        owner.all("SELECT iot_auth.make_partition('event', 5)")
        owner.all("ALTER TABLE iot_auth.event DETACH PARTITION iot_auth.event_default")
        for name, in owner.all("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'iot_auth.event'::regclass"):
            owner.all(f"DROP TABLE {name}")
        owner.all("ALTER TABLE iot_auth.event ATTACH PARTITION iot_auth.event_default DEFAULT")
        owner.all("SELECT iot_auth.make_partition('event', -5)")
        owner.all("INSERT INTO iot_auth.event (at, kind) VALUES (iot_auth.month_start(-5), 'app/refused')")
        broker.all("SELECT iot_auth.broker_prune(NULL)")
        assert owner.one("SELECT count(*) FROM iot_auth.event") == 0
        assert owner.one("SELECT count(*) FROM pg_inherits WHERE inhparent = 'iot_auth.event'::regclass") == 4
