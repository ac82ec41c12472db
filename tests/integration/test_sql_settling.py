# SPDX-License-Identifier: ISC
"""Registrations and changes of their CA at the same time: what is committed is by the CA as it is then, no side waits for
long, and a change of the CA's status waits for neither."""

import contextlib
import threading
import time

import pg
import psycopg2
import pytest
from sql_kit import ca_pem, cursor
from test_sql_provisioning import filled, register, terms_of

ALLOW = "'{\"allow\": true}'::jsonb"


@pytest.fixture(scope="module")
def database(postgres):
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture
def root(database):
    with cursor(database, pg.SUPERUSER) as c:
        yield c
        c.all("DELETE FROM iot_auth.device")
        c.all("DELETE FROM iot_auth.ca")


@pytest.fixture
def ca(root):
    return root.call("register_ca", ca_pem(), "acme", auto_registration=True)


@contextlib.contextmanager
def registering(database, ca, n=1):
    """A broker's registration that is made; the test commits it."""
    with cursor(database, pg.BROKER) as broker:
        broker.all("BEGIN")
        assert register(broker, n, "open-%d" % n, ca)["outcome"] == "registered"
        yield broker


@contextlib.contextmanager
def elsewhere(database, user, statement):
    """Runs the statement in a thread of its own; yields its outcome: a list, empty while it runs."""
    outcome = []

    def run():
        with cursor(database, user) as c:
            try:
                outcome.append(c.all(statement))
            except psycopg2.Error as error:
                outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield outcome
    thread.join()


def wait_for_lock(root, text):
    """Until a statement with that text waits for a lock."""
    for _ in range(1000):
        if root.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s", "%" + text + "%"):
            return
        time.sleep(0.01)
    raise AssertionError("%s does not wait" % text)


