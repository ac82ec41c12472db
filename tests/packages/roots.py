# SPDX-License-Identifier: ISC
"""Scratch copies of a Debian release (scripts/roots.sh), with a registry and a broker in them."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pg
import pki

SOURCE = pathlib.Path(__file__).resolve().parents[2]
ROOTS = pathlib.Path(os.environ.get("IOT_AUTH_ROOTS", "/var/cache/mosquitto-iot-auth/roots"))
PACKAGES = SOURCE / "build/packages"
PLUGIN = "usr/lib/mosquitto/mosquitto_iot_auth.so"
SHARE = "usr/share/mosquitto-iot-auth"
DOC = "usr/share/doc/mosquitto-iot-auth"
PASSWORD = "a: b\\c"  # what a line of a passfile has to escape


def releases():
    return [name for name in ("bookworm", "trixie", "sid") if list(PACKAGES.glob(name + "/mosquitto-iot-auth_*_amd64.deb"))]


def is_built(release, architecture):
    return bool(list(PACKAGES.glob("%s/mosquitto-iot-auth_*_%s.deb" % (release, architecture))))


def package(release, architecture):
    (made,) = (PACKAGES / release).glob("mosquitto-iot-auth_*_%s.deb" % architecture)
    return made


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, **options)


def must(*words, **options):
    done = run(*words, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# The end of "mosquitto version … running".  2.1 begins with "running mosquitto as user: …", before it has a listener.
RUNNING = " running\n"


def wait_for_log(log, *texts, timeout=20):
    """Waits until all of the texts stand in what log() returns."""
    try:
        pg.wait_until(lambda: all(text in log() for text in texts), timeout, "log with " + ", ".join(texts))
    except TimeoutError as error:
        raise AssertionError("%s; the log:\n%s" % (error, log())) from None


class Root:
    """A folder with a Debian release in it that a test may write to."""

    def __init__(self, path):
        self.path = path

    def command(self, *words, user=None):
        as_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
        return ["chroot", str(self.path), "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                "DEBIAN_FRONTEND=noninteractive", *as_user, *words]

    def run(self, *words, user=None, **options):
        return run(*self.command(*words, user=user), **options)

    def must(self, *words, user=None, **options):
        return must(*self.command(*words, user=user), **options)

    def file(self, name, text, owner="root:root", mode="644"):
        """A file inside, whose owner has a name inside."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.must("chown", owner, "/" + name)
        self.must("chmod", mode, "/" + name)

    def install(self, *packages):
        """Installs files and packages as an administrator does, without a network: apt has everything that is needed.
        Returns what apt and the package's scripts print."""
        words = []
        for one in packages:
            if isinstance(one, pathlib.Path):
                shutil.copy(one, self.path / "tmp" / one.name)
                one = "/tmp/" + one.name
            words.append(one)
        return must("unshare", "--net", *self.command("apt-get", "install", "-qy", "--allow-downgrades", *words))

    @contextlib.contextmanager
    def process(self, log, *words, user=None):
        """A program inside; yields a function that says what it has printed so far."""
        log = self.path / "tmp" / log
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(self.command(*words, user=user), stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            yield lambda: log.read_text(encoding="utf-8", errors="replace")
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def scratch(release, kind):
    with tempfile.TemporaryDirectory(prefix="iot-auth-root-", dir="/var/tmp") as name:
        folder = pathlib.Path(name)
        shell = '. scripts/common.sh; . scripts/packages.sh; . scripts/roots.sh; lay_root "$@"'
        must("bash", "-euc", shell, "lay_root", release, kind, name, cwd=SOURCE)
        try:
            yield Root(folder / "root")
        finally:
            must("umount", "-R", "--lazy", str(folder / "root"))


class Registry:
    """A PostgreSQL inside, with the migrations of the installed package; the broker's role needs its password."""

    def __init__(self, root, programs, port):
        self.root, self.programs, self.port = root, programs, port

    def psql(self, *words, **options):
        return self.root.must("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port),
                              "-U", "postgres", *words, **options)

    def query(self, text):
        return self.psql("-d", "iot_auth", "-c", text).strip()

    def script(self, script, **values):
        """One of the administrators' scripts."""
        variables = [word for key, value in values.items() for word in ("-v", "%s=%s" % (key, value))]
        return self.psql("-d", "iot_auth", *variables, "-f", "/%s/sql/admin/%s.sql" % (SHARE, script))

    def migrate(self, sql="/" + SHARE + "/sql"):
        for path in sorted((self.root.path / sql[1:] / "migrations").glob("*.sql")):
            self.psql("-d", "iot_auth", "-o", "/dev/null", "-f", "%s/migrations/%s" % (sql, path.name))


@contextlib.contextmanager
def registry(root, sql="/" + SHARE + "/sql"):
    (programs,) = (root.path / "usr/lib/postgresql").glob("*/bin")
    programs = "/" + str(programs.relative_to(root.path))
    root.must("install", "-d", "-o", "postgres", "/tmp/pg")
    root.must(programs + "/initdb", "-D", "/tmp/pg/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
              "--no-sync", user="postgres")
    hba = root.path / "tmp/pg/data/pg_hba.conf"
    hba.write_text("host all iot_auth_broker all scram-sha-256\n" + hba.read_text(encoding="ascii"), encoding="ascii")
    made = Registry(root, programs, pg.free_port())
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-p", str(made.port)]
    with root.process("postgres.log", programs + "/postgres", "-D", "/tmp/pg/data", *settings, user="postgres"):
        ready = [programs + "/pg_isready", "-h", "127.0.0.1", "-p", str(made.port)]
        pg.wait_until(lambda: root.run(*ready).returncode == 0, 30, "PostgreSQL's start")
        made.psql("-d", "postgres", "-c", "CREATE DATABASE iot_auth")
        made.migrate(sql)
        made.query("ALTER ROLE iot_auth_broker PASSWORD '%s'" % PASSWORD)
        yield made


class Site:
    """The broker's files as docs/install.md lays them, and the example configuration with this place's values."""

    def __init__(self, root, with_registry, plugin="/" + PLUGIN, example=DOC + "/examples/mosquitto.conf"):
        self.root, self.registry = root, with_registry
        self.device_port, self.app_port = pg.free_port(), pg.free_port()
        self.authority, servers = pki.root("Devices"), pki.root("Servers")
        server = pki.server(servers)
        line = "127.0.0.1:%d:iot_auth:iot_auth_broker:%s\n" % (with_registry.port, re.sub(r"([\\:])", r"\\\1", PASSWORD))
        root.file("etc/mosquitto/iot-auth.pgpass", line, "mosquitto:mosquitto", "600")
        root.file("etc/mosquitto/certs/server-ca.pem", servers.pem)
        root.file("etc/mosquitto/certs/server.crt", server.pem)
        root.file("etc/mosquitto/certs/server.key", server.key_pem, "root:mosquitto", "640")
        root.file("tmp/device-ca.pem", self.authority.pem)
        root.must("install", "-d", "-o", "mosquitto", "/run/mosquitto")  # made by the service's manager otherwise
        self.conf = "etc/mosquitto/iot-auth.conf"
        self.configure(self._adapted((root.path / example).read_text(encoding="utf-8"), plugin))

    def _adapted(self, text, plugin):
        conninfo = "host=127.0.0.1 port=%d dbname=iot_auth user=iot_auth_broker passfile=/etc/mosquitto/iot-auth.pgpass" % self.registry.port
        changes = {
            r"^plugin_opt_db_conninfo .*$": "plugin_opt_db_conninfo " + conninfo,
            r"^plugin .*$": "plugin " + plugin,
            r"^listener 8883$": "listener %d 127.0.0.1" % self.device_port,
            r"^listener 8884$": "listener %d 127.0.0.1" % self.app_port,
        }
        for pattern, replacement in changes.items():
            text, lines = re.subn(pattern, lambda _, new=replacement: new, text, flags=re.M)
            assert lines == 1, pattern
        return text

    def configure(self, text):
        self.text = text
        self.root.file(self.conf, text, mode="644")

    def broker(self, user="mosquitto", before=()):
        """The broker as the service runs it."""
        return self.root.process("broker.log", *before, "/usr/sbin/mosquitto", "-c", "/" + self.conf, user=user)

    def users_of_the_broker(self):
        """The users that processes of this root's broker run as."""
        users = set()
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(process / "root") == str(self.root.path) and os.readlink(process / "exe").endswith("/mosquitto"):
                    users.add(process.stat().st_uid)
        names = dict(line.split(":")[2::-2] for line in (self.root.path / "etc/passwd").read_text(encoding="ascii").splitlines())
        return {names[str(user)] for user in users}

    def device(self, name):
        credential = self.authority.issue(name)
        self.root.file("tmp/%s.pem" % name, credential.pem)
        self.root.file("tmp/%s.key" % name, credential.key_pem)
        return ["-h", "localhost", "-p", str(self.device_port), "--cafile", "/etc/mosquitto/certs/server-ca.pem", "--cert",
                "/tmp/%s.pem" % name, "--key", "/tmp/%s.key" % name, "-i", name, "-q", "1"]

    def publish(self, name, message="1", root=None):
        """As a device whose certificate is made now."""
        return (root or self.root).run("mosquitto_pub", *self.device(name), "-t", "devices/%s/data" % name, "-m", message).returncode
