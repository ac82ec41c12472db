# SPDX-License-Identifier: ISC
"""A private PostgreSQL for tests: own data directory, own socket, a free port on loopback, trust authentication.

    with Server() as server:
        db = server.create_database()            # a copy of the migrated template: schema iot_auth, fresh
        db.conninfo()                            # for the plugin's db_conninfo (user iot_auth_broker)
        db.query("SELECT count(*) FROM iot_auth.device")            # as superuser, own connection, autocommit
        db.admin() / db.broker() / db.superuser()                   # psycopg2 connections, autocommit

Failures: server.stop(), start(), restart(), kill() (SIGKILL, as a crash), pause()/resume() (SIGSTOP to every process).
"""
import contextlib
import ctypes
import os
import pathlib
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg2
import psycopg2.extensions

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIGRATIONS = ROOT / "sql" / "migrations"
ADMIN_SCRIPTS = ROOT / "sql" / "admin"
TEMPLATE = "iot_auth_template"
SUPERUSER = "postgres"
ADMIN = "iot_auth_admin"
BROKER = "iot_auth_broker"


def bindir():
    """PG_BINDIR, else Debian's PostgreSQL 15, else the newest that is installed."""
    if os.environ.get("PG_BINDIR"):
        return pathlib.Path(os.environ["PG_BINDIR"])
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if not found:
        raise RuntimeError("no PostgreSQL server under /usr/lib/postgresql: install postgresql, or set PG_BINDIR")
    return next((p for p in found if p.parts[-3] == "15"), found[-1]).parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def migrations():
    return sorted(MIGRATIONS.glob("*.sql"))


def migrate(connection):
    """Apply sql/migrations/*.sql in name order, as an administrator would."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        for path in migrations():
            cursor.execute(path.read_text(encoding="utf-8"))


def wait_until(condition, timeout=10.0, what="the condition"):
    """Poll until condition() is true and return its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what} was not met within {timeout} s")
        time.sleep(0.02)


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


