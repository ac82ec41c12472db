# SPDX-License-Identifier: ISC
"""The functions for administrators: what each accepts, and what each refuses, with a message of one line."""

import base64
import re

import pg
import pki
import pytest
from sql_kit import ca_pem, trial


@pytest.fixture(scope="module")
def shared(postgres):
    """One database for all tests here: each runs in a transaction that is rolled back."""
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture
def admin(shared):
    with trial(shared, pg.ADMIN) as c:
        yield c


@pytest.fixture
def ca(admin):
    return admin.call("register_ca", ca_pem(), "acme", auto_registration=True)


@pytest.fixture
def issuer(admin):
    admin.call("register_issuer", "corp", "https://id.example.com/", ["mqtt"])
    return "corp"


def block(der, label="CERTIFICATE"):
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def test_signatures_are_those_of_the_contract(admin):
    """Names, order and defaults of all arguments; add_rule has two more behind those of the contract."""
    rows = admin.all("""SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid) FROM pg_proc p
                        WHERE p.pronamespace = 'iot_auth'::regnamespace""")
    signatures = {name: (re.sub(r"::(text|jsonb|boolean|character varying|bigint|integer|timestamp with time zone)(\[\])?", "", arguments), result)
                  for name, arguments, result in rows}
    for name, expected in {
        "register_ca": ("pem text, name text, auto_registration boolean DEFAULT false, registered_status text DEFAULT 'ACTIVE',"
                        " device_id_template text DEFAULT '${cert.cn}', client_id_templates text[] DEFAULT ARRAY['${device_id}'],"
                        " roles text[] DEFAULT ARRAY['device'], tenant text DEFAULT NULL, max_devices bigint DEFAULT NULL,"
                        " max_registrations_per_minute integer DEFAULT NULL, replaces text DEFAULT NULL,"
                        " registration text DEFAULT 'any', provisioning jsonb DEFAULT NULL", "bigint"),
        "set_ca": ("name text, auto_registration boolean DEFAULT NULL, registered_status text DEFAULT NULL,"
                   " device_id_template text DEFAULT NULL, client_id_templates text[] DEFAULT NULL,"
                   " max_devices bigint DEFAULT NULL, max_registrations_per_minute integer DEFAULT NULL,"
                   " registration text DEFAULT NULL, provisioning jsonb DEFAULT NULL, replaces text DEFAULT NULL,"
                   " reset text[] DEFAULT '{}'", "void"),
        "expect_device": ("ca_name text, device_id text, serial text DEFAULT NULL, fingerprint_hex text DEFAULT NULL,"
                          " attributes jsonb DEFAULT '{}', roles text[] DEFAULT '{}',"
                          " expires_at timestamp with time zone DEFAULT NULL", "void"),
        "set_registration_hook": ("ca_name text, hook regprocedure", "void"),
        "set_ca_status": ("name text, status text", "void"),
        "add_crl": ("ca_name text, crl text", "void"),
        "register_device": ("device_id text, pem text, ca_name text, status text DEFAULT 'ACTIVE', attributes jsonb DEFAULT '{}'", "void"),
        "set_device_status": ("device_id text, status text", "void"),
        "revoke_certificate": ("fingerprint_hex text", "void"),
        "create_role": ("role text", "void"),
        "drop_role": ("role text", "void"),
        "add_rule": ("role text, effect text, actions text[], topic_filter text, max_qos integer DEFAULT 2,"
                     " allow_retain boolean DEFAULT true", "bigint"),
        "remove_rule": ("rule_id bigint", "void"),
        "grant_ca_role": ("ca_name text, role text", "void"),
        "revoke_ca_role": ("ca_name text, role text", "void"),
        "grant_device_role": ("device_id text, role text", "void"),
        "revoke_device_role": ("device_id text, role text", "void"),
        "register_issuer": ("name text, issuer text, audience text[], algorithms text[] DEFAULT ARRAY['RS256', 'ES256'],"
                            " jwks jsonb DEFAULT NULL, jwks_url text DEFAULT NULL, client_id_templates text[] DEFAULT NULL,"
                            " app_id_claim text DEFAULT NULL, token_types text[] DEFAULT ARRAY['at+jwt', 'JWT'],"
                            " leeway_s integer DEFAULT 30, tenant text DEFAULT NULL,"
                            " scope_claims text[] DEFAULT ARRAY['/scope', '/scp'], audience_claims text[] DEFAULT ARRAY['/aud'],"
                            " required_claims jsonb DEFAULT '{}', max_lifetime_s integer DEFAULT NULL", "void"),
        "set_issuer_status": ("name text, status text", "void"),
        "map_scope": ("issuer_name text, scope text, role text", "void"),
        "unmap_scope": ("issuer_name text, scope text, role text", "void"),
        "allow_ip": ("network cidr, scope text DEFAULT 'GLOBAL', scope_key text DEFAULT NULL, expires_at timestamp with time zone"
                     " DEFAULT NULL", "bigint"),
        "deny_ip": ("network cidr, scope text DEFAULT 'GLOBAL', scope_key text DEFAULT NULL, expires_at timestamp with time zone"
                    " DEFAULT NULL", "bigint"),
        "remove_ip_rule": ("rule_id bigint", "void"),
    }.items():
        assert signatures[name] == expected


