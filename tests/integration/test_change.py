# SPDX-License-Identifier: ISC
"""Every kind of change takes effect on every connected broker within a second, and only for those whom it concerns.

Changes on a single broker, and what they look like to the client, are in test_live.py.
"""

import contextlib
import datetime
import json
import statistics
import subprocess
import time

import pytest

import pg
import psk_kit
from app_kit import Issuer, thumbprint
from broker import wait_until
from swarm import Swarm

SOON = 1.0


class Pair:
    """Two brokers on one registry, and checks on both."""

    def __init__(self, site):
        self.site = site
        self.brokers = [site.broker(), site.broker()]

    def connect(self, credential):
        """A client on each; its authority may have been registered just now."""
        return [self.site.connect_within(SOON, broker, credential) for broker in self.brokers]

    def app(self, issuer, **claims):
        """An app on each; its issuer may have been registered just now."""
        options = {"client_id": "app:%s:dashboard" % issuer.name, "username": "x", "listener": "app",
                   "password": issuer.token(**claims)}
        return [self.site.connect_within(SOON, broker, None, **options) for broker in self.brokers]

    def admit(self, credential, seconds=SOON):
        end = time.monotonic() + seconds
        for broker in self.brokers:
            self.site.connect_within(max(0.01, end - time.monotonic()), broker, credential).disconnect()

    def refuse(self, credential, seconds=SOON):
        end = time.monotonic() + seconds
        for broker in self.brokers:
            wait_until(
                lambda b=broker: self.site.try_connect(b, credential) != 0, max(0.01, end - time.monotonic()), "refusal"
            )


@pytest.fixture
def pair(site):
    return Pair(site)


def closed(clients, seconds=SOON):
    end = time.monotonic() + seconds
    for client in clients:
        client.wait_closed(max(0.01, end - time.monotonic()))


def granted(clients, topic, code, seconds=SOON):
    end = time.monotonic() + seconds
    for client in clients:
        wait_until(
            lambda c=client: c.subscribe(topic) == code, max(0.01, end - time.monotonic()), "%d for %s" % (code, topic)
        )


def go_on(clients):
    """Clients that the change does not concern are not affected."""
    for client in clients:
        assert client.subscribe("devices/%s/still-here" % client.client_id) == 1


# Authorities


def test_a_registered_and_a_disabled_authority(site, pair):
    other = pair.connect(site.fleet("other").issue("stays"))
    acme = site.fleet("acme")
    device = acme.issue("sensor-1")
    pair.admit(device)
    clients = pair.connect(device)
    site.registry.set_ca_status(name="acme", status="INACTIVE")
    closed(clients)
    pair.refuse(device)
    site.registry.set_ca_status(name="acme", status="ACTIVE")
    pair.admit(device)
    go_on(other)


def test_a_deleted_authority_takes_its_devices_along(site, pair):
    other = pair.connect(site.fleet("other").issue("stays"))
    device = site.fleet("acme").issue("sensor-1")
    clients = pair.connect(device)
    site.registry.query("DELETE FROM iot_auth.device WHERE device_id = 'sensor-1'")
    site.registry.query("DELETE FROM iot_auth.ca WHERE name = 'acme'")
    closed(clients)
    pair.refuse(device)
    go_on(other)


def test_a_deleted_authority_above_no_longer_stands_in_the_way(site, pair):
    site.register(site.root, "root")
    site.registry.set_ca_status(name="root", status="INACTIVE")
    device = site.fleet("acme").issue("sensor-1")
    pair.refuse(device)
    site.registry.query("DELETE FROM iot_auth.ca WHERE name = 'root'")
    pair.admit(device)


def test_auto_registration_turned_on_and_off(site, pair):
    acme = site.fleet("acme", auto_registration=False)
    pair.refuse(acme.issue("sensor-1"))
    site.registry.query("UPDATE iot_auth.ca SET auto_registration = true WHERE name = 'acme'")
    pair.admit(acme.issue("sensor-2"))
    site.registry.query("UPDATE iot_auth.ca SET auto_registration = false WHERE name = 'acme'")
    pair.refuse(acme.issue("sensor-3"))


