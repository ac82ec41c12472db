# SPDX-License-Identifier: ISC
"""The brokers' role: what it may write is bounded in size, kind, node, time, and once; and nobody holds anybody up."""

import contextlib
import hashlib
import threading
import time

import pg
import pki
import psycopg2
import pytest
from sql_kit import Cursor, ca_pem, cursor, register


@pytest.fixture
def ca(admin):
    return admin.call("register_ca", ca_pem(), "acme", auto_registration=True)


@pytest.fixture
def other_broker(database, root):
    """A broker with a login of its own."""
    root.all("CREATE ROLE broker_2 LOGIN IN ROLE iot_auth_broker")
    with cursor(database, "broker_2") as c:
        yield c
    root.all("DROP ROLE broker_2")


def certificate(n):
    return hashlib.sha256(b"%d" % n).digest()


def write(c, node="n1", at="now()", kind="device/refused", principal="d1", address="192.0.2.1", reason="ca_unknown", detail="{}"):
    return c.all("SELECT iot_auth.broker_write_events(%s, ARRAY[%s::timestamptz], ARRAY[%s], ARRAY[%s], ARRAY[NULL::bigint], ARRAY[%s], ARRAY[%s], ARRAY[%s])",
                 node, at.replace("()", ""), kind, principal, address, reason, detail)


# Events


@pytest.mark.parametrize("kind", ["device/status", "ca/status", "device/registered", "anything", "DEVICE/REFUSED", None])
def test_a_broker_writes_events_of_its_own_kinds_only(admin, broker, kind):
    """Status events are published by every other broker."""
    with pytest.raises(psycopg2.Error, match="kinds device/refused, app/refused and session/ended only"):
        write(broker, kind=kind)
    assert admin.one("SELECT count(*) FROM iot_auth.event") == 0


@pytest.mark.parametrize("node", [None, "", "x" * 257, "a\nb"])
def test_an_event_without_a_valid_node_is_refused(broker, node):
    with pytest.raises(psycopg2.Error, match="node name"):
        write(broker, node=node)


def test_only_what_a_trigger_wrote_is_published(root, broker):
    root.all("INSERT INTO iot_auth.event (node, kind, principal, detail) VALUES ('n1', 'device/status', 'd1', '{}'), (NULL, 'device/status', 'd2', '{}')")
    assert broker.all("SELECT principal FROM iot_auth.broker_event") == [("d2",)]


def test_an_event_is_bounded_in_size_and_time(admin, broker):
    write(broker, at="2999-01-01", principal="p" * 100000, address="a" * 100000, reason="r" * 100000, detail='{"a": "%s"}' % ("x" * 100000))
    write(broker, at="-infinity")
    write(broker, at="infinity")
    rows = admin.all("SELECT at <= now(), at > now() - interval '1 min', octet_length(principal), octet_length(address), octet_length(reason),"
                     " pg_column_size(detail) FROM iot_auth.event ORDER BY event_id")
    assert len(rows) == 3 and all(row[:2] == (True, True) for row in rows)
    assert rows[0][2] <= 261 and rows[0][3] <= 64 and rows[0][4] <= 64 and rows[0][5] <= 2048


def test_numbers_that_would_explode_do_not_get_into_an_event(admin, broker):
    write(broker, detail='{"a": 1e131071}')
    assert admin.one("SELECT octet_length(detail::text) < 200 FROM iot_auth.event")


def test_an_event_does_not_repeat_its_columns(admin, broker):
    write(broker, detail='{"device_id": "d1", "reason": "ca_unknown", "address": "192.0.2.1", "node": "n1", "at": "x", "client_id": "c", "ca": null}')
    assert admin.one("SELECT detail FROM iot_auth.event") == {"device_id": "d1", "reason": "ca_unknown", "client_id": "c"}
    write(broker, detail=None)
    assert admin.all("SELECT detail FROM iot_auth.event ORDER BY event_id")[1] == (None,)


# Nodes


def test_a_node_belongs_to_the_login_that_uses_it(admin, ca, broker, other_broker):
    broker.all("SELECT iot_auth.broker_heartbeat('n1', '{}')")
    for statement in ("SELECT iot_auth.broker_heartbeat('n1', '{}')", "SELECT iot_auth.broker_stopped('n1')"):
        assert "belongs to database login" in other_broker.refused(statement)
    with pytest.raises(psycopg2.Error, match="belongs to database login"):
        write(other_broker)
    with pytest.raises(psycopg2.Error, match="belongs to database login"):
        register(other_broker, certificate(1), "d1", ca)
    other_broker.all("SELECT iot_auth.broker_heartbeat('n2', '{}')")
    write(other_broker, node="n2")
    admin.all("DELETE FROM iot_auth.node WHERE node_name = 'n1'")
    other_broker.all("SELECT iot_auth.broker_heartbeat('n1', '{}')")


