# SPDX-License-Identifier: ISC
"""Changes in SQL reach the running broker within a second, and affect only the clients that they concern."""

import base64
import json
import re
import time

import pytest

import pki
from broker import wait_until
from client import DISCONNECT, DISCONNECT_BY_ADMIN, V5

SOON = 1.0


def test_an_authority_registered_live_admits_its_devices_within_a_second(site):
    broker = site.broker()
    acme = site.root.intermediate("acme")
    device = acme.issue("sensor-1")
    assert site.try_connect(broker, device) != 0
    site.register(acme, "acme")
    site.connect_within(SOON, broker, device)


def test_a_disabled_authority_loses_its_live_devices_and_only_those(site):
    acme, other = site.fleet("acme"), site.fleet("other")
    broker = site.broker()
    affected = [site.connect(broker, acme.issue("sensor-%d" % i)) for i in range(3)]
    stays = site.connect(broker, other.issue("stays"))
    site.registry.set_ca_status(name="acme", status="INACTIVE")
    for client in affected:
        client.wait_closed(SOON)
    assert stays.subscribe("devices/stays/x") == 1
    assert stays.connected
    site.assert_refused_soon("ca_inactive", broker, acme.issue("sensor-9"))


def test_a_reenabled_authority_admits_again(site):
    acme = site.fleet()
    broker = site.broker()
    device = acme.issue("sensor-1")
    client = site.connect(broker, device)
    site.registry.set_ca_status(name="acme", status="INACTIVE")
    client.wait_closed(SOON)
    site.registry.set_ca_status(name="acme", status="ACTIVE")
    site.connect_within(SOON, broker, device)


def test_a_disabled_root_ends_devices_below_its_registered_intermediate(site):
    site.register(site.root, "root")
    acme = site.fleet("acme")
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1"))
    site.registry.set_ca_status(name="root", status="INACTIVE")
    client.wait_closed(SOON)


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED", "PENDING"])
def test_a_device_that_is_no_longer_active_loses_its_connection(site, status):
    acme = site.fleet()
    broker = site.broker()
    device = acme.issue("sensor-1")
    client = site.connect(broker, device)
    bystander = site.connect(broker, acme.issue("sensor-2"))
    since = site.registry.last_event()
    site.registry.set_device_status(device_id="sensor-1", status=status)
    client.wait_closed(SOON)
    assert site.try_connect(broker, device) != 0
    assert bystander.connected
    event = site.registry.wait_for_event(kind="session/ended", principal="sensor-1", since=since)
    assert event["reason"] == "device_" + status.lower()


def test_a_disconnected_device_gets_a_reason_code_in_mqtt_5(site):
    acme = site.fleet()
    broker = site.broker()
    device = acme.issue("sensor-1")
    site.connect(broker, device).disconnect()
    with site.raw(broker, device) as raw:
        assert raw.connect("sensor-1", protocol=V5) == 0
        site.registry.set_device_status(device_id="sensor-1", status="INACTIVE")
        [(kind, _flags, body)] = raw.wait_closed(SOON)
        assert (kind, body[0]) == (DISCONNECT, DISCONNECT_BY_ADMIN)


def test_a_device_that_is_active_again_connects_within_a_second(site):
    acme = site.fleet()
    broker = site.broker()
    device = acme.issue("sensor-1")
    client = site.connect(broker, device)
    site.registry.set_device_status(device_id="sensor-1", status="INACTIVE")
    client.wait_closed(SOON)
    site.registry.set_device_status(device_id="sensor-1", status="ACTIVE")
    site.connect_within(SOON, broker, device)


def test_a_revoked_certificate_does_not_end_the_devices_other_one(site):
    acme = site.fleet(client_id_templates=["${device_id}-*"])
    broker = site.broker()
    old, new = acme.issue("sensor-1"), acme.issue("sensor-1")
    ends = site.connect(broker, old, client_id="sensor-1-old")
    stays = site.connect(broker, new, client_id="sensor-1-new")
    site.registry.revoke_certificate(fingerprint_hex=old.fingerprint.hex())
    ends.wait_closed(SOON)
    assert stays.subscribe("devices/sensor-1/x") == 1


def test_a_deleted_device_loses_its_connection(site):
    acme = site.fleet()
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1"))
    site.registry.query("DELETE FROM iot_auth.device WHERE device_id = 'sensor-1'")
    client.wait_closed(SOON)


