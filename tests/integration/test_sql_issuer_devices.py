# SPDX-License-Identifier: ISC
"""Devices of issuers in SQL: who owns a device, what registers it, quotas, and the rows that no direct write can make."""

import concurrent.futures
import json

import pg
import pytest
from sql_kit import ca_pem, cursor, trial

DEVICE_COLUMNS = ("item, outcome, detail, encode(fingerprint, 'hex'), device_id, device_status, certificate_status, certificate_ca_id,"
                  " device_ca_id, tenant, issuer_name")

FINGERPRINT = "a0a7a4ff8028340dba38dcb866d269d8c236a4893bf741a2b75c927f3cb132f8"  # of maker, lamp-1


@pytest.fixture(scope="module")
def shared(postgres):
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture
def admin(shared):
    with trial(shared, pg.ADMIN) as c:
        make_issuer(c)
        yield c


def make_issuer(c, name="maker", **options):
    options = {"principals": "device", "auto_registration": True, **options}
    c.call("register_issuer", name, "https://%s.example/" % name, ["mqtt"], **options)


def register(c, *items, node="node-1"):
    """The results of broker_register_issued for (device id, issuer) pairs, in their order."""
    ids, issuers = zip(*items)
    rows = c.all("SELECT %s FROM iot_auth.broker_register_issued(%%s::text[], %%s::text[], %%s, %%s::text[]) ORDER BY item" % DEVICE_COLUMNS,
                 list(ids), list(issuers), node, ["10.0.0.1"] * len(ids))
    assert [r[0] for r in rows] == list(range(1, len(ids) + 1))
    return [r[1:] for r in rows]


def outcomes(c, *items):
    return [r[0] for r in register(c, *items)]


@pytest.fixture
def live(shared):
    """Committed rows and a broker's session; everything is deleted at the end."""
    with cursor(shared, pg.ADMIN) as c, cursor(shared, pg.BROKER) as b:
        make_issuer(c)
        c.call("create_device", "kept", issuer_name="maker", roles=[])
        try:
            yield c, b
        finally:
            c.all("DELETE FROM iot_auth.device")
            c.all("DELETE FROM iot_auth.oauth_issuer")


def owner(c, device_id):
    return c.all("SELECT ca_id, issuer_name, status, tenant, registered_by FROM iot_auth.device WHERE device_id = %s", device_id)


# Devices

def test_create_device_makes_a_device_with_roles_of_an_issuer_or_of_nobody(admin):
    admin.call("create_device", "d1", issuer_name="maker", attributes='{"room": "hall"}', status="PENDING")
    admin.call("create_device", "d2", tenant="acme", roles=[])
    assert owner(admin, "d1") == [(None, "maker", "PENDING", None, "admin")]
    assert owner(admin, "d2") == [(None, None, "ACTIVE", "acme", "admin")]
    assert admin.all("SELECT device_id, role FROM iot_auth.device_role") == [("d1", "device")]
    assert admin.all("SELECT device_id, issuer_name, roles, attrs, certificate_ca_id FROM iot_auth.broker_device") == [
        ("d1", "maker", ["device"], ["room", "hall"], 0)]


@pytest.mark.parametrize("arguments, why", [
    (dict(device_id="a/b"), "contains one of"), (dict(device_id="app:x"), "reserved for apps"), (dict(device_id=None), "missing"),
    (dict(device_id="d", roles=["no"]), "role"), (dict(device_id="d", roles=None), "missing"), (dict(device_id="d", tenant="+"), "one of"),
    (dict(device_id="d", attributes="[]"), "JSON object"), (dict(device_id="d", status="LOST"), "must be one of"),
    (dict(device_id="d", issuer_name="nobody"), "not registered"), (dict(device_id="d", issuer_name="apps"), "make apps"),
    (dict(device_id="old", roles=[]), "already exists")])
def test_create_device_refuses(admin, arguments, why):
    make_issuer(admin, "apps", principals="app", auto_registration=False)
    admin.call("create_device", "old", roles=[])
    assert why in admin.call_refused("create_device", **arguments)


def test_a_device_has_one_owner_and_no_certificate_without_a_ca(admin):
    admin.call("create_device", "d1", issuer_name="maker", roles=[])
    admin.call("register_ca", ca_pem(), "acme")
    ca_id = admin.one("SELECT ca_id FROM iot_auth.ca")
    assert "device_of_ca_or_issuer" in admin.refused("UPDATE iot_auth.device SET ca_id = %s", ca_id)
    certificate = "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) VALUES (sha256(%s::bytea), %s, %s)"
    assert "belongs to issuer 'maker'" in admin.refused(certificate, "x", "d1", ca_id)
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('d2', %s)", ca_id)
    admin.all(certificate, "x", "d2", ca_id)
    assert "has certificates" in admin.refused("UPDATE iot_auth.device SET ca_id = NULL, issuer_name = 'maker' WHERE device_id = 'd2'")
    assert "can_only_be_disabled" in admin.refused("DELETE FROM iot_auth.oauth_issuer WHERE name = 'maker'")
    assert "has devices" in admin.call_refused("set_issuer", "maker", tenant="t")


