# SPDX-License-Identifier: ISC
"""History: the audit, events and their partitions, what is kept and who may touch it."""

import contextlib
import time

import pg
import pki
import pytest
from sql_kit import Cursor, ca_pem, register


def audit(c):
    """(table, operation, key, before, after) of all entries, oldest first."""
    return c.all("SELECT table_name, operation, key, before, after FROM iot_auth.audit ORDER BY audit_id")


def last(c):
    return audit(c)[-1]


# The audit


def test_the_audit_says_who_from_where_and_what(database, admin):
    """SET ROLE does not hide who has logged in."""
    database.query("CREATE ROLE alice LOGIN IN ROLE iot_auth_admin")
    try:
        with contextlib.closing(database.connect("alice", application_name="console")) as connection:
            c = Cursor(connection)
            c.all("SET ROLE iot_auth_admin")
            c.call("add_rule", "device", "ALLOW", ["PUBLISH"], "#")
        row = admin.all("SELECT who, application, address, table_name, operation, before, after ->> 'topic_filter', at > now() - interval '1 min'"
                        " FROM iot_auth.audit")
        assert row == [("alice", "console", "127.0.0.1", "role_rule", "INSERT", None, "#", True)]
    finally:
        database.query("DROP ROLE alice")


def test_the_audit_shows_changed_columns_only_before_and_after(admin):
    root = pki.root()
    admin.call("register_ca", root.pem, "acme", auto_registration=True)
    table, operation, key, before, after = audit(admin)[0]
    assert (table, operation, key, before) == ("ca", "INSERT", "acme", None)
    assert after["fingerprint"] == root.fingerprint.hex() and after["auto_registration"] is True and "pem" not in after
    admin.call("set_ca_status", "acme", "INACTIVE")
    assert last(admin) == ("ca", "UPDATE", "acme", {"status": "ACTIVE"}, {"status": "INACTIVE"})
    admin.call("set_ca_status", "acme", "INACTIVE")
    admin.all("UPDATE iot_auth.ca SET max_devices = max_devices")
    assert last(admin) == ("ca", "UPDATE", "acme", {"status": "ACTIVE"}, {"status": "INACTIVE"})
    admin.all("UPDATE iot_auth.ca SET max_devices = 7")
    assert last(admin)[3:] == ({"max_devices": None}, {"max_devices": 7})


@pytest.mark.parametrize("statement, table, operation, key", [
    ("SELECT iot_auth.add_crl('acme', %(crl)s)", "crl", "INSERT", "acme"),
    ("SELECT iot_auth.register_device('d2', %(leaf)s, 'acme')", "device_certificate", "INSERT", "%(leaf_fp)s"),
    ("SELECT iot_auth.set_device_status('d1', 'REVOKED')", "device", "UPDATE", "d1"),
    ("UPDATE iot_auth.device SET attributes = '{\"a\": 1}'", "device", "UPDATE", "d1"),
    ("UPDATE iot_auth.device_certificate SET status = 'REVOKED'", "device_certificate", "UPDATE", None),
    ("DELETE FROM iot_auth.device", "device", "DELETE", "d1"),
    ("DELETE FROM iot_auth.device_certificate", "device_certificate", "DELETE", None),
    ("SELECT iot_auth.create_role('r')", "role", "INSERT", "r"),
    ("SELECT iot_auth.add_rule('device', 'DENY', '{PUBLISH}', '#')", "role_rule", "INSERT", "4"),
    ("SELECT iot_auth.remove_rule(1)", "role_rule", "DELETE", "1"),
    ("SELECT iot_auth.revoke_ca_role('acme', 'device')", "ca_role", "DELETE", "acme"),
    ("SELECT iot_auth.grant_device_role('d1', 'device')", "device_role", "INSERT", "d1"),
    ("SELECT iot_auth.set_issuer_status('corp', 'INACTIVE')", "oauth_issuer", "UPDATE", "corp"),
    ("UPDATE iot_auth.oauth_issuer SET audience = '{b}'", "oauth_issuer", "UPDATE", "corp"),
    ("SELECT iot_auth.map_scope('corp', 's', 'device')", "scope_role", "INSERT", "corp"),
    ("SELECT iot_auth.deny_ip('10.0.0.0/8')", "ip_rule", "INSERT", "1"),
    ("INSERT INTO iot_auth.reserved_name VALUES ('bridge')", "reserved_name", "INSERT", "bridge"),
    ("SELECT iot_auth.release_client_id('x')", "client_id_release", "INSERT", "x"),
    ("TRUNCATE iot_auth.ip_rule", "ip_rule", "TRUNCATE", None),
    ("DELETE FROM iot_auth.node", "node", "DELETE", "n1"),
])
def test_every_change_of_the_configuration_is_audited(database, admin, broker, statement, table, operation, key):
    root = pki.root()
    leaf = root.issue("d2")
    admin.call("register_ca", root.pem, "acme")
    admin.call("register_device", "d1", root.issue("d1").pem, "acme")
    admin.call("register_issuer", "corp", "https://id/", ["a"])
    broker.all("SELECT iot_auth.broker_heartbeat('n1', '{}')")
    admin.all(statement.replace("%(crl)s", f"'{root.crl()}'").replace("%(leaf)s", f"'{leaf.pem}'"))
    got = last(admin)
    assert got[:2] == (table, operation)
    if key is not None:
        assert got[2] == key.replace("%(leaf_fp)s", leaf.fingerprint.hex())


