# SPDX-License-Identifier: ISC
"""The connection to PostgreSQL: verified TLS wherever the database is not local, and the log says what is in use.

`LOCALHOST` is this machine to the resolver, but not the word that the plugin takes for it."""

import os
import pwd

import pytest

import pg
import pki
from broker import wait_until
from site_kit import Registry, Site

FAR = "LOCALHOST"


@pytest.fixture(scope="module")
def authority():
    return pki.root("database authority")


@pytest.fixture(scope="module")
def certificates(authority, tmp_path_factory):
    """The CAs that the broker may be configured to trust."""
    folder = tmp_path_factory.mktemp("database-tls")
    (folder / "ca.pem").write_text(authority.pem)
    (folder / "other-ca.pem").write_text(pki.root("another authority").pem)
    return folder


def give_certificate(server, authority):
    """Before it starts."""
    good = authority.issue(FAR, eku=[pki.SERVER_AUTH], san_dns=[FAR])
    (server.base / "server.pem").write_text(good.pem)
    key = server.base / "server.key"
    key.write_text(good.key_pem if isinstance(good.key_pem, str) else good.key_pem.decode())
    key.chmod(0o600)
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        for name in ("server.pem", "server.key"):
            os.chown(server.base / name, account.pw_uid, account.pw_gid)
    with open(server.data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write("ssl = on\nssl_cert_file = '%s/server.pem'\nssl_key_file = '%s/server.key'\n"
                   "listen_addresses = '127.0.0.1,::1'\n" % (server.base, server.base))


@pytest.fixture(scope="module")
def tls_server(authority):
    server = pg.Server()
    give_certificate(server, authority)
    with server:
        yield server


@pytest.fixture
def far_site(plugin, broker_kind, tmp_path, pki_of_listeners, tls_server):
    database = tls_server.create_database()
    site = Site(broker_kind, tmp_path, pki_of_listeners, Registry(database))
    yield site
    site.close()
    database.drop()


def start(site, insecure="off", **options):
    conninfo = site.registry.database.conninfo(**options)
    return site.broker(options={"db_conninfo": conninfo, "insecure_db_conninfo": insecure, "startup_wait_ms": 3000})


def database_tls(site):
    """What the newest node says of its connection."""
    statement = "SELECT database_tls FROM iot_auth.node ORDER BY last_seen DESC LIMIT 1"
    return wait_until(lambda: site.registry.value(statement), what="a heartbeat")


def test_a_far_database_is_reached_by_verified_tls(far_site, certificates):
    acme = far_site.fleet()
    broker = start(far_site, host=FAR, sslrootcert=certificates / "ca.pem")
    far_site.connect(broker, acme.issue("sensor-1"))
    assert "(tls verified)" in broker.log()
    assert database_tls(far_site) == "verified"


@pytest.mark.parametrize("options", [
    {"host": FAR, "sslrootcert": "other-ca.pem"},
    {"host": "ip6-loopback", "sslrootcert": "ca.pem"},
], ids=["another authority", "another name"])
def test_a_far_database_that_does_not_prove_itself_is_not_used(far_site, certificates, options):
    acme = far_site.fleet()
    options["sslrootcert"] = certificates / options["sslrootcert"]
    broker = start(far_site, **options)
    wait_until(lambda: "no database" in broker.log(), what="report of the refusal")
    assert far_site.try_connect(broker, acme.issue("sensor-1")) != 0
    assert "connected to PostgreSQL" not in broker.log()


def test_the_word_for_it_admits_less_and_the_log_says_what(far_site, certificates):
    acme = far_site.fleet()
    for mode, text in (("require", "(tls unverified)"), ("disable", "(CLEAR)")):
        broker = start(far_site, "on", host=FAR, sslmode=mode)
        far_site.connect(broker, acme.issue("sensor-1"))
        assert text in broker.log()
        assert database_tls(far_site) == {"require": "unverified", "disable": "clear"}[mode]
        broker.stop()


def test_a_local_database_needs_no_tls(far_site):
    acme = far_site.fleet()
    for host in ("127.0.0.1", "localhost", far_site.registry.database.server.base):
        broker = start(far_site, host=host)
        far_site.connect(broker, acme.issue("sensor-1"))
        assert "(local)" in broker.log()
        broker.stop()
