# SPDX-License-Identifier: ISC
"""The last refusal of each client is kept, found by whatever names the client, and says what would have to be true."""

import json
import re

import pytest

import pg
import pki
from broker import wait_until
from client import V5
from sql_kit import cursor, register

# What a broker keeps


@pytest.fixture(scope="module")
def registry(postgres):
    """One database for all tests here that need no broker."""
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture
def admin(registry):
    registry.query("DELETE FROM iot_auth.node; DELETE FROM iot_auth.last_refusal; TRUNCATE iot_auth.event")
    with cursor(registry, pg.ADMIN) as c:
        yield c


@pytest.fixture
def broker(registry):
    with cursor(registry, pg.BROKER) as c:
        yield c


def keep(broker, *refusals, node="n1"):
    """broker_write_refusals with dicts of its columns."""
    columns = {"key_kind": "address", "key": None, "first": "now", "at": "now", "count": 1, "kind": "device/refused",
               "principal": None, "ca_id": None, "address": None, "reason": "ca_unknown", "detail": {}}
    rows = [{**columns, **refusal} for refusal in refusals]
    values = [[json.dumps(row[c]) if c == "detail" else row[c] for row in rows] for c in columns]
    casts = ("text text timestamptz timestamptz bigint text text bigint text text text").split()
    broker.all("SELECT iot_auth.broker_write_refusals(%s, " + ", ".join("%s::" + cast + "[]" for cast in casts) + ")",
               node, *values)


def test_refusals_in_a_row_for_one_reason_are_counted(admin, broker):
    for count in (3, 4):
        keep(broker, {"key": "192.0.2.1", "count": count})
    assert admin.all("SELECT count, reason FROM iot_auth.last_refusal") == [(7, "ca_unknown")]
    keep(broker, {"key": "192.0.2.1", "reason": "chain_invalid"})
    assert admin.all("SELECT count, reason FROM iot_auth.last_refusal") == [(1, "chain_invalid")]


def test_a_broker_keeps_a_thousand_of_each_kind_and_no_more(admin, broker):
    keep(broker, {"key_kind": "fingerprint", "key": "aa"})
    keep(broker, *({"key": "a%d" % n, "at": "2020-01-01 UTC"} for n in range(10)))
    keep(broker, *({"key": "b%d" % n} for n in range(1000)))
    assert admin.all("SELECT key_kind, count(*) FROM iot_auth.last_refusal GROUP BY 1 ORDER BY 1") == [
        ("address", 1000), ("fingerprint", 1)]
    assert admin.one("SELECT count(*) FROM iot_auth.last_refusal WHERE key LIKE 'a_' AND key_kind = 'address'") == 0


def test_what_is_kept_is_bounded_in_size_kind_node_and_time(admin, broker):
    keep(broker, {"key": "x", "at": "2999-01-01 UTC", "first": "infinity", "count": 2**62, "principal": "p" * 9999,
                  "detail": {"cn": "c" * 9999}})
    assert admin.all("SELECT at <= now() + interval '1 s', first_at <= now() + interval '1 s', count <= 1000000000,"
                     " length(principal) <= 261, pg_column_size(detail) <= 8192 FROM iot_auth.last_refusal") == [(True,) * 5]
    many = [{"key": "k%d" % n} for n in range(3001)]
    for refused, message in ((many, "3000"), ([{"key": "k", "kind": "device/status"}], "kind_known"),
                             ([{"key": "k", "key_kind": "other"}], "key_kind_known"), ([{"key": "k" * 600}], "key_size")):
        with pytest.raises(Exception, match=message):
            keep(broker, *refused)
    assert "permission denied" in admin.refused("DELETE FROM iot_auth.last_refusal")
    assert "permission denied" in broker.refused("SELECT * FROM iot_auth.last_refusal")