def test_issued_fingerprint_is_that_of_the_broker(admin):
    # The same value is in tests/unit/oauth/test_issued.c.
    assert admin.one("SELECT encode(iot_auth.issued_fingerprint('maker', 'lamp-1'), 'hex')") == FINGERPRINT
    assert admin.one("SELECT iot_auth.issued_fingerprint('a', 'b\\\\c') <> iot_auth.issued_fingerprint('a', 'b\\c')")


# Issuers

def test_templates_default_by_principals_also_in_direct_writes(admin):
    def templates(name="maker"):
        return admin.one("SELECT client_id_templates FROM iot_auth.oauth_issuer WHERE name = %s", name)

    app = ["app:${issuer}:${app_id}", "app:${issuer}:${app_id}/*"]
    assert templates() == ["${device_id}"]
    admin.call("set_issuer", "maker", principals="app")
    assert templates() == app
    admin.all("UPDATE iot_auth.oauth_issuer SET principals = 'device'")
    assert templates() == ["${device_id}"]
    admin.call("set_issuer", "maker", client_id_templates=["x-${device_id}"])
    assert "unknown variable" in admin.call_refused("set_issuer", "maker", principals="app")
    assert "unknown variable" in admin.call_refused("set_issuer", "maker", client_id_templates=["${app_id}"])
    admin.call("set_issuer", "maker", principals="app", client_id_templates=["*"])
    admin.call("set_issuer", "maker", reset=["client_id_templates", "auto_registration", "registered_status", "max_devices",
                                             "max_registrations_per_minute", "device_id_claim", "principals"])
    assert templates() == app
    admin.all("INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, principals) VALUES ('raw', 'https://raw/', '{a}', 'device')")
    assert templates("raw") == ["${device_id}"]


@pytest.mark.parametrize("change, why", [
    (dict(principals="both"), "must be one of"), (dict(device_id_claim="sub"), "no slash"), (dict(device_id_claim=""), "is empty"),
    (dict(registered_status="REVOKED"), "must be one of"), (dict(max_devices=-1), "negative"),
    (dict(max_registrations_per_minute=-1), "negative")])
def test_settings_of_an_issuer_of_devices_are_checked(admin, change, why):
    assert why in admin.call_refused("set_issuer", "maker", **change)
    column, value = next(iter(change.items()))
    admin.refused("UPDATE iot_auth.oauth_issuer SET %s = %%s" % column, value)


def test_roles_of_an_issuer_are_granted_and_revoked(admin):
    admin.call("create_role", "thing")
    admin.call("grant_issuer_role", "maker", "thing")
    assert "already has" in admin.call_refused("grant_issuer_role", "maker", "thing")
    assert admin.one("SELECT roles FROM iot_auth.broker_issuer") == ["thing"]
    admin.call("revoke_issuer_role", "maker", "thing")
    assert "does not have" in admin.call_refused("revoke_issuer_role", "maker", "thing")
    make_issuer(admin, "apps", principals="app", auto_registration=False)
    assert "make apps" in admin.call_refused("grant_issuer_role", "apps", "thing")
    assert "roles are for" in admin.call_refused("register_issuer", "x", "https://x/", ["a"], roles=["thing"])
    assert "role" in admin.call_refused("register_issuer", "x", "https://x/", ["a"], principals="device", roles=["no"])


def test_export_and_import_keep_an_issuer_of_devices(admin):
    admin.call("create_role", "thing")
    admin.call("set_issuer", "maker", device_id_claim="/serial", max_devices=7, registered_status="PENDING")
    admin.call("grant_issuer_role", "maker", "thing")
    before = admin.one("SELECT iot_auth.export_configuration()")
    admin.all("DELETE FROM iot_auth.oauth_issuer")
    admin.all("SELECT iot_auth.import_configuration(%s)", json.dumps(before))
    assert admin.one("SELECT iot_auth.export_configuration()") == before
    assert admin.all("SELECT * FROM iot_auth.compare_configuration(%s)", json.dumps(before)) == []


# Registration

def test_registration_registers_once_and_then_knows(live):
    c, b = live
    first = register(b, ("d1", "maker"), ("kept", "maker"))
    assert [r[0] for r in first] == ["registered", "known"]
    print_of_d1 = c.one("SELECT encode(iot_auth.issued_fingerprint('maker', 'd1'), 'hex')")
    assert first[0][2:] == (print_of_d1, "d1", "ACTIVE", "ACTIVE", 0, 0, None, "maker")
    assert outcomes(b, ("d1", "maker")) == ["known"]
    assert owner(c, "d1") == [(None, "maker", "ACTIVE", None, "jitr")]
    assert c.all("SELECT principal, ca_id, detail ->> 'issuer' FROM iot_auth.event WHERE kind = 'device/registered' AND principal = 'd1'") == [
        ("d1", None, "maker")]


