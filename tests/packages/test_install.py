# SPDX-License-Identifier: ISC
"""The Debian package on each release: what it depends on and contains; installed; in use by a broker that runs as user
mosquitto with the release's own PostgreSQL and OpenSSL; and what is said where a file cannot be read."""

import gzip
import pathlib
import re

import pytest

import pg
import roots
from roots import DOC, PLUGIN, SHARE, SOURCE, must


def contents(package):
    listed = must("dpkg-deb", "-c", str(package))
    return {line.split()[5].lstrip("./") for line in listed.splitlines() if not line.endswith("/")}


# Contents


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_it_depends_on_what_it_links_and_on_the_broker(release, architecture):
    if not roots.is_built(release, architecture):
        pytest.skip("this package was not built")
    depends = must("dpkg-deb", "-f", str(roots.package(release, architecture)), "Depends")
    packages = {entry.split()[0].removesuffix("t64") for entry in depends.split(",")}
    jwt = "libjwt0" if release == "bookworm" else "libjwt2"
    assert packages == {"mosquitto", "libc6", "libcurl4", "libjansson4", "libpq5", "libssl3", jwt}
    assert "mosquitto (>= 2.0.11)" in depends


def test_it_holds_plugin_commands_sql_documents_and_licence(package):
    paths = contents(package)
    sql = {"%s/sql/%s" % (SHARE, path.relative_to(SOURCE / "sql")) for path in (SOURCE / "sql").glob("*/*.sql")}
    documents = {"README.md", "changelog.gz", "changelog.Debian.gz", "copyright", "docs/tutorial.md", "docs/install.md"}
    examples = {"%s/%s" % (DOC, path.relative_to(SOURCE)) for path in (SOURCE / "examples").rglob("*") if path.is_file()}
    shells = {"usr/share/bash-completion/completions/iot-auth", "usr/share/zsh/vendor-completions/_iot-auth"}
    assert sql | examples | shells | {PLUGIN, "usr/bin/iot-auth", "usr/share/man/man5/mosquitto_iot_auth.5.gz"} <= paths
    assert {DOC + "/" + name for name in documents} <= paths
    assert not [path for path in paths if path.startswith("etc/")]


def test_every_command_has_a_manual_page(package):
    paths = contents(package)
    commands = [pathlib.Path(path).name for path in paths if path.startswith("usr/bin/")]
    assert commands and not [name for name in commands if "usr/share/man/man1/%s.1.gz" % name not in paths]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/install.md", "examples/mosquitto.conf", "docker/bin/stack-broker"])
def test_every_page_names_the_plugin_where_the_package_puts_it(page):
    text = (SOURCE / page).read_text(encoding="utf-8")
    named = [word for word in text.replace("=", " ").replace("`", " ").split() if word.startswith("/usr/lib") and "iot_auth.so" in word]
    assert not [word for word in named if word.rstrip('.,:"') != "/" + PLUGIN]


def test_the_plugins_manual_page_has_every_option(release, installed):
    page = gzip.decompress((installed.path / "usr/share/man/man5/mosquitto_iot_auth.5.gz").read_bytes()).decode()
    options = re.findall(r'^    \{"([a-z_]+)", parse_', (SOURCE / "plugin/options.c").read_text(encoding="utf-8"), re.M)
    assert len(options) > 10 and not [name for name in options if "\n.B %s\n" % name not in page]


# Installed


def test_installed_it_is_not_active_and_says_what_is_next(release, package):
    with roots.scratch(release, "run") as root:
        said = root.install(package)
        active = [path for path in (root.path / "etc/mosquitto").rglob("*.conf") if "iot" in path.read_text(encoding="utf-8")]
        assert not active
        assert "no broker uses the plugin yet. iot-auth setup --dry-run, or /usr/share/doc/mosquitto-iot-auth/docs/install.md, says how" in said
        assert (root.path / PLUGIN).exists() and (root.path / DOC / "docs/install.md").exists()


def test_the_installed_command_decides(installed):
    installed.file("tmp/rules", "ALLOW PUBLISH devices/${device_id}/#\n")
    words = ("iot-auth-check", "topic", "--rules", "/tmp/rules", "--var", "device_id=meter-1", "publish")
    assert installed.must(*words, "devices/meter-1/data").startswith("allow")
    denied = installed.run(*words, "devices/meter-2/data")
    assert (denied.returncode, denied.stdout.split()[0]) == (1, "deny:")


# In use


@pytest.mark.parametrize("user", ["mosquitto", "root"])
def test_the_example_configuration_admits_a_device_of_a_registered_ca(site, user):
    """Started as root, the broker becomes user mosquitto by itself."""
    if not site.registry.query("SELECT 1 FROM iot_auth.ca"):
        site.registry.script("register_ca", name="acme", pem_file="/tmp/device-ca.pem", auto_registration="true")
    with site.broker(user) as log:
        roots.wait_for_log(log, roots.RUNNING, "iot-auth: ready: 1 CAs registered")
        assert log().count("Opening ipv4 listen socket") == 2
        assert site.users_of_the_broker() == {"mosquitto"}
        assert site.publish("meter-" + user) == 0
        assert site.registry.query("SELECT status FROM iot_auth.device WHERE device_id = 'meter-%s'" % user) == "ACTIVE"


def test_the_passfile_is_what_admits_the_broker_to_the_database(site):
    site.root.must("chown", "root:root", "/etc/mosquitto/iot-auth.pgpass")
    with site.broker() as log:
        roots.wait_for_log(log, "authentication failed")
    site.root.must("chown", "mosquitto:mosquitto", "/etc/mosquitto/iot-auth.pgpass")


def test_a_plugin_that_the_brokers_user_cannot_read_stops_the_broker_and_is_named(site):
    site.root.must("chmod", "600", "/" + PLUGIN)
    ended = site.root.run("/usr/sbin/mosquitto", "-c", "/" + site.conf, user="mosquitto")
    site.root.must("chmod", "644", "/" + PLUGIN)
    assert ended.returncode != 0 and "/" + PLUGIN in ended.stdout + ended.stderr
    assert "ermission denied" in ended.stdout + ended.stderr


def test_a_key_that_the_brokers_user_cannot_read_stops_the_broker_and_is_named(site):
    site.root.must("chmod", "600", "/etc/mosquitto/certs/server.key")
    ended = site.root.run("/usr/sbin/mosquitto", "-c", "/" + site.conf, user="mosquitto")
    site.root.must("chmod", "640", "/etc/mosquitto/certs/server.key")
    assert ended.returncode != 0 and "/etc/mosquitto/certs/server.key" in ended.stdout + ended.stderr


def test_a_wrong_option_stops_the_broker_and_is_named(installed):
    installed.file("tmp/wrong.conf", "plugin /%s\nplugin_opt_db_konninfo x\n" % PLUGIN)
    ended = installed.run("mosquitto", "-c", "/tmp/wrong.conf")
    assert ended.returncode != 0
    assert "db_konninfo" in ended.stdout + ended.stderr


def test_without_a_database_the_broker_starts_and_says_so(site):
    text = site.text
    site.configure(text.replace("port=%d" % site.registry.port, "port=%d" % pg.free_port()) + "\n")
    site.configure(site.text.replace("\nplugin_opt_db", "\nplugin_opt_startup_wait_ms 200\nplugin_opt_db"))
    with site.broker() as log:
        roots.wait_for_log(log, "everything is refused until the database answers")
        roots.wait_for_log(log, roots.RUNNING)
        assert "onnection refused" in log()
    site.configure(text)