def test_a_heartbeat_notifies_its_nonce_and_says_how_the_database_is_reached(database, admin, broker):
    with contextlib.closing(pg.Listener(database)) as ear:
        broker.all("SELECT iot_auth.broker_heartbeat('n1', '{\"a\": 1}', 'Nonce-1', 'verified', '{\"plugin\": \"0.1\"}')")
        assert ear.drain() == [("nonce", ["Nonce-1"])]
        broker.all("SELECT iot_auth.broker_heartbeat('n1', '{}', NULL, NULL, NULL)")
        assert ear.drain() == []
    assert admin.all("SELECT counters, database_tls, versions, login FROM iot_auth.node") == [({}, "verified", {"plugin": "0.1"}, pg.BROKER)]
    for bad in ("a b", "", "x" * 65, "a\nb"):
        assert "nonce" in broker.refused("SELECT iot_auth.broker_heartbeat('n1', '{}', %s, NULL, NULL)", bad)
    assert "node_tls_known" in broker.refused("SELECT iot_auth.broker_heartbeat('n1', '{}', NULL, 'perhaps', NULL)")
    assert "too long" in broker.refused("SELECT iot_auth.broker_heartbeat('n1', %s)", '{"a": "%s"}' % ("x" * 70000))
    assert "node_sizes" in broker.refused("SELECT iot_auth.broker_heartbeat('n1', '{\"a\": 1e131071}')")


def test_a_broker_that_stopped_in_good_order_is_known_to_have(admin, broker):
    broker.all("SELECT iot_auth.broker_heartbeat('n1', '{}')")
    broker.all("SELECT iot_auth.broker_stopped('n1')")
    assert admin.one("SELECT stopped_at IS NOT NULL FROM iot_auth.node")
    broker.all("SELECT iot_auth.broker_heartbeat('n1', '{}')")
    assert admin.all("SELECT stopped_at, started_at > now() - interval '1 s' FROM iot_auth.node") == [(None, True)]


def test_a_connection_in_the_future_counts_as_now(admin, ca, broker):
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('d1', %s)", ca)
    broker.all("SELECT iot_auth.broker_connected('{d1}', ARRAY['2999-01-01'::timestamptz])")
    assert admin.one("SELECT last_connected_at <= now() FROM iot_auth.device")


# Parsed columns


def test_what_a_certificate_says_is_written_once(admin, ca, broker):
    """A broker could give a certificate that it never saw an expiry in the past: sessions on other brokers ended."""
    register(broker, certificate(1), "d1", ca)
    admin.call("register_device", "d2", ca_pem(), "acme")
    fingerprint = bytes(admin.one("SELECT fingerprint FROM iot_auth.device_certificate WHERE device_id = 'd2'"))
    call = "SELECT iot_auth.broker_set_certificate_parsed(%s, %s, 'CN=y', '2021-01-01 UTC', %s)"
    broker.all(call, certificate(1), "ff", "2000-01-01 UTC")
    broker.all(call, fingerprint, "0b", "2041-01-01 UTC")
    broker.all(call, fingerprint, "0c", "2000-01-01 UTC")
    assert admin.all("SELECT device_id, serial, extract(year FROM not_after AT TIME ZONE 'UTC')::int FROM iot_auth.device_certificate ORDER BY 1") == [
        ("d1", "0a", 2040), ("d2", "0b", 2041)]
    broker.all("SELECT iot_auth.broker_set_ca_parsed(%s, 'CN=a', '2020-01-01 UTC', '2040-01-01 UTC', 'p')", ca)
    broker.all("SELECT iot_auth.broker_set_ca_parsed(%s, 'CN=b', '2020-01-01 UTC', '2000-01-01 UTC', NULL)", ca)
    assert admin.all("SELECT subject, extract(year FROM not_after AT TIME ZONE 'UTC')::int, problem FROM iot_auth.ca") == [("CN=a", 2040, None)]