CHANGES = ["SELECT iot_auth.set_ca('acme', device_id_template => 'x-${cert.cn}')",
           "SELECT iot_auth.set_ca('acme', auto_registration => false)",
           "SELECT iot_auth.set_registration_hook('acme', NULL), iot_auth.set_ca('acme', provisioning => '{}')"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_status_waits_neither_for_a_registration_nor_for_a_change_that_does(database, root, ca, change):
    with registering(database, ca) as broker, elsewhere(database, pg.ADMIN, change) as changed:
        wait_for_lock(root, change[:40])
        root.all("SET lock_timeout = '1s'")
        root.call("set_ca_status", "acme", "INACTIVE")
        assert changed == []
        broker.all("COMMIT")
    assert not isinstance(changed[0], Exception), changed


@pytest.mark.parametrize("change", CHANGES + ["UPDATE iot_auth.ca SET provisioning = '{}'"])
def test_a_change_returns_after_the_registration_that_it_found(database, root, ca, change):
    with registering(database, ca) as broker, elsewhere(database, pg.ADMIN, change) as changed:
        wait_for_lock(root, change[:40])
        assert changed == []
        broker.all("COMMIT")
    assert not isinstance(changed[0], Exception), changed


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_is_not_committed_stops_no_registration(database, ca, change):
    with cursor(database, pg.ADMIN) as admin, cursor(database, pg.BROKER) as broker:
        admin.all("BEGIN")
        admin.all(change)
        broker.all("SET lock_timeout = '1s'")
        assert register(broker, 1, "d1", ca)["outcome"] == "registered"
        admin.all("ROLLBACK")


def test_overlapping_registrations_hold_up_no_change(database, root, ca):
    """Behind shared locks that overlap a change would wait until the storm is over."""
    stop = threading.Event()
    made = []

    def storm(thread):
        with cursor(database, pg.BROKER) as broker:
            n = 0
            while not stop.is_set():
                n += 1
                broker.all("BEGIN")
                made.append(register(broker, "%d-%d" % (thread, n), "storm-%d-%d" % (thread, n), ca)["outcome"])
                time.sleep(0.05)
                broker.all("COMMIT")

    threads = [threading.Thread(target=storm, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    try:
        while len(made) < 20:
            time.sleep(0.01)
        for turn in range(5):
            root.call("set_ca", "acme", device_id_template="t%d-${cert.cn}" % turn)
            assert len(made) < 3000 and not stop.is_set()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert "registered" in made


@pytest.mark.parametrize("change", [
    "SELECT iot_auth.set_ca('acme', device_id_template => 'x-${cert.cn}')",
    "SELECT iot_auth.set_ca('acme', provisioning => '{\"roles\": [\"device\"]}')",
    "SELECT iot_auth.set_registration_hook('acme', NULL)",
    "UPDATE iot_auth.ca SET tenant = 't'",
])
def test_a_registration_that_a_change_has_overtaken_is_undone(database, root, ca, change):
    """It is in its hook when the change is made and committed, which waits for no hook; and is sent back, with nothing left of it
    or of what its hook wrote."""
    root.all("CREATE TABLE IF NOT EXISTS public.seen (device text)")
    root.all("CREATE OR REPLACE FUNCTION public.slow(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $h$ BEGIN"
             " INSERT INTO public.seen VALUES (request ->> 'device_id'); PERFORM pg_sleep(1); RETURN %s; END $h$" % ALLOW)
    root.call("set_registration_hook", "acme", "public.slow(jsonb)")
    with cursor(database, pg.BROKER) as reader:
        terms = terms_of(reader, ca)
    rows = []

    def ask():
        with cursor(database, pg.BROKER) as broker:
            rows.append(register(broker, 1, "d1", ca, provision=filled(), hook="ask", terms=terms))

    thread = threading.Thread(target=ask)
    thread.start()
    while not root.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
        time.sleep(0.005)
    with cursor(database, pg.ADMIN) as admin:
        admin.all(change)
    assert rows == []
    thread.join()
    assert rows[0]["outcome"] == "stale_template"
    assert root.one("SELECT count(*) FROM iot_auth.device") == root.one("SELECT count(*) FROM public.seen") == 0


def test_a_change_gives_up_behind_a_registration_that_is_not_committed(database, root, ca):
    with registering(database, ca):
        with pytest.raises(psycopg2.errors.LockNotAvailable) as caught:
            root.call("set_ca", "acme", registered_status="PENDING")
        assert "a registration under CA 'acme' is locked by another session" in str(caught.value)
        assert root.one("SHOW lock_timeout") == "0"


# Entries of a CA that is deleted


def test_entries_that_are_copied_while_their_ca_is_deleted_go_with_it(database, root, ca):
    with cursor(database, pg.ADMIN) as admin:
        admin.all("BEGIN")
        admin.all("INSERT INTO iot_auth.expected_device (ca_name, device_id) VALUES ('acme', 'd1'), ('acme', 'd2')")
        with elsewhere(database, pg.ADMIN, "DELETE FROM iot_auth.ca WHERE name = 'acme'") as deleted:
            wait_for_lock(root, "DELETE FROM iot_auth.ca")
            root.all("SET lock_timeout = '1s'")
            root.call("set_ca_status", "acme", "INACTIVE")
            admin.all("COMMIT")
    assert not isinstance(deleted[0], Exception), deleted
    assert root.one("SELECT count(*) FROM iot_auth.expected_device") == 0


def test_entries_of_a_ca_that_is_being_deleted_are_refused(database, root, ca):
    root.all("BEGIN")
    root.all("DELETE FROM iot_auth.ca WHERE name = 'acme'")
    insert = "INSERT INTO iot_auth.expected_device (ca_name, device_id) VALUES ('acme', 'd1')"
    with cursor(database, pg.SUPERUSER) as watcher, elsewhere(database, pg.ADMIN, insert) as inserted:
        wait_for_lock(watcher, "INSERT INTO iot_auth.expected")
        root.all("COMMIT")
    assert "CA 'acme' is not registered" in str(inserted[0])


def test_a_ca_is_not_deleted_by_an_older_snapshot(root, ca):
    root.all("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert "READ COMMITTED only" in root.refused("DELETE FROM iot_auth.ca WHERE name = 'acme'")
    root.all("ROLLBACK")


def test_a_registration_that_waits_for_its_hook_holds_up_no_batch(database, root):
    """With a quota, the registration in the hook has the row that counts the CA's devices."""
    ca = root.call("register_ca", ca_pem(), "acme", auto_registration=True, max_devices=10)
    root.all("CREATE OR REPLACE FUNCTION public.allow(jsonb) RETURNS jsonb LANGUAGE sql AS $h$ SELECT %s $h$" % ALLOW)
    root.call("set_registration_hook", "acme", "public.allow(jsonb)")
    with cursor(database, pg.BROKER) as lane, cursor(database, pg.BROKER) as batch:
        lane.all("BEGIN")
        assert register(lane, 1, "d1", ca, hook="ask")["outcome"] == "registered"
        rows = batch.all("SELECT outcome FROM iot_auth.broker_register_many(%s, %s, %s, NULL, NULL, NULL, NULL, 'n1', NULL)",
                         [b"\2" * 32], ["d2"], [ca])
        lane.all("COMMIT")
    assert [outcome for (outcome,) in rows] == ["hook"]
