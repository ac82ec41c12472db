# SPDX-License-Identifier: ISC
"""Notifications to brokers: one for every relevant change, whichever role or statement makes it, and no others."""

import contextlib
import subprocess

import pg
import pytest
from sql_kit import ca_pem, cursor, register

PRINT = b"\x11" * 32


@pytest.fixture
def ca(admin):
    return admin.call("register_ca", ca_pem(), "acme", auto_registration=True)


@pytest.fixture
def ear(database, admin, ca):
    """Listens from a state that has one of everything."""
    admin.call("register_device", "d1", ca_pem(), "acme")
    admin.call("register_issuer", "corp", "https://id/", ["a"])
    with contextlib.closing(pg.Listener(database)) as listener:
        yield listener


def topics(got):
    return sorted((topic, tuple(keys)) for topic, keys in got if topic != "event")


@pytest.mark.parametrize("change, topic, key", [
    ("SELECT iot_auth.register_ca(%(pem)s, 'new')", "ca", "2"),
    ("SELECT iot_auth.set_ca_status('acme', 'INACTIVE')", "ca", "1"),
    ("UPDATE iot_auth.ca SET auto_registration = false", "ca", "1"),
    ("UPDATE iot_auth.ca SET client_id_templates = '{*}'", "ca", "1"),
    ("UPDATE iot_auth.ca SET device_id_template = '${cert.serial}'", "ca", "1"),
    ("SELECT iot_auth.revoke_ca_role('acme', 'device')", "ca", "1"),
    ("INSERT INTO iot_auth.crl (ca_id, pem) SELECT ca_id, replace(pem, 'CERTIFICATE', 'X509 CRL') FROM iot_auth.ca", "ca", "1"),
    ("SELECT iot_auth.register_device('d2', %(pem)s, 'acme')", "device", "d2"),
    ("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('d2', 1)", "device", "d2"),
    ("SELECT iot_auth.set_device_status('d1', 'INACTIVE')", "device", "d1"),
    ("UPDATE iot_auth.device SET attributes = '{\"a\": 1}'", "device", "d1"),
    ("UPDATE iot_auth.device SET tenant = 't'", "device", "d1"),
    ("DELETE FROM iot_auth.device", "device", "d1"),
    ("UPDATE iot_auth.device_certificate SET status = 'REVOKED'", "device", "d1"),
    ("DELETE FROM iot_auth.device_certificate", "device", "d1"),
    ("SELECT iot_auth.grant_device_role('d1', 'device')", "device", "d1"),
    ("SELECT iot_auth.create_role('r')", "role", "r"),
    ("SELECT iot_auth.add_rule('device', 'DENY', '{PUBLISH}', 'x')", "role", "device"),
    ("UPDATE iot_auth.role_rule SET max_qos = 1 WHERE role = 'device'", "role", "device"),
    ("UPDATE iot_auth.role_rule SET topic_filter = 'x' WHERE role = 'device'", "role", "device"),
    ("DELETE FROM iot_auth.role_rule WHERE role = 'device'", "role", "device"),
    ("UPDATE iot_auth.oauth_issuer SET leeway_s = 1", "issuer", "corp"),
    ("UPDATE iot_auth.oauth_issuer SET jwks_url = 'https://x/'", "issuer", "corp"),
    ("SELECT iot_auth.set_issuer_status('corp', 'INACTIVE')", "issuer", "corp"),
    ("SELECT iot_auth.map_scope('corp', 's', 'device')", "issuer", "corp"),
    ("DELETE FROM iot_auth.oauth_issuer", "issuer", "corp"),
    ("SELECT iot_auth.deny_ip('10.0.0.0/8')", "ip", "1"),
])
def test_a_change_is_notified_once_with_its_key(admin, ear, change, topic, key):
    with admin.connection.cursor() as c:
        c.execute(change, {"pem": ca_pem()})
    assert topics(ear.drain()) == [(topic, (key,))]


def test_dropping_a_role_notifies_for_everything_that_had_it(admin, ear):
    admin.call("grant_device_role", "d1", "device")
    admin.call("map_scope", "corp", "s", "device")
    ear.drain()
    admin.call("drop_role", "device")
    assert topics(ear.drain()) == [("ca", ("1",)), ("device", ("d1",)), ("issuer", ("corp",)), ("role", ("device",))]