# register_ca


def test_register_ca_stores_what_it_was_given(admin, ca):
    root = pki.root()
    admin.call("create_role", "meter")
    new = admin.call("register_ca", root.pem, "acme-2", auto_registration=True, registered_status="PENDING",
                     device_id_template="${cert.subject.O}-${cert.serial}", client_id_templates=["${device_id}", "${tenant}/${device_id}/*"],
                     roles=["meter", "device"], max_devices=10, max_registrations_per_minute=5, replaces="acme")
    row = admin.all("SELECT name, fingerprint, status, auto_registration, registered_status, device_id_template, client_id_templates,"
                    " max_devices, max_registrations_per_minute, tenant, replaces, problem FROM iot_auth.ca WHERE ca_id = %s", new)[0]
    assert (row[0], bytes(row[1])) == ("acme-2", root.fingerprint)
    assert row[2:] == ("ACTIVE", True, "PENDING", "${cert.subject.O}-${cert.serial}", ["${device_id}", "${tenant}/${device_id}/*"],
                       10, 5, None, ca, None)
    assert admin.all("SELECT role FROM iot_auth.ca_role WHERE ca_id = %s ORDER BY role", new) == [("device",), ("meter",)]


@pytest.mark.parametrize("change, why", [
    (dict(name=""), "is empty"),
    (dict(name=None), "is missing"),
    (dict(name="a/b"), "one of + # / *"),
    (dict(name="acme"), "CA 'acme' already exists"),
    (dict(auto_registration=None), "auto_registration"),
    (dict(registered_status="INACTIVE"), "must be one of ACTIVE, PENDING"),
    (dict(registered_status=None), "must be one of"),
    (dict(device_id_template="${cert.cm}"), "unknown variable ${cert.cm}"),
    (dict(device_id_template="${device_id}"), "unknown variable ${device_id}"),
    (dict(device_id_template="${cert.cn"), "outside of a variable"),
    (dict(device_id_template="${}"), "unknown variable ${}"),
    (dict(device_id_template="device"), "all certificates would be one device"),
    (dict(device_id_template="${cert.cn}*"), "'*'"),
    (dict(device_id_template="a/${cert.cn}"), "'/'"),
    (dict(device_id_template="#${cert.cn}"), "+ #"),
    (dict(device_id_template="${cert.cn}" * 17), "16 parts"),
    (dict(device_id_template=""), "1 to 512 bytes"),
    (dict(client_id_templates=[]), "empty"),
    (dict(client_id_templates=None), "empty"),
    (dict(client_id_templates=["*a"]), "not at the end"),
    (dict(client_id_templates=["${claim.sub}"]), "unknown variable ${claim.sub} (known: device_id, ca, tenant)"),
    (dict(client_id_templates=["ok", "${device_id}-${cert.serial}"]), "unknown variable ${cert.serial} (known: device_id, ca, tenant)"),
    (dict(client_id_templates=["ok", None]), "NULL"),
    (dict(roles=["nobody"]), "role 'nobody' does not exist"),
    (dict(roles=["device", None]), "NULL"),
    (dict(tenant="a+b"), "tenant"),
    (dict(tenant=""), "tenant"),
    (dict(max_devices=-1), "negative"),
    (dict(max_registrations_per_minute=-1), "negative"),
    (dict(replaces="nobody"), "CA 'nobody' is not registered"),
    (dict(replaces="acme", tenant="t"), "same tenant"),
])
def test_register_ca_refuses(admin, ca, change, why):
    assert why in admin.call_refused("register_ca", **{"pem": ca_pem(), "name": "new", **change})
    assert admin.one("SELECT count(*) FROM iot_auth.ca") == 1