def test_registration_gives_the_reason(live):
    c, b = live
    c.call("register_ca", ca_pem(), "acme")
    c.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'press', ca_id FROM iot_auth.ca")
    c.all("INSERT INTO iot_auth.reserved_name VALUES ('boss')")
    make_issuer(c, "other")
    make_issuer(c, "closed", auto_registration=False)
    make_issuer(c, "apps", principals="app", auto_registration=False)
    make_issuer(c, "off")
    c.call("set_issuer_status", "off", "INACTIVE")
    c.call("create_device", "theirs", issuer_name="other", roles=[])
    c.call("create_device", "nobodys", roles=[])
    try:
        got = register(b, ("press", "maker"), ("theirs", "maker"), ("nobodys", "maker"), ("new", "closed"), ("new", "apps"), ("new", "off"),
                       ("new", "none"), ("a/b", "maker"), ("app:x", "maker"), ("boss", "maker"))
        assert [r[0] for r in got] == ["device_conflict"] * 3 + ["device_unknown"] + ["issuer_inactive"] * 3 + ["identity_invalid"] * 3
        assert "CA 'acme'" in got[0][1] and "issuer 'other'" in got[1][1] and "neither" in got[2][1]
        assert c.one("SELECT count(*) FROM iot_auth.device WHERE registered_by = 'jitr'") == 0
    finally:
        c.all("DELETE FROM iot_auth.device WHERE ca_id IS NOT NULL")
        c.all("DELETE FROM iot_auth.ca")
        c.all("DELETE FROM iot_auth.reserved_name WHERE name = 'boss'")


def test_quotas_hold_under_concurrency_and_after_direct_writes(live, shared):
    c, _b = live
    c.call("set_issuer", "maker", max_devices=5)

    def one(number):
        with cursor(shared, pg.BROKER) as b:
            while True:
                outcome = outcomes(b, ("q%d" % number, "maker"))[0]
                if outcome != "busy":
                    return outcome

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(one, range(12))) == ["quota_exceeded"] * 8 + ["registered"] * 4
    c.all("DELETE FROM iot_auth.device WHERE device_id = 'kept'")
    assert (one(100), one(101)) == ("registered", "quota_exceeded")
    c.call("set_issuer", "maker", max_registrations_per_minute=5, reset=["max_devices"])
    assert one(102) == "quota_exceeded"
    c.call("set_issuer", "maker", max_registrations_per_minute=6)
    assert (one(103), one(104)) == ("registered", "quota_exceeded")


def test_one_device_by_two_brokers_is_registered_once(live, shared):
    def one(_number):
        with cursor(shared, pg.BROKER) as b:
            return outcomes(b, ("same", "maker"))[0]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(one, range(6))) == ["known"] * 5 + ["registered"]


def test_a_lock_makes_its_items_busy_and_no_others(live, shared):
    c, b = live
    make_issuer(c, "other")
    c.call("set_issuer", "maker", max_devices=100)
    assert outcomes(b, ("first", "maker")) == ["registered"]
    with trial(shared, pg.SUPERUSER) as holder:
        holder.all("SELECT FROM iot_auth.issuer_usage FOR UPDATE")
        assert outcomes(b, ("d1", "maker"), ("d2", "maker"), ("d3", "other")) == ["busy", "busy", "registered"]
    assert outcomes(b, ("d1", "maker")) == ["registered"]


def test_only_brokers_register_and_only_through_the_function(shared):
    with cursor(shared, pg.ADMIN) as c:
        assert "permission denied" in c.refused("SELECT iot_auth.broker_register_issued('{a}', '{b}', 'n', '{c}')")
    with cursor(shared, pg.BROKER) as b:
        for table in ("issuer_role", "issuer_usage", "device", "broker_registered"):
            assert "permission denied" in b.refused("SELECT FROM iot_auth." + table), table
        assert "at most 256" in b.refused("SELECT iot_auth.broker_register_issued(array_fill('a'::text, '{257}'), '{}', 'n', '{}')")


# Ended revocations

def test_ended_revocations_are_deleted_when_brokers_prune(live):
    c, b = live
    for value, ago in (("old", "2 days"), ("new", "1 hour")):
        c.call("revoke_tokens", "maker", "/sub", value, "2026-01-01 00:00 UTC", "2099-01-01")
        c.all("UPDATE iot_auth.token_revocation SET until = now() - %s::interval WHERE value = %s", ago, value)
    c.call("revoke_tokens", "maker", "/sub", "endless")
    b.all("SELECT iot_auth.broker_prune(interval '30 days')")
    assert c.all("SELECT value FROM iot_auth.token_revocation ORDER BY 1") == [("endless",), ("new",)]
