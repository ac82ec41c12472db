# SPDX-License-Identifier: ISC
"""What clients that come and go leave in the broker's memory: nothing that they would not leave without the plugin.

Each kind of client connects IOT_AUTH_SOAK times (default 20,000; scripts/soak: 200,000), under a client id of its own each
time, to a broker without the plugin and to one with it.  The growth of both may differ by IOT_AUTH_SOAK_KB (default 1,024).
"""

import os
import random
import subprocess

import pytest

from app_kit import Issuer
from client import CLOSED, V5, Raw

CONNECTS = int(os.environ.get("IOT_AUTH_SOAK", "20000"))
ALLOWED_KB = int(os.environ.get("IOT_AUTH_SOAK_KB", "1024"))
WARM_UP = 1000


def resident_kb(broker):
    with open("/proc/%d/status" % broker.process.pid, encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def random_id(prefix, length):
    return prefix + "%0*x" % (length, random.getrandbits(4 * length))


def growth_kb(broker, connect_once, connects):
    """The growth of the broker's memory while one client after the other connects, beyond the first few."""
    for _ in range(WARM_UP):
        connect_once(broker)
    before = resident_kb(broker)
    for _ in range(connects):
        connect_once(broker)
    return resident_kb(broker) - before


def admitted(broker, *arguments, **options):
    with Raw(broker.ports["plain"]) as client:
        assert client.connect(*arguments, **options) == 0
        client.send(b"\xe0\x00")


def refused(broker, *arguments, **options):
    with Raw(broker.ports["plain"]) as client:
        assert client.connect(*arguments, **options) in (CLOSED, 5, 0x85, 0x87)


@pytest.fixture
def passwords(tmp_path):
    path = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "legacy", "secret"], check=True, capture_output=True)
    return ["password_file %s" % path]


def compare(site, connect_once, with_plugin=None, lines=(), bare_lines=(), tenths=10, **bare_options):
    """`tenths` of the connects, and of the memory."""
    connects, allowed_kb = CONNECTS * tenths // 10, ALLOWED_KB * tenths // 10
    listeners = {"listeners": ("plain", "device"), "lines": lines}
    bare = site.broker(plugin=False, listeners=("plain", "device"), lines=[*lines, *bare_lines],
                       global_anonymous=not bare_lines, **bare_options)
    without = growth_kb(bare, connect_once[0], connects)
    bare.stop()
    broker = site.broker(options=with_plugin, **listeners)
    grown = growth_kb(broker, connect_once[-1], connects)
    assert grown - without <= allowed_kb, "%d KB with the plugin, %d KB without" % (grown, without)


def test_refused_clients_leave_nothing(site, passwords):
    """60,000 with long client ids: 1,601 MB instead of 23."""
    def connect(broker):
        refused(broker, random_id("x", 400), V5, username=random_id("user", 40), password="wrong")

    compare(site, [connect], lines=passwords)


def test_deferred_clients_that_the_password_file_refuses_leave_nothing(site, passwords):
    def connect(broker):
        refused(broker, random_id("x", 400), V5, username="legacy", password="wrong")

    compare(site, [connect], {"other_clients": "defer"}, lines=passwords)


@pytest.mark.parametrize("protocol", [4, V5])
def test_deferred_clients_that_come_and_go_leave_nothing(site, passwords, protocol):
    def connect(broker):
        admitted(broker, random_id("x", 60), protocol, username="legacy", password="secret")

    compare(site, [connect], {"other_clients": "defer"}, lines=passwords)


def test_apps_with_random_client_ids_and_no_session_expiry_leave_nothing(site):
    corp = Issuer().register(site, {"use": ["ALLOW PUBLISH,SUBSCRIBE,RECEIVE apps/${app_id}/#"]})
    token = corp.token(lifetime=7200)

    def connect(broker):
        admitted(broker, random_id("app:corp:dashboard/", 32), V5, username="x", password=token)

    compare(site, [connect], bare_lines=["allow_anonymous true"])


def test_an_app_that_reconnects_under_one_client_id_leaves_nothing(site):
    corp = Issuer().register(site, {"use": ["ALLOW PUBLISH,SUBSCRIBE,RECEIVE apps/${app_id}/#"]})
    token = corp.token(lifetime=7200)

    def connect(broker):
        admitted(broker, "app:corp:dashboard", V5, username="x", password=token)

    compare(site, [connect], bare_lines=["allow_anonymous true"])


@pytest.mark.skipif("IOT_AUTH_SOAK" not in os.environ, reason="as many full handshakes take minutes: scripts/soak")
def test_a_device_over_tls_that_comes_and_goes_without_session_expiry_leaves_nothing(site, tmp_path):
    """0.45 sessions stayed for each reconnect."""
    credential = site.fleet().issue("sensor-1")
    context = site.context(credential)

    def connect(broker):
        with Raw(broker.ports["device"], context) as client:
            assert client.connect("sensor-1", V5) == 0
            client.send(b"\xe0\x00")

    authorities = tmp_path / "authorities.pem"
    authorities.write_text(site.root.pem)
    compare(site, [connect], bare_lines=["allow_anonymous true"], trust=authorities, tenths=1)
