# SPDX-License-Identifier: ISC
"""The package is upgraded from an older one under a running broker, removed and purged."""

import re

import pytest

import roots
from roots import PLUGIN, must


@pytest.fixture
def older(package, tmp_path):
    """The package as it would have been before: an older version, whose plugin and pages differ."""
    must("dpkg-deb", "-R", str(package), str(tmp_path / "tree"))
    control = tmp_path / "tree/DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 0.0.9-1", control.read_text(encoding="utf-8"), flags=re.M), encoding="utf-8")
    (tmp_path / "tree/usr/share/doc/mosquitto-iot-auth/old-page.md").write_text("old\n", encoding="ascii")
    made = tmp_path / "mosquitto-iot-auth_0.0.9-1_amd64.deb"
    must("dpkg-deb", "--root-owner-group", "-b", str(tmp_path / "tree"), str(made))
    return made


def left(root):
    """Files whose names are the package's, but those that dpkg and apt keep about it."""
    found = [path for folder in ("usr", "etc", "var/lib", "opt") for path in (root.path / folder).rglob("*iot[-_]auth*")]
    return [str(path.relative_to(root.path)) for path in found if "dpkg" not in path.parts and "apt" not in path.parts]


def test_a_running_broker_serves_through_the_upgrade_and_uses_the_new_plugin_after_a_restart(release, package, older):
    with roots.scratch(release, "run") as root:
        root.install(older)
        with roots.registry(root) as registry:
            site = roots.Site(root, registry)
            registry.script("register_ca", name="acme", pem_file="/tmp/device-ca.pem", auto_registration="true")
            with site.broker() as log:
                roots.wait_for_log(log, roots.RUNNING)
                said = root.install(package)
                assert "a running broker still uses version 0.0.9-1. To load the new one: systemctl restart mosquitto" in said
                assert site.publish("meter-1") == 0
            registry.migrate()  # as docs/install.md says, harmless
            with site.broker() as log:
                roots.wait_for_log(log, roots.RUNNING)
                assert site.publish("meter-1") == 0
        assert not (root.path / roots.DOC / "old-page.md").exists()
        check_removal(root, package)


def check_removal(root, package):
    """Removed and purged, the package leaves nothing of its own, and touches nothing of the administrator's."""
    said = root.must("apt-get", "remove", "-qy", "mosquitto-iot-auth")
    assert "the broker's configuration still loads the plugin" in said and "/etc/mosquitto/iot-auth.conf" in said
    assert not (root.path / PLUGIN).exists()
    root.install(package)
    root.must("apt-get", "purge", "-qy", "mosquitto-iot-auth")
    assert sorted(left(root)) == ["etc/mosquitto/iot-auth.conf", "etc/mosquitto/iot-auth.pgpass"]
