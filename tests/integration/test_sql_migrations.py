# SPDX-License-Identifier: ISC
"""The migrations: append-only, skipped without a lock where applied, refused in a schema that another role prepared."""

import contextlib
import re
import subprocess

import pg
import pki
import psycopg2
import pytest
from sql_kit import Cursor, ca_pem, cursor, register

LAST = int(pg.migrations()[-1].name[:4])


@pytest.fixture
def role(postgres):
    """Makes roles and drops them at the end."""
    made = []

    def create(name, options=""):
        with contextlib.closing(postgres.connect("postgres")) as connection:
            Cursor(connection).all(f"DROP ROLE IF EXISTS {name}")
            Cursor(connection).all(f"CREATE ROLE {name} LOGIN {options}")
        made.append(name)
        return name

    yield create
    with contextlib.closing(postgres.connect("postgres")) as connection:
        for name in made:
            Cursor(connection).all(f"DROP ROLE {name}")


@pytest.fixture
def empty(postgres, role):  # its objects go before their owners
    """A database without the schema."""
    database = postgres.create_database(migrated=False)
    yield database
    database.drop()


def apply(database, first=1, last=LAST, user=pg.SUPERUSER):
    """Apply the migrations of these numbers, as psql would."""
    with contextlib.closing(database.connect(user)) as connection, connection.cursor() as c:
        for path in pg.migrations():
            if first <= int(path.name[:4]) <= last:
                c.execute(path.read_text(encoding="utf-8"))


def refused(database, **which):
    with pytest.raises(psycopg2.Error) as caught:
        apply(database, **which)
    return caught.value.diag


def dump(database, *options):
    """The schema as text, without what differs from one dump to the next."""
    text = subprocess.run([database.server.bin / "pg_dump", "-n", "iot_auth", *options, database.name],
                          env=database.environment(), capture_output=True, text=True, check=True).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.M)


def tables(database):
    return [row[0] for row in database.query("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'iot_auth'::regnamespace"
                                             " AND relkind IN ('r', 'p') AND relname <> 'schema_version' AND NOT relispartition")]


# Append-only


def test_each_migration_bumps_the_version(database):
    versions = [row[0] for row in database.query("SELECT version FROM iot_auth.schema_version ORDER BY version")]
    assert versions == [int(path.name[:4]) for path in pg.migrations()]


def test_every_migration_begins_with_the_same_guard():
    guards = set()
    for path in pg.migrations():
        text = path.read_text(encoding="utf-8")
        assert f"    this int := {int(path.name[:4])};\n" in text, path.name
        guards.add(re.sub(r"this int := \d+;", "", text[text.index("BEGIN;\n"):text.index("EXECUTE $migration$")]))
        assert text.endswith(text[text.rindex("$migration$;"):]) and text.count("\nCOMMIT;\n") == 1, path.name
    assert len(guards) == 1


def test_applying_the_migrations_again_changes_nothing(database):
    with cursor(database, pg.ADMIN) as admin:
        admin.call("register_ca", ca_pem(), "acme")
        admin.call("drop_role", "device")
    before = dump(database)
    apply(database)
    assert dump(database) == before
    assert database.query("SELECT role FROM iot_auth.role WHERE role = 'device'") == []  # the seed does not come back


def test_applying_the_migrations_again_waits_for_no_lock(database):
    """Re-applied behind a running dump they queued for their locks, and every broker queued behind them."""
    with contextlib.closing(database.superuser()) as connection:
        connection.autocommit = False
        Cursor(connection).all(f"LOCK TABLE {', '.join(tables(database))} IN ACCESS EXCLUSIVE MODE")
        with contextlib.closing(database.connect(options="-c statement_timeout=5s")) as other, other.cursor() as c:
            for path in pg.migrations():
                c.execute(path.read_text(encoding="utf-8"))
        connection.rollback()


def test_a_migration_refuses_to_be_applied_out_of_order(empty):
    assert "cannot be applied to schema iot_auth at version 0" in refused(empty, first=2).message_primary
    apply(empty, last=2)
    diagnosis = refused(empty, first=4)
    assert diagnosis.message_primary == "migration 4 cannot be applied to schema iot_auth at version 2"
    assert diagnosis.message_hint == "Apply sql/migrations/*.sql in name order."
    apply(empty)


