# SPDX-License-Identifier: ISC
"""Registration by one function: what it refuses, and that it holds under concurrency."""

import contextlib
import hashlib
import threading
import time

import pg
import pytest
from sql_kit import Cursor, ca_pem, cursor, register


@pytest.fixture
def ca(admin):
    return admin.call("register_ca", ca_pem(), "acme", auto_registration=True, tenant="t1")


def certificate(n):
    return hashlib.sha256(b"%d" % n).digest()


def at_once(database, jobs):
    """Run each job(cursor) on a broker's connection of its own, all let go together.  Returns their results."""
    gate = threading.Barrier(len(jobs))
    results = [None] * len(jobs)

    def run(n, job):
        with cursor(database, pg.BROKER) as connection:
            gate.wait(30)
            try:
                results[n] = job(connection)
            except Exception as error:  # reported by the assertion that reads the results
                results[n] = error

    threads = [threading.Thread(target=run, args=item) for item in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def outcomes(results):
    assert not [r for r in results if not isinstance(r, dict)]
    return sorted(r["outcome"] for r in results)


# Acceptance


def test_a_new_device_is_registered_with_its_event(admin, broker, ca):
    row = register(broker, certificate(1), "d1", ca)
    assert row["outcome"] == "registered"
    assert bytes(row["fingerprint"]) == certificate(1)
    assert (row["device_id"], row["device_status"], row["certificate_status"], row["certificate_ca_id"], row["device_ca_id"], row["tenant"],
            row["not_after"].year, row["attrs"], row["roles"]) == ("d1", "ACTIVE", "ACTIVE", ca, ca, "t1", 2040, None, None)
    assert admin.all("SELECT ca_id, tenant, status, attributes, registered_by FROM iot_auth.device") == [(ca, "t1", "ACTIVE", {}, "jitr")]
    assert admin.all("SELECT serial, subject, status, registered_by FROM iot_auth.device_certificate") == [("0a", "CN=x", "ACTIVE", "jitr")]
    ((kind, node, principal, ca_id, address, reason, detail),) = admin.all(
        "SELECT kind, node, principal, ca_id, address, reason, detail FROM iot_auth.event")
    assert (kind, node, principal, ca_id, address, reason) == ("device/registered", "n1", "d1", ca, "192.0.2.1", None)
    ca_fingerprint = bytes(admin.one("SELECT fingerprint FROM iot_auth.ca")).hex()
    assert list(admin.one("SELECT %s::json", row["detail"])) == (
        "device_id fingerprint ca ca_fingerprint status tenant node at attributes roles".split())
    assert admin.one("SELECT %s::jsonb", row["detail"]) == detail
    assert {key: detail[key] for key in detail if key != "at"} == {
        "device_id": "d1", "fingerprint": certificate(1).hex(), "ca": "acme", "ca_fingerprint": ca_fingerprint, "status": "ACTIVE",
        "tenant": "t1", "node": "n1", "attributes": {}, "roles": []}
    assert detail["at"].endswith("Z")


def test_a_known_certificate_returns_its_record_and_changes_nothing(admin, broker, ca):
    first = register(broker, certificate(1), "d1", ca)
    second = register(broker, certificate(1), "another-name", ca)
    assert second["outcome"] == "known" and second["detail"] is None
    for key in ("outcome", "detail"):
        first.pop(key), second.pop(key)
    assert {k: bytes(v) if k == "fingerprint" else v for k, v in first.items()} == {
        k: bytes(v) if k == "fingerprint" else v for k, v in second.items()}
    assert admin.one("SELECT count(*) FROM iot_auth.event") == 1


def test_a_certificate_registered_by_hand_gets_its_parsed_columns(admin, broker, ca):
    admin.call("register_device", "d1", ca_pem(), "acme")
    fingerprint = bytes(admin.one("SELECT fingerprint FROM iot_auth.device_certificate"))
    assert len(broker.all("SELECT * FROM iot_auth.broker_unparsed")) == 1
    row = register(broker, fingerprint, "d1", ca)
    assert (row["outcome"], row["not_after"].year) == ("known", 2040)
    assert admin.one("SELECT serial FROM iot_auth.device_certificate") == "0a"
    assert broker.all("SELECT * FROM iot_auth.broker_unparsed") == []


def test_registered_status_pending_is_what_the_device_becomes(admin, broker):
    ca = admin.call("register_ca", ca_pem(), "acme", auto_registration=True, registered_status="PENDING")
    assert register(broker, certificate(1), "d1", ca)["device_status"] == "PENDING"
    admin.call("set_device_status", "d1", "ACTIVE")
    assert register(broker, certificate(1), "d1", ca)["device_status"] == "ACTIVE"


# Batches


def register_many(broker, items):
    """broker_register_many of (fingerprint, device_id, ca_id).  Returns {item, from 0: (outcome, device_id)}."""
    fingerprints, ids, cas = (list(column) for column in zip(*items))
    n = len(items)
    rows = broker.all("SELECT item - 1, outcome, device_id FROM iot_auth.broker_register_many(%s, %s, %s, %s, %s, %s::timestamptz[],"
                      " %s::timestamptz[], 'n1', %s)", fingerprints, ids, cas, ["0a"] * n, ["CN=x"] * n, ["2020-01-01 UTC"] * n,
                      ["2040-01-01 UTC"] * n, ["192.0.2.1"] * n)
    assert len(rows) == n
    return {item: (outcome, device_id) for item, outcome, device_id in rows}


def test_certificates_of_one_device_in_one_batch_are_one_device_with_an_event_each(admin, broker, ca):
    got = register_many(broker, [(certificate(n), "d%d" % (n % 2), ca) for n in range(6)] + [(certificate(0), "d0", ca)])
    assert sorted(got.values()) == sorted([("registered", "d0")] * 3 + [("registered", "d1")] * 3 + [("known", "d0")])
    assert admin.one("SELECT array_agg(device_id ORDER BY device_id) FROM iot_auth.device") == ["d0", "d1"]
    assert admin.one("SELECT count(*) FROM iot_auth.device_certificate") == 6
    assert admin.one("SELECT count(*) FROM iot_auth.event WHERE kind = 'device/registered'") == 6


@pytest.mark.parametrize("quota", ["max_devices", "max_registrations_per_minute"])
def test_a_batch_beyond_the_quota_admits_what_fits(admin, broker, quota):
    ca = admin.call("register_ca", ca_pem(), "acme", auto_registration=True, **{quota: 5})
    assert sorted(o for o, _ in register_many(broker, [(certificate(n), "a%d" % n, ca) for n in range(3)]).values()) == ["registered"] * 3
    got = [o for o, _ in register_many(broker, [(certificate(n), "a%d" % n, ca) for n in range(2, 8)]).values()]
    assert sorted(got) == sorted(["known"] + ["registered"] * 2 + ["quota_exceeded"] * 3)
    assert [o for o, _ in register_many(broker, [(certificate(9), "a9", ca)]).values()] == ["quota_exceeded"]
    assert admin.one("SELECT count(*) FROM iot_auth.device") == 5


def test_a_batch_of_new_known_and_refused_items_decides_each(admin, broker, ca):
    other = admin.call("register_ca", ca_pem(), "other", auto_registration=True)
    register(broker, certificate(1), "d1", ca)
    got = register_many(broker, [(certificate(1), "d1", ca), (certificate(2), "d2", ca), (certificate(3), "a/b", ca),
                                 (certificate(4), "admin", ca), (certificate(5), None, ca), (certificate(6), "d1", other)])
    assert [got[item][0] for item in range(6)] == ["known", "registered", "identity_invalid", "identity_invalid", "identity_invalid",
                                                   "device_conflict"]


# Refusal


@pytest.mark.parametrize("change, outcome", [
    ("UPDATE iot_auth.ca SET status = 'INACTIVE'", "ca_inactive"),
    ("UPDATE iot_auth.ca SET status = 'REVOKED'", "ca_inactive"),
    ("DELETE FROM iot_auth.ca", "ca_inactive"),
    ("UPDATE iot_auth.ca SET auto_registration = false", "device_unknown"),
    ("UPDATE iot_auth.ca SET max_devices = 0", "quota_exceeded"),
    ("UPDATE iot_auth.ca SET max_registrations_per_minute = 0", "quota_exceeded"),
])
def test_the_state_of_the_ca_is_checked_again(admin, broker, ca, change, outcome):
    admin.all(change)
    row = register(broker, certificate(1), "d1", ca)
    assert row["outcome"] == outcome and row["detail"] and row["device_id"] is None
    assert admin.one("SELECT count(*) FROM iot_auth.device") == 0
    assert admin.one("SELECT count(*) FROM iot_auth.event WHERE kind = 'device/registered'") == 0


@pytest.mark.parametrize("device_id", ["app:corp:x", "a/b", "", None, "x" * 129, "$x", "a\n"])
def test_an_invalid_identity_is_refused(admin, broker, ca, device_id):
    assert register(broker, certificate(1), device_id, ca)["outcome"] == "identity_invalid"
    assert admin.one("SELECT count(*) FROM iot_auth.device") == 0


def test_a_known_device_returns_its_record_even_when_its_ca_is_disabled(admin, broker, ca):
    """The broker decides who may connect; the function returns the record."""
    register(broker, certificate(1), "d1", ca)
    admin.call("set_ca_status", "acme", "INACTIVE")
    assert register(broker, certificate(1), "d1", ca)["outcome"] == "known"


def test_another_ca_cannot_take_a_device_over(admin, broker, ca):
    register(broker, certificate(1), "d1", ca)
    other = admin.call("register_ca", ca_pem(), "other", auto_registration=True, tenant="t1")
    row = register(broker, certificate(2), "d1", other)
    assert row["outcome"] == "device_conflict"
    assert admin.one("SELECT count(*) FROM iot_auth.device_certificate") == 1


# Rotation


def test_a_second_certificate_of_the_same_ca_keeps_identity_status_and_rights(admin, broker, ca):
    register(broker, certificate(1), "d1", ca)
    admin.call("grant_device_role", "d1", "device")
    admin.all("UPDATE iot_auth.device SET attributes = '{\"a\": 1}', status = 'INACTIVE'")
    row = register(broker, certificate(2), "d1", ca)
    assert (row["outcome"], row["device_status"], row["certificate_status"], row["attrs"], row["roles"]) == (
        "registered", "INACTIVE", "ACTIVE", ["a", "1"], ["device"])
    assert admin.one("SELECT count(*) FROM iot_auth.device") == 1
    assert admin.one("SELECT count(*) FROM iot_auth.device_certificate WHERE status = 'ACTIVE'") == 2


def test_a_successor_takes_the_device_along_and_the_old_ca_cannot_add_to_it(admin, broker, ca):
    register(broker, certificate(1), "d1", ca)
    admin.call("set_ca_status", "acme", "REVOKED")
    following = admin.call("register_ca", ca_pem(), "next", auto_registration=True, tenant="t1", replaces="acme")
    row = register(broker, certificate(2), "d1", following)
    assert (row["outcome"], row["certificate_ca_id"], row["device_ca_id"]) == ("registered", following, following)
    row = register(broker, certificate(1), "d1", ca)
    assert (row["outcome"], row["certificate_ca_id"], row["device_ca_id"]) == ("known", ca, following)


def test_the_predecessor_cannot_add_certificates_once_the_device_has_moved(admin, broker, ca):
    following = admin.call("register_ca", ca_pem(), "next", auto_registration=True, tenant="t1", replaces="acme")
    register(broker, certificate(1), "d1", following)
    assert register(broker, certificate(2), "d1", ca)["outcome"] == "device_conflict"


def test_rotation_without_auto_registration_is_refused(admin, broker, ca):
    register(broker, certificate(1), "d1", ca)
    admin.all("UPDATE iot_auth.ca SET auto_registration = false")
    assert register(broker, certificate(2), "d1", ca)["outcome"] == "device_unknown"


# Quotas


def test_max_devices_counts_devices_and_not_certificates(admin, broker, ca):
    admin.all("UPDATE iot_auth.ca SET max_devices = 2")
    assert [register(broker, certificate(n), f"d{n}", ca)["outcome"] for n in (1, 2, 3)] == ["registered", "registered", "quota_exceeded"]
    assert register(broker, certificate(4), "d1", ca)["outcome"] == "registered"


def test_max_devices_follows_what_administrators_do(admin, broker, ca):
    admin.all("UPDATE iot_auth.ca SET max_devices = 3")
    insert = "INSERT INTO iot_auth.device (device_id, ca_id) VALUES (%s, %s)"
    assert register(broker, certificate(1), "d1", ca)["outcome"] == "registered"
    admin.all(insert, "by-hand", ca)
    assert register(broker, certificate(2), "d2", ca)["outcome"] == "registered"
    assert register(broker, certificate(3), "d3", ca)["outcome"] == "quota_exceeded"
    admin.all("DELETE FROM iot_auth.device WHERE device_id = 'd1'")
    assert register(broker, certificate(3), "d3", ca)["outcome"] == "registered"
    assert register(broker, certificate(4), "d4", ca)["outcome"] == "quota_exceeded"
    admin.all("UPDATE iot_auth.ca SET max_devices = 4")
    assert register(broker, certificate(4), "d4", ca)["outcome"] == "registered"
    admin.all("TRUNCATE iot_auth.device_certificate, iot_auth.device_psk, iot_auth.device_role, iot_auth.device")
    assert [register(broker, certificate(n), f"d{n}", ca)["outcome"] for n in range(5)] == ["registered"] * 4 + ["quota_exceeded"]


def test_a_move_counts_for_the_successor(admin, broker, ca):
    admin.all("UPDATE iot_auth.ca SET max_devices = 2")
    for n in (1, 2):
        register(broker, certificate(n), f"d{n}", ca)
    following = admin.call("register_ca", ca_pem(), "next", auto_registration=True, tenant="t1", replaces="acme", max_devices=1)
    assert register(broker, certificate(3), "d1", following)["outcome"] == "registered"
    assert register(broker, certificate(4), "d2", following)["outcome"] == "quota_exceeded"
    assert register(broker, certificate(5), "d5", ca)["outcome"] == "registered"  # d1 has moved
    assert register(broker, certificate(6), "d6", ca)["outcome"] == "quota_exceeded"


def test_registrations_per_minute_slide(database, admin, broker, ca):
    admin.all("UPDATE iot_auth.ca SET max_registrations_per_minute = 2")
    admin.call("register_device", "by-hand", ca_pem(), "acme")  # is none
    assert [register(broker, certificate(n), f"d{n}", ca)["outcome"] for n in (1, 2, 3)] == ["registered", "registered", "quota_exceeded"]
    assert register(broker, certificate(4), "d1", ca)["outcome"] == "quota_exceeded"  # a rotation is a registration
    database.query("UPDATE iot_auth.device_certificate SET created_at = created_at - interval '61 s' WHERE device_id = 'd1'")
    assert [register(broker, certificate(n), f"d{n}", ca)["outcome"] for n in (3, 5)] == ["registered", "quota_exceeded"]


# Concurrency


def test_the_same_certificate_from_ten_brokers_registers_once(database, admin, ca):
    for n in range(5):
        results = at_once(database, [lambda c, n=n: register(c, certificate(n), f"d{n}", ca)] * 10)
        assert outcomes(results) == ["known"] * 9 + ["registered"]
    assert admin.one("SELECT count(*) FROM iot_auth.device") == 5
    assert admin.one("SELECT count(*) FROM iot_auth.event") == 5


def test_the_same_certificate_under_two_names_registers_once(database, admin, ca):
    """As when the template has just changed and one broker does not know yet."""
    for n in range(5):
        results = at_once(database, [lambda c, n=n, m=m: register(c, certificate(n), f"d{n}-{m}", ca) for m in range(6)])
        assert outcomes(results) == ["known"] * 5 + ["registered"]
    assert admin.one("SELECT count(*) FROM iot_auth.device") == 5


def test_fifty_new_devices_at_once(database, admin, ca):
    results = at_once(database, [lambda c, n=n: register(c, certificate(n), f"d{n}", ca) for n in range(50)])
    assert outcomes(results) == ["registered"] * 50
    assert admin.one("SELECT count(DISTINCT device_id) FROM iot_auth.device_certificate") == 50


def test_two_new_certificates_of_one_device_at_once_both_get_in(database, admin, ca):
    for n in range(5):
        results = at_once(database, [lambda c, n=n, m=m: register(c, certificate(100 * n + m), f"d{n}", ca) for m in range(6)])
        assert outcomes(results) == ["registered"] * 6
    assert admin.one("SELECT count(*) FROM iot_auth.device") == 5
    assert admin.one("SELECT count(*) FROM iot_auth.device_certificate") == 30


def test_two_cas_that_claim_one_device_at_once_give_it_to_one(database, admin, ca):
    other = admin.call("register_ca", ca_pem(), "other", auto_registration=True)
    for n in range(5):
        results = at_once(database, [lambda c, n=n, m=m: register(c, certificate(10 * n + m), f"d{n}", (ca, other)[m % 2]) for m in range(6)])
        assert outcomes(results) == ["device_conflict"] * 3 + ["registered"] * 3
    assert admin.all("SELECT count(*) FROM iot_auth.device_certificate c JOIN iot_auth.device d USING (device_id) WHERE c.ca_id <> d.ca_id") == [(0,)]


@pytest.mark.parametrize("quota", ["max_devices", "max_registrations_per_minute"])
def test_quotas_are_exact_under_concurrency(database, admin, ca, quota):
    admin.all(f"UPDATE iot_auth.ca SET {quota} = 7")
    results = at_once(database, [lambda c, n=n: register(c, certificate(n), f"d{n}", ca) for n in range(20)])
    assert outcomes(results) == ["quota_exceeded"] * 13 + ["registered"] * 7
    assert admin.one("SELECT count(*) FROM iot_auth.device") == 7


def test_a_storm_while_an_administrator_changes_everything_ends_in_a_consistent_registry(database, admin, ca):
    """Quotas set and lifted, the CA disabled and enabled, devices deleted, meanwhile: no error, no deadlock."""
    admin.call("register_ca", ca_pem(), "next", auto_registration=True, tenant="t1", replaces="acme")
    done = threading.Event()

    def disturb():
        with cursor(database, pg.ADMIN) as c:
            n = 0
            while not done.is_set():
                n += 1
                c.all("UPDATE iot_auth.ca SET max_devices = %s", None if n % 2 else 1000)
                c.call("set_ca_status", "acme", "INACTIVE" if n % 3 == 0 else "ACTIVE")
                c.all("DELETE FROM iot_auth.device WHERE device_id = %s", f"d{n % 7}")
                time.sleep(0.01)
            c.call("set_ca_status", "acme", "ACTIVE")

    def storm(m):
        def job(c):
            got = set()
            for n in range(60):
                got.add(register(c, certificate(1000 * m + n), f"d{n % 7}", ca + (n % 2))["outcome"])
                c.all("SELECT iot_auth.broker_connected(%s, %s::timestamptz[])", [f"d{k % 7}" for k in range(n, n + 5)], ["now"] * 5)
            return got
        return job

    meddler = threading.Thread(target=disturb)
    meddler.start()
    try:
        results = at_once(database, [storm(m) for m in range(6)])
    finally:
        done.set()
        meddler.join(30)
    assert [r for r in results if not isinstance(r, set)] == []
    assert set().union(*results) <= {"registered", "known", "ca_inactive", "device_conflict", "quota_exceeded"}
    assert admin.all("SELECT c.device_id FROM iot_auth.device_certificate c JOIN iot_auth.device d USING (device_id)"
                     " WHERE c.ca_id <> d.ca_id AND NOT iot_auth.ca_succeeds(d.ca_id, c.ca_id)") == []


def test_registrations_of_one_ca_without_quotas_do_not_queue(database, ca):
    """One broker holds its transaction open; another registers under the same CA meanwhile."""
    with cursor(database, pg.BROKER) as slow, cursor(database, pg.BROKER) as quick:
        slow.all("BEGIN")
        assert register(slow, certificate(1), "d1", ca)["outcome"] == "registered"
        quick.all("SET statement_timeout = '5s'")
        assert register(quick, certificate(2), "d2", ca)["outcome"] == "registered"
        slow.all("COMMIT")


def test_an_open_transaction_of_an_administrator_does_not_hold_up_registrations(database, admin, broker, ca):
    """Loading devices by hand in one long transaction; the CA has a quota on top."""
    admin.all("UPDATE iot_auth.ca SET max_devices = 100")
    register(broker, certificate(1), "d1", ca)
    with contextlib.closing(database.admin()) as connection:
        connection.autocommit = False
        c = Cursor(connection)
        c.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'x' || i, %s FROM generate_series(1, 98) i", ca)
        broker.all("SET statement_timeout = '5s'")
        assert register(broker, certificate(2), "d2", ca)["outcome"] == "registered"
        broker.all("SELECT iot_auth.broker_connected(ARRAY['d1'], ARRAY[now()])")
        connection.commit()
    assert register(broker, certificate(3), "d3", ca)["outcome"] == "quota_exceeded"


def test_devices_loaded_before_there_was_a_quota_count_once_they_are_committed(database, admin, broker, ca):
    """The load saw no quota and left no row in ca_usage_stale; a registration then counted without the load, permanently."""
    with contextlib.closing(database.admin()) as connection:
        connection.autocommit = False
        Cursor(connection).all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'x' || i, %s FROM generate_series(1, 2) i", ca)
        admin.all("UPDATE iot_auth.ca SET max_devices = 3")
        assert register(broker, certificate(1), "d1", ca)["outcome"] == "registered"
        connection.commit()
    assert register(broker, certificate(2), "d2", ca)["outcome"] == "quota_exceeded"


def test_pruning_keeps_the_rows_that_a_quota_needs(admin, broker, ca):
    """Rows of ca_usage_stale are superfluous only where no quota is set."""
    other = admin.call("register_ca", ca_pem(), "other", auto_registration=True, max_devices=1)
    assert register(broker, certificate(1), "d1", other)["outcome"] == "registered"
    for ca_id in (ca, other):
        admin.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT %s, %s", f"x{ca_id}", ca_id)
    admin.all("DELETE FROM iot_auth.device WHERE ca_id = %s", other)
    broker.all("SELECT iot_auth.broker_prune(NULL)")
    assert admin.all("SELECT DISTINCT ca_id FROM iot_auth.ca_usage_stale") == [(other,)]
    assert register(broker, certificate(2), "d2", other)["outcome"] == "registered"


def test_serializable_as_default_is_refused_with_a_clear_message(broker, ca):
    broker.all("SET default_transaction_isolation = 'repeatable read'")
    assert "READ COMMITTED" in broker.refused("SELECT * FROM iot_auth.broker_register('\\x01', 'd', 1, '', '', now(), now(), '', '')")


def test_a_device_registered_before_a_crash_is_there_after_it(ca, database, broker):
    """With fsync off a crash of the processes, not of the machine, still loses nothing that was committed."""
    register(broker, certificate(1), "d1", ca)
    database.server.kill()
    database.server.start()
    with cursor(database, pg.BROKER) as after:
        assert register(after, certificate(1), "d1", ca)["outcome"] == "known"
