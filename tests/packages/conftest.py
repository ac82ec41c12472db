# SPDX-License-Identifier: ISC
"""Fixtures for the tests of the Debian packages.  scripts/test-packages runs them: it builds the packages and the roots, and
starts pytest in a mount namespace of its own, so that no scratch root outlives it."""

import os
import pathlib
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(SOURCE / "tests/integration"), os.path.dirname(__file__)]
pytest.register_assert_rewrite("roots")

import roots  # noqa: E402


def pytest_collection_modifyitems(items):
    if os.environ.get("IOT_AUTH_OWN_MOUNTS") != "yes":
        for item in items:
            item.add_marker(pytest.mark.skip(reason="scripts/test-packages runs these tests"))


@pytest.fixture(scope="module", params=roots.releases())
def release(request):
    return request.param


@pytest.fixture(scope="module")
def package(release):
    return roots.package(release, "amd64")


@pytest.fixture(scope="module")
def installed(release, package):
    """The release with Mosquitto, and with the package, which apt has installed without a network."""
    with roots.scratch(release, "run") as root:
        root.install(package)
        yield root


@pytest.fixture(scope="module")
def site(installed):
    """The same with a registry, certificates and a configuration that follows docs/install.md."""
    with roots.registry(installed) as registry:
        yield roots.Site(installed, registry)
