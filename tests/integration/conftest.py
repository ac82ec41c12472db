"""Fixtures of the integration tests.  `site` is the one that most use: a registry, a PKI, brokers and clients."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
pytest.register_assert_rewrite("site_kit")

import broker as brokers  # noqa: E402
from site_kit import Site, TestPki  # noqa: E402


def pytest_generate_tests(metafunc):
    """Every test with a broker runs with each Mosquitto at hand."""
    if "broker_kind" in metafunc.fixturenames:
        metafunc.parametrize("broker_kind", brokers.kinds())


@pytest.fixture(scope="session")
def pki_of_listeners(tmp_path_factory):
    return TestPki(tmp_path_factory.mktemp("listeners"))


@pytest.fixture
def bare_site(broker_kind, tmp_path, pki_of_listeners):
    """A site whose brokers load no plugin."""
    site = Site(broker_kind, tmp_path, pki_of_listeners)
    yield site
    site.close()
