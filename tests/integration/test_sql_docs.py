# SPDX-License-Identifier: ISC
"""docs/administration.md: every example on the page runs, in its order, as it stands."""

import re
import subprocess

import pg
import pki

PAGE = pg.ROOT / "docs" / "administration.md"


def examples():
    return re.findall(r"^```(sql|sh)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def files(folder):
    """What the page takes for granted."""
    old, new = pki.root("acme"), pki.root("acme 2")
    leaf = old.issue("sensor-17")
    for name, text in (("acme-ca", old.pem), ("acme-2-ca", new.pem), ("sensor-17", leaf.pem), ("acme.crl", old.crl(leaf)),
                       ("sensor-17-new", old.issue("sensor-17").pem)):
        (folder / f"{name}.pem").write_text(text)
    (folder / "sql").symlink_to(pg.ROOT / "sql")


def test_every_example_of_the_administration_page_works(database, tmp_path):
    files(tmp_path)
    environment = {**database.environment(), "PATH": f"{database.server.bin}:/usr/bin:/bin"}
    assert len(examples()) > 15
    for language, text in examples():
        command = ["bash", "-e", "-c", text] if language == "sh" else ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), text
    assert database.query("SELECT status, tenant FROM iot_auth.device") == [("ACTIVE", "hamburg")]
    assert database.query("SELECT status FROM iot_auth.device_certificate ORDER BY created_at") == [("REVOKED",), ("ACTIVE",)]
    database.query("DROP ROLE alice")


def test_every_script_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert [path.stem for path in pg.ADMIN_SCRIPTS.glob("*.sql") if path.stem not in text] == []
