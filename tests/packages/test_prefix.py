# SPDX-License-Identifier: ISC
"""`cmake --install` into a prefix, on trixie, as on any Linux without the package."""

import contextlib

import pytest

import roots
from roots import SOURCE, must

PREFIX = "/opt/iot-auth"


@pytest.fixture(scope="module")
def built():
    """trixie's root for building, with the tree built and installed into the prefix, by an ordinary user's means alone."""
    if "trixie" not in roots.releases():
        pytest.skip("there is no root of trixie")
    with roots.scratch("trixie", "build") as root:
        copy = "git ls-files -z | while IFS= read -r -d '' f; do [ ! -e \"$f\" ] || printf '%s\\0' \"$f\"; done | tar --null -T - -c"
        must("bash", "-euc", "mkdir -p '%s/build/tree' && { %s; } | tar -x -C '%s/build/tree'" % (root.path, copy, root.path), cwd=SOURCE)
        cache = root.path / "var/cache/ccache"
        cache.mkdir(exist_ok=True)
        must("mount", "--bind", "/var/cache/mosquitto-iot-auth/ccache", str(cache))
        ccache = ["env", "CCACHE_DIR=/var/cache/ccache", "CMAKE_C_COMPILER_LAUNCHER=ccache"]
        root.must(*ccache, "cmake", "-G", "Ninja", "-S", "/build/tree", "-B", "/build/made", "-DIA_TESTS=OFF")
        root.must(*ccache, "cmake", "--build", "/build/made")
        root.must("cmake", "--install", "/build/made", "--prefix", PREFIX)
        yield root


def test_everything_is_below_the_prefix(built):
    inside = {str(path.relative_to(built.path / PREFIX[1:])) for path in (built.path / PREFIX[1:]).rglob("*") if path.is_file()}
    expected = {"bin/iot-auth", "bin/iot-auth-check", "lib/mosquitto/mosquitto_iot_auth.so", "share/mosquitto-iot-auth/sql/admin/register_ca.sql",
                "share/doc/mosquitto-iot-auth/examples/mosquitto.conf", "share/man/man1/iot-auth-check.1", "share/man/man1/iot-auth-psk.1"}
    assert expected <= inside


def test_a_broker_loads_the_plugin_from_there(built):
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(roots.scratch("trixie", "run"))
        run.install(roots.package("trixie", "amd64"))
        registry = stack.enter_context(roots.registry(run))
        site = roots.Site(built, registry, PREFIX + "/lib/mosquitto/mosquitto_iot_auth.so",
                          PREFIX[1:] + "/share/doc/mosquitto-iot-auth/examples/mosquitto.conf")
        log = stack.enter_context(site.broker())
        roots.wait_for_log(log, roots.RUNNING, "iot-auth: ready: 0 CAs")
