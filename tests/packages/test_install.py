# SPDX-License-Identifier: ISC
"""The Debian package in a bare Debian 12: installed by apt, run once, removed.

Slow (half a minute; two more the first time, when debootstrap makes the base).  Needs root and Debian's mirror.
"""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import pg
import pki

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("IOT_AUTH_BUILD", SOURCE / "build/release"))
PLUGIN = "usr/lib/x86_64-linux-gnu/mosquitto/mosquitto_iot_auth.so"
SHARE = "usr/share/mosquitto-iot-auth"


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def must(*words, **options):
    done = run(*words, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Chroot:
    def __init__(self, path):
        self.path = path

    def command(self, *words):
        return ["chroot", str(self.path), "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                "DEBIAN_FRONTEND=noninteractive", *words]

    def run(self, *words, **options):
        return run(*self.command(*words), timeout=300, **options)

    def must(self, *words, **options):
        return must(*self.command(*words), timeout=300, **options)

    @contextlib.contextmanager
    def broker(self, configuration):
        """A broker inside; yields a function that says what it has logged so far."""
        (self.path / "tmp/mosquitto.conf").write_text(configuration, encoding="utf-8")
        log = self.path / "tmp/mosquitto.log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(self.command("mosquitto", "-c", "/tmp/mosquitto.conf"), stdout=output, stderr=output)
        try:
            yield lambda: log.read_text(encoding="utf-8")
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package of this build."""
    if not (BUILD / "CPackConfig.cmake").exists():
        pytest.fail("there is no build with a package in %s" % BUILD)
    folder = tmp_path_factory.mktemp("package")
    must("cpack", "-G", "DEB", "-B", str(folder), cwd=BUILD)
    (made,) = folder.glob("mosquitto-iot-auth_*.deb")
    return made


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bare Debian 12 that starts no services."""
    if os.geteuid() != 0:
        pytest.skip("a chroot takes root")
    made = run("bash", "-euc", ". scripts/common.sh; . scripts/packages.sh; . scripts/base.sh; need_base; echo \"$base_tar\"", cwd=SOURCE)
    if made.returncode != 0:
        pytest.skip("no bare Debian 12 to be had: " + made.stderr[-300:])
    path = tmp_path_factory.mktemp("chroot")
    path.chmod(0o755)
    must("tar", "-C", str(path), "-xf", made.stdout.split()[-1])
    shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
    policy = path / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    yield Chroot(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def installed(bare, package):
    """The same with the package and what it depends on, nothing else."""
    shutil.copy(package, bare.path / "tmp" / package.name)
    fetched = bare.run("apt-get", "update", "-q")
    if fetched.returncode != 0:
        pytest.skip("Debian's mirror does not answer: " + fetched.stderr[-300:])
    bare.must("apt-get", "install", "-qy", "--no-install-recommends", "/tmp/" + package.name)
    return bare


def adapted(installed, conninfo, *more):
    """The example configuration with this place's database and ports, and certificates where it looks for them."""
    text = (installed.path / SHARE / "examples/mosquitto.conf").read_text(encoding="utf-8")
    options = "\n".join(["plugin_opt_db_conninfo " + conninfo, *more])
    text, lines = re.subn(r"^plugin_opt_db_conninfo .*$", options, text, flags=re.M)
    assert lines == 1
    for port in ("8883", "8884"):
        text, lines = re.subn("^listener %s$" % port, "listener %d 127.0.0.1" % pg.free_port(), text, flags=re.M)
        assert lines == 1
    authority = pki.root("Servers")
    server = pki.server(authority)
    folder = installed.path / "etc/mosquitto/certs"
    for name, content in {"server-ca.pem": authority.pem, "server.crt": server.pem, "server.key": server.key_pem}.items():
        (folder / name).write_text(content, encoding="ascii")
    return text


def test_it_depends_on_what_it_links_and_on_the_broker(package):
    depends = must("dpkg-deb", "-f", str(package), "Depends")
    packages = {entry.split()[0] for entry in depends.split(",")}
    assert packages == {"mosquitto", "libc6", "libcurl4", "libjansson4", "libpq5", "libssl3"}
    assert "mosquitto (>= 2.0.11)" in depends


def test_it_holds_plugin_command_sql_documents_and_licence(package):
    listed = must("dpkg-deb", "-c", str(package))
    paths = {line.split()[5].lstrip("./") for line in listed.splitlines() if not line.endswith("/")}
    sql = {"%s/sql/%s" % (SHARE, path.relative_to(SOURCE / "sql")) for path in (SOURCE / "sql").glob("*/*.sql")}
    documents = {"README.md", "CHANGELOG.md", "copyright", "docs/tutorial.md", "docs/administration.md", "docs/README.md"}
    assert sql | {PLUGIN, "usr/bin/iot-auth-check", SHARE + "/examples/mosquitto.conf"} <= paths
    assert {"usr/share/doc/mosquitto-iot-auth/" + name for name in documents} <= paths
    assert not [path for path in paths if path.startswith("etc/")]


def test_installed_it_is_not_active(installed):
    active = [path for path in (installed.path / "etc/mosquitto").rglob("*.conf") if "iot" in path.read_text(encoding="utf-8")]
    assert not active
    assert (installed.path / PLUGIN).exists()


def test_the_installed_command_decides(installed):
    rules = installed.path / "tmp/rules"
    rules.write_text("ALLOW PUBLISH devices/${device_id}/#\n", encoding="ascii")
    words = ("iot-auth-check", "topic", "--rules", "/tmp/rules", "--var", "device_id=meter-1", "publish")
    assert installed.must(*words, "devices/meter-1/data").startswith("allow")
    denied = installed.run(*words, "devices/meter-2/data")
    assert (denied.returncode, denied.stdout.split()[0]) == (1, "deny:")


def test_the_example_configuration_is_complete(installed, database):
    """A broker with it, and the plugin in it, serves both listeners."""
    with installed.broker(adapted(installed, database.conninfo())) as log:
        pg.wait_until(lambda: "running" in log(), 20, "the broker's start")
        assert log().count("Opening ipv4 listen socket") == 2
        assert "iot-auth: ready: 0 CAs registered" in log()


def test_without_a_database_the_broker_starts_and_says_so(installed):
    conninfo = "host=127.0.0.1 port=%d dbname=iot_auth user=iot_auth_broker" % pg.free_port()
    with installed.broker(adapted(installed, conninfo, "plugin_opt_startup_wait_ms 200")) as log:
        pg.wait_until(lambda: "everything is refused until the database answers" in log(), 20, "the plugin's warning")
        pg.wait_until(lambda: "running" in log(), 20, "the broker's start")
        assert "onnection refused" in log()


def test_a_wrong_option_stops_the_broker_and_is_named(installed):
    (installed.path / "tmp/wrong.conf").write_text("plugin /%s\nplugin_opt_db_konninfo x\n" % PLUGIN, encoding="ascii")
    ended = installed.run("mosquitto", "-c", "/tmp/wrong.conf")
    assert ended.returncode != 0
    assert "db_konninfo" in ended.stdout + ended.stderr


def test_removed_it_leaves_nothing_of_its_own(installed):
    installed.must("apt-get", "purge", "-qy", "mosquitto-iot-auth")
    left = [path for folder in ("usr", "etc", "var/lib", "opt") for path in (installed.path / folder).rglob("*iot[-_]auth*")]
    assert not [path for path in left if "dpkg" not in path.parts]
