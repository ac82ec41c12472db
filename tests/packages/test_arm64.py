# SPDX-License-Identifier: ISC
"""The cross-compiled package for arm64, under qemu: apt installs it beside arm64's Mosquitto; its command decides, and a
broker with its plugin admits a device."""

import contextlib
import shutil

import pytest

import roots

QEMU = "/tmp/qemu"


@pytest.fixture(scope="module", params=[name for name in ("bookworm", "trixie") if roots.is_built(name, "arm64")])
def arm64(request):
    """The cross root, where arm64's Mosquitto replaces amd64's, and a root of the same release with a registry."""
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(roots.scratch(request.param, "cross"))
        run = stack.enter_context(roots.scratch(request.param, "run"))
        root.install("mosquitto:arm64", roots.package(request.param, "arm64"))
        run.install(roots.package(request.param, "amd64"))
        shutil.copy("/usr/bin/qemu-aarch64-static", root.path / QEMU[1:])
        yield root, run


def test_the_command_decides(arm64):
    root, _ = arm64
    assert (root.path / "usr/bin/iot-auth-check").read_bytes()[18:20] == b"\xb7\x00"  # ELF's e_machine: AArch64
    root.file("tmp/rules", "ALLOW PUBLISH devices/${device_id}/#\n")
    words = (QEMU, "/usr/bin/iot-auth-check", "topic", "--rules", "/tmp/rules", "--var", "device_id=a", "publish")
    assert root.must(*words, "devices/a/data").startswith("allow")
    assert root.run(*words, "devices/b/data").returncode == 1


def test_a_broker_with_the_plugin_admits_a_device(arm64):
    root, run = arm64
    with roots.registry(run) as registry:
        site = roots.Site(root, registry)
        run.file("tmp/device-ca.pem", site.authority.pem)
        registry.script("register_ca", name="acme", pem_file="/tmp/device-ca.pem", auto_registration="true")
        with site.broker(before=[QEMU]) as log:
            roots.wait_for_log(log, roots.RUNNING, timeout=60)
            words = site.device("meter-1")
            for name in ("tmp/meter-1.pem", "tmp/meter-1.key", "etc/mosquitto/certs/server-ca.pem"):
                run.file(name, (root.path / name).read_text(encoding="ascii"))
            done = run.run("mosquitto_pub", *words, "-t", "devices/meter-1/data", "-m", "1")
            assert done.returncode == 0, done.stderr + log()
            assert registry.query("SELECT status FROM iot_auth.device WHERE device_id = 'meter-1'") == "ACTIVE"