def test_a_client_id_template_that_changes_under_a_session(site, pair):
    clients = pair.connect(site.fleet("acme").issue("sensor-1"))
    site.registry.query("UPDATE iot_auth.ca SET client_id_templates = ARRAY['x-${device_id}'] WHERE name = 'acme'")
    closed(clients)


# Revocation lists


def test_a_revocation_list_ends_sessions_everywhere(site, pair):
    acme = site.fleet()
    stolen = acme.issue("stolen")
    clients, others = pair.connect(stolen), pair.connect(acme.issue("stays"))
    site.registry.add_crl(ca_name="acme", crl=acme.crl(stolen))
    closed(clients)
    pair.refuse(stolen)
    go_on(others)


def test_of_two_lists_the_newer_one_counts_whenever_it_came(site, pair):
    acme = site.fleet()
    device = acme.issue("sensor-1")
    site.registry.add_crl(ca_name="acme", crl=acme.crl(device, number=5))
    pair.refuse(device)
    site.registry.add_crl(ca_name="acme", crl=acme.crl(number=4, last_update=-7200))  # older, although it came later
    marker = site.fleet("marker").issue("marker")
    pair.admit(marker)
    pair.refuse(device, seconds=0.01)
    site.registry.add_crl(ca_name="acme", crl=acme.crl(number=6))
    pair.admit(device)


def test_lists_of_authorities_of_one_name_are_separate(site, pair):
    acme = site.fleet("acme")
    other_acme = site.register(acme.same_name(), "acme-2")
    one, other = acme.issue("one", serial=77), other_acme.issue("other", serial=77)
    ones, others = pair.connect(one), pair.connect(other)
    site.registry.add_crl(ca_name="acme", crl=acme.crl(77))
    closed(ones)
    pair.refuse(one)
    go_on(others)
    pair.admit(other_acme.issue("another"))


def test_a_list_of_another_signer_is_refused_and_the_good_one_stays(site, pair):
    acme = site.fleet("acme")
    revoked, good = acme.issue("revoked"), acme.issue("good")
    site.registry.add_crl(ca_name="acme", crl=acme.crl(revoked, number=1))
    pair.refuse(revoked)
    stays = pair.connect(good)
    forged = acme.crl(good, number=9, signer=acme.same_name())
    with contextlib.suppress(Exception):  # SQL need not accept it
        site.registry.add_crl(ca_name="acme", crl=forged)
    wait_until(lambda: site.registry.ca_problem("acme"), what="report in ca.problem")
    pair.refuse(revoked, seconds=0.01)
    go_on(stays)
    pair.admit(good)


def test_a_stale_list_goes_on_being_used_and_is_reported(site, pair):
    acme = site.fleet("acme")
    revoked, good = acme.issue("revoked"), acme.issue("good")
    stale = acme.crl(revoked, number=1, last_update=-7200, next_update=-3600)
    site.registry.add_crl(ca_name="acme", crl=stale)
    pair.refuse(revoked)
    pair.admit(good)
    problem = wait_until(lambda: site.registry.ca_problem("acme"), what="report in ca.problem")
    site.registry.add_crl(ca_name="acme", crl=acme.crl(revoked, number=2))
    wait_until(lambda: site.registry.ca_problem("acme") != problem, what="end of the report")


def test_a_revoked_intermediate_takes_its_devices_along(site, pair):
    acme = site.fleet("acme")
    line, sound = acme.intermediate("line 7"), acme.intermediate("line 8")
    below = line.issue("below")
    clients, others = pair.connect(below), pair.connect(sound.issue("stays"))
    site.registry.add_crl(ca_name="acme", crl=acme.crl(line))
    closed(clients)
    pair.refuse(below)
    go_on(others)


