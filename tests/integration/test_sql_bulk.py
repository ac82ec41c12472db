# SPDX-License-Identifier: ISC
"""Many rows in one statement: 100,000 in the normal run, IOT_AUTH_BULK_ROWS=1000000 for the promise itself.

Bounds are wide, for busy machines; they catch what is not proportional to the rows, or costs a function call for each."""

import contextlib
import os
import re
import time

import pg
import pytest
from sql_kit import ca_pem, cursor

ROWS = int(os.environ.get("IOT_AUTH_BULK_ROWS", "100000"))
LIMIT_S = ROWS / 1000 * 0.5  # 50 s for 100,000 rows, which take 2 s on a quiet machine


@pytest.fixture(scope="module")
def fleet(postgres):
    """A CA with ROWS devices, one certificate each, inserted by two statements of an administrator."""
    database = postgres.create_database()
    with cursor(database, pg.ADMIN) as admin, contextlib.closing(pg.Listener(database)) as ear:
        admin.call("register_ca", ca_pem(), "acme", tenant="t")
        ear.drain()
        took = timed(admin, "INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'device-' || i, 1 FROM generate_series(1, %s) i", ROWS)
        took += timed(admin, "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id)"
                             " SELECT sha256(device_id::bytea), device_id, 1 FROM iot_auth.device")
        notified = ear.drain()
    database.query("VACUUM ANALYZE")
    yield database, took, notified
    database.drop()


def timed(connection, statement, *parameters):
    start = time.monotonic()
    connection.all(statement, *parameters)
    return time.monotonic() - start


def test_a_fleet_is_inserted_in_two_statements(fleet):
    database, took, notified = fleet
    assert database.value("SELECT count(*) FROM iot_auth.device_certificate") == ROWS
    assert took < 2 * LIMIT_S
    assert notified == [("device", ["*"]), ("device", ["*"])]


def test_one_bad_row_refuses_the_statement(fleet):
    database, _, _ = fleet
    with cursor(database, pg.ADMIN) as admin:
        assert "device_id_is_a_value" in admin.refused(
            "INSERT INTO iot_auth.device (device_id, ca_id) SELECT CASE i WHEN 777 THEN 'a#' ELSE 'new-' || i END, 1 FROM generate_series(1, 1000) i")
    assert database.value("SELECT count(*) FROM iot_auth.device") == ROWS


def test_the_whole_fleet_is_read_by_one_copy(fleet):
    database, _, _ = fleet

    class Sink:
        size = 0

        def write(self, data):
            self.size += len(data)
            return len(data)

    sink = Sink()
    with contextlib.closing(database.broker()) as connection, connection.cursor() as c:
        start = time.monotonic()
        c.copy_expert("COPY (SELECT * FROM iot_auth.broker_device) TO STDOUT (FORMAT binary)", sink)
        assert time.monotonic() - start < LIMIT_S
    assert sink.size > ROWS * 32


def test_pages_and_look_ups_use_indexes(fleet):
    database, _, _ = fleet
    with cursor(database, pg.BROKER) as broker:
        first = broker.all("SELECT fingerprint FROM iot_auth.broker_device ORDER BY fingerprint LIMIT 1000")
        rest = broker.all("SELECT fingerprint FROM iot_auth.broker_device WHERE fingerprint > %s ORDER BY fingerprint LIMIT 1000", first[-1][0])
        prints = [bytes(row[0]) for row in first + rest]
        assert prints == sorted(set(prints)) and len(prints) == 2000
        for condition in ("fingerprint = sha256('device-5')", "device_id = 'device-5'", "device_id = ANY ('{device-5,device-6}')"):
            plan = "\n".join(row[0] for row in broker.all(f"EXPLAIN SELECT * FROM iot_auth.broker_device WHERE {condition}"))
            assert not re.search(r"Seq Scan on device(?!_role|_psk)", plan), plan  # these two are empty


def test_a_fleet_is_disabled_in_one_statement(fleet):
    database, _, _ = fleet
    with cursor(database, pg.ADMIN) as admin, contextlib.closing(pg.Listener(database)) as ear:
        assert timed(admin, "UPDATE iot_auth.device SET status = 'INACTIVE'") < 2 * LIMIT_S
        assert sorted(ear.drain()) == [("device", ["*"]), ("event", ["*"])]


def test_connection_times_are_noted_in_bulk(fleet):
    database, _, _ = fleet
    with cursor(database, pg.BROKER) as broker:
        took = timed(broker, "SELECT iot_auth.broker_connected(array_agg('device-' || i), array_agg(now())) FROM generate_series(1, 1000) i")
    assert took < LIMIT_S / 10
    assert database.value("SELECT count(*) FROM iot_auth.device WHERE last_connected_at IS NOT NULL") == 1000


def test_ten_thousand_devices_are_deleted_in_one_statement(fleet):
    database, _, _ = fleet
    with cursor(database, pg.ADMIN) as admin:
        assert timed(admin, "DELETE FROM iot_auth.device WHERE device_id LIKE 'device-1____'") < LIMIT_S
    assert database.value("SELECT count(*) FROM iot_auth.device_certificate") == ROWS - 10000


def test_a_hundred_thousand_rules_and_networks_are_taken(database):
    with cursor(database, pg.ADMIN) as admin:
        assert timed(admin, "INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)"
                            " SELECT 'device', 'ALLOW', '{PUBLISH}', 'a/' || i || '/${device_id}/#' FROM generate_series(1, 100000) i") < 60
        assert timed(admin, "INSERT INTO iot_auth.ip_rule (effect, network)"
                            " SELECT 'DENY', set_masklen((inet '10.0.0.0' + i)::cidr, 32) FROM generate_series(1, 100000) i") < 60