def test_problems_are_bounded(admin, ca, broker):
    admin.call("register_issuer", "corp", "https://id/", ["a"])
    huge = "x\n" * 1000000
    broker.all("SELECT iot_auth.broker_set_ca_parsed(%s, %s, NULL, NULL, %s)", ca, huge, huge)
    broker.all("SELECT iot_auth.broker_set_rule_problem(1, %s)", huge)
    broker.all("SELECT iot_auth.broker_set_issuer_problem('corp', %s, %s)", huge, huge)
    for column, table in (("problem", "ca"), ("subject", "ca"), ("problem", "role_rule"), ("problem", "oauth_issuer"), ("note", "oauth_issuer")):
        value = admin.one(f"SELECT max({column}) FROM iot_auth.{table}")
        assert 0 < len(value) <= 2048 and "\n" not in value


def test_a_note_of_an_issuer_is_kept_apart_from_its_problem(admin, broker):
    admin.call("register_issuer", "corp", "https://id/", ["a"])
    broker.all("SELECT iot_auth.broker_set_issuer_problem('corp', 'p', 'n')")
    broker.all("SELECT iot_auth.broker_set_issuer_problem('corp', NULL)")
    assert broker.all("SELECT problem, note FROM iot_auth.broker_issuer") == [(None, "n")]


def test_a_certificate_with_a_problem_is_parsed_again_when_a_ca_is_registered(admin, ca, broker):
    admin.call("register_device", "d1", ca_pem(), "acme")
    fingerprint = broker.one("SELECT fingerprint FROM iot_auth.broker_unparsed")
    broker.all("SELECT iot_auth.broker_set_certificate_parsed(%s, '0a', 'CN=x', NULL, NULL, 'no registered CA signed it')", fingerprint)
    assert admin.all("SELECT serial, problem FROM iot_auth.device_certificate") == [("0a", "no registered CA signed it")]
    assert broker.all("SELECT * FROM iot_auth.broker_unparsed") == []
    admin.call("register_ca", ca_pem(), "next")
    assert len(broker.all("SELECT * FROM iot_auth.broker_unparsed")) == 1
    broker.all("SELECT iot_auth.broker_set_certificate_parsed(%s, NULL, NULL, NULL, NULL, 'not a certificate')", fingerprint)
    assert broker.all("SELECT * FROM iot_auth.broker_unparsed") == []


def test_what_a_registration_stores_is_bounded(admin, ca, broker):
    register(broker, certificate(1), "d1", ca, serial="f" * 10000, subject="s" * 100000, address="a" * 10000, not_after="99999-01-01 UTC")
    assert admin.all("SELECT octet_length(serial) <= 128, octet_length(subject) <= 2048, not_after FROM iot_auth.device_certificate") == [(True, True, None)]
    assert admin.one("SELECT octet_length(address) FROM iot_auth.event") <= 64
    for fingerprint in (b"", b"x" * 31, None):
        with pytest.raises(psycopg2.Error, match="32 bytes"):
            register(broker, fingerprint, "d2", ca)


def test_a_device_id_that_collects_certificates_is_reported(admin, ca, broker):
    """A fleet whose certificates all have the common name 'AWS IoT Certificate' becomes one device."""
    rows = [register(broker, certificate(n), "AWS IoT Certificate", ca) for n in range(7)]
    assert [row["outcome"] for row in rows] == ["registered"] * 7
    assert ["problem" in row["detail"] for row in rows] == [False] * 5 + [True] * 2
    assert "more than 5 certificates" in admin.one("SELECT problem FROM iot_auth.device")
    assert admin.one("SELECT count(*) FROM iot_auth.event WHERE detail ? 'problem'") == 2
    assert admin.one("SELECT %s::jsonb ->> 'device_id'", rows[6]["detail"]) == "AWS IoT Certificate"


def test_a_device_that_rotates_is_not_reported(root, admin, ca, broker):
    for n in range(12):
        register(broker, certificate(n), "d1", ca)
        root.all("UPDATE iot_auth.device_certificate SET created_at = created_at - interval '5 hours'")
    assert admin.one("SELECT problem FROM iot_auth.device") is None


# Waiting


def held(database, user, statement, *parameters):
    """A transaction of that role that has run the statement and stays open."""
    connection = database.connect(user)
    connection.autocommit = False
    Cursor(connection).all(statement, *parameters)
    return contextlib.closing(connection)


@pytest.fixture
def outsider(root):
    root.all("CREATE ROLE outsider LOGIN")
    yield "outsider"
    root.all("DROP ROLE outsider")


