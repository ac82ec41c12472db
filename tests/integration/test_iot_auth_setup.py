# SPDX-License-Identifier: ISC
"""iot-auth setup: from an empty PostgreSQL server and Mosquitto's own configuration to a broker that admits a device.

tests/packages does the same in each Debian release, with the cluster that Debian makes."""

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile

import client as clients
import pg
import pki
import pytest
from broker import command, free_port, plugin_path, wait_until
from iot_auth_kit import PROGRAM, Done

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="setup writes files for user mosquitto: it needs root")


class Place:
    """A PostgreSQL that asks the broker's role for its password, and the folder of Mosquitto's configuration."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.folder.chmod(0o755)  # user mosquitto reads it
        self.ports = {"device-port": free_port(), "app-port": free_port()}
        self.plugin = folder / "mosquitto_iot_auth.so"
        shutil.copy(plugin_path(), self.plugin)
        self.etc = folder / "etc"
        for name in ("conf.d", "certs"):
            (self.etc / name).mkdir(parents=True)
        self.configure("include_dir %s/conf.d\nlog_dest stderr\n" % self.etc)
        self.conninfo = "host=%s port=%d user=postgres" % (server.host, server.port)
        self.service = folder / "pg_service.conf"
        self.passfile = self.etc / "iot-auth.pgpass"
        self.environment = {}

    def configure(self, text):
        (self.etc / "mosquitto.conf").write_text(text)

    def iot_auth(self, *words, **more):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        done = subprocess.run([PROGRAM, *map(str, words)], env={**environment, "PGSYSCONFDIR": str(self.folder), **self.environment}, cwd=self.folder,
                              capture_output=True, text=True, timeout=120, check=False, **more)
        return Done(done)

    def setup(self, *words, **more):
        """iot-auth setup for this place; `more`: options, which count before those of the place."""
        options = {"mosquitto-dir": self.etc, "plugin": self.plugin, "mosquitto": command("host")[0], **self.ports}
        options = {"--" + key.replace("_", "-"): value for key, value in {**options, **more}.items()}
        return self.iot_auth("setup", "--conninfo", self.conninfo, *words, *[word for pair in options.items() for word in pair])

    def files(self):
        """What there is: for each file its content, owner and mode, and whether it is still the same file."""
        made = {}
        for path in sorted(self.etc.rglob("*")) + [self.service]:
            if path.is_file():
                seen = path.stat()
                made[str(path)] = (path.read_bytes(), seen.st_uid, stat.S_IMODE(seen.st_mode), seen.st_ino, seen.st_mtime_ns)
        return made

    def password(self):
        return self.server.run("SELECT rolpassword FROM pg_authid WHERE rolname = 'iot_auth_broker'")

    def has_database(self, name="iot_auth"):
        return bool(self.server.run("SELECT 1 FROM pg_database WHERE datname = '%s'" % name))

    @contextlib.contextmanager
    def broker(self):
        with open(self.folder / "broker.log", "wb") as log:
            process = subprocess.Popen([*command("host"), "-c", self.etc / "mosquitto.conf"], stdout=log, stderr=log)
        try:
            wait_until(lambda: "running" in (self.folder / "broker.log").read_text(), 20, "the broker's start")
            yield self
        finally:
            process.terminate()
            process.wait(20)

    def device(self, credential, name):
        context = clients.tls_context(str(self.etc / "certs/iot-auth-server.crt"), credential, self.folder)
        return clients.Client(self.ports["device-port"], name, context)


@pytest.fixture(scope="module")
def server():
    with pg.Server() as started:
        hba = started.data / "pg_hba.conf"
        hba.write_text("host all iot_auth_broker all scram-sha-256\n" + hba.read_text())
        started.run("SELECT pg_reload_conf()")
        yield started


@pytest.fixture
def place(server):
    with tempfile.TemporaryDirectory(prefix="ia-setup-") as name:
        yield Place(server, pathlib.Path(name))
    server.run("DROP DATABASE IF EXISTS iot_auth WITH (FORCE)")
    for role in ("iot_auth_broker", "iot_auth_admin", "iot_auth_monitor"):
        server.run("DROP ROLE IF EXISTS " + role)


def test_after_setup_a_broker_admits_a_device_and_a_second_run_changes_nothing(place):
    before = place.files()
    dry = place.setup("--dry-run")
    assert dry.status == 0 and "would make: database iot_auth" in dry.out and "listener %d" % place.ports["app-port"] in dry.out
    assert place.files() == before and not place.server.run("SELECT 1 FROM pg_database WHERE datname = 'iot_auth'")

    done = place.setup()
    assert done.status == 0, done
    assert "next: systemctl restart mosquitto" in done.out and "kept" not in done.out
    passfile = (place.etc / "iot-auth.pgpass").stat()
    assert (passfile.st_mode & 0o777, passfile.st_uid) == (0o600, pwd.getpwnam("mosquitto").pw_uid)
    assert (place.etc / "certs/iot-auth-server.key").stat().st_mode & 0o777 == 0o640
    secret = (place.etc / "iot-auth.pgpass").read_text().strip().rpartition(":")[2]
    assert len(secret) == 48 and secret not in done.out + done.err + pathlib.Path(place.server.log).read_text()

    made, password = place.files(), place.password()
    again = place.setup()
    assert again.status == 0 and "made: " not in again.out and "nothing to do" in again.out
    assert (place.files(), place.password()) == (made, password)

    authority = pki.root("Devices")
    with place.broker():  # it becomes user mosquitto
        added = place.iot_auth("ca", "add", "acme", "--pem", "-", "--auto-registration", input=authority.pem)  # by the service
        assert added.status == 0, added
        credential = authority.issue("meter-1")
        wait_until(lambda: place.device(credential, "meter-1").connect() == 0, 20, "the device's admission")
    status = place.iot_auth("status", "--json")
    assert status.status == 0 and json.loads(status.out)["brokers"], status


def test_a_password_that_other_brokers_may_use_is_not_replaced_unasked(place):
    assert place.setup().status == 0
    before = place.password()
    (place.etc / "iot-auth.pgpass").unlink()
    refused = place.setup()
    assert refused.status == 3 and "other brokers may use" in refused.err
    assert place.password() == before and not (place.etc / "iot-auth.pgpass").exists()
    renewed = place.setup("--new-password")
    assert renewed.status == 0 and place.password() != before
    assert place.setup().status == 0


def test_a_new_password_that_the_server_does_not_take_leaves_the_old_passfile(place):
    assert place.setup().status == 0
    before, password, conninfo = place.files(), place.password(), place.conninfo
    place.conninfo += " options='-c default_transaction_read_only=on'"
    refused = place.setup("--new-password")
    assert refused.status == 3 and "read-only" in refused.err
    place.conninfo = conninfo
    assert (place.files(), place.password()) == (before, password)
    with place.passfile.open("a") as file:
        file.write("db.example.com:5432:*:other:secret\n")
    before = place.files()
    refused = place.setup("--new-password")
    assert refused.status == 3 and "several lines" in refused.err and "secret" not in refused.out + refused.err
    assert (place.files(), place.password()) == (before, password)
    assert place.setup().status == 0  # libpq takes its line


def test_a_second_registry_of_a_managed_server_does_not_take_the_password_of_the_first(place):
    assert place.setup().status == 0
    before = place.password()
    place.passfile.unlink()
    (place.etc / "conf.d/iot-auth.conf").unlink()
    place.server.run("CREATE ROLE ia_manager LOGIN CREATEDB CREATEROLE")  # it cannot read pg_authid
    try:
        place.conninfo = place.conninfo.replace("user=postgres", "user=ia_manager")
        refused = place.setup(database="iot_auth_second")
    finally:
        place.server.run("DROP ROLE ia_manager")
    assert refused.status == 3 and "other brokers may use" in refused.err
    assert place.password() == before and not place.has_database("iot_auth_second")


def test_the_passfile_is_tried_without_the_administrators_environment(place):
    assert place.setup().status == 0
    line = place.passfile.read_text()
    place.environment = {"PGPASSWORD": "another", "PGOPTIONS": "-c search_path=none", "PGSSLMODE": "require", "PGHOSTADDR": "192.0.2.1"}
    place.conninfo += " hostaddr=%s sslmode=disable" % place.server.host  # the administrator's own
    kept = place.setup()
    assert kept.status == 0 and "kept: passfile" in kept.out, kept
    place.environment = {"PGPASSWORD": line.strip().rpartition(":")[2]}
    place.passfile.write_text(line.replace(":" + place.environment["PGPASSWORD"], ":" + "0" * 48))
    refused = place.setup()
    assert refused.status == 3 and "the passfile holds a different one" in refused.err


def test_a_login_that_pg_hba_rejects_is_said_and_no_password_is_blamed(place):
    assert place.setup().status == 0
    hba = place.server.data / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text("host all iot_auth_broker all reject\n" + before)
    place.server.run("SELECT pg_reload_conf()")
    try:
        wait_until(lambda: place.setup("--dry-run").status == 4, 20, "the new pg_hba.conf")
        refused = place.setup()
    finally:
        hba.write_text(before)
        place.server.run("SELECT pg_reload_conf()")
    assert refused.status == 4 and "pg_hba.conf rejects connection" in refused.err
    assert "--new-password" not in refused.err
    wait_until(lambda: place.setup("--dry-run").status == 0, 20, "the old pg_hba.conf")


def test_a_passfile_or_configuration_of_another_registry_is_not_taken(place):
    other = "db.example.com:5432:iot_auth:iot_auth_broker:" + "0" * 48 + "\n"
    place.passfile.write_text(other)
    place.passfile.chmod(0o600)
    shutil.chown(place.passfile, "mosquitto")
    for words in (), ("--dry-run",):
        refused = place.setup(*words)
        assert refused.status == 3 and "setup has not written it for" in refused.err
    assert not place.has_database() and place.passfile.read_text() == other
    place.passfile.unlink()
    assert place.setup().status == 0
    conf = place.etc / "conf.d/iot-auth.conf"
    ours = conf.read_text()
    for old, new in ((" dbname=iot_auth ", " dbname=other "), ("port=%d" % place.server.port, "port=1"), ("host=127.0.0.1", "host=192.0.2.1")):
        assert old in ours
        conf.write_text(ours.replace(old, new))
        refused = place.setup()
        assert refused.status == 2 and "names another database" in refused.err, refused
    line = next(line for line in ours.splitlines() if line.startswith("plugin_opt_db_conninfo"))
    conf.write_text(ours.replace(line, "  plugin_opt_db_conninfo \tpostgresql://192.0.2.1/iot_auth"))
    assert "names another database" in place.setup().err
    conf.write_text(ours.replace("host=127.0.0.1", "host=192.0.2.1,127.0.0.1"))
    assert place.setup().status == 0


def test_half_of_a_self_signed_pair_or_an_unfit_one_is_a_problem(place):
    cert, key = place.etc / "certs/iot-auth-server.crt", place.etc / "certs/iot-auth-server.key"
    chain, other = pki.server(pki.root("Servers")).files(place.folder)
    for path, source in (cert, chain), (key, other):
        shutil.copy(source, path)
        path.chmod(0o644)
        refused = place.setup()
        assert refused.status == 2 and "%s exists without" % path in refused.err
        path.unlink()
    shutil.copy(chain, cert)
    shutil.copy(pki.server(pki.root("Servers")).files(pathlib.Path(tempfile.mkdtemp(dir=place.folder)))[1], key)
    refused = place.setup()
    assert refused.status == 2 and "not the key of the first certificate" in refused.err and not place.has_database()


def test_a_run_that_ended_early_is_completed(place):
    assert place.setup().status == 0
    place.server.run("ALTER ROLE iot_auth_broker PASSWORD NULL")  # it ended after the passfile
    (place.etc / "conf.d/iot-auth.conf").unlink()
    key = (place.etc / "certs/iot-auth-server.key").read_bytes()
    done = place.setup()
    assert done.status == 0 and "made: password" in done.out and "made: configuration" in done.out
    assert (place.etc / "certs/iot-auth-server.key").read_bytes() == key


def test_a_passfile_that_others_can_read_is_refused_before_anything_is_made(place):
    place.passfile.write_text("*:*:*:iot_auth_broker:secret\n")
    place.passfile.chmod(0o644)
    for words in (), ("--dry-run",), ("--new-password",):
        refused = place.setup(*words)
        assert refused.status == 3 and "chmod 600" in refused.err  # libpq ignores it
    assert not place.has_database()


def test_what_is_wrong_is_said_before_anything_is_done(place):
    authority = pki.root("Servers")
    chain, key = pki.server(authority).files(place.folder)
    _, other_key = pki.server(authority).files(pathlib.Path(tempfile.mkdtemp(dir=place.folder)))
    pathlib.Path(key).chmod(0o644)
    include = "include_dir %s/conf.d\n" % place.etc
    wrong = [
        ({"server_cert": chain}, include, "belong together"),
        ({"server_cert": chain, "server_key": other_key}, include, "not the key of the first certificate"),
        ({"server_cert": chain, "server_key": place.folder / "none"}, include, "there is no such file"),
        ({"database": "a b"}, include, "letters, digits"),
        ({"broker_user": "nobody-of-this-name"}, include, "no user"),
        ({"mosquitto": "/usr/bin/false"}, include, "cannot be run"),
        ({"plugin": place.folder / "none.so"}, include, "none.so"),
        ({"app-port": place.ports["device-port"]}, include, "are the same"),
        ({"app-port": 70000}, include, "is not a port"),
        ({}, "", "does not include"),
        ({}, "include_dir %s\n" % place.folder, "does not include"),
        ({}, include + " \tper_listener_settings true\n", "per_listener_settings"),
        ({}, include + "  plugin /usr/lib/mosquitto_iot_auth.so\n", "loads the plugin already"),
        ({"service_file": place.folder / "none/none/pg_service.conf"}, include, "make its folder"),
        ({}, include + "per_listener_settings true\n", "per_listener_settings"),
        ({}, include + "plugin /usr/lib/mosquitto_iot_auth.so\n", "loads the plugin already"),
    ]
    for options, conf, text in wrong:
        place.configure(conf)
        before = place.files()
        refused = place.setup(**options)
        assert refused.status == 2 and text in refused.err, (options, refused)
        assert place.files() == before
    assert not place.server.run("SELECT 1 FROM pg_database WHERE datname = 'iot_auth'")
    place.configure(include)
    conninfo = place.conninfo
    for path in ("root.crt", "/etc/my\\ roots/root.crt"):
        place.conninfo = conninfo + " sslrootcert=" + path
        assert "sslrootcert" in place.setup().err
    place.conninfo = conninfo
    assert not place.has_database()
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", place.ports["device-port"]))
        taken.listen()
        place.configure(include)
        assert "is in use" in place.setup().err


def test_a_given_certificate_stays_where_it_is_and_the_service_file_keeps_what_it_has(place):
    chain, key = pki.server(pki.root("Servers")).files(place.folder)
    pathlib.Path(key).chmod(0o600)
    refused = place.setup(server_cert=chain, server_key=key)
    assert refused.status == 2 and "cannot read" in refused.err and "chmod 640" in refused.err
    pathlib.Path(key).chmod(0o644)
    place.service.write_text("[other]\nhost=other")
    done = place.setup("--json", server_cert=chain, server_key=key)
    assert done.status == 0, done
    states = {row["state"] for row in done.rows}
    assert states >= {"found", "made", "next", "warning"}  # the warning: everybody can read the key
    assert "certfile %s\n" % chain in (place.etc / "conf.d/iot-auth.conf").read_text()
    assert not (place.etc / "certs/iot-auth-server.crt").exists()
    assert place.service.read_text().startswith("[other]\nhost=other\n\n[iot-auth]\n")


def test_the_folder_of_the_service_file_is_made(place):
    done = place.setup(service_file=place.folder / "new/pg_service.conf")
    assert done.status == 0 and "[iot-auth]" in (place.folder / "new/pg_service.conf").read_text()


def test_without_root_it_says_so(place):
    done = subprocess.run(["setpriv", "--reuid", "nobody", "--clear-groups", PROGRAM, "setup"], capture_output=True, text=True,
                          check=False, cwd="/")
    if done.returncode == 127:
        pytest.skip("user nobody cannot run the program in this folder")
    assert done.returncode == 2 and "run it as root" in done.stderr
