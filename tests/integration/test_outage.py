# SPDX-License-Identifier: ISC
"""PostgreSQL fails in every possible way; brokers go on from memory, and catch up afterwards."""

import contextlib
import re

import pytest

import pg
from app_kit import Issuer
from broker import wait_until
from client import TRY_AGAIN
from outage_kit import AT_ONCE, AUTH_WAIT, BACK, BACK_WITHIN, OPTIONS, UNDISTURBED, lines_of, logged_once

# Each fault: what causes it, what ends it.


@contextlib.contextmanager
def down(site):
    site.server.stop()
    yield
    site.server.start()


@contextlib.contextmanager
def crashed(site):
    site.server.kill()
    yield
    site.server.start()


@contextlib.contextmanager
def unreachable(site):
    site.proxy.refuse()
    yield


@contextlib.contextmanager
def out_of_connections(site):
    site.database.query("ALTER ROLE iot_auth_broker CONNECTION LIMIT 0")
    site.end_broker_connections()
    yield
    site.database.query("ALTER ROLE iot_auth_broker CONNECTION LIMIT -1")


@contextlib.contextmanager
def read_only(site):
    site.database.query("ALTER SYSTEM SET default_transaction_read_only = on")
    site.database.query("SELECT pg_reload_conf()")
    yield
    with contextlib.closing(site.database.superuser()) as connection, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute("ALTER SYSTEM RESET default_transaction_read_only")
        cursor.execute("SELECT pg_reload_conf()")
    wait_until(lambda: site.database.value("SHOW default_transaction_read_only") == "off", what="the reload")


@contextlib.contextmanager
def hung(site):
    site.server.pause()
    yield
    site.server.resume()


@contextlib.contextmanager
def black_hole(site):
    site.proxy.black_hole()
    yield


@contextlib.contextmanager
def half_open(site):
    site.proxy.drop_answers()
    yield


@contextlib.contextmanager
def credentials_changed(site):
    rules = site.server.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("host all %s 127.0.0.1/32 reject\n%s" % (pg.BROKER, before))
    site.database.query("SELECT pg_reload_conf()")
    site.end_broker_connections()
    yield
    rules.write_text(before)
    site.database.query("SELECT pg_reload_conf()")


@contextlib.contextmanager
def schema_missing(site):
    site.database.query("ALTER SCHEMA iot_auth RENAME TO elsewhere")
    yield
    site.database.query("ALTER SCHEMA elsewhere RENAME TO iot_auth")


@contextlib.contextmanager
def schema_older(site):
    newest = site.database.value("SELECT max(version) FROM iot_auth.schema_version")
    site.database.query("DELETE FROM iot_auth.schema_version WHERE version = %s", (newest,))
    site.end_broker_connections()
    yield
    site.database.query("INSERT INTO iot_auth.schema_version (version) VALUES (%s)", (newest,))


FAULTS = {
    down: "cannot be reached|starting up or shutting down|connection lost",
    crashed: "cannot be reached|starting up or shutting down|connection lost",
    unreachable: "cannot be reached|connection lost",
    out_of_connections: "too many connections",
    read_only: "read-only",
    hung: "timeout",
    black_hole: "timeout",
    half_open: "timeout",
    credentials_changed: "authentication failed",
    schema_missing: "schema iot_auth missing or old",
    schema_older: "schema iot_auth is at version",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_an_outage_is_lived_through(outage, fault):
    """One fault from its beginning to its end; see the sections."""
    site = outage
    acme, doomed = site.fleet("acme"), site.fleet("doomed")
    corp = Issuer("corp").register(site)
    broker, second = site.broker(options=OPTIONS), site.broker(options=OPTIONS)
    known = acme.issue("known")
    site.connect(broker, known).disconnect()
    revoked, deleted, orphan = acme.issue("revoked"), acme.issue("deleted"), doomed.issue("orphan")
    live = [site.connect(broker, credential) for credential in (revoked, deleted, orphan)]
    mark, second_mark = broker.mark(), second.mark()

    with site.bystander(broker, acme) as bystander, contextlib.ExitStack() as ending:
        ending.enter_context(fault(site))
        # Not noticed yet: an unknown device is parked for auth_wait_ms at most, and several are at the same time.
        assert site.timed_refusal(broker, acme.issue("new-1")) < AUTH_WAIT + AT_ONCE
        unknown_devices = [site.client(broker, acme.issue("new-1-%d" % number)) for number in range(6)]
        assert set(site.connect_all(unknown_devices)) <= set(TRY_AGAIN)
        site.wait_for_outage(broker, mark)
        # Noticed: unknown devices are refused at once and may retry, known devices connect from memory.
        for number in range(3):
            assert site.timed_refusal(broker, acme.issue("new-2-%d" % number)) < AT_ONCE
        assert site.try_connect(broker, acme.issue("new-3")) in TRY_AGAIN
        client = site.connect(broker, known)
        assert client.subscribe("devices/known/x") == 1
        assert site.try_connect(broker, None, "app:corp:dashboard", username="x", password=corp.token()) == 0
        assert all(one.connected for one in live)
        # Another broker is stopped meanwhile; it exits soon and with status 0.
        site.wait_for_outage(second, second_mark)
        second.stop(timeout=2)

        # The fault ends; the broker does not receive notifications yet.
        broker.wait_for_log("iot-auth: (?:lost the|no) database: .*(?:%s)" % FAULTS[fault], timeout=BACK_WITHIN, since=mark)
        site.proxy.refuse()
        ending.close()
        site.reconnect_admin()
        site.registry.set_device_status(device_id="revoked", status="REVOKED")
        site.registry.query("DELETE FROM iot_auth.device WHERE device_id = 'deleted'")
        site.registry.set_ca_status(name="doomed", status="INACTIVE")
        late = site.register(site.root.intermediate("late"), "late")
        site.proxy.heal()

        broker.wait_for_log(BACK, timeout=BACK_WITHIN, since=mark)
        for one in live:
            one.wait_closed(2.0)
        site.connect(broker, late.issue("late-1"))
        assert client.connected
        assert bystander.longest() < UNDISTURBED

    texts = logged_once(broker, mark)
    assert re.search(FAULTS[fault], "\n".join(texts)), texts
    assert len(lines_of(broker, BACK, mark)) == 1