@pytest.mark.parametrize("pem, why", [
    (None, "is empty"), ("", "is empty"), ("hello", "contains no line '-----BEGIN CERTIFICATE-----'"),
    (block(b"0\x06\x30\x04" + b"x" * 4, "X509 CRL"), "contains no CERTIFICATE"),
    ("-----BEGIN CERTIFICATE-----\nMAYw", "contains no line '-----END CERTIFICATE-----'"),
    ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----", "not base64"),
    ("-----BEGIN CERTIFICATE-----\nMAY\n-----END CERTIFICATE-----", "not base64"),
    ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", "encode a CERTIFICATE (truncated"),
    (block(b"\x30\x82\x01\x00" + b"0" * 255), "truncated"),
    (block(b"\x30\x06" + b"0" * 7), "truncated"),
    (block(b"\x04\x06" + b"0" * 6), "truncated"),
    (block(b"\x30\x80" + b"0" * 20), "truncated"),
    (block(b"\x30\x85\x00\x00\x00\x00\x06" + b"0" * 6), "truncated"),
], ids=lambda value: None)
def test_register_ca_refuses_a_file_without_a_certificate(admin, pem, why):
    assert why in admin.call_refused("register_ca", pem, "new")


def test_register_ca_refuses_a_file_with_more_than_the_certificate(admin):
    first, second = pki.root(), pki.root()
    assert "more than one" in admin.call_refused("register_ca", first.pem + second.pem, "new")
    assert "more than the one" in admin.call_refused("register_ca", first.pem + "trailing", "new")
    assert "private key" in admin.call_refused("register_ca", first.pem + block(b"x", "PRIVATE KEY"), "new")
    assert "private key" in admin.call_refused("register_ca", block(b"x", "EC PRIVATE KEY") + first.pem, "new")


def test_register_ca_takes_text_in_front_crlf_and_white_space_behind(admin):
    """As `openssl x509 -text` and editors on Windows leave it."""
    for n, form in enumerate(("Certificate:\n    Data: …\n{}", "{}\n \t\n", None)):
        root = pki.root()
        pem = form.format(root.pem) if form else root.pem.replace("\n", "\r\n")
        admin.call("register_ca", pem, f"ca{n}")
        assert bytes(admin.one("SELECT fingerprint FROM iot_auth.ca WHERE name = %s", f"ca{n}")) == root.fingerprint


def test_register_ca_refuses_a_certificate_that_is_registered_already(admin):
    pem = ca_pem()
    admin.call("register_ca", pem, "one")
    assert "already registered as CA 'one'" in admin.call_refused("register_ca", pem, "two")


def test_register_ca_with_roles_null_or_empty_grants_none(admin):
    for name, roles in (("a", None), ("b", [])):
        admin.call("register_ca", ca_pem(), name, roles=roles)
    assert admin.one("SELECT count(*) FROM iot_auth.ca_role") == 0


# CAs


def test_set_ca_status(admin, ca):
    for status in ("INACTIVE", "ACTIVE", "ACTIVE", "REVOKED", "REVOKED"):
        admin.call("set_ca_status", "acme", status)
        assert admin.one("SELECT status FROM iot_auth.ca") == status
    assert "is REVOKED and stays REVOKED" in admin.call_refused("set_ca_status", "acme", "ACTIVE")
    assert "is not registered" in admin.call_refused("set_ca_status", "nobody", "ACTIVE")
    assert "is not registered" in admin.call_refused("set_ca_status", None, "ACTIVE")
    assert "must be one of" in admin.call_refused("set_ca_status", "acme", "PENDING")
    assert "must be one of" in admin.call_refused("set_ca_status", "acme", None)


def test_add_crl(admin):
    root = pki.root()
    admin.call("register_ca", root.pem, "acme")
    crl = root.crl()
    admin.call("add_crl", "acme", crl)
    admin.call("add_crl", "acme", root.crl())
    assert admin.one("SELECT count(*) FROM iot_auth.crl") == 2
    assert "already has this CRL" in admin.call_refused("add_crl", "acme", crl)
    assert "is not registered" in admin.call_refused("add_crl", "nobody", crl)
    assert "contains no X509 CRL" in admin.call_refused("add_crl", "acme", root.pem)
    assert "no line" in admin.call_refused("add_crl", "acme", "rubbish")


def test_a_crl_of_ten_thousand_entries_is_taken(admin):
    root = pki.root()
    admin.call("register_ca", root.pem, "acme")
    body = b"\x30\x03\x02\x01\x01" * 700000
    der = b"\x30\x83" + len(body).to_bytes(3, "big") + body
    admin.call("add_crl", "acme", block(der, "X509 CRL"))
    assert admin.one("SELECT length(pem) > 4000000 FROM iot_auth.crl")


# Devices


def test_register_device(admin, ca):
    leaf = pki.root().issue("d1")
    admin.call("register_device", "d1", leaf.pem, "acme", status="PENDING", attributes='{"site": "berlin"}')
    assert admin.all("SELECT device_id, ca_id, status, attributes, registered_by FROM iot_auth.device") == [
        ("d1", ca, "PENDING", {"site": "berlin"}, "admin")]
    fingerprint, ca_id, status, pem = admin.all("SELECT fingerprint, ca_id, status, pem FROM iot_auth.device_certificate")[0]
    assert (bytes(fingerprint), ca_id, status, pem) == (leaf.fingerprint, ca, "ACTIVE", leaf.pem)


@pytest.mark.parametrize("change, why", [
    (dict(device_id="app:corp:x"), "reserved for apps"),
    (dict(device_id="a#"), "one of + # / *"),
    (dict(device_id=None), "is missing"),
    (dict(pem="x"), "no line"),
    (dict(ca_name="nobody"), "is not registered"),
    (dict(status="NEW"), "must be one of"),
    (dict(attributes="[]"), "must be a JSON object"),
    (dict(attributes=None), "must be a JSON object"),
])
def test_register_device_refuses(admin, ca, change, why):
    assert why in admin.call_refused("register_device", **{"device_id": "d1", "pem": ca_pem(), "ca_name": "acme", **change})
    assert admin.one("SELECT count(*) FROM iot_auth.device") == 0


def test_register_device_adds_a_certificate_of_the_same_ca_or_its_successor(admin, ca):
    admin.call("register_ca", ca_pem(), "next", replaces="acme")
    admin.call("register_ca", ca_pem(), "after-next", replaces="next")
    admin.call("register_ca", ca_pem(), "other")
    first = ca_pem()
    admin.call("register_device", "d1", first, "acme", attributes='{"a": 1}')
    admin.call("set_device_status", "d1", "INACTIVE")
    admin.call("register_device", "d1", ca_pem(), "acme")
    admin.call("register_device", "d1", ca_pem(), "after-next", attributes='{"a": 1}')
    assert admin.all("SELECT d.status, d.attributes, a.name FROM iot_auth.device d JOIN iot_auth.ca a USING (ca_id)") == [
        ("INACTIVE", {"a": 1}, "after-next")]
    assert admin.one("SELECT count(*) FROM iot_auth.device_certificate") == 3
    assert "does not replace" in admin.call_refused("register_device", "d1", ca_pem(), "other")
    assert "does not replace" in admin.call_refused("register_device", "d1", ca_pem(), "acme")  # the device has moved on
    assert "already registered for device 'd1'" in admin.call_refused("register_device", "d2", first, "acme")
    assert "does not change its attributes" in admin.call_refused("register_device", "d1", ca_pem(), "after-next", attributes='{"b": 1}')
    admin.call("set_device_status", "d1", "REVOKED")
    assert "is REVOKED" in admin.call_refused("register_device", "d1", ca_pem(), "after-next")


def test_register_device_refuses_the_certificate_of_the_ca(admin):
    root = pki.root()
    admin.call("register_ca", root.pem, "acme")
    assert "CA 'acme' itself" in admin.call_refused("register_device", "d1", root.pem, "acme")


def test_set_device_status(admin, ca):
    admin.call("register_device", "d1", ca_pem(), "acme", status="PENDING")
    for status in ("ACTIVE", "INACTIVE", "PENDING", "REVOKED", "REVOKED"):
        admin.call("set_device_status", "d1", status)
        assert admin.one("SELECT status FROM iot_auth.device") == status
    assert "is REVOKED and stays REVOKED" in admin.call_refused("set_device_status", "d1", "ACTIVE")
    assert "is not registered" in admin.call_refused("set_device_status", "d2", "ACTIVE")
    assert "must be one of" in admin.call_refused("set_device_status", "d1", "DEAD")


def test_revoke_certificate_takes_the_forms_that_tools_print(admin, ca):
    for n, form in enumerate((str, str.upper, lambda h: ":".join(h[i:i + 2] for i in range(0, 64, 2)).upper())):
        leaf = pki.root().issue(f"d{n}")
        admin.call("register_device", f"d{n}", leaf.pem, "acme")
        admin.call("revoke_certificate", form(leaf.fingerprint.hex()))
        assert admin.one("SELECT status FROM iot_auth.device_certificate WHERE device_id = %s", f"d{n}") == "REVOKED"
    for bad in ("", None, "abc", "g" * 64, "a" * 63, "a" * 66):
        assert "64 hexadecimal digits" in admin.call_refused("revoke_certificate", bad)
    assert "is not registered" in admin.call_refused("revoke_certificate", "a" * 64)


# Roles and rules


def test_roles(admin, ca):
    admin.call("create_role", "meter")
    assert "already" in admin.call_refused("create_role", "meter")
    assert "one of + # / *" in admin.call_refused("create_role", "a/b")
    assert "is missing" in admin.call_refused("create_role", None)
    admin.call("grant_ca_role", "acme", "meter")
    admin.call("add_rule", "meter", "ALLOW", ["PUBLISH"], "a")
    admin.call("drop_role", "meter")
    assert admin.one("SELECT count(*) FROM iot_auth.role_rule WHERE role = 'meter'") == 0
    assert admin.one("SELECT count(*) FROM iot_auth.ca_role WHERE role = 'meter'") == 0
    assert "does not exist" in admin.call_refused("drop_role", "meter")


@pytest.mark.parametrize("holder, name", [("ca", "acme"), ("device", "d1")])
def test_grants(admin, ca, holder, name):
    admin.call("register_device", "d1", ca_pem(), "acme")
    admin.call("create_role", "meter")
    grant, revoke = f"grant_{holder}_role", f"revoke_{holder}_role"
    admin.call(grant, name, "meter")
    assert "already" in admin.call_refused(grant, name, "meter")
    admin.call(revoke, name, "meter")
    assert "does not have role 'meter'" in admin.call_refused(revoke, name, "meter")
    for function in (grant, revoke):
        assert "is not registered" in admin.call_refused(function, "nobody", "meter")
        assert "does not exist" in admin.call_refused(function, name, "nothing")
        assert "does not exist" in admin.call_refused(function, name, None)


GOOD_FILTERS = ["a", "a/b", "#", "+", "a/#", "+/+/#", "a/+/b", "/a", "a/", "//", "$SYS/#", "devices/${device_id}/#", "${ca}", "${app_id}/+",
                "a/${claim.sub}/${attr.site id}", "ä/ö", "a b", "a$b", "a{b}", "$share2/x", "x/$share/y", "a" * 1024,
                "/" * 200, "${claim.%s}" % ("x" * 128)]
BAD_FILTERS = [("", "1 to 1024"), (None, "missing"), ("a" * 1025, "1 to 1024"), ("/" * 201, "201 levels"), ("${claim.%s}" % ("x" * 129), "does not exist"), ("#/a", "not at the end"), ("a#", "not a whole level"), ("a/#b", "not at the end"),
               ("##", "not at the end"), ("a+", "not a whole level"), ("+a/b", "not a whole level"), ("a/b+/c", "not a whole level"), ("++", "not a whole level"),
               ("a\nb", "control"), ("a\x7f", "control"), ("$share/g/a", "$share"), ("$share", "$share"), ("${device_id", "not a whole level"),
               ("x${device_id}", "not a whole level"), ("${device_id}x", "not a whole level"), ("a/${nope}/b", "does not exist"), ("${}", "does not exist"),
               ("${device_id}${ca}", "not a whole level"), ("${claim.}", "does not exist"), ("${claim.a/b}", "not a whole level"), ("${cert.cn}", "does not exist"),
               ("${ca}/${nope}", "does not exist")]


def test_add_rule_accepts_every_good_filter(admin):
    for topic_filter in GOOD_FILTERS:
        assert admin.call("add_rule", "device", "DENY", ["PUBLISH", "SUBSCRIBE", "RECEIVE"], topic_filter) > 0


@pytest.mark.parametrize("topic_filter, why", BAD_FILTERS)
def test_add_rule_refuses_a_bad_filter(admin, topic_filter, why):
    assert why in admin.call_refused("add_rule", "device", "ALLOW", ["PUBLISH"], topic_filter)


@pytest.mark.parametrize("change, why", [
    (dict(role="nobody"), "does not exist"), (dict(role=None), "does not exist"),
    (dict(effect="allow"), "must be one of ALLOW, DENY"), (dict(effect=None), "must be one of"),
    (dict(actions=["READ"]), "'READ' is unknown"), (dict(actions=[]), "empty"), (dict(actions=None), "empty"), (dict(actions=["PUBLISH", None]), "NULL"),
    (dict(max_qos=3), "0, 1 or 2"), (dict(max_qos=-1), "0, 1 or 2"), (dict(max_qos=None), "0, 1 or 2"), (dict(allow_retain=None), "missing"),
    (dict(max_qos=1, effect="DENY"), "ALLOW of PUBLISH"), (dict(allow_retain=False, actions=["SUBSCRIBE"]), "ALLOW of PUBLISH"),
])
def test_add_rule_refuses(admin, change, why):
    assert why in admin.call_refused("add_rule", **{"role": "device", "effect": "ALLOW", "actions": ["PUBLISH"], "topic_filter": "a", **change})


def test_rules_come_and_go(admin):
    rule = admin.call("add_rule", "device", "ALLOW", ["PUBLISH", "SUBSCRIBE"], "a", max_qos=1, allow_retain=False)
    assert admin.all("SELECT max_qos, allow_retain FROM iot_auth.role_rule WHERE rule_id = %s", rule) == [(1, False)]
    assert f"rule_id {rule}" in admin.call_refused("add_rule", "device", "ALLOW", ["SUBSCRIBE", "PUBLISH"], "a", max_qos=1, allow_retain=False)
    admin.call("add_rule", "device", "DENY", ["PUBLISH", "SUBSCRIBE"], "a")
    admin.call("remove_rule", rule)
    assert f"rule {rule} does not exist" in admin.call_refused("remove_rule", rule)
    assert "rule NULL does not exist" in admin.call_refused("remove_rule", None)


# Apps


KEY = '{"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "kid": "1"}'


def test_register_issuer(admin, issuer):
    assert admin.all("SELECT issuer, audience, algorithms, jwks, jwks_url, client_id_templates, app_id_claim, token_types, leeway_s, tenant,"
                     " status FROM iot_auth.oauth_issuer") == [
        ("https://id.example.com/", ["mqtt"], ["RS256", "ES256"], None, None, ["app:${issuer}:${app_id}", "app:${issuer}:${app_id}/*"], None,
         ["at+jwt", "JWT"], 30, None, "ACTIVE")]
    admin.call("register_issuer", "b", "not-a-url", ["x"], jwks='{"keys": [%s]}' % KEY)
    admin.call("register_issuer", "c", "http://127.0.0.1/", ["x"], jwks_url="http://127.0.0.1/keys", algorithms=["EdDSA", "PS512"])


@pytest.mark.parametrize("change, why", [
    (dict(name="a:b"), "only letters, digits"), (dict(name=""), "1 to 128"), (dict(name=None), "missing"), (dict(name="corp"), "issuer 'corp' already exists"),
    (dict(issuer="https://id.example.com/", audience=["a", "mqtt"]), "already registered as issuer 'corp' with audience 'mqtt'"),
    (dict(issuer=""), "empty"), (dict(issuer=None), "missing"),
    (dict(audience=[]), "empty"), (dict(audience=[""]), "empty"), (dict(audience=None), "empty"),
    (dict(algorithms=["HS256"]), "'HS256' is unknown"), (dict(algorithms=["none"]), "'none' is unknown"), (dict(algorithms=[]), "empty"),
    (dict(jwks="[]"), "not a JSON object"), (dict(jwks="{}"), "not a JWK set"), (dict(jwks='{"keys": []}'), "no key"), (dict(jwks='{"keys": [1]}'), "not an object"),
    (dict(jwks='{"keys": [{"kty": "oct", "k": "x"}]}'), "symmetric"), (dict(jwks='{"keys": [{"kty": "EC", "d": "x"}]}'), "private"),
    (dict(jwks='{"keys": [%s]}' % KEY, jwks_url="https://x/"), "must not both be given"), (dict(jwks_url="ftp://x/"), "https://"), (dict(jwks_url="https://x/ y"), "https://"),
    (dict(issuer="http://x/"), "neither jwks nor jwks_url"),
    (dict(client_id_templates=["${device_id}"]), "unknown variable"), (dict(client_id_templates=[]), "empty"),
    (dict(app_id_claim=""), "empty"), (dict(token_types=[]), "empty"), (dict(leeway_s=601), "0 to 600"), (dict(leeway_s=None), "0 to 600"), (dict(tenant="/"), "tenant"),
])
def test_register_issuer_refuses(admin, issuer, change, why):
    assert why in admin.call_refused("register_issuer", **{"name": "new", "issuer": "https://new/", "audience": ["a"], **change})


def test_set_issuer_status(admin, issuer):
    for status in ("INACTIVE", "ACTIVE"):
        admin.call("set_issuer_status", "corp", status)
        assert admin.one("SELECT status FROM iot_auth.oauth_issuer") == status
    assert "must be one of ACTIVE, INACTIVE" in admin.call_refused("set_issuer_status", "corp", "REVOKED")
    assert "is not registered" in admin.call_refused("set_issuer_status", "nobody", "ACTIVE")


def test_scopes(admin, issuer):
    admin.call("map_scope", "corp", "telemetry:read", "device")
    assert "already" in admin.call_refused("map_scope", "corp", "telemetry:read", "device")
    admin.call("map_scope", "corp", "x" * 256, "device")
    for scope, why in (("a\nb", "control character"), ("", "1 to 256"), ("x" * 257, "1 to 256"), (None, "missing")):
        assert why in admin.call_refused("map_scope", "corp", scope, "device")
    assert "is not registered" in admin.call_refused("map_scope", "nobody", "a", "device")
    assert "does not exist" in admin.call_refused("map_scope", "corp", "a", "nobody")
    admin.call("unmap_scope", "corp", "telemetry:read", "device")
    assert "does not have role 'device'" in admin.call_refused("unmap_scope", "corp", "telemetry:read", "device")


# Addresses


def test_ip_rules(admin, ca, issuer):
    admin.call("register_device", "d1", ca_pem(), "acme")
    rules = [admin.call("deny_ip", "10.0.0.0/8"), admin.call("allow_ip", "10.0.0.0/8"), admin.call("deny_ip", "2001:db8::/32", "CA", "acme"),
             admin.call("allow_ip", "192.0.2.7", "DEVICE", "d1", "2100-01-01 UTC"), admin.call("deny_ip", "0.0.0.0/0", "ISSUER", "corp")]
    assert len(set(rules)) == 5
    assert f"rule_id {rules[0]}" in admin.call_refused("deny_ip", "10.0.0.0/8")
    admin.call("remove_ip_rule", rules[0])
    assert "IP rule" in admin.call_refused("remove_ip_rule", rules[0])
    admin.call("deny_ip", "10.0.0.0/8")


@pytest.mark.parametrize("arguments, why", [
    ((None,), "network is missing"), (("10.0.0.1/8",), "invalid cidr"), (("10.0.0.0/33",), "invalid"), (("localhost",), "invalid"),
    (("10.0.0.0/8", "global"), "must be one of"), (("10.0.0.0/8", "GLOBAL", "x"), "has no scope_key"), (("10.0.0.0/8", "CA"), "requires a scope_key"),
    (("10.0.0.0/8", "CA", "nobody"), "is not registered"), (("10.0.0.0/8", "DEVICE", "nobody"), "is not registered"),
    (("10.0.0.0/8", "ISSUER", "nobody"), "is not registered"), (("10.0.0.0/8", "GLOBAL", None, "2001-01-01 UTC"), "in the past"),
    (("10.0.0.0/8", "GLOBAL", None, "infinity"), "must be finite"),
])
@pytest.mark.parametrize("function", ["allow_ip", "deny_ip"])
def test_ip_rules_refuse(admin, function, arguments, why):
    assert why in admin.call_refused(function, *arguments)


def test_a_refusal_carries_a_hint_that_says_how_to_resolve_it(admin):
    """The hint is a line of its own, which psql prints below the error."""
    with pytest.raises(Exception) as caught:
        admin.call("set_ca_status", "nobody", "ACTIVE")
    assert caught.value.diag.message_hint == "The names are in SELECT name FROM iot_auth.ca."
    assert caught.value.diag.sqlstate == "42704"