def test_advisory_locks_of_any_login_hold_up_nothing(database, admin, ca, broker, outsider):
    """Every lock that the schema once took, taken by a role without any right: revocation and registration hung."""
    key = int.from_bytes(certificate(1)[:8], "big", signed=True)
    with held(database, outsider, "SELECT pg_advisory_lock(571462094, %s), pg_advisory_lock(571462095, %s), pg_advisory_lock(%s),"
                                  " pg_advisory_lock(5714620941378015095)", ca, ca, key):
        admin.all("SET lock_timeout = '1s'")
        broker.all("SET lock_timeout = '1s'")
        admin.all("UPDATE iot_auth.ca SET max_devices = 100")
        assert register(broker, certificate(1), "d1", ca)["outcome"] == "registered"
        admin.call("set_ca_status", "acme", "REVOKED")
        with contextlib.closing(database.superuser()) as connection:
            pg.migrate(connection)


def test_no_function_takes_an_advisory_lock(root):
    assert root.all("SELECT proname FROM pg_proc WHERE pronamespace = 'iot_auth'::regnamespace AND prosrc ~ 'advisory'") == []


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
@pytest.mark.parametrize("quota", [None, 100])
def test_a_ca_is_disabled_while_registrations_are_under_way(database, admin, ca, quota, status):
    admin.all("UPDATE iot_auth.ca SET max_devices = %s", quota)
    with cursor(database, pg.BROKER) as slow:
        slow.all("BEGIN")
        assert register(slow, certificate(1), "d1", ca)["outcome"] == "registered"
        start = time.monotonic()
        admin.call("set_ca_status", "acme", status)
        admin.all("UPDATE iot_auth.ca SET max_devices = 7")
        assert time.monotonic() - start < 1
        slow.all("COMMIT")
    with cursor(database, pg.BROKER) as broker:
        assert register(broker, certificate(2), "d2", ca)["outcome"] == "ca_inactive"


def test_a_registration_does_not_wait_for_an_administrator(database, admin, ca, broker):
    for statement in ("SELECT iot_auth.set_ca_status('acme', 'ACTIVE')", "UPDATE iot_auth.ca SET max_devices = 10"):
        with held(database, pg.ADMIN, statement):
            broker.all("SET lock_timeout = '1s'")
            assert register(broker, certificate(len(statement)), f"d{len(statement)}", ca)["outcome"] == "registered"


def test_a_revocation_of_a_locked_row_gives_up_with_the_remedy(database, admin, ca):
    admin.call("register_device", "d1", ca_pem(), "acme")
    for change, call in (("UPDATE iot_auth.ca SET max_devices = 1", ("set_ca_status", "acme", "REVOKED")),
                         ("UPDATE iot_auth.device SET tenant = 'x'", ("set_device_status", "d1", "REVOKED"))):
        with held(database, pg.ADMIN, change):
            start = time.monotonic()
            with pytest.raises(psycopg2.errors.LockNotAvailable) as caught:
                admin.call(*call)
            assert 3 < time.monotonic() - start < 15
            assert "is locked by another session" in caught.value.diag.message_primary and "pg_blocking_pids" in caught.value.diag.message_hint
        assert admin.one("SHOW lock_timeout") == "0"


def test_a_device_is_revoked_while_its_registration_is_repeated(database, admin, ca, broker):
    register(broker, certificate(1), "d1", ca)
    with cursor(database, pg.BROKER) as slow:
        slow.all("BEGIN")
        register(slow, certificate(1), "d1", ca)
        admin.all("SET lock_timeout = '1s'")
        admin.call("set_device_status", "d1", "REVOKED")
        slow.all("ROLLBACK")


