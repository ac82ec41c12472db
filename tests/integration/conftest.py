# SPDX-License-Identifier: ISC
"""Fixtures of the integration tests.  Most tests use `site`: a registry, a PKI, brokers and clients."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
pytest.register_assert_rewrite("site_kit", "outage_kit")

import broker as brokers  # noqa: E402
import pg  # noqa: E402
from outage_kit import OutageSite  # noqa: E402
from site_kit import Registry, Site, TestPki  # noqa: E402
from sql_kit import cursor  # noqa: E402


def pytest_generate_tests(metafunc):
    """Every test with a broker runs with each available Mosquitto."""
    if "broker_kind" in metafunc.fixturenames:
        metafunc.parametrize("broker_kind", brokers.kinds())
    if "broker_kind_of_module" in metafunc.fixturenames:
        metafunc.parametrize("broker_kind_of_module", brokers.kinds(), scope="module")


@pytest.fixture(scope="session")
def pki_of_listeners(tmp_path_factory):
    return TestPki(tmp_path_factory.mktemp("listeners"))


@pytest.fixture(scope="session")
def postgres():
    """One PostgreSQL for all tests of a run; each test has a database of its own in it."""
    with pg.Server() as server:
        yield server


@pytest.fixture
def database(postgres):
    """A fresh copy of the migrated database."""
    fresh = postgres.create_database()
    yield fresh
    fresh.drop()


@pytest.fixture
def root(database):
    """The superuser's connection to a database of the test's own; `admin` and `broker` likewise."""
    with cursor(database, pg.SUPERUSER) as c:
        yield c


@pytest.fixture
def admin(database):
    with cursor(database, pg.ADMIN) as c:
        yield c


@pytest.fixture
def broker(database):
    with cursor(database, pg.BROKER) as c:
        yield c


@pytest.fixture(scope="session")
def plugin():
    """The plugin of this build."""
    path = brokers.plugin_path()
    if not path.exists():
        pytest.fail("there is no plugin at %s" % path)
    return path


@pytest.fixture
def bare_site(broker_kind, tmp_path, pki_of_listeners):
    """A site whose brokers load no plugin."""
    site = Site(broker_kind, tmp_path, pki_of_listeners)
    yield site
    site.close()


@pytest.fixture
def site(plugin, broker_kind, tmp_path, pki_of_listeners, database):
    """A site whose brokers load the plugin, with a registry of its own."""
    site = Site(broker_kind, tmp_path, pki_of_listeners, Registry(database))
    yield site
    site.close()


@pytest.fixture(scope="module")
def site_of_module(plugin, broker_kind_of_module, tmp_path_factory, pki_of_listeners, postgres):
    """A site that the tests of one file share, for those that start no broker of their own: an authority for each test
    keeps them apart."""
    database = postgres.create_database()
    site = Site(broker_kind_of_module, tmp_path_factory.mktemp("site"), pki_of_listeners, Registry(database))
    yield site
    site.close()
    database.drop()


@pytest.fixture(scope="module")
def own_postgres():
    """A PostgreSQL that the tests of one file may stop, kill and limit.  Committed data is on the disk (fsync)."""
    with pg.Server(fsync=True, settings={"max_connections": 30}) as server:
        yield server


@pytest.fixture
def outage(plugin, broker_kind, tmp_path, pki_of_listeners, own_postgres):
    """A site whose registry can be hidden or broken while administrators still work on it."""
    site = OutageSite(broker_kind, tmp_path, pki_of_listeners, own_postgres)
    yield site
    site.close()