def test_a_broker_writes_no_other_brokers_refusals(registry, admin, broker):
    registry.query("INSERT INTO iot_auth.node (node_name, login) VALUES ('n2', 'another')")
    with pytest.raises(Exception, match="belongs to database login"):
        keep(broker, {"key": "192.0.2.1"}, node="n2")
    assert admin.all("SELECT * FROM iot_auth.last_refusal") == []


def test_a_deleted_node_keeps_no_refusals(registry, admin, broker):
    keep(broker, {"key": "192.0.2.1"})
    registry.query("DELETE FROM iot_auth.node")
    assert admin.all("SELECT * FROM iot_auth.last_refusal") == []


# Found by what names it


WORDS = {"cn": "Gerät 7", "serial": "0a0b", "fingerprint": "aabb", "client_id": "my-client", "device_id": "sensor-1"}


def test_a_kept_refusal_is_found_by_whatever_names_it(admin, broker):
    keep(broker, {"key": "192.0.2.9", "address": "192.0.2.9", "detail": WORDS, "count": 5},
         {"key_kind": "fingerprint", "key": "aabb", "address": "192.0.2.9", "detail": WORDS, "count": 3})
    keep(broker, {"key": "192.0.2.10", "address": "192.0.2.10"})
    for who in ("Gerät 7", "0A:0B", "a0b", "AA:BB", "my-client", "sensor-1", "192.0.2.9"):
        assert admin.all("SELECT event_id, reason, count FROM iot_auth.why_refused(%s)", who) == [(None, "ca_unknown", 3)], who


def test_a_kept_refusal_of_an_app_is_found_by_its_id(admin, broker):
    keep(broker, {"key_kind": "app", "key": "app:corp:dash:board", "principal": "app:corp:dash:board", "kind": "app/refused"})
    for who in ("app:corp:dash:board", "dash:board"):
        assert len(admin.all("SELECT * FROM iot_auth.why_refused(%s)", who)) == 1


def test_a_refusal_that_has_an_event_is_shown_once(admin, broker):
    at = admin.one("SELECT now() - interval '1 min'")
    broker.all("SELECT iot_auth.broker_write_events('n1', ARRAY[%s], '{device/refused}', '{NULL}', '{NULL}', '{192.0.2.9}',"
               " '{ca_unknown}', '{NULL}')", at)
    keep(broker, {"key": "192.0.2.9", "address": "192.0.2.9", "at": at, "first": at, "count": 12})
    rows = admin.all("SELECT event_id IS NOT NULL, count FROM iot_auth.why_refused('192.0.2.9')")
    assert rows == [(True, 12)]


# The list


def test_the_list_groups_by_reason_client_and_address(admin, broker):
    for _ in range(2):
        broker.all("SELECT iot_auth.broker_write_events('n1', ARRAY[now()], '{device/refused}', '{d1}', '{NULL}', '{192.0.2.9}',"
                   " '{device_inactive}', NULL)")
    keep(broker, {"key_kind": "fingerprint", "key": "aa", "principal": "d1", "address": "192.0.2.9", "reason": "device_inactive", "count": 70},
         {"key": "2001:db8::1", "address": "2001:db8::1", "reason": "no_credential", "count": 9},
         {"key": "host", "address": "host", "reason": "no_credential"})
    rows = admin.all("SELECT reason, who, address, count FROM iot_auth.list_refusals() ORDER BY count DESC")
    assert rows == [("device_inactive", "d1", "192.0.2.9", 70), ("no_credential", None, "2001:db8::1", 9),
                    ("no_credential", None, "host", 1)]
    for filters, expected in (("only_reason => 'no_credential'", 2), ("only_network => '192.0.2.0/24'", 1), ("only_network => '::/0'", 1),
                              ("since => '0 s'", 0), ("max => 1", 1), ("only_reason => 'nothing'", 0)):
        assert len(admin.all("SELECT * FROM iot_auth.list_refusals(%s)" % filters)) == expected, filters
    assert "CA 'nobody' is not registered" in admin.refused("SELECT * FROM iot_auth.list_refusals(only_ca => 'nobody')")