def test_a_rule_moved_to_another_role_notifies_both(admin, ear):
    admin.call("create_role", "other")
    ear.drain()
    admin.all("UPDATE iot_auth.role_rule SET role = 'other' WHERE role = 'device'")
    assert topics(ear.drain()) == [("role", ("device", "other"))]


@pytest.mark.parametrize("table, topic", [
    ("crl", "ca"), ("ca_role", "ca"), ("device_certificate", "device"), ("device_role", "device"), ("role_rule", "role"),
    ("scope_role", "issuer"), ("ip_rule", "ip")])
def test_truncate_says_everything(admin, ear, table, topic):
    admin.all(f"TRUNCATE iot_auth.{table}")
    assert topics(ear.drain()) == [(topic, ("*",))]


def test_truncate_cascade_says_everything_of_all(admin, ear):
    admin.all("TRUNCATE iot_auth.device_certificate, iot_auth.device_psk, iot_auth.device_role, iot_auth.device")
    assert topics(ear.drain()) == [("device", ("*",))]


@pytest.mark.parametrize("n, expected", [(50, 50), (51, 1)])
def test_more_than_fifty_keys_become_everything(admin, ear, n, expected):
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'x' || i, 1 FROM generate_series(1, %s) i", n)
    ((topic, keys),) = ear.drain()
    assert topic == "device" and len(keys) == expected and (expected > 1 or keys == ["*"])


def test_long_keys_become_everything_before_the_payload_gets_too_long(admin, ear):
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT rpad(i::text, 128, 'x'), 1 FROM generate_series(10, 40) i")
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT rpad(i::text, 128, 'x'), 1 FROM generate_series(50, 82) i")
    assert [(topic, len(keys), keys[0] == "*") for topic, keys in ear.drain()] == [("device", 31, False), ("device", 1, True)]


def test_deleting_many_devices_sends_one_line_and_not_one_for_each_certificate(admin, ear):
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'x' || i, 1 FROM generate_series(1, 60) i")
    admin.all("INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id)"
              " SELECT sha256(device_id::bytea), device_id, 1 FROM iot_auth.device WHERE device_id LIKE 'x%%'")
    ear.drain()
    admin.all("DELETE FROM iot_auth.device")
    assert ear.drain() == [("device", ["*"])]


def test_copy_and_merge_and_upsert_are_seen(admin, ear):
    import io
    with admin.connection.cursor() as c:
        c.copy_expert("COPY iot_auth.device (device_id, ca_id) FROM STDIN", io.StringIO("c1\t1\nc2\t1\n"))
    assert ear.drain() == [("device", ["c1", "c2"])]
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('c1', 1), ('c3', 1) ON CONFLICT (device_id) DO UPDATE SET tenant = 't'")
    assert sorted(ear.drain()) == [("device", ["c1"]), ("device", ["c3"])]
    admin.all("MERGE INTO iot_auth.device d USING (VALUES ('c2')) v(id) ON d.device_id = v.id WHEN MATCHED THEN UPDATE SET status = 'INACTIVE'")
    assert topics(ear.drain()) == [("device", ("c2",))]


def test_a_load_with_triggers_turned_off_by_replication_role_is_seen(database, ear):
    database.plant("INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) VALUES ('device', 'ALLOW', '{PUBLISH}', 'a/#/b')")
    assert ear.drain() == [("role", ["device"])]