def test_registrations_in_batches_on_two_brokers_do_not_deadlock(database, admin, ca):
    admin.all("UPDATE iot_auth.ca SET max_devices = 1000")
    results = []

    def batch():
        with cursor(database, pg.BROKER) as c:
            c.all("BEGIN")
            rows = [register(c, fingerprint, f"d{fingerprint.hex()[:8]}", ca)["outcome"] for fingerprint in sorted(certificate(n) for n in range(40))]
            c.all("COMMIT")
            results.append(rows)

    threads = [threading.Thread(target=batch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(row for rows in results for row in rows) == ["known"] * 120 + ["registered"] * 40
    assert admin.one("SELECT devices FROM iot_auth.ca_usage") == 40


def test_claims_of_registrations_leave_nothing_behind(root, ca, broker):
    for n in range(20):
        register(broker, certificate(n % 10), f"d{n % 10}", ca)
    assert root.one("SELECT count(*) FROM iot_auth.registration_claim") == 0


# Reserved names, released client ids, CAs of one key


def test_a_reserved_name_is_no_device(admin, ca, broker):
    assert broker.all("SELECT name FROM iot_auth.broker_reserved_name") == [("admin",)]
    row = register(broker, certificate(1), "admin", ca)
    assert row["outcome"] == "identity_invalid" and "reserved" in row["detail"]
    assert "reserved name" in admin.call_refused("register_device", "admin", ca_pem(), "acme")
    assert "reserved name" in admin.refused("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('x', %s), ('admin', %s)", ca, ca)
    admin.all("DELETE FROM iot_auth.reserved_name")
    assert register(broker, certificate(1), "admin", ca)["outcome"] == "registered"
    assert "because a device has it" in admin.refused("INSERT INTO iot_auth.reserved_name VALUES ('admin')")


def test_a_client_id_is_released_on_every_broker(database, root, admin, broker):
    with contextlib.closing(pg.Listener(database)) as ear:
        admin.call("release_client_id", "sensor ä")
        admin.all("INSERT INTO iot_auth.reserved_name VALUES ('bridge')")
        assert ear.drain() == [("client_id", ["1"]), ("reserved", ["bridge"])]
    assert broker.all("SELECT release_id, client_id FROM iot_auth.broker_client_id_release") == [(1, "sensor ä")]
    assert admin.all("SELECT who FROM iot_auth.client_id_release") == [(pg.ADMIN,)]
    root.all("UPDATE iot_auth.client_id_release SET at = at - interval '61 minutes'")
    assert broker.all("SELECT * FROM iot_auth.broker_client_id_release") == []
    broker.all("SELECT iot_auth.broker_prune(NULL)")
    assert admin.one("SELECT count(*) FROM iot_auth.client_id_release") == 0
    for bad, why in (("", "is empty"), (None, "is missing"), ("x" * 513, "too long"), ("a\nb", "control character")):
        assert why in admin.call_refused("release_client_id", bad)
    assert "permission denied" in admin.refused("INSERT INTO iot_auth.client_id_release (client_id, who) VALUES ('a', 'somebody')")


def test_disabling_a_ca_names_the_others_of_its_key(database):
    root = pki.root("one key")
    again = pki.root(subject=root.subject, key=root.key)
    with contextlib.closing(database.admin()) as connection:
        c = Cursor(connection)
        c.call("register_ca", root.pem, "old")
        c.call("register_ca", again.pem, "new", replaces="old")
        c.call("register_ca", ca_pem(), "unrelated")
        assert c.one("SELECT count(DISTINCT name_key_hash) FROM iot_auth.ca") == 2
        c.call("set_ca_status", "unrelated", "INACTIVE")
        c.call("set_ca_status", "old", "ACTIVE")
        assert connection.notices == []
        c.call("set_ca_status", "old", "INACTIVE")
        assert "CA 'old' has the same subject and public key as 'new': these are disabled with it" in connection.notices[0]


# Monitoring


def test_the_monitoring_role_sees_counts_and_no_secrets(database, root, admin, ca, broker):
    register(broker, certificate(1), "sensor-secret", ca)
    write(broker, address="198.51.100.77", principal="sensor-secret")
    broker.all("SELECT iot_auth.broker_heartbeat('n1', '{\"connects\": 3}', NULL, 'local', NULL)")
    with cursor(database, "iot_auth_monitor") as monitor:
        views = [row[0] for row in root.all("SELECT viewname FROM pg_views WHERE schemaname = 'iot_auth' AND viewname ~ '^monitor_'")]
        assert len(views) == 13
        text = " ".join(str(monitor.all(f"SELECT * FROM iot_auth.{view}")) for view in views)
        assert "198.51.100.77" not in text and "sensor-secret" not in text and "BEGIN CERT" not in text
        assert monitor.all("SELECT node_name, alive, database_tls, counters ->> 'connects' FROM iot_auth.monitor_node") == [("n1", True, "local", "3")]
        assert monitor.all("SELECT ca, status, devices FROM iot_auth.monitor_device") == [("acme", "ACTIVE", 1)]
        assert monitor.all("SELECT kind, reason, events FROM iot_auth.monitor_event WHERE reason IS NOT NULL") == [("device/refused", "ca_unknown", 1)]
        readable = {row[0] for row in monitor.all("SELECT relname FROM pg_class WHERE relnamespace = 'iot_auth'::regnamespace"
                                                  " AND relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege(oid, 'SELECT')")}
        assert readable == {*views, "schema_version"}
        assert monitor.all("SELECT proname FROM pg_proc WHERE pronamespace = 'iot_auth'::regnamespace AND has_function_privilege(oid, 'EXECUTE')") == []


# Owners of client ids


def owners(broker, *rows, node="n1"):
    """broker_write_owners with (client id key, principal key, client id, principal)."""
    columns = [list(column) for column in zip(*rows)]
    broker.all("SELECT iot_auth.broker_write_owners(%s, %s::bigint[], %s::bigint[], %s::text[], %s::text[])", node, *columns)


def test_a_broker_writes_and_removes_the_owners_of_client_ids(broker, admin):
    owners(broker, (1, 10, "shared", "d1"), (-2, 20, "pump", "d2"), (1, 30, "shared", "d3"))
    assert admin.all("SELECT client_id_key, principal FROM iot_auth.client_id_owner ORDER BY 1") == [(-2, "d2"), (1, "d3")]
    assert broker.all("SELECT client_id_key, principal_key FROM iot_auth.broker_client_id_owner ORDER BY 1") == [(-2, 20), (1, 30)]
    owners(broker, (1, 30, "shared", None), (7, 7, "never", None))
    assert admin.all("SELECT client_id FROM iot_auth.client_id_owner") == [("pump",)]
    assert "more than 1000" in broker.refused("SELECT iot_auth.broker_write_owners('n1', array_fill(1::bigint, ARRAY[1001]), NULL, NULL, NULL)")


def test_the_client_ids_of_a_node_go_with_its_row(broker, root):
    """After retention's time for nodes: Mosquitto's persistence of a broker that is no more cannot be restored there."""
    for node in ("n1", "n2"):
        owners(broker, (1, 10, "shared", "d1"), node=node)
        broker.all("SELECT iot_auth.broker_heartbeat(%s, NULL, NULL, NULL, NULL)", node)
    root.all("UPDATE iot_auth.node SET last_seen = now() - interval '89 days' WHERE node_name = 'n1'")
    broker.all("SELECT iot_auth.broker_prune(NULL)")
    assert root.one("SELECT count(*) FROM iot_auth.client_id_owner") == 2
    root.all("UPDATE iot_auth.node SET last_seen = now() - interval '91 days' WHERE node_name = 'n1'")
    broker.all("SELECT iot_auth.broker_prune(NULL)")
    assert root.all("SELECT node_name FROM iot_auth.client_id_owner") == [("n2",)]


def test_a_principal_owns_a_bounded_number_of_client_ids(broker, admin):
    owners(broker, (1000, 9, "another's", "d9"))
    for turn in range(2):
        owners(broker, *((turn * 30 + n, 10, "c%d" % (turn * 30 + n), "d1") for n in range(30)))
    assert admin.one("SELECT count(*) FROM iot_auth.client_id_owner WHERE principal = 'd1'") == 32
    assert admin.one("SELECT count(*) FROM iot_auth.client_id_owner WHERE principal = 'd1' AND client_id_key >= 30") == 30
    assert admin.one("SELECT count(*) FROM iot_auth.client_id_owner WHERE principal = 'd9'") == 1


def test_a_release_removes_the_owner_on_every_node(broker, admin):
    owners(broker, (1, 10, "shared", "d1"))
    owners(broker, (1, 10, "shared", "d1"), (2, 10, "other", "d1"), node="n2")
    admin.call("release_client_id", "shared")
    assert admin.all("SELECT node_name, client_id FROM iot_auth.client_id_owner") == [("n2", "other")]


def test_an_administrator_may_delete_a_revoked_device_and_admit_its_certificate_again(admin, broker, ca):
    register(broker, certificate(1), "d1", ca)
    admin.call("set_device_status", "d1", "REVOKED")
    admin.all("DELETE FROM iot_auth.device WHERE device_id = 'd1'")
    assert register(broker, certificate(1), "d1", ca)["outcome"] == "registered"
    assert admin.all("SELECT operation FROM iot_auth.audit WHERE table_name = 'device' AND key = 'd1' ORDER BY audit_id") == [("UPDATE",), ("DELETE",)]