# What would have to be true instead


@pytest.fixture
def world(registry, admin, broker):
    """CA acme with device d1, issuer corp; the subject is what a broker would have read."""
    known = registry.query("SELECT ca_id FROM iot_auth.ca WHERE name = 'acme'")
    if known:
        return known[0][0]
    ca_id = admin.call("register_ca", pki.root("acme").pem, "acme", max_devices=5, auto_registration=True)
    assert register(broker, bytes(32), "d1", ca_id)["outcome"] == "registered"
    registry.query("UPDATE iot_auth.ca SET subject = 'CN=acme,O=Example', auto_registration = false")
    admin.call("register_issuer", "corp", "https://id.example/realms/main", ["mqtt"])
    admin.call("deny_ip", "192.0.2.0/24", "CA", "acme")
    return ca_id


REMEDIES = [
    # (reason, kind, principal, with the CA?, detail, what the remedy says)
    ("ca_unknown", "device", None, False, {"claimed_issuer": "CN=acme,O=Example"}, "'acme' has the name CN=acme,O=Example, but another key"),
    ("ca_unknown", "device", None, False, {"claimed_issuer": "CN=Acme, O=example"},
     "No registered CA has the name CN=Acme, O=example: .* Similar names have: 'acme .CN=acme,O=Example.'"),
    ("ca_unknown", "device", None, False, {"claimed_issuer": "CN=other,O=Example"}, "Similar names have: 'acme "),
    ("ca_unknown", "device", None, False, {"claimed_issuer": "CN=other"}, r"up to a registered CA\.$"),
    ("ca_unknown", "device", None, False, {}, "must be a registered CA"),
    ("ca_inactive", "device", None, True, {}, "CA 'acme' itself is ACTIVE now"),
    ("device_pending", "device", "d1", True, {}, r"SELECT iot_auth.set_device_status\('d1', 'ACTIVE'\);"),
    ("device_unknown", "device", None, True, {"device_id": "d2"}, "must be registered .*auto_registration"),
    ("device_conflict", "device", None, True, {"device_id": "d1"}, "'d1' belongs to CA 'acme'"),
    ("quota_exceeded", "device", None, True, {}, "5 devices and any number of registrations"),
    ("identity_invalid", "device", None, True, {}, "must give a device id"),
    ("client_id_mismatch", "device", "d1", True, {"client_id": "x"}, r"client_id_templates of CA 'acme': \$\{device_id\}"),
    ("client_id_mismatch", "device", "d1", True, {"client_id": "x", "detail": "the client id is in use by another principal"},
     r"release_client_id\('x'\)"),
    ("certificate_expired", "device", None, True, {"claimed_not_after": "2020-01-01T00:00:00Z"}, "claims to end at 2020-01-01T00:00:00Z"),
    ("token_issuer", "app", None, False, {"claimed_iss": "https://id.example/realms/main/"}, "Similar are: 'https://id.example/realms/main'"),
    ("token_audience", "app", None, False, {"claimed_aud": "other", "claimed_iss": "https://id.example/realms/main"}, "aud is 'other'.*: mqtt"),
    ("token_key_unknown", "app", None, False, {"claimed_kid": "k1"}, "kid 'k1'"),
    ("token_type", "app", None, False, {}, "typ is NULL"),
    ("issuer_inactive", "app", "app:corp:x", False, {}, r"set_issuer_status\('corp', 'ACTIVE'\)"),
    ("client_id_mismatch", "app", "app:corp:x", False, {}, "client_id_templates of issuer 'corp'"),
    ("address_denied", "device", "d1", True, {}, r"rule \d+ .DENY 192.0.2.0/24 of CA acme."),
    ("registry_unavailable", "device", None, False, {}, "must reach the database"),
    ("no_credential", "device", None, False, {}, "certificate"),
]


