# SPDX-License-Identifier: ISC
"""What the views for monitoring make of the registry, and of counters that only a broken broker would write."""

import datetime
import json
import pathlib

import pg
import pki
import pytest
from sql_kit import cursor
from test_sql_migrations import apply

CORPUS = pathlib.Path(__file__).resolve().parents[1] / "fuzz/corpus/crl"


@pytest.fixture
def root(database):
    with cursor(database, pg.SUPERUSER) as c:
        yield c


@pytest.fixture
def broker(database):
    with cursor(database, pg.BROKER) as c:
        yield c


@pytest.fixture
def monitor(database):
    with cursor(database, "iot_auth_monitor") as c:
        yield c


@pytest.fixture
def empty(postgres):
    fresh = postgres.create_database(migrated=False)
    yield fresh
    fresh.drop()


def heartbeat(broker, counters, node="n1"):
    broker.all("SELECT iot_auth.broker_heartbeat(%s, %s, NULL, 'local', NULL)", node, json.dumps(counters))


# Revocation lists


@pytest.mark.parametrize("date", ["2049-12-31 23:59:59", "2050-01-01 00:00:00", "2031-02-03 04:05:06", "9999-12-31 23:59:59", "1999-06-07 08:09:10"])
def test_the_end_of_a_list_is_in_its_row_whichever_form_its_date_has(root, date):
    """RFC 5280 section 5.1.2.4: UTCTime through 2049, GeneralizedTime from 2050 on."""
    moment = datetime.datetime.strptime(date, "%Y-%m-%d %H:%M:%S")
    authority = pki.root("acme")
    text = authority.crl(next_update=moment, last_update=datetime.datetime(1998, 1, 1))
    root.all("SELECT iot_auth.register_ca(%s, 'acme')", authority.pem)
    root.all("SELECT iot_auth.add_crl('acme', %s)", text)
    assert root.one("SELECT to_char(next_update AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM iot_auth.crl") == date
    root.all("UPDATE iot_auth.crl SET next_update = now()")
    assert root.one("SELECT to_char(next_update AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM iot_auth.crl") == date


def test_of_several_lists_the_one_that_lasts_longest_counts(root, monitor):
    authority = pki.root("acme")
    root.all("SELECT iot_auth.register_ca(%s, 'acme')", authority.pem)
    assert monitor.all("SELECT crls, crl_next_update FROM iot_auth.monitor_ca") == [(0, None)]
    for days in (5, 2):
        root.all("SELECT iot_auth.add_crl('acme', %s)", authority.crl(next_update=days * 86400))
    assert monitor.one("SELECT crl_next_update > now() + interval '4 days' FROM iot_auth.monitor_ca")


def test_a_list_without_an_end_has_none_in_its_row(root):
    assert root.one("SELECT iot_auth.crl_next_update(%s)", (CORPUS / "no_next.der").read_bytes()) is None
    assert root.one("SELECT iot_auth.crl_next_update(%s)", (CORPUS / "revokes_leaf.der").read_bytes()) is not None


def test_no_bytes_make_the_reader_of_dates_fail(root):
    """Each beginning of a list, and each list with one byte of its head changed."""
    der = (CORPUS / "revokes_leaf.der").read_bytes()
    head = min(len(der), 160)
    root.all("SELECT iot_auth.crl_next_update(substr(%s, 1, n)) FROM generate_series(0, %s) n", der, head)
    for value in (0, 2, 23, 24, 48, 127, 128, 132, 255):
        root.all("SELECT iot_auth.crl_next_update(set_byte(%s, n, %s)) FROM generate_series(0, %s) n", der, value, head - 1)
    assert root.one("SELECT iot_auth.crl_next_update(NULL)") is None


# Counters


def test_counters_are_rows(broker, monitor):
    heartbeat(broker, {"sessions": 3, "connects/refused/ca_unknown": 7, "connects/refused/internal": 0, "sessions/ended/device_revoked": 2})
    assert monitor.all("SELECT counter, value FROM iot_auth.monitor_counter ORDER BY counter COLLATE \"C\"") == [
        ("connects/refused/ca_unknown", 7), ("connects/refused/internal", 0), ("sessions", 3), ("sessions/ended/device_revoked", 2)]
    assert monitor.all("SELECT node_name, reason, refusals FROM iot_auth.monitor_refusal ORDER BY 2") == [("n1", "ca_unknown", 7), ("n1", "internal", 0)]
    assert monitor.all("SELECT node_name, reason, sessions FROM iot_auth.monitor_session_end") == [("n1", "device_revoked", 2)]


@pytest.mark.parametrize("bad", ["x", "1e3", {"a": 1}, [1], None, True, 1.5, 10 ** 18, -10 ** 18, ""])
def test_a_value_that_is_no_counter_fails_no_query(broker, monitor, bad):
    """One broker that was broken into would blind the monitoring of all."""
    heartbeat(broker, {"sessions": bad, "acl/allowed": 1, "histogram/connect_us/le_64": bad})
    heartbeat(broker, {"sessions": 5}, "n2")
    rows = monitor.all("SELECT node_name, counter, value FROM iot_auth.monitor_counter ORDER BY 1, 2")
    assert rows == [("n1", "acl/allowed", 1), ("n2", "sessions", 5)]
    for view in ("monitor_refusal", "monitor_session_end", "monitor_histogram"):
        assert monitor.all(f"SELECT * FROM iot_auth.{view}") == []