def test_a_restored_dump_is_seen(database, ear):
    """Its rows are loaded before its triggers are made."""
    environment = database.environment()
    dump = subprocess.run([database.server.bin / "pg_dump", "-n", "iot_auth", database.name], env=environment, capture_output=True, check=True)
    database.query("DROP SCHEMA iot_auth CASCADE")
    ear.drain()
    subprocess.run([database.server.bin / "psql", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1"], env=environment, input=dump.stdout, check=True)
    assert topics(ear.drain()) == [(topic, ("*",)) for topic in ("ca", "device", "ip", "issuer", "role")]
    assert database.value("SELECT count(*) FROM iot_auth.device") == 1
    with cursor(database, pg.BROKER) as broker:
        assert register(broker, PRINT, "after", 1)["outcome"] == "registered"


def test_statements_that_change_nothing_say_nothing(admin, ear):
    for table, column in (("ca", "status"), ("device", "status"), ("role_rule", "topic_filter"), ("oauth_issuer", "issuer")):
        admin.all(f"UPDATE iot_auth.{table} SET {column} = {column}")
        admin.all(f"DELETE FROM iot_auth.{table} WHERE false")
    admin.call("set_ca_status", "acme", "ACTIVE")
    admin.call("set_device_status", "d1", "ACTIVE")
    assert ear.drain() == []


def test_a_rolled_back_change_is_not_notified(database, ear):
    with contextlib.closing(database.admin()) as connection:
        connection.autocommit = False
        with connection.cursor() as c:
            c.execute("SELECT iot_auth.set_ca_status('acme', 'INACTIVE')")
        connection.rollback()
    assert ear.drain() == []


def test_columns_that_brokers_set_are_not_notified(admin, broker, ear, ca):
    fingerprint = bytes(admin.one("SELECT fingerprint FROM iot_auth.device_certificate"))
    rule = admin.one("SELECT rule_id FROM iot_auth.role_rule")
    broker.call("broker_set_ca_parsed", ca, "CN=x", "2020-01-01", "2030-01-01", "is no CA")
    broker.call("broker_set_certificate_parsed", fingerprint, "0a", "CN=d1", "2020-01-01", "2030-01-01")
    broker.call("broker_set_rule_problem", rule, "bad")
    broker.call("broker_set_issuer_problem", "corp", "no keys")
    broker.all("SELECT iot_auth.broker_connected(ARRAY['d1', 'nobody', 'd1'], ARRAY['2021-01-01', '2021-01-01', '2022-01-01']::timestamptz[])")
    assert admin.all("SELECT subject, extract(year FROM not_after)::int, problem FROM iot_auth.ca") == [("CN=x", 2030, "is no CA")]
    assert admin.all("SELECT serial, subject FROM iot_auth.device_certificate") == [("0a", "CN=d1")]
    assert admin.one("SELECT problem FROM iot_auth.role_rule WHERE rule_id = %s", rule) == "bad"
    assert admin.one("SELECT problem FROM iot_auth.oauth_issuer") == "no keys"
    assert admin.one("SELECT extract(year FROM last_connected_at)::int FROM iot_auth.device") == 2022
    assert ear.drain() == []


def test_filling_in_the_same_again_writes_nothing(database, admin, broker, ca):
    broker.call("broker_set_ca_parsed", ca, "CN=x", "2020-01-01", "2030-01-01", None)
    before = database.value("SELECT xmin::text FROM iot_auth.ca")
    broker.call("broker_set_ca_parsed", ca, "CN=x", "2020-01-01", "2030-01-01", None)
    assert database.value("SELECT xmin::text FROM iot_auth.ca") == before


def test_registrations_by_brokers_are_not_notified(broker, ear, ca):
    for n in range(3):
        assert register(broker, bytes([n]) * 32, f"new{n}", ca)["outcome"] == "registered"
    assert register(broker, b"\x09" * 32, "new1", ca)["outcome"] == "registered"  # a further certificate
    assert ear.drain() == []


def test_nobody_else_can_write_in_silence(database, admin, broker, ear, ca):
    """iot_auth.quiet is a setting that anyone can set: it must count inside the broker's functions only."""
    admin.all("SET iot_auth.quiet = 'on'")
    admin.call("set_device_status", "d1", "INACTIVE")
    with cursor(database, pg.SUPERUSER) as root:
        root.all("SET iot_auth.quiet = 'on'")
        root.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('s', %s)", ca)
    admin.all("DELETE FROM iot_auth.device WHERE device_id = 'd1'")  # cascades run under the owner's name
    assert topics(ear.drain()) == [("device", ("d1",)), ("device", ("d1",)), ("device", ("s",))]


def test_silence_ends_with_the_registration(database, ear, ca):
    with cursor(database, pg.BROKER) as broker:
        broker.all("BEGIN")
        register(broker, PRINT, "new", ca)
        assert broker.one("SELECT current_setting('iot_auth.quiet')") == "off"
        broker.all("COMMIT")


# Events


def test_a_status_change_is_one_event_and_brokers_are_notified_to_publish_it(admin, broker, ear, ca):
    admin.call("set_device_status", "d1", "INACTIVE")
    admin.call("set_device_status", "d1", "INACTIVE")
    admin.call("set_ca_status", "acme", "INACTIVE")
    notified = [keys[0] for topic, keys in ear.drain() if topic == "event"]
    rows = broker.all("SELECT event_id::text, kind, principal, ca_id, detail::jsonb FROM iot_auth.broker_event ORDER BY event_id")
    assert [row[0] for row in rows] == notified
    assert [row[1:] for row in rows] == [
        ("device/status", "d1", ca, {"device_id": "d1", "old": "ACTIVE", "new": "INACTIVE", "ca": "acme", "tenant": None, "who": pg.ADMIN}),
        ("ca/status", None, ca, {"ca": "acme", "old": "ACTIVE", "new": "INACTIVE", "tenant": None, "who": pg.ADMIN})]


def test_a_bulk_status_change_writes_each_event_and_notifies_once(admin, ear):
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'x' || i, 1 FROM generate_series(1, 99) i")
    ear.drain()
    admin.all("UPDATE iot_auth.device SET status = 'INACTIVE'")
    assert sorted(ear.drain()) == [("device", ["*"]), ("event", ["*"])]
    assert admin.one("SELECT count(*) FROM iot_auth.event WHERE kind = 'device/status'") == 100


def test_broker_write_events_keeps_order_and_survives_a_detail_that_is_no_json(admin, broker):
    broker.all("SELECT iot_auth.broker_write_events('n1', %s::timestamptz[], %s, %s, %s::bigint[], %s, %s, %s)",
               ["2020-01-01 UTC", None, None], ["device/refused"] * 3, ["d1", None, "d3"], [1, None, 3], ["192.0.2.1", None, None],
               ["device_pending", "chain_invalid", None], ['{"rule": 7}', "{broken \\u0000", None])
    rows = admin.all("SELECT extract(year FROM at)::int, node, kind, principal, ca_id, address, reason, detail FROM iot_auth.event ORDER BY event_id")
    assert rows[0] == (2020, "n1", "device/refused", "d1", 1, "192.0.2.1", "device_pending", {"rule": 7})
    assert rows[1][1:] == ("n1", "device/refused", None, None, None, "chain_invalid", {"text": "{broken \\u0000"})
    assert rows[2][3:] == ("d3", 3, None, None, None)
    broker.all("SELECT iot_auth.broker_write_events('n1', '{}', '{}', '{}', '{}', '{}', '{}', '{}')")


def test_heartbeats_keep_one_row_for_each_node(admin, broker):
    for node, counters in (("n1", '{"a": 1}'), ("n2", "{}"), ("n1", '{"a": 2}')):
        broker.call("broker_heartbeat", node, counters)
    assert admin.all("SELECT node_name, counters FROM iot_auth.node ORDER BY 1") == [("n1", {"a": 2}), ("n2", {})]
    assert admin.one("SELECT bool_and(last_seen > now() - interval '1 minute') FROM iot_auth.node")


def test_prune_deletes_expired_events_and_nodes_as_retention_says(database, admin, broker):
    database.query("UPDATE iot_auth.retention SET keep = '2 days' WHERE kind IN ('event', 'node')")
    database.query("INSERT INTO iot_auth.event (kind, at) SELECT 'x', now() - i * interval '1 hour' FROM generate_series(0, 99) i")
    database.query("INSERT INTO iot_auth.node (node_name, last_seen) VALUES ('old', now() - interval '3 days'), ('here', now())")
    assert broker.one("SELECT iot_auth.broker_prune(NULL)") == 100 - 48 + 1
    assert broker.one("SELECT iot_auth.broker_prune(NULL)") == 0
    assert admin.all("SELECT node_name FROM iot_auth.node") == [("here",)]
    broker.one("SELECT iot_auth.broker_prune(interval '0')")
    assert admin.one("SELECT count(*) FROM iot_auth.event") == 48


def test_prune_works_in_batches(database, broker):
    database.query("UPDATE iot_auth.retention SET keep = '7 days' WHERE kind = 'event'")
    database.query("INSERT INTO iot_auth.event (kind, at) SELECT 'x', now() - interval '9 days' FROM generate_series(1, 51000)")
    assert [broker.one("SELECT iot_auth.broker_prune(NULL)") for _ in range(3)] == [50000, 1000, 0]
