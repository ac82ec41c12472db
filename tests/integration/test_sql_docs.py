# SPDX-License-Identifier: ISC
"""docs/administration.md: every example on the page runs, in its order, as it stands."""

import contextlib
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
    with contextlib.closing(database.server.connect("postgres")) as connection, connection.cursor() as c:
        c.execute("DROP DATABASE registry")
    database.query("DROP ROLE alice")
    for role in ("broker_berlin", "registry_owner"):
        database.query(f"DROP ROLE {role}")


def statements(page, server):
    """The SQL blocks of docs/audit.md: the registry's, then the other server's, with this test's connection."""
    blocks = re.findall(r"^```sql\n(.*?)^```$", page, re.M | re.S)
    assert len(blocks) == 2
    connection = f"host={server.host} port={server.port} dbname=registry user=audit_stream"
    return blocks[0], re.sub(r"CONNECTION '[^']*'", f"CONNECTION '{connection}'", blocks[1])


def test_the_audit_streams_to_a_database_that_the_owner_does_not_own(tmp_path):
    page = (pg.ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    with pg.Server(settings={"wal_level": "logical"}) as registry, pg.Server(settings={"wal_level": "logical"}) as elsewhere:
        registry.run("CREATE DATABASE registry")
        database = pg.Database(registry, "registry")
        with contextlib.closing(database.superuser()) as connection:
            pg.migrate(connection)
        here, there = statements(page, registry)
        for statement in here.split(";\n"):
            if statement.strip():
                database.query(statement)
        elsewhere.run("CREATE DATABASE history")
        copy = pg.Database(elsewhere, "history")
        for statement in there.split(";\n"):
            if statement.strip():
                copy.query(statement)
        database.query("SELECT iot_auth.create_role('r')", user=pg.ADMIN)
        database.query("SELECT iot_auth.register_ca(%s, 'acme')", (pki.root().pem,), user=pg.ADMIN)
        database.query("SELECT iot_auth.set_ca_status('acme', 'REVOKED')", user=pg.ADMIN)
        history = "SELECT table_name, operation, key FROM iot_auth.audit ORDER BY audit_id"
        pg.wait_until(lambda: len(copy.query(history)) == 4 and copy.value("SELECT count(*) FROM iot_auth.event") == 1, 30, "the copied rows")
        assert copy.query(history) == database.query(history)
        database.query("DELETE FROM iot_auth.audit")
        database.query("SELECT iot_auth.create_role('s')", user=pg.ADMIN)
        pg.wait_until(lambda: len(copy.query(history)) == 5, 30, "the row after the deletion")
        copy.query("DROP SUBSCRIPTION iot_auth_history")


def test_every_script_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert [path.stem for path in pg.ADMIN_SCRIPTS.glob("*.sql") if path.stem not in text] == []