@pytest.mark.parametrize("counters", ["[]", "3", "\"x\"", "null", "[[1]]"])
def test_counters_that_are_no_object_are_none(root, monitor, counters):
    root.all("INSERT INTO iot_auth.node (node_name, counters) VALUES ('n1', %s)", counters)
    assert monitor.all("SELECT * FROM iot_auth.monitor_counter") == []


def test_names_that_are_no_counters_are_left_out_and_their_number_is_bounded(broker, monitor):
    """Each name would become a time series."""
    names = {"A": 1, "a b": 1, "a\nb": 1, "é": 1, "x" * 65: 1, "": 1, "a'b": 1, "connects/refused/": 1, "connects/refused/x1": 1,
             "connects/refused/a/b": 1, "histogram/other_us/le_64": 1, "histogram/connect_us/le_": 1, "histogram/connect_us/le_1x": 1,
             "histogram/connect_us/le_9999999999999": 1}
    heartbeat(broker, names)
    assert monitor.one("SELECT count(*) FROM iot_auth.monitor_counter WHERE counter !~ '^[a-z0-9_/]{1,64}$'") == 0
    assert monitor.all("SELECT reason FROM iot_auth.monitor_refusal") == []
    assert monitor.all("SELECT * FROM iot_auth.monitor_histogram") == []
    heartbeat(broker, {"c%d" % n: n for n in range(2000)})
    assert monitor.one("SELECT count(*) FROM iot_auth.monitor_counter") == 1000


def test_a_histogram_is_in_seconds_and_in_the_order_of_its_bounds(broker, monitor):
    heartbeat(broker, {"histogram/applied_us/le_64": 1, "histogram/applied_us/le_1024": 4, "histogram/applied_us/le_128": 2,
                       "histogram/applied_us/count": 5, "histogram/applied_us/sum": 2500000})
    assert monitor.all("SELECT node_name, histogram, le, at_most, sum, count FROM iot_auth.monitor_histogram") == [
        ("n1", "applied", [0.000064, 0.000128, 0.001024], [1, 2, 4], 2.5, 5)]


def test_the_age_of_a_node_is_the_databases_to_say(root, broker, monitor):
    """A broker that has lost its connection cannot say so: what its row says goes on being what was true before."""
    heartbeat(broker, {"snapshot/age_s": 1, "database/up": 1})
    root.all("UPDATE iot_auth.node SET last_seen = now() - interval '1 hour'")
    assert monitor.one("SELECT age_s BETWEEN 3600 AND 3660 FROM iot_auth.monitor_node")
    assert monitor.one("SELECT alive FROM iot_auth.monitor_node") is False


# The role


def test_an_upgrade_adds_the_role_monitor_but_no_rule_to_one_that_exists(empty):
    apply(empty, last=13)
    with cursor(empty, pg.ADMIN) as admin:
        admin.call("create_role", "monitor")
        admin.call("add_rule", "monitor", "ALLOW", ["PUBLISH"], "mine/#")
    apply(empty)
    assert empty.query("SELECT actions, topic_filter FROM iot_auth.role_rule WHERE role = 'monitor'") == [(["PUBLISH"], "mine/#")]


def test_a_role_monitor_that_was_dropped_does_not_come_back(empty):
    apply(empty)
    assert empty.value("SELECT count(*) FROM iot_auth.role_rule WHERE role = 'monitor'") == 2
    with cursor(empty, pg.ADMIN) as admin:
        admin.call("drop_role", "monitor")
    apply(empty)
    assert empty.query("SELECT role FROM iot_auth.role") == [("device",)]


def test_a_certificate_that_has_a_successor_does_not_count_as_expiring(root, monitor):
    root.call("register_ca", pki.root("acme").pem, "acme")
    root.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT d, 1 FROM unnest(ARRAY['renewed', 'waiting']) d")
    root.all("""INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, not_after) VALUES
        (decode(repeat('01', 32), 'hex'), 'renewed', 1, now() + interval '3 days'),
        (decode(repeat('02', 32), 'hex'), 'renewed', 1, now() + interval '1 year'),
        (decode(repeat('03', 32), 'hex'), 'waiting', 1, now() + interval '3 days')""")
    assert monitor.one("SELECT expiring_in_30_days FROM iot_auth.monitor_certificate WHERE ca = 'acme'") == 1
    root.all("UPDATE iot_auth.device_certificate SET status = 'INACTIVE' WHERE fingerprint = decode(repeat('02', 32), 'hex')")
    assert monitor.one("SELECT expiring_in_30_days FROM iot_auth.monitor_certificate WHERE ca = 'acme'") == 2