def test_two_migrations_at_once_do_not_disturb_each_other(empty):
    text = "".join(path.read_text(encoding="utf-8") for path in pg.migrations())
    psql = [empty.server.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"]
    runs = [subprocess.Popen(psql, env=empty.environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for run in runs:
        run.stdin.write(text)
        run.stdin.close()
    errors = [run.stderr.read() for run in runs]
    assert [run.wait(60) for run in runs] == [0, 0], errors
    assert empty.value("SELECT count(*) FROM iot_auth.role_rule WHERE role = 'device'") == 1


@pytest.mark.parametrize("setting", ["standard_conforming_strings = off", "search_path = public", "check_function_bodies = off",
                                     "default_transaction_isolation = serializable", "row_security = off", "quote_all_identifiers = on"])
def test_the_settings_of_the_session_make_no_difference(empty, database, setting):
    with contextlib.closing(empty.superuser()) as connection, connection.cursor() as c:
        c.execute(f"SET {setting}; SET escape_string_warning = off")
        for path in pg.migrations():
            c.execute(path.read_text(encoding="utf-8"))
    assert dump(empty, "--schema-only") == dump(database, "--schema-only")


def test_a_database_that_is_not_utf8_is_refused_with_the_remedy(postgres):
    with contextlib.closing(postgres.connect("postgres")) as connection:
        Cursor(connection).all("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    database = pg.Database(postgres, "latin")
    try:
        diagnosis = refused(database)
        assert "requires a database with encoding UTF8" in diagnosis.message_primary and "UTF8" in diagnosis.message_hint
    finally:
        database.drop()


# Owners


TRAP = ("CREATE FUNCTION iot_auth.trap() RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN 0; END $$")
TRIGGER = ("CREATE FUNCTION iot_auth.trap() RETURNS trigger LANGUAGE plpgsql AS"
           " $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN NEW; END $$")


@pytest.mark.parametrize("prepared", [
    [],
    [TRAP, "CREATE VIEW iot_auth.schema_version AS SELECT 0 AS version WHERE iot_auth.trap() = 1"],
    [TRIGGER, "CREATE TABLE iot_auth.schema_version (version int PRIMARY KEY, applied_at timestamptz)",
     "CREATE TRIGGER trap BEFORE INSERT ON iot_auth.schema_version FOR EACH ROW EXECUTE FUNCTION iot_auth.trap()"],
    [TRIGGER, "CREATE TABLE iot_auth.role (role text PRIMARY KEY, created_at timestamptz)",
     "CREATE TRIGGER trap BEFORE INSERT ON iot_auth.role FOR EACH ROW EXECUTE FUNCTION iot_auth.trap()"],
], ids=["schema", "view", "version", "role"])
def test_a_schema_that_another_role_made_first_is_refused(empty, role, prepared):
    """Its trigger ran with the rights of the superuser who applied the migrations."""
    mallory = role("mallory")
    empty.query(f"GRANT CREATE ON DATABASE {empty.name} TO mallory")
    for statement in ["CREATE SCHEMA iot_auth", *prepared]:
        empty.query(statement, user=mallory)
    for first in range(1, LAST + 1):
        diagnosis = refused(empty, first=first, last=first)
        assert "belongs to role mallory, not to postgres" in diagnosis.message_primary and diagnosis.sqlstate == "42501"
    assert not empty.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'")


@pytest.mark.parametrize("planted", [
    "CREATE FUNCTION iot_auth.value_problem(v text) RETURNS text LANGUAGE sql RETURN NULL",
    "CREATE TABLE iot_auth.ca (ca_id int)", "CREATE VIEW iot_auth.broker_ca AS SELECT 1 AS one", "CREATE SEQUENCE iot_auth.numbers",
    "CREATE DOMAIN iot_auth.word AS text", "CREATE OPERATOR iot_auth.<<< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)",
])
def test_an_object_of_another_role_in_the_schema_is_refused(empty, role, planted):
    mallory = role("mallory")
    empty.query("CREATE SCHEMA iot_auth")
    empty.query("GRANT USAGE, CREATE ON SCHEMA iot_auth TO mallory")
    empty.query(planted, user=mallory)
    assert "belongs to role mallory" in refused(empty).message_primary


def test_a_trigger_function_of_another_role_is_refused(database, role):
    mallory = role("mallory")
    database.query("GRANT CREATE ON SCHEMA public TO mallory")
    database.query(TRIGGER.replace("iot_auth.", "public."), user=mallory)
    database.query("GRANT USAGE ON SCHEMA iot_auth TO mallory")
    database.query("GRANT TRIGGER ON iot_auth.role TO mallory")
    database.query("CREATE TRIGGER trap BEFORE INSERT ON iot_auth.role FOR EACH ROW EXECUTE FUNCTION public.trap()", user=mallory)
    assert "belongs to role mallory" in refused(database).message_primary
    database.query("DROP OWNED BY mallory CASCADE")


def test_a_superuser_does_not_take_over_a_schema_of_its_owner(empty, role):
    landlord = role("landlord", "CREATEROLE")
    empty.query(f"ALTER DATABASE {empty.name} OWNER TO landlord")
    apply(empty, user=landlord)
    assert "belongs to role landlord" in refused(empty).message_primary
    with contextlib.closing(empty.superuser()) as connection, connection.cursor() as c:
        c.execute("SET ROLE landlord")
        for path in pg.migrations():
            c.execute(path.read_text(encoding="utf-8"))


def test_a_database_owner_with_createrole_can_apply_the_migrations(empty, role):
    """As on managed services, where nobody is superuser."""
    landlord = role("landlord", "CREATEROLE")
    empty.query(f"ALTER DATABASE {empty.name} OWNER TO landlord")
    apply(empty, user=landlord)
    apply(empty, user=landlord)
    with cursor(empty, landlord) as c:
        ca_id = c.call("register_ca", ca_pem(), "acme", auto_registration=True)
    with cursor(empty, pg.BROKER) as broker:
        assert register(broker, b"\x01" * 32, "d1", ca_id)["outcome"] == "registered"


# Upgrades


def fill(database):
    """A registry in use, as 0006 knows it, with values that later migrations do not take."""
    root = pki.root("upgrade")
    leaf = root.issue("d1")
    with cursor(database, pg.SUPERUSER) as c:
        c.all("INSERT INTO iot_auth.ca (name, pem, auto_registration) VALUES ('acme', %s, true)", " ".join(root.pem.split("\n")))
        c.all("INSERT INTO iot_auth.crl (ca_id, pem) SELECT ca_id, %s FROM iot_auth.ca", root.crl().replace("\n", "\r"))
        c.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'd' || i, ca_id FROM iot_auth.ca, generate_series(1, 3) i")
        c.all("INSERT INTO iot_auth.device (device_id, ca_id, attributes) SELECT 'large', ca_id, jsonb_build_object('a', repeat('x', 100000)) FROM iot_auth.ca")
        c.all("INSERT INTO iot_auth.device_certificate (device_id, ca_id, pem) SELECT 'd1', ca_id, %s FROM iot_auth.ca", leaf.pem.replace("\n", "\n\n"))
        c.all("INSERT INTO iot_auth.oauth_issuer (name, issuer, audience) VALUES ('corp', 'https://id/ ', '{a}')")
        c.all("INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) VALUES ('device', 'DENY', '{PUBLISH}', '%%u/x')")
        c.all("INSERT INTO iot_auth.event (at, kind, principal, detail) VALUES (now() - interval '400 days', 'device/refused', 'd1', '{}'),"
              " (now(), 'session/ended', 'd1', NULL), ('2999-01-01', 'device/refused', 'd2', '{}')")
        c.all("INSERT INTO iot_auth.node (node_name) VALUES ('n1')")
    return root, leaf


def test_an_upgraded_schema_equals_a_fresh_one_and_keeps_its_data(empty, database):
    apply(empty, last=6)
    root, leaf = fill(empty)
    apply(empty)
    assert dump(empty, "--schema-only") == dump(database, "--schema-only")
    with cursor(empty, pg.ADMIN) as admin:
        assert admin.all("SELECT kind, principal, at <= now() FROM iot_auth.event ORDER BY event_id") == [
            ("device/refused", "d1", True), ("session/ended", "d1", True), ("device/refused", "d2", True)]
        assert admin.one("SELECT pem FROM iot_auth.ca") == root.pem
        assert admin.one("SELECT name_key_hash IS NOT NULL FROM iot_auth.ca")
        assert admin.one("SELECT pem FROM iot_auth.device_certificate") == leaf.pem
        assert admin.one("SELECT pem LIKE '%%LIST%%' OR position(chr(13) IN pem) > 0 FROM iot_auth.crl") is False
        for device in ("d1", "large"):
            admin.call("set_device_status", device, "REVOKED")
        admin.call("set_issuer_status", "corp", "INACTIVE")
        admin.call("set_ca_status", "acme", "REVOKED")
        assert admin.one("SELECT max(event_id) FROM iot_auth.event") == 6
        assert admin.one("SELECT count(*) FROM iot_auth.audit") == 4
    with cursor(empty, pg.BROKER) as broker:
        assert len(broker.all("SELECT * FROM iot_auth.broker_event")) == 3


@pytest.mark.parametrize("version", range(6, LAST))
def test_an_upgrade_behind_a_dump_gives_up_soon_and_changes_nothing(empty, version):
    """Every broker would queue behind the lock that the migration waits for."""
    apply(empty, last=version)
    before = dump(empty)
    with contextlib.closing(empty.superuser()) as connection:
        connection.autocommit = False
        Cursor(connection).all(f"LOCK TABLE {', '.join(tables(empty))} IN ACCESS SHARE MODE")
        try:
            apply(empty, last=version + 1)
            took_no_lock = True
        except psycopg2.errors.LockNotAvailable as error:
            took_no_lock = False
            assert error.diag.message_primary == (
                f"migration {version + 1} was not applied: a table of schema iot_auth is locked by another session")
            assert "again when that session" in error.diag.message_hint
        connection.rollback()
    assert took_no_lock or dump(empty) == before
    apply(empty)