def test_a_row_written_directly_is_as_good_as_a_function(site):
    acme = site.fleet()
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1"))
    site.registry.query("UPDATE iot_auth.device SET status = 'REVOKED' WHERE device_id = 'sensor-1'")
    client.wait_closed(SOON)


def test_a_revocation_list_ends_the_connections_of_those_on_it(site):
    acme = site.fleet()
    broker = site.broker()
    stolen, kept = acme.issue("sensor-1"), acme.issue("sensor-2")
    ends, stays = site.connect(broker, stolen), site.connect(broker, kept)
    site.registry.add_crl(ca_name="acme", crl=acme.crl(stolen))
    ends.wait_closed(SOON)
    assert stays.subscribe("devices/sensor-2/x") == 1
    site.assert_refused("certificate_revoked", broker, stolen, codes=("closed",))


def test_an_expired_certificate_loses_its_connection(site):
    acme = site.fleet()
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1", not_after=5))
    assert client.connected
    client.wait_closed(7)
    event = site.registry.wait_for_event(kind="session/ended", principal="sensor-1")
    assert event["reason"] == "certificate_expired"


def test_an_expired_intermediate_ends_the_connection_too(site):
    acme = site.fleet()
    broker = site.broker()
    line = acme.intermediate("line 7", not_after=5)
    client = site.connect(broker, line.issue("sensor-1"))
    client.wait_closed(7)


def test_a_denied_network_loses_its_live_connections(site):
    acme = site.fleet()
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1"))
    rule = site.registry.deny_ip(network="127.0.0.1/32")
    client.wait_closed(SOON)
    site.assert_refused_soon("address_denied", broker, acme.issue("sensor-2"))
    site.registry.remove_ip_rule(rule_id=rule)
    site.connect_within(SOON, broker, acme.issue("sensor-3"))


@pytest.mark.parametrize("scope,key", [("CA", "acme"), ("DEVICE", "sensor-1")])
def test_an_address_rule_of_a_scope_concerns_that_scope_alone(site, scope, key):
    acme, other = site.fleet("acme"), site.fleet("other")
    broker = site.broker()
    device = acme.issue("sensor-1")
    ends, stays = site.connect(broker, device), site.connect(broker, other.issue("stays"))
    site.registry.deny_ip(network="127.0.0.0/8", scope=scope, scope_key=key)
    ends.wait_closed(SOON)
    assert stays.subscribe("devices/stays/x") == 1
    site.assert_refused("address_denied", broker, device)


def test_an_allow_list_admits_only_what_it_names(site):
    acme = site.fleet()
    broker = site.broker()
    site.connect(broker, acme.issue("sensor-1")).disconnect()
    site.registry.allow_ip(network="10.0.0.0/8", scope="CA", scope_key="acme")
    site.assert_refused_soon("address_denied", broker, acme.issue("sensor-2"))
    site.registry.allow_ip(network="127.0.0.1/32", scope="CA", scope_key="acme")
    site.connect_within(SOON, broker, acme.issue("sensor-3"))