class Server:
    def __init__(self, fsync=False, settings=None):
        """fsync=True for tests that simulate a crash of the machine; settings: postgresql.conf name -> value."""
        self.bin = bindir()
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="ia-pg-"))
        self.data = self.base / "data"
        self.log = self.base / "log"
        self.port = free_port()
        self.host = "127.0.0.1"
        self.process = None
        self._paused = []
        self._serial = 0
        self._settings = {
            "fsync": "on" if fsync else "off", "listen_addresses": f"'{self.host}'", "port": self.port,
            "unix_socket_directories": f"'{self.base}'", "max_connections": 100, "shared_buffers": "64MB",
            "log_min_messages": "warning", "max_wal_size": "2GB", "timezone": "'UTC'", **(settings or {})}
        self._user = {}
        if os.geteuid() == 0:  # initdb and postgres refuse root
            account = pwd.getpwnam("postgres")
            os.chown(self.base, account.pw_uid, account.pw_gid)
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._initdb()

    def _initdb(self):
        subprocess.run([self.bin / "initdb", "-D", self.data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8",
                        "--locale=C.UTF-8", "--no-sync"],
                       check=True, stdout=subprocess.DEVNULL, cwd=self.base, **self._user)
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            for name, value in self._settings.items():
                conf.write(f"{name} = {value}\n")

    # life

    def start(self):
        if self.process and self.process.poll() is None:
            return self
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([self.bin / "postgres", "-D", self.data], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, cwd=self.base, preexec_fn=_die_with_parent,
                                            **self._user)
        wait_until(self._answers, 30, "PostgreSQL's start")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended: {self.log.read_text(errors='replace')[-2000:]}")
        try:
            self.connect("postgres").close()
            return True
        except psycopg2.OperationalError:
            return False

    def stop(self, mode="fast"):
        """mode: smart (waits for clients), fast (ends them), immediate (as a crash)."""
        if not self.process:
            return
        self.resume()
        self.process.send_signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self.process.wait(30)
        self.process = None

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def kill(self):
        """SIGKILL to every process at once: a crash.  start() then recovers from the log."""
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        wait_until(lambda: not any(_alive(pid) for pid in pids), 10, "the end of the killed processes")
        self.process, self._paused = None, []

    def pause(self):
        """SIGSTOP to every process: connections stay open and nothing answers."""
        self._paused = self.pids()
        for pid in self._paused:
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self._paused:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._paused = []

    def pids(self):
        """The postmaster and its children, the postmaster first."""
        parent = str(self.process.pid)
        children = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if stat.read_text().rpartition(")")[2].split()[1] == parent:
                    children.append(int(stat.parent.name))
        return [self.process.pid, *children]

    def close(self):
        if self.process and self.process.poll() is None:
            self.resume()
            self.stop("immediate")
        shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.close()

    # databases

    def connect(self, dbname, user=SUPERUSER, **options):
        connection = psycopg2.connect(host=self.host, port=self.port, dbname=dbname, user=user, connect_timeout=10,
                                      **options)
        connection.autocommit = True
        return connection

    def run(self, statement):
        """Run one statement in the database postgres as superuser, outside of a transaction; its rows."""
        with contextlib.closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _template(self):
        """The migrated database that tests get copies of; made once."""
        if not self.run(f"SELECT 1 FROM pg_database WHERE datname = '{TEMPLATE}'"):
            self.run(f"CREATE DATABASE {TEMPLATE}")
            with contextlib.closing(self.connect(TEMPLATE)) as connection:
                migrate(connection)
        return TEMPLATE

    def create_database(self, migrated=True):
        self._serial += 1
        name = f"t{self._serial}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {self._template() if migrated else 'template0'}")
        return Database(self, name)

    def drop_database(self, name):
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Database:
    def __init__(self, server, name):
        self.server = server
        self.name = name

    def conninfo(self, user=BROKER, **options):
        """A libpq connection string."""
        words = {"host": self.server.host, "port": self.server.port, "dbname": self.name, "user": user, **options}
        return " ".join(f"{key}={value}" for key, value in words.items())

    def environment(self, user=SUPERUSER):
        """PGHOST… for psql and iot-auth-check."""
        return {**os.environ, "PGHOST": self.server.host, "PGPORT": str(self.server.port), "PGDATABASE": self.name,
                "PGUSER": user, "PGCONNECT_TIMEOUT": "10"}

    def connect(self, user=SUPERUSER, **options):
        return self.server.connect(self.name, user, **options)

    def superuser(self):
        return self.connect(SUPERUSER)

    def admin(self):
        return self.connect(ADMIN)

    def broker(self):
        return self.connect(BROKER)

    def query(self, statement, parameters=None, user=SUPERUSER):
        """The rows of one statement on a connection of its own."""
        with contextlib.closing(self.connect(user)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement, parameters=None, user=SUPERUSER):
        """The one value of one statement."""
        return self.query(statement, parameters, user)[0][0]

    def plant(self, statement, parameters=None):
        """Writes without the integrity triggers, for rows that only a bug or a superuser could create.  Brokers are
        notified nevertheless."""
        with contextlib.closing(self.superuser()) as connection, connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(statement, parameters)

    def script(self, script, /, user=SUPERUSER, **variables):
        """Run sql/admin/<script>.sql as an administrator would.  Returns the completed psql."""
        command = [self.server.bin / "psql", "-X", "-f", ADMIN_SCRIPTS / f"{script}.sql"]
        for key, value in variables.items():
            command += ["-v", f"{key}={value}"]
        return subprocess.run(command, env=self.environment(user), capture_output=True, text=True, timeout=60,
                              check=False)

    def drop(self):
        self.server.drop_database(self.name)


class Listener:
    """A connection that LISTENs on channel iot_auth and yields payloads as (topic, [keys])."""

    def __init__(self, database, user=BROKER):
        self.connection = database.connect(user)
        with self.connection.cursor() as cursor:
            cursor.execute("LISTEN iot_auth")
        self._marker = database.connect()

    def drain(self):
        """All notifications of transactions committed so far: waits for a notification of its own, which comes after
        them."""
        with self._marker.cursor() as cursor:
            cursor.execute("NOTIFY iot_auth, 'marker'")
        got, end = [], time.monotonic() + 10
        while time.monotonic() < end:
            select.select([self.connection], [], [], 0.2)
            self.connection.poll()
            while self.connection.notifies:
                payload = self.connection.notifies.pop(0).payload
                if payload == "marker":
                    return got
                topic, *keys = payload.split("\n")
                got.append((topic, keys))
        raise TimeoutError("the marker notification did not come")

    def close(self):
        self.connection.close()
        self._marker.close()