def test_keys_of_an_issuer_are_audited_by_their_hash(admin):
    admin.call("register_issuer", "corp", "x", ["a"], jwks='{"keys": [{"kty": "EC", "crv": "P-256", "x": "SECRETISH", "y": "b"}]}')
    assert last(admin)[4]["jwks"].startswith("sha256:") and "SECRETISH" not in str(audit(admin))
    admin.all("UPDATE iot_auth.oauth_issuer SET jwks = '{\"keys\": [{\"kty\": \"EC\"}]}'")
    assert set(last(admin)[3]) == {"jwks"} and last(admin)[3] != last(admin)[4]


def test_a_statement_over_a_thousand_rows_is_one_row_with_a_count(admin):
    ca = admin.call("register_ca", ca_pem(), "acme")
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'd' || i, %s FROM generate_series(1, 1000) i", ca)
    assert admin.one("SELECT count(*) FROM iot_auth.audit WHERE table_name = 'device'") == 1000
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'e' || i, %s FROM generate_series(1, 1001) i", ca)
    assert last(admin) == ("device", "INSERT", None, None, {"rows": 1001})
    admin.all("UPDATE iot_auth.device SET status = 'INACTIVE'")
    assert last(admin) == ("device", "UPDATE", None, None, {"rows": 2001})
    admin.all("DELETE FROM iot_auth.device")
    assert last(admin) == ("device", "DELETE", None, {"rows": 2001}, None)


def test_what_brokers_do_is_not_audited(admin, broker):
    ca = admin.call("register_ca", ca_pem(), "acme", auto_registration=True)
    before = len(audit(admin))
    assert register(broker, b"\1" * 32, "d1", ca)["outcome"] == "registered"
    broker.all("SELECT iot_auth.broker_heartbeat('n1', '{}'), iot_auth.broker_connected('{d1}', ARRAY[now()]),"
               " iot_auth.broker_set_ca_parsed(1, 'CN=x', now(), now(), 'problem')")
    assert len(audit(admin)) == before


def test_an_administrator_cannot_stay_out_of_the_audit(admin):
    admin.all("SET iot_auth.quiet = 'on'")
    admin.all("SET application_name = ''")
    admin.call("create_role", "r")
    assert last(admin)[:3] == ("role", "INSERT", "r")


def test_writing_the_audit_waits_for_nobody(database, admin):
    """One transaction holds uncommitted entries, another a dump's locks."""
    with contextlib.closing(database.admin()) as slow, contextlib.closing(database.superuser()) as dump:
        slow.autocommit = dump.autocommit = False
        Cursor(slow).call("create_role", "slow")
        Cursor(dump).all("LOCK TABLE iot_auth.audit, iot_auth.event IN ACCESS SHARE MODE")
        admin.all("SET statement_timeout = '2s'")
        admin.call("create_role", "quick")


@pytest.mark.parametrize("table", ["audit", "event"])
def test_nobody_but_the_owner_changes_or_deletes_history(database, root, admin, broker, table):
    admin.call("register_ca", ca_pem(), "acme")
    admin.call("set_ca_status", "acme", "INACTIVE")
    partitions = [row[0] for row in root.all("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", f"iot_auth.{table}")]
    assert len(partitions) == 4
    for c in (admin, broker):
        for relation in [f"iot_auth.{table}", *partitions]:
            for statement in ("DELETE FROM {}", "UPDATE {} SET at = now()", "TRUNCATE {}", "INSERT INTO {} SELECT * FROM {}", "DROP TABLE {}"):
                message = c.refused(statement.replace("{}", relation))
                assert "permission denied" in message or "must be owner" in message, statement
    assert "permission denied" in admin.refused("UPDATE iot_auth.retention SET keep = '1 day'")
    assert "permission denied" in admin.refused("SELECT iot_auth.broker_prune('1 second')")


def test_events_of_statuses_say_who(admin):
    admin.call("register_ca", ca_pem(), "acme")
    admin.call("register_device", "d1", ca_pem(), "acme")
    admin.call("set_device_status", "d1", "INACTIVE")
    admin.call("set_ca_status", "acme", "INACTIVE")
    assert admin.all("SELECT kind, detail ->> 'who' FROM iot_auth.event ORDER BY event_id") == [
        ("device/status", pg.ADMIN), ("ca/status", pg.ADMIN)]