def test_a_registered_intermediate_revoked_by_its_registered_root(site, pair):
    site.register(site.root, "root")
    acme = site.fleet("acme")
    device = acme.issue("sensor-1")
    clients = pair.connect(device)
    site.registry.add_crl(ca_name="root", crl=site.root.crl(acme))
    closed(clients)
    pair.refuse(device)


# Devices


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE iot_auth.device SET status = 'INACTIVE' WHERE device_id = 'sensor-1'",
        "UPDATE iot_auth.device_certificate SET status = 'REVOKED' WHERE device_id = 'sensor-1'",
        "DELETE FROM iot_auth.device_certificate WHERE device_id = 'sensor-1'",
        "DELETE FROM iot_auth.device WHERE device_id = 'sensor-1'",
    ],
)
def test_a_device_that_is_written_directly(site, pair, statement):
    acme = site.fleet()
    clients, others = pair.connect(acme.issue("sensor-1")), pair.connect(acme.issue("stays"))
    site.registry.query("UPDATE iot_auth.ca SET auto_registration = false")
    site.registry.query(statement)
    closed(clients)
    go_on(others)


def test_hundreds_of_devices_in_one_statement(site, pair):
    acme = site.fleet()
    clients, others = pair.connect(acme.issue("sensor-1")), pair.connect(acme.issue("stays"))
    site.registry.query(
        "INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'bulk-' || n, (SELECT ca_id FROM iot_auth.ca) "
        "FROM generate_series(1, 500) n"
    )
    site.registry.query("UPDATE iot_auth.device SET status = 'INACTIVE' WHERE device_id <> 'stays'")
    closed(clients)
    go_on(others)


def test_roles_and_attributes_of_a_device(site, pair):
    acme = site.fleet()
    site.role("reader", "ALLOW SUBSCRIBE,RECEIVE shared/${attr.site}/#")
    clients = pair.connect(acme.issue("sensor-1"))
    site.registry.grant_device_role(device_id="sensor-1", role="reader")
    site.registry.query("UPDATE iot_auth.device SET attributes = %s", json.dumps({"site": "berlin"}))
    granted(clients, "shared/berlin/x", 1)
    site.registry.query("UPDATE iot_auth.device SET attributes = %s", json.dumps({"site": "paris"}))
    granted(clients, "shared/berlin/x", 128)
    granted(clients, "shared/paris/x", 1)
    site.registry.revoke_device_role(device_id="sensor-1", role="reader")
    granted(clients, "shared/paris/x", 128)


# Roles and rules