def test_changes_are_seen_in_under_200_ms_in_the_median(site):
    """A rule that is added and removed, observed by a connected device; the bounds above allow for a busy machine."""
    acme = site.fleet()
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1"))
    took = []
    for number in range(15):
        rule = site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE shared/%d/#" % number)
        began = time.monotonic()
        wait_until(lambda topic="shared/%d/x" % number: client.subscribe(topic) == 1, SOON, "the new right")
        took.append(time.monotonic() - began)
        site.registry.remove_rule(rule_id=rule)
    assert sorted(took)[len(took) // 2] < 0.2, took


# Rights


def test_a_rule_added_and_removed_changes_a_live_session(site):
    acme = site.fleet()
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1"))
    assert client.subscribe("shared/news") == 128
    rule = site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    wait_until(lambda: client.subscribe("shared/news") == 1, SOON, "the new right")
    site.registry.remove_rule(rule_id=rule)
    wait_until(lambda: client.subscribe("shared/news") == 128, SOON, "the end of the right")
    assert client.subscribe("devices/sensor-1/x") == 1


def test_a_role_granted_and_revoked_changes_a_live_session(site):
    acme = site.fleet()
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1"))
    site.role("reader", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    site.registry.grant_device_role(device_id="sensor-1", role="reader")
    wait_until(lambda: client.subscribe("shared/a") == 1, SOON, "the new right")
    site.registry.revoke_device_role(device_id="sensor-1", role="reader")
    wait_until(lambda: client.subscribe("shared/b") == 128, SOON, "the end of the right")
    site.registry.grant_ca_role(ca_name="acme", role="reader")
    wait_until(lambda: client.subscribe("shared/c") == 1, SOON, "the new right of the CA")


def test_messages_end_with_the_right_to_receive_them(site):
    acme = site.fleet()
    rule = site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE shared/#")
    eyes = site.observer(acme)
    broker = site.broker()
    writer = site.connect(broker, eyes)
    reader = site.connect(broker, acme.issue("sensor-1"))
    assert reader.subscribe("shared/#") == 1
    assert reader.subscribe("devices/sensor-1/#") == 1
    writer.publish("shared/news", "one")
    assert reader.receive() == ("shared/news", "one")
    site.registry.remove_rule(rule_id=rule)
    wait_until(lambda: reader.subscribe("shared/x") == 128, SOON, "the end of the right")
    writer.publish("shared/news", "two")
    reader.received_nothing_before("devices/sensor-1/mark", lambda: writer.publish("devices/sensor-1/mark"))


def test_changed_attributes_change_what_a_variable_opens(site):
    acme = site.fleet()
    site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE sites/${attr.site}/#")
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1"))
    assert client.subscribe("sites/berlin/x") == 128
    site.registry.query("""UPDATE iot_auth.device SET attributes = '{"site": "berlin"}' WHERE device_id = 'sensor-1'""")
    wait_until(lambda: client.subscribe("sites/berlin/x") == 1, SOON, "the new right")
    assert client.subscribe("sites/paris/x") == 128


# Invalid rows delay nothing


def armoured(der):
    body = base64.encodebytes(der).decode()
    return "-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % body


def damaged(what):
    """SQL cannot parse X.509 and accepts these: framed like a certificate, but not usable."""
    der = bytearray(pki.root("damaged").certificate.public_bytes(pki.serialization.Encoding.DER))
    if what == "names":
        der[20:60] = b"\xff" * 40
    elif what == "key":
        point = der.index(bytes.fromhex("03420004"))
        der[point + 4 : point + 68] = b"\x01" * 64  # no point of the curve
    elif what == "signature":
        der[-20:] = bytes(20)
    return armoured(bytes(der))


@pytest.mark.parametrize("what", ["names", "key"])
def test_a_bad_authority_is_reported_and_the_others_go_on(site, what):
    acme = site.fleet()
    plant_ca(site, "bad", damaged(what))
    broker = site.broker()
    assert wait_until(lambda: site.registry.ca_problem("bad"), what="report in ca.problem")
    broker.wait_for_log("iot-auth: .*bad")
    site.connect(broker, acme.issue("sensor-1"))


def test_a_bad_authority_planted_live_holds_nothing_back(site):
    acme = site.fleet()
    broker = site.broker()
    plant_ca(site, "bad", damaged("names"))
    wait_until(lambda: site.registry.ca_problem("bad"), what="report in ca.problem")
    late = site.register(pki.root("late"), "late")
    site.connect_within(SOON, broker, late.issue("sensor-2"))
    client = site.connect(broker, acme.issue("sensor-1"))
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    client.wait_closed(SOON)


def plant_ca(site, name, pem):
    """As an older version took it: no trigger has read the certificate."""
    site.registry.database.plant(
        "INSERT INTO iot_auth.ca (name, pem, fingerprint, auto_registration) VALUES (%s, %s, sha256(%s::bytea), true)",
        (name, pem, name))


def test_a_leaf_registered_as_an_authority_admits_nobody_and_says_why(site):
    leaf = pki.root("x").issue("not-a-ca")
    site.registry.register_ca(pem=leaf.pem, name="leaf", auto_registration=True)
    broker = site.broker()
    wait_until(lambda: site.registry.ca_problem("leaf"), what="report in ca.problem")
    pretender = pki.Authority(leaf.certificate.subject, leaf.key, leaf.certificate)
    assert site.try_connect(broker, pretender.issue("sensor-1")) != 0


def test_an_expired_authority_admits_nobody_and_says_why(site):
    old = pki.root("old", not_before=-86400, not_after=-60)
    site.register(old, "old")
    acme = site.fleet()
    broker = site.broker()
    wait_until(lambda: site.registry.ca_problem("old"), what="report in ca.problem")
    assert site.try_connect(broker, old.issue("sensor-1")) != 0
    site.connect(broker, acme.issue("sensor-2"))


def without_bounds(site):
    """As an older version stored it."""
    site.registry.database.query("ALTER TABLE iot_auth.device DROP CONSTRAINT device_attributes_size")


ENORMOUS = {"k%d" % number: "v" * 120 for number in range(700)}


def test_a_device_that_is_too_large_is_refused_and_holds_nothing_back(site):
    """The decoder has no room for so many attributes, which was reported as 'out of memory': each broker dropped its
    database connection, read the same row again, and so on forever.  No revocation arrived any more."""
    acme = site.fleet()
    broker = site.broker()
    ends = site.connect(broker, acme.issue("sensor-1"))
    stays = site.connect(broker, acme.issue("sensor-2"))
    large = acme.issue("large")
    mark = broker.mark()
    without_bounds(site)
    site.registry.register_device(device_id="large", pem=large.pem, ca_name="acme", attributes=ENORMOUS)
    event = site.assert_refused("internal", broker, large)
    assert event["principal"] == "large" and "attributes" in event["detail"]["detail"]
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    ends.wait_closed(SOON)
    site.connect_within(SOON, broker, acme.issue("sensor-3"))
    assert "lost the database" not in broker.log(mark)
    assert stays.connected
    site.registry.query("UPDATE iot_auth.device SET attributes = '{}' WHERE device_id = 'large'")
    site.connect_within(SOON, broker, large)


def test_a_device_that_grows_too_large_is_ended_alone_also_after_restart(site):
    acme = site.fleet()
    broker = site.broker()
    grows, stays = [site.connect(broker, acme.issue(name)) for name in ("grows", "stays")]
    without_bounds(site)
    site.registry.query("UPDATE iot_auth.device SET attributes = %s WHERE device_id = 'grows'", json.dumps(ENORMOUS))
    grows.wait_closed(SOON)
    assert stays.subscribe("devices/stays/x") == 1
    broker.restart()
    assert site.try_connect(broker, acme.issue("grows")) != 0
    again = site.connect(broker, acme.issue("stays"))
    site.registry.set_device_status(device_id="stays", status="INACTIVE")
    again.wait_closed(SOON)


def test_a_device_with_too_many_attributes_is_ended_alone(site):
    """The row could not be decoded: each broker dropped its connection, read it again, and received no change any more.
    """
    acme = site.fleet()
    broker = site.broker()
    grows, ends = [site.connect(broker, acme.issue(name)) for name in ("grows", "ends")]
    mark = broker.mark()
    without_bounds(site)
    site.registry.query("UPDATE iot_auth.device SET attributes = (SELECT jsonb_object_agg(i::text, 1) FROM generate_series(1, 600000) i)"
                        " WHERE device_id = 'grows'")
    grows.wait_closed(SOON)
    site.registry.set_device_status(device_id="ends", status="INACTIVE")
    ends.wait_closed(SOON)
    assert "lost the database" not in broker.log(mark)
    broker.restart()
    assert site.try_connect(broker, acme.issue("grows")) != 0
    site.connect(broker, acme.issue("stays"))


def test_a_rule_that_cannot_be_compiled_silences_its_role_and_no_other(site):
    acme = site.fleet()
    site.role("broken", "ALLOW SUBSCRIBE,RECEIVE broken/#")
    site.registry.grant_ca_role(ca_name="acme", role="broken")
    site.registry.database.plant(
        "INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)"
        " VALUES ('broken', 'DENY', ARRAY['PUBLISH'], 'a/#/b')"
    )
    broker = site.broker()
    client = site.connect(broker, acme.issue("sensor-1"))
    problem = "SELECT problem FROM iot_auth.role_rule WHERE topic_filter = 'a/#/b'"
    assert wait_until(lambda: site.registry.value(problem), what="report in role_rule.problem")
    assert client.subscribe("broken/x") == 128


# Caches of decisions


def test_a_registered_certificate_that_can_admit_nobody_says_so(site):
    site.fleet()
    site.broker()
    foreign = site.root.intermediate("foreign").issue("sensor-1")
    site.registry.register_device(device_id="sensor-1", pem=foreign.pem, ca_name="acme")

    def problem():
        return site.registry.value("SELECT problem FROM iot_auth.device_certificate WHERE device_id = 'sensor-1'")

    wait_until(problem, 10.0, "problem of the certificate")
    assert problem().startswith("no registered CA signed it")


def test_the_parsed_columns_of_an_authority_are_filled_in(site):
    acme = site.fleet()
    site.broker()
    row = "SELECT fingerprint, subject, not_before, not_after FROM iot_auth.ca WHERE subject IS NOT NULL"
    [(fingerprint, subject, not_before, not_after)] = wait_until(lambda: site.registry.query(row), what="columns")
    assert bytes(fingerprint) == acme.fingerprint
    assert "acme" in subject
    assert not_before.replace(tzinfo=None) == acme.certificate.not_valid_before
    assert not_after.replace(tzinfo=None) == acme.certificate.not_valid_after


def test_a_node_row_says_that_the_broker_lives(site):
    site.broker(options={"node_name": "berlin-1"})
    seen = "SELECT last_seen > now() - interval '10 s' FROM iot_auth.node WHERE node_name = 'berlin-1'"
    assert wait_until(lambda: site.registry.value(seen), what="node row")


def test_the_counters_of_a_node_are_at_most_five_seconds_old(site):
    """They are written every four seconds, and were under way for up to one before."""
    broker = site.broker()
    device = site.fleet().issue("sensor-1")
    written = "SELECT last_seen, coalesce((counters ->> 'connects/accepted/devices')::int, 0) FROM iot_auth.node"

    def next_row(row):
        return wait_until(lambda: next((new for new in site.registry.query(written) if new[0] != row[0]), None), what="heartbeat")

    rows = [next_row((None, 0))]
    for number in range(3):
        rows.append(next_row(rows[-1]))
        site.connect(broker, device).disconnect()
        assert rows[-1][1] == number  # the logins before the last heartbeat but none after it
    gaps = [(new[0] - old[0]).total_seconds() for old, new in zip(rows, rows[1:])]
    assert min(gaps) < 4.5, gaps


def test_a_refusal_is_an_event_once_per_transition_not_once_per_retry(site):
    acme = site.fleet(registered_status="PENDING")
    broker = site.broker()
    device = acme.issue("sensor-1")
    for _ in range(5):
        assert site.try_connect(broker, device) != 0
    wait_until(lambda: site.registry.events(kind="device/refused"), what="event")
    site.registry.set_device_status(device_id="sensor-1", status="ACTIVE")
    site.connect_within(SOON, broker, device)  # all earlier events have been written by now
    refusals = [e for e in site.registry.events(kind="device/refused") if e["reason"] == "device_pending"]
    assert len(refusals) == 1


def test_refusals_of_unregistered_devices_are_sampled(site):
    site.fleet()
    broker = site.broker()
    unknown = pki.root("unknown")
    began = time.monotonic()
    for number in range(60):
        assert site.try_connect(broker, unknown.issue("s-%d" % number)) != 0
    seconds = time.monotonic() - began
    marker = site.fleet("marker").issue("marker")
    site.connect_within(SOON, broker, marker)
    site.registry.wait_for_event(kind="device/registered")
    refused = len(site.registry.events(kind="device/refused"))
    assert 1 <= refused <= 10 * (seconds + 2), "%d rows in %.1f s" % (refused, seconds)


def test_counters_are_published_in_sys(site):
    acme = site.fleet()
    eyes = site.observer(acme)
    broker = site.broker()
    observer = site.connect(broker, eyes)
    assert observer.subscribe("$SYS/broker/iot-auth/#") == 1
    seen = dict(observer.receive() for _ in range(5))
    assert all(topic.startswith("$SYS/broker/iot-auth/") for topic in seen)
    wait_until(lambda: site.registry.value("SELECT counters <> '{}' FROM iot_auth.node"), 8, "counters in the node row")


def test_what_runs_is_in_the_log_in_sys_and_in_the_node_row(site):
    eyes = site.observer(site.fleet())
    broker = site.broker()
    libraries = r"plugin [0-9.]+, Mosquitto \S+, OpenSSL 3\S+, libpq \d+\.\d+, PostgreSQL \d+\.\d+ \(local\), schema \d+"
    broker.wait_for_log(r"connected to PostgreSQL at \S+ \(local\); " + libraries)
    observer = site.connect(broker, eyes)
    assert observer.subscribe("$SYS/broker/iot-auth/version") == 1
    assert re.fullmatch(libraries, observer.receive()[1])
    versions = wait_until(lambda: site.registry.value("SELECT versions FROM iot_auth.node"), 8, "versions in the node row")
    assert {"plugin", "mosquitto", "openssl", "libpq", "schema"} <= versions.keys()