# Partitions and retention


def partitions(c, table):
    return {row[0] for row in c.all("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                                    " WHERE i.inhparent = %s::regclass", f"iot_auth.{table}")}


def old_partition(root, table, months_ago):
    """A partition of a past month with one row.  The one of before must go first: it takes all that is past."""
    for name in partitions(root, table):
        if "_until_" in name:
            root.all(f"DROP TABLE iot_auth.{name}")
    root.all("SELECT iot_auth.make_partition(%s, %s)", table, -months_ago)
    columns = {"event": "(at, kind) VALUES (%s, 'app/refused')", "audit": "(at, who, table_name, operation) VALUES (%s, 'x', 'ca', 'INSERT')"}[table]
    root.all(f"INSERT INTO iot_auth.{table} {columns}", root.one("SELECT iot_auth.month_start(%s) + interval '1 hour'", -months_ago))


def prune(broker):
    return broker.one("SELECT iot_auth.broker_prune(NULL)")


def test_the_next_months_have_their_partitions(root, broker):
    months = root.all("SELECT to_char(iot_auth.month_start(i) AT TIME ZONE 'UTC', 'YYYY_MM') FROM generate_series(1, 2) i")
    for table in ("event", "audit"):
        assert {f"{table}_{month}" for month, in months} | {f"{table}_default"} < partitions(root, table)
    month = months[1][0]
    root.all(f"DROP TABLE iot_auth.event_{month}")
    prune(broker)
    assert f"event_{month}" in partitions(root, "event")


@pytest.mark.parametrize("table, months", [("event", 5), ("audit", 14)])
def test_expired_months_are_dropped_one_at_a_time(root, broker, table, months):
    for ago in (months, months + 1, 1):
        old_partition(root, table, ago)
    before = partitions(root, table)
    for left in (2, 1, 1):
        prune(broker)
        assert root.one(f"SELECT count(*) FROM iot_auth.{table}") == left
    assert len(before - partitions(root, table)) == 2


def test_retention_of_null_keeps_for_ever(root, broker):
    old_partition(root, "event", 50)
    root.all("UPDATE iot_auth.retention SET keep = NULL WHERE kind = 'event'")
    prune(broker)
    assert root.one("SELECT count(*) FROM iot_auth.event") == 1


def test_a_kind_with_a_shorter_retention_is_deleted_row_by_row(root, broker):
    root.all("INSERT INTO iot_auth.retention VALUES ('device/refused', '2 days')")
    for kind in ("device/refused", "session/ended"):
        for age in ("3 days", "1 day"):
            root.all(f"INSERT INTO iot_auth.event (at, kind) VALUES (now() - interval '{age}', %s)", kind)
    assert prune(broker) == 1
    assert root.all("SELECT kind, count(*) FROM iot_auth.event GROUP BY kind ORDER BY kind") == [("device/refused", 1), ("session/ended", 2)]


def test_a_broker_cannot_shorten_the_retention(root, broker):
    root.all("INSERT INTO iot_auth.event (at, kind) VALUES (now() - interval '10 days', 'app/refused')")
    broker.all("SELECT iot_auth.broker_prune('1 second')")
    assert root.one("SELECT count(*) FROM iot_auth.event") == 1
    assert "retention_keep" in root.refused("UPDATE iot_auth.retention SET keep = '23 hours'")


def test_pruning_does_not_wait_behind_a_dump_nor_make_writers_wait(database, root, broker, admin):
    old_partition(root, "event", 5)
    with contextlib.closing(database.superuser()) as dump:
        dump.autocommit = False
        Cursor(dump).all("LOCK TABLE iot_auth.event, iot_auth.audit IN ACCESS SHARE MODE")
        start = time.monotonic()
        prune(broker)
        assert time.monotonic() - start < 3
        admin.all("SET statement_timeout = '2s'")
        admin.call("register_ca", ca_pem(), "acme")
        admin.call("set_ca_status", "acme", "INACTIVE")
        dump.rollback()
    prune(broker)
    assert root.one("SELECT count(*) FROM iot_auth.event WHERE kind = 'app/refused'") == 0


def test_a_month_without_a_partition_takes_events_all_the_same(root, admin):
    for table in ("event", "audit"):
        for name in partitions(root, table) - {f"{table}_default"}:
            root.all(f"DROP TABLE iot_auth.{name}")
    admin.call("register_ca", ca_pem(), "acme")
    admin.call("set_ca_status", "acme", "REVOKED")
    assert root.one("SELECT count(*) FROM iot_auth.event_default") == 1
    assert root.one("SELECT count(*) FROM iot_auth.audit_default") > 1


# Why was it refused?


def refusals(broker, *details, principal=None, address="192.0.2.9"):
    for detail in details:
        broker.all("SELECT iot_auth.broker_write_events('n1', ARRAY[now()], '{device/refused}', %s, ARRAY[NULL::bigint], %s, '{ca_unknown}', %s)",
                   [principal], [address], [detail])


@pytest.mark.parametrize("who", ["sensor-1", "192.0.2.9", "fleet cn", "AA:BB", "aabb", "my-client", "0A:0B", "a0b", "0a0b"])
def test_a_refusal_is_found_by_whatever_names_it(admin, broker, who):
    refusals(broker, '{"device_id": "sensor-1", "cn": "fleet cn", "fingerprint": "aabb", "serial": "0a0b", "client_id": "my-client"}')
    refusals(broker, '{"device_id": "other"}', address="192.0.2.10")
    rows = admin.all("SELECT reason, detail ->> 'device_id', address FROM iot_auth.why_refused(%s)", who)
    assert rows == [("ca_unknown", "sensor-1", "192.0.2.9")]


def test_a_refusal_that_matches_twice_is_shown_once_and_the_latest_first(admin, broker):
    refusals(broker, '{"device_id": "x", "client_id": "x", "n": 1}', '{"device_id": "x", "client_id": "x", "n": 2}', principal="x", address="x")
    assert admin.all("SELECT detail -> 'n' FROM iot_auth.why_refused('x')") == [(2,), (1,)]
    assert len(admin.all("SELECT * FROM iot_auth.why_refused('x', max => 1)")) == 1
    assert admin.all("SELECT * FROM iot_auth.why_refused('x', '0 s')") == []


def test_the_registry_is_searched_by_name_fingerprint_and_serial(admin):
    root = pki.root()
    leaf = root.issue("d1")
    admin.call("register_ca", root.pem, "acme")
    admin.call("register_device", "d1", leaf.pem, "acme")
    admin.all("UPDATE iot_auth.device_certificate SET serial = '0abc'")
    for who in ("d1", leaf.fingerprint.hex(), leaf.fingerprint.hex(":").upper(), "ABC", "0a:bc"):
        assert admin.all("SELECT device_id, ca, serial FROM iot_auth.registered_as(%s)", who) == [("d1", "acme", "0abc")]
    assert admin.all("SELECT * FROM iot_auth.registered_as('nobody')") == []


SEQUENTIAL = ("SELECT c.relname, pg_stat_get_xact_numscans(c.oid) FROM pg_class c WHERE c.relnamespace = 'iot_auth'::regnamespace"
              " AND c.relkind = 'r' AND (c.relname LIKE 'event%' OR c.relname = 'last_refusal')")


def test_no_look_up_of_a_refusal_reads_a_whole_table(root):
    """An OR over five columns took nine seconds with five million events.  Where there is an index for every way of asking and in
    every partition, a server that avoids sequential scans makes none."""
    root.all("INSERT INTO iot_auth.event (at, kind, principal, address, reason, detail) SELECT now() - i * interval '1 s', 'device/refused',"
             " CASE i % 3 WHEN 0 THEN 'd' || i WHEN 1 THEN 'app:corp:a' || i END, '10.0.' || i % 250 || '.' || i % 200, 'ca_unknown',"
             " jsonb_build_object('device_id', 'd' || i, 'client_id', 'c' || i, 'fingerprint', md5(i::text), 'serial', lpad(to_hex(i), 8, '0'),"
             " 'cn', 'n' || i, 'psk_identity', 'identity-' || i) FROM generate_series(1, 2000) i")
    root.all("INSERT INTO iot_auth.node (node_name) VALUES ('n1')")
    root.all("INSERT INTO iot_auth.last_refusal (node_name, key_kind, key, at, first_at, count, kind, reason, principal, detail)"
             " SELECT 'n1', 'app', 'corp/a' || i, now(), now(), 1, 'app/refused', 'token_expired', 'app:corp:a' || i,"
             " jsonb_build_object('app', 'a' || i) FROM generate_series(1, 2000) i")
    root.all("ANALYZE iot_auth.event, iot_auth.last_refusal")
    root.all("SET enable_seqscan = off")
    for who in ("d101", "d102", "app:corp:a100", "a100", "10.0.100.100", "c7", "n9", "0000000A", root.one("SELECT md5('7')"), "identity-5"):
        root.all("BEGIN")
        assert len(root.all(SEQUENTIAL)) > 4  # partitions
        assert root.one("SELECT count(*) FROM iot_auth.why_refused(%s, '7 days')", who) > 0, who
        assert [row for row in root.all(SEQUENTIAL) if row[1]] == [], who
        root.all("COMMIT")