def test_rules_and_roles_of_an_authority(site, pair):
    acme = site.fleet()
    clients = pair.connect(acme.issue("sensor-1"))
    site.role("reader", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    site.registry.grant_ca_role(ca_name="acme", role="reader")
    granted(clients, "shared/x", 1)
    denial = site.add_rule("device", "DENY SUBSCRIBE shared/secret/#")
    granted(clients, "shared/secret/x", 128)
    site.registry.remove_rule(rule_id=denial)
    granted(clients, "shared/secret/x", 1)
    site.registry.revoke_ca_role(ca_name="acme", role="reader")
    granted(clients, "shared/x", 128)
    go_on(clients)


def test_a_dropped_role(site, pair):
    acme = site.fleet()
    clients = pair.connect(acme.issue("sensor-1"))
    site.role("reader", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    site.registry.grant_ca_role(ca_name="acme", role="reader")
    granted(clients, "shared/x", 1)
    site.registry.revoke_ca_role(ca_name="acme", role="reader")
    site.registry.drop_role(role="reader")
    granted(clients, "shared/x", 128)
    go_on(clients)


def test_a_dropped_role_costs_its_many_holders_no_message(site):
    """More than fifty holders are read again with all other devices, and the snapshot without the role comes first."""
    acme = site.fleet()
    device = acme.issue("sensor-1")
    broker = site.broker()
    client = site.connect(broker, device)
    site.registry.query(
        "INSERT INTO iot_auth.device (device_id, ca_id, status, registered_by)"
        " SELECT 'device-' || n, ca_id, 'ACTIVE', 'admin' FROM iot_auth.ca, generate_series(1, 30000) n")
    site.registry.query(
        "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, serial, not_before, not_after, status)"
        " SELECT sha256(('device-' || n)::bytea), 'device-' || n, ca_id, n::text, now(), now() + '1 year', 'ACTIVE'"
        " FROM iot_auth.ca, generate_series(1, 30000) n")
    site.role("extra", "ALLOW SUBSCRIBE,RECEIVE extra/#")
    site.registry.query(
        "INSERT INTO iot_auth.device_role (device_id, role) SELECT device_id, 'extra' FROM iot_auth.device"
        " WHERE device_id < 'device-2' OR device_id = 'sensor-1'")
    wait_until(lambda: client.subscribe("extra/x") == 1, what="the role")
    assert client.subscribe("devices/sensor-1/x") == 1
    site.registry.drop_role(role="extra")
    sent = 0
    while client.subscribe("extra/x") == 1 or sent < 200:
        client.publish("devices/sensor-1/x", str(sent))
        sent += 1
    assert [client.receive()[1] for _ in range(sent)] == [str(n) for n in range(sent)]


# Addresses


def in_seconds(seconds):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


def test_an_allow_that_expires_ends_the_sessions_that_stand_on_it(site, pair):
    acme = site.fleet()
    site.registry.allow_ip(network="10.0.0.0/8", scope="CA", scope_key="acme")
    expiry = in_seconds(3)
    site.registry.allow_ip(network="127.0.0.0/8", scope="CA", scope_key="acme", expires_at=expiry)
    device = acme.issue("sensor-1")
    pair.admit(device)
    clients = pair.connect(device)
    assert all(client.connected for client in clients)
    closed(clients, (expiry - in_seconds(0)).total_seconds() + SOON)
    pair.refuse(device, seconds=0.01)


def test_an_expired_denial_admits_again_without_a_database_change(site, pair):
    acme = site.fleet()
    device = acme.issue("sensor-1")
    clients = pair.connect(device)
    expiry = in_seconds(2)
    site.registry.deny_ip(network="127.0.0.1/32", scope="DEVICE", scope_key="sensor-1", expires_at=expiry)
    closed(clients)
    pair.admit(device, (expiry - in_seconds(0)).total_seconds() + SOON)


# Apps


def test_an_issuer_disabled_and_its_scopes(site, pair):
    corp = Issuer("corp").register(site, {"use": ["ALLOW SUBSCRIBE,RECEIVE shared/#"]})
    clients = pair.app(corp)
    granted(clients, "shared/x", 1)
    site.registry.unmap_scope(issuer_name="corp", scope="use", role="use of corp")
    granted(clients, "shared/x", 128)
    site.registry.map_scope(issuer_name="corp", scope="use", role="use of corp")
    granted(clients, "shared/x", 1)
    site.registry.set_issuer_status(name="corp", status="INACTIVE")
    closed(clients)


def test_an_issuers_key_that_is_withdrawn(site, pair):
    corp, other = Issuer("corp").register(site), Issuer("other").register(site)
    clients, others = pair.app(corp), pair.app(other)
    corp.rotate(keep=False)
    corp.publish_keys(site)
    closed(clients)
    assert all(client.connected for client in others)
    pair.app(corp)


def test_a_revoked_device_ends_the_app_that_uses_its_certificate(site, pair):
    acme = site.fleet()
    corp = Issuer("corp").register(site)
    device = acme.issue("sensor-1")
    pair.admit(device)
    token = corp.token(cnf=thumbprint(device))
    clients = [
        site.client(broker, device, client_id="app:corp:dashboard", username="x", password=token)
        for broker in pair.brokers
    ]
    assert [client.connect() for client in clients] == [0, 0]
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    closed(clients)


# Many rows at once


def test_truncated_rules(site, pair):
    clients = pair.connect(site.fleet().issue("sensor-1"))
    site.registry.database.query("TRUNCATE iot_auth.role_rule")
    granted(clients, "devices/sensor-1/x", 128)


def test_truncated_devices(site, pair):
    acme = site.fleet()
    device = acme.issue("sensor-1")
    clients = pair.connect(device)
    site.registry.query("UPDATE iot_auth.ca SET auto_registration = false")
    site.registry.database.query("TRUNCATE iot_auth.device CASCADE")
    closed(clients)
    pair.refuse(device)


def test_a_restored_dump(site, pair):
    """The registry as it was: devices disabled since then are active again, devices registered since then do not exist.
    """
    acme = site.fleet()
    early = acme.issue("early")
    pair.admit(early)
    database = site.registry.database
    dump = subprocess.run(
        [database.server.bin / "pg_dump", "-n", "iot_auth", "--data-only", "--disable-triggers", database.name],
        env=database.environment(), capture_output=True, text=True, check=True,
    ).stdout
    site.registry.set_device_status(device_id="early", status="REVOKED")
    pair.refuse(early)
    late = acme.issue("late")
    clients = pair.connect(late)
    tables = "device, device_certificate, ca, crl, role, role_rule, ca_role, device_role, oauth_issuer, scope_role, ip_rule".split(", ")
    everything = ", ".join("iot_auth." + table for table in tables)
    script = "BEGIN; TRUNCATE %s CASCADE;\n%s\nUPDATE iot_auth.ca SET auto_registration = false; COMMIT;" % (
        everything, only_tables(dump, tables),
    )
    subprocess.run(
        [database.server.bin / "psql", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1"],
        env=database.environment(), input=script, text=True, check=True,
    )
    closed(clients)
    pair.admit(early)
    pair.refuse(late)


def only_tables(dump, tables):
    """A dump with the data of these tables alone."""
    kept, skipping = [], False
    for line in dump.splitlines():
        if line.startswith("COPY iot_auth."):
            skipping = line.split()[1][len("iot_auth."):] not in tables
        if not skipping:
            kept.append(line)
        if line == "\\.":
            skipping = False
    return "\n".join(kept)


# A lock or an open transaction delays no other change


def test_nothing_is_felt_before_commit(site, pair):
    clients = pair.connect(site.fleet().issue("sensor-1"))
    with contextlib.closing(site.registry.database.connect(pg.ADMIN)) as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT iot_auth.set_device_status('sensor-1', 'REVOKED')")
            pair.admit(site.fleet("other").issue("marker"))
            assert all(client.connected for client in clients)
        connection.commit()
    closed(clients)


def test_an_open_transaction_delays_no_other_change(site, pair):
    acme, slow = site.fleet("acme"), site.fleet("slow")
    clients = pair.connect(acme.issue("sensor-1"))
    with contextlib.closing(site.registry.database.connect(pg.ADMIN)) as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM iot_auth.ca WHERE name = 'slow' FOR UPDATE")
            for broker in pair.brokers:
                assert site.try_connect(broker, slow.issue("waits")) != 0  # its registration needs the locked row
            site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
            closed(clients, 1.5)
        connection.rollback()
    for broker in pair.brokers:
        site.connect_within(3.0, broker, slow.issue("comes-later"))


def test_a_table_that_is_locked_is_waited_for_from_memory(site, pair):
    """A bulk load in one transaction with TRUNCATE blocks all reads: no client is disconnected meanwhile."""
    acme = site.fleet()
    device = acme.issue("sensor-1")
    clients = pair.connect(device)
    marks = [broker.mark() for broker in pair.brokers]
    with contextlib.closing(site.registry.database.superuser()) as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE iot_auth.device IN ACCESS EXCLUSIVE MODE")
            site.registry.query("NOTIFY iot_auth, 'device\n*'")
            for broker, mark in zip(pair.brokers, marks):
                broker.wait_for_log("the database is busy", since=mark)
            for broker in pair.brokers:
                site.connect(broker, device).disconnect()
            cursor.execute("UPDATE iot_auth.device SET status = 'INACTIVE'")
        connection.commit()
    closed(clients)


def test_rules_that_are_locked_hold_no_other_change_back(site, pair):
    """TRUNCATE role_rule in an open transaction: the broker's connection stays, and a revocation takes effect."""
    acme = site.fleet()
    clients = pair.connect(acme.issue("sensor-1"))
    marks = [broker.mark() for broker in pair.brokers]
    with contextlib.closing(site.registry.database.superuser()) as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE iot_auth.role_rule IN ACCESS EXCLUSIVE MODE")
            site.registry.query("NOTIFY iot_auth, 'role\n*'")
            for broker, mark in zip(pair.brokers, marks):
                broker.wait_for_log("the configuration cannot be read completely: rules", since=mark)
            site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
            closed(clients, 1.5)
            pair.admit(acme.issue("comes"), 3.0)
        connection.rollback()
    for broker, mark in zip(pair.brokers, marks):
        broker.wait_for_log("the whole configuration can be read again", since=mark)
        assert "lost the database" not in broker.log(mark)


@contextlib.contextmanager
def lock(site, table):
    """As VACUUM FULL, ALTER TABLE, TRUNCATE or LOCK in an open transaction."""
    with contextlib.closing(site.registry.database.superuser()) as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE iot_auth.%s IN ACCESS EXCLUSIVE MODE" % table)
        yield
        connection.rollback()


def as_administrator(site, statement):
    """The administrator's own statement must not wait either."""
    with contextlib.closing(site.registry.database.admin()) as admin, admin.cursor() as cursor:
        cursor.execute("SET statement_timeout = '2s'")
        cursor.execute(statement)


CHANGES = {
    "device": "SELECT iot_auth.set_device_status('device', 'REVOKED')",
    "certificate": "SELECT iot_auth.revoke_certificate(encode(fingerprint, 'hex'))"
                   " FROM iot_auth.device_certificate WHERE device_id = 'certificate'",
    "deleted-certificate": "DELETE FROM iot_auth.device_certificate WHERE device_id = 'deleted-certificate'",
    "key": "SELECT iot_auth.set_psk_status('key', 'REVOKED')",
    "deleted-key": "DELETE FROM iot_auth.device_psk WHERE identity = 'deleted-key'",
    "fleet": "UPDATE iot_auth.device SET status = 'REVOKED' WHERE device_id LIKE 'fleet%'",  # more than 50 rows
    "keys": "UPDATE iot_auth.device_psk SET status = 'REVOKED' WHERE identity LIKE 'keys%'",
}


@pytest.fixture(name="locked_site")
def make_locked_site(site, tmp_path):
    """A broker, and a session of each kind of device, by the name of the change that ends it."""
    key_file = psk_kit.KeyFile(tmp_path)
    broker = site.broker(options={"psk_key_file": key_file.path}, listeners=("device", "psk"))
    acme = site.fleet()
    sessions = {}
    for name in CHANGES:
        if "key" in name:
            key = psk_kit.device(site.registry, key_file, name)
            wait_until(lambda n=name, k=key: psk_kit.attempt(broker.ports["psk"], n, k) == 0, what="the key")
            sessions[name] = psk_kit.PskClient(broker.ports["psk"], name, key)
            assert sessions[name].connect(name) == 0
        else:
            sessions[name] = site.connect_within(SOON, broker, acme.issue(name))
    stays = site.connect(broker, acme.issue("stays"))
    site.registry.query("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'fleet-' || n, ca_id FROM iot_auth.ca, generate_series(1, 60) n")
    site.registry.query("INSERT INTO iot_auth.device (device_id) SELECT 'keys-' || n FROM generate_series(1, 60) n")
    site.registry.query("INSERT INTO iot_auth.device_psk (identity, device_id, key_id, sealed)"
                        " SELECT device_id, device_id, 1, decode(repeat('00', 44), 'hex') FROM iot_auth.device WHERE device_id LIKE 'keys-%'")
    yield sessions
    assert stays.connected
    for session in sessions.values():
        if isinstance(session, psk_kit.PskClient):
            session.close()


@pytest.mark.parametrize("table", ["ca", "ca_role", "crl", "device_role", "role", "oauth_issuer", "expected_device"])
def test_a_revocation_does_not_wait_for_a_locked_table(site, locked_site, table):
    """A table that has no part in the status of a device.  The change is the administrator's own, while it is locked."""
    with lock(site, table):
        for name, statement in CHANGES.items():
            as_administrator(site, statement)
            session = locked_site[name]
            if isinstance(session, psk_kit.PskClient):
                assert session.is_closed(SOON), name
            else:
                session.wait_closed(SOON)


def test_an_event_of_a_status_names_the_authority_as_far_as_it_can_be_read(site):
    """While ca is locked: by its number, and with the device's own tenant."""
    registry = site.registry
    site.fleet("acme", tenant="north")
    registry.query("INSERT INTO iot_auth.device (device_id, ca_id, tenant) SELECT d, ca_id, t FROM iot_auth.ca,"
                   " (VALUES ('plain', NULL), ('own', 'south')) v(d, t)")
    [[ca_id]] = registry.query("SELECT ca_id FROM iot_auth.ca")
    with lock(site, "ca"):
        as_administrator(site, "UPDATE iot_auth.device SET status = 'INACTIVE'")
    as_administrator(site, "UPDATE iot_auth.device SET status = 'ACTIVE'")
    rows = registry.query("SELECT principal, ca_id, detail ->> 'new', detail ->> 'ca', detail ->> 'tenant' FROM iot_auth.event"
                          " WHERE kind = 'device/status'")
    assert {tuple(row) for row in rows} == {
        ("plain", ca_id, "INACTIVE", None, None), ("own", ca_id, "INACTIVE", None, "south"),
        ("plain", ca_id, "ACTIVE", "acme", "north"), ("own", ca_id, "ACTIVE", "acme", "south")}


def test_a_device_is_deleted_while_authorities_are_locked(site):
    """Its CA is counted again afterwards; a deleted CA leaves nothing to count."""
    registry = site.registry
    site.fleet("acme")
    registry.query("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'deleted', ca_id FROM iot_auth.ca")
    registry.database.query("DELETE FROM iot_auth.ca_usage_stale")
    with lock(site, "ca"):
        as_administrator(site, "DELETE FROM iot_auth.device")
    assert registry.database.query("SELECT DISTINCT c.name FROM iot_auth.ca_usage_stale JOIN iot_auth.ca c USING (ca_id)") == [("acme",)]
    registry.query("DELETE FROM iot_auth.ca")
    assert registry.database.query("SELECT * FROM iot_auth.ca_usage_stale") == []


# How long it takes


def test_how_long_a_change_takes(site, tmp_path, capsys):
    """Median and longest of many single changes, from COMMIT to the end of the session on both brokers."""
    acme = site.fleet()
    pair = Pair(site)
    count = 60
    with Swarm(tmp_path) as swarm:
        for group in range(2):
            swarm.mint(group, "sensor-%d-" % group, count, acme)
            port = pair.brokers[group].ports["device"]
            wait_until(lambda g=group, p=port: swarm.open(g, p, 8) == count, 30, "connection of all")
        took = []
        for number in range(count):
            site.registry.query(
                "UPDATE iot_auth.device SET status = 'REVOKED' WHERE device_id IN (%s, %s)",
                "sensor-0-%d" % number, "sensor-1-%d" % number,
            )
            begun = time.monotonic()
            assert swarm.wait(0, count - number - 1, 5) == count - number - 1
            assert swarm.wait(1, count - number - 1, 5) == count - number - 1
            took.append(time.monotonic() - begun)
    took.sort()
    p99 = took[int(len(took) * 0.99) - 1]
    with capsys.disabled():
        print("\n[change → both brokers: median %.0f ms, p99 %.0f ms, longest %.0f ms]"
              % (1000 * statistics.median(took), 1000 * p99, 1000 * took[-1]))
    assert statistics.median(took) < 0.2
    assert p99 < 1.0