def test_a_refusal_says_what_would_have_to_be_true(admin, broker, world):
    for reason, kind, principal, with_ca, detail, expected in REMEDIES:
        keep(broker, {"key": "192.0.2.9", "address": "192.0.2.9", "reason": reason, "kind": kind + "/refused", "principal": principal,
                      "ca_id": world if with_ca else None, "detail": detail})
        remedy = admin.one("SELECT remedy FROM iot_auth.why_refused('192.0.2.9')")
        assert re.search(expected, remedy), remedy


def test_the_same_key_under_another_name_is_named(admin, registry, broker):
    authority = pki.root("renamed")
    admin.call("register_ca", authority.pem, "renamed")
    key_id = pki.x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key()).digest.hex()
    keep(broker, {"key": "192.0.2.9", "address": "192.0.2.9", "detail": {"claimed_issuer": "CN=before", "claimed_authority_key_id": key_id}})
    assert "The same key identifier has: 'renamed'." in admin.one("SELECT remedy FROM iot_auth.why_refused('192.0.2.9')")


HOSTILE = [[], "text", 7, {"claimed_issuer": {"a": [1]}}, {"claimed_iss": None, "detail": 1},
           {"claimed_authority_key_id": "zz" * 20, "claimed_issuer": ""}, {"claimed_authority_key_id": "ab" * 9 + "c", "claimed_issuer": "%s"}]


def test_no_detail_makes_the_remedy_fail(admin, broker, world):
    for detail in HOSTILE:
        keep(broker, *({"key": reason, "address": "no address", "reason": reason, "ca_id": world, "detail": detail}
                       for reason in {row[0] for row in REMEDIES}))
        assert len(admin.all("SELECT remedy FROM iot_auth.why_refused('no address', max => 100)")) == len({row[0] for row in REMEDIES})


# On a real broker


def test_a_device_in_a_flood_of_refusals_is_found(site):
    """Ten events a second are written of all unregistered clients: the device that somebody looks for had none."""
    site.fleet()
    broker = site.broker()
    unregistered = pki.root("unregistered")
    crowd = [unregistered.issue("crowd-%d" % number) for number in range(12)]
    sought = unregistered.issue("Gerät 7")
    for credential in crowd * 3 + [sought, sought]:
        assert site.try_connect(broker, credential, client_id="x") != 0
    for who in ("Gerät 7", sought.fingerprint.hex(), "%x" % sought.certificate.serial_number):
        rows = wait_until(lambda who=who: site.registry.query("SELECT reason, remedy FROM iot_auth.why_refused(%s)", who),
                          10, "refusal of " + who)
        assert rows[0][0] == "ca_unknown" and rows[0][1].startswith("No registered CA has the name CN=unregistered")
    listed = "SELECT count(DISTINCT who), sum(count) FROM iot_auth.list_refusals() WHERE who LIKE 'crowd-%'"
    wait_until(lambda: site.registry.query(listed)[0][0] == len(crowd), 10, "the list of all refusals")
    assert site.registry.query(listed)[0][1] >= len(crowd)


def test_a_refusal_after_the_handshake_names_the_certificate(site):
    acme = site.fleet()
    broker = site.broker()
    device = acme.issue("sensor-1")
    event = site.assert_refused("client_id_mismatch", broker, device, client_id="other", protocol=V5)
    assert event["detail"]["cn"] == "sensor-1"
    assert int(event["detail"]["serial"], 16) == device.certificate.serial_number
    assert event["detail"]["claimed_issuer"] == "CN=acme,O=Tests"


def test_what_is_kept_is_written_when_the_broker_ends(site):
    """A name that would change how a terminal shows the line, by a control character or the direction of the text, has '?' there."""
    site.fleet()
    broker = site.broker()
    for _ in range(3):
        assert site.try_connect(broker, pki.root("unregistered").issue("last\u202ewords\u009b"), client_id="x") != 0
    broker.stop()
    assert len(site.registry.query("SELECT * FROM iot_auth.why_refused('last?words?')")) == 3
    assert 'cn="last?words?"' in broker.log()
