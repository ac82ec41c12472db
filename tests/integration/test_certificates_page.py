# SPDX-License-Identifier: ISC
"""docs/certificates.md: its openssl commands, run as they stand, make certificates with which a device registers and renews."""

import pathlib
import re
import subprocess
import types

import pytest

from client import CLOSED

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "certificates.md"


def credential(folder, certificate):
    """What site.connect takes, of files that the page made."""
    return types.SimpleNamespace(files=lambda _folder: (str(folder / certificate), str(folder / "device.key")))


@pytest.fixture
def made(tmp_path):
    """A folder in which every block of commands has been run, in the page's order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert len(blocks) == 3
    for block in blocks:
        done = subprocess.run(["bash", "-euc", block], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
    return tmp_path


def test_a_device_registers_with_the_pages_certificates_and_renews(site, made):
    site.registry.register_ca(pem=(made / "factory.pem").read_text(encoding="ascii"), name="factory-1", auto_registration=True)
    broker = site.broker()
    site.connect(broker, credential(made, "device.pem"), "sensor-1").disconnect()
    site.connect(broker, credential(made, "renewed.pem"), "sensor-1").disconnect()
    assert site.registry.device_status("sensor-1") == "ACTIVE"
    assert len(site.registry.certificates("sensor-1")) == 2


def test_the_root_is_not_what_is_registered(site, made):
    """The page says so: with the root alone, a device that sends no intermediate is refused."""
    site.registry.register_ca(pem=(made / "root.pem").read_text(encoding="ascii"), name="root", auto_registration=True)
    site.assert_refused("ca_unknown", site.broker(), credential(made, "device.pem"), "sensor-1", codes=CLOSED)
