# SPDX-License-Identifier: ISC
"""What a registration gives a device, in SQL: set_ca, the template's form, the list of expected devices, the rules for
devices that exist, and hooks of every bad kind."""

import hashlib
import io
import json
import time

import pg
import psycopg2
import pytest
from sql_kit import ca_pem, cursor, trial

TEMPLATE = {"attributes": {"site": "${cert.subject.OU}", "line": "7"}, "roles": ["meter"]}


@pytest.fixture(scope="module")
def shared(postgres):
    database = postgres.create_database()
    with cursor(database, pg.ADMIN) as c:
        c.call("create_role", "meter")
        c.call("create_role", "gateway")
    yield database
    database.drop()


@pytest.fixture
def admin(shared):
    with trial(shared, pg.ADMIN) as c:
        yield c


@pytest.fixture
def owner(shared):
    """The schema's owner, who may also register as a broker does, in one transaction that is undone."""
    with trial(shared, pg.SUPERUSER) as c:
        yield c


def new_ca(c, name="acme", **options):
    options.setdefault("auto_registration", True)
    if isinstance(options.get("provisioning"), dict):
        options["provisioning"] = json.dumps(options["provisioning"])
    return c.call("register_ca", ca_pem(), name, **options)


def fingerprint(n):
    return hashlib.sha256(str(n).encode()).digest()


def filled(**members):
    """What a broker makes of a template."""
    return json.dumps(members)


def terms_of(c, ca):
    """What a broker sends with it: which templates it has read."""
    return c.one("SELECT terms FROM iot_auth.broker_ca WHERE ca_id = %s", ca)


PRESENT = object()


def register(c, n, device_id, ca, serial="0a", provision=None, hook="later", terms=PRESENT):
    columns = "outcome detail device_id device_status tenant attrs roles".split()
    ((row),) = c.all("SELECT outcome, detail, device_id, device_status, tenant, attrs, roles FROM iot_auth.broker_register("
                     "%s, %s, %s, %s, 'CN=x', '2020-01-01', '2040-01-01', 'n1', '192.0.2.1', %s, %s, %s)",
                     fingerprint(n), device_id, ca, serial, terms_of(c, ca) if terms is PRESENT else terms, provision, hook)
    return dict(zip(columns, row))


# set_ca


def test_set_ca_changes_only_what_is_given(admin):
    ca = new_ca(admin, max_devices=5, client_id_templates=["${device_id}", "x"])
    before = admin.all("SELECT to_jsonb(c) - 'max_devices' FROM iot_auth.ca c WHERE ca_id = %s", ca)
    admin.call("set_ca", "acme", max_devices=7)
    assert admin.one("SELECT max_devices FROM iot_auth.ca WHERE ca_id = %s", ca) == 7
    assert admin.all("SELECT to_jsonb(c) - 'max_devices' FROM iot_auth.ca c WHERE ca_id = %s", ca) == before


def test_set_ca_changes_each_setting_and_resets_it(admin):
    new_ca(admin, "old")
    new_ca(admin)
    settings = {"auto_registration": False, "registered_status": "PENDING", "device_id_template": "x-${cert.serial}",
                "client_id_templates": ["${device_id}*"], "max_devices": 3, "max_registrations_per_minute": 9,
                "replaces": "old"}
    columns = "auto_registration, registered_status, device_id_template, client_id_templates, max_devices," \
              " max_registrations_per_minute, replaces IS NOT NULL"
    admin.call("set_ca", "acme", **settings)
    ((row),) = admin.all(f"SELECT {columns} FROM iot_auth.ca WHERE name = 'acme'")
    assert row == (False, "PENDING", "x-${cert.serial}", ["${device_id}*"], 3, 9, True)
    admin.call("set_ca", "acme", reset=list(settings))
    ((row),) = admin.all(f"SELECT {columns} FROM iot_auth.ca WHERE name = 'acme'")
    assert row == (False, "ACTIVE", "${cert.cn}", ["${device_id}"], None, None, False)
    admin.call("set_ca", "acme", auto_registration=True, registration="expected", provisioning='{"roles": ["meter"]}')
    assert admin.all("SELECT registration, provisioning FROM iot_auth.ca WHERE name = 'acme'") == [
        ("expected", {"roles": ["meter"]})]
    admin.call("set_ca", "acme", reset=["registration", "provisioning"])
    assert admin.all("SELECT registration, provisioning FROM iot_auth.ca WHERE name = 'acme'") == [("any", None)]


@pytest.mark.parametrize("arguments,words", [
    ({"name": "nobody"}, "CA 'nobody' is not registered"),
    ({"max_devices": -1}, "max_devices '-1' must not be negative"),
    ({"registered_status": "NEW"}, "registered_status 'NEW' is unknown"),
    ({"device_id_template": "${cert.nope}"}, "unknown variable ${cert.nope}"),
    ({"client_id_templates": []}, "client_id_templates is empty"),
    ({"replaces": "nobody"}, "CA 'nobody' is not registered"),
    ({"registration": "all"}, "registration 'all' is unknown (it must be one of any, expected)"),
    ({"registration": "expected", "auto_registration": False}, "registration 'expected' requires auto_registration"),
    ({"reset": ["tenant"]}, "reset contains 'tenant'"),
    ({"reset": ["max_devices"], "max_devices": 4}, "both given and reset"),
])
def test_set_ca_refuses_what_register_ca_refuses(admin, arguments, words):
    new_ca(admin)
    assert words in admin.call_refused("set_ca", **{"name": "acme", **arguments})


# The form of a template


@pytest.mark.parametrize("provisioning,words", [
    ("[]", "is not a JSON object"),
    ('"x"', "is not a JSON object"),
    ({"attribute": {}}, "member 'attribute' is unknown"),
    ({"attributes": []}, "member 'attributes' is not a JSON object"),
    ({"attributes": {"a": 7}}, "attribute 'a' is not a text"),
    ({"attributes": {"a": None}}, "attribute 'a' is not a text"),
    ({"attributes": {"a": ""}}, "attribute 'a' is empty"),
    ({"attributes": {"a": "x" * 129}}, "attribute 'a' is longer than 128 bytes"),
    ({"attributes": {"a": "${cert.nope}"}}, "attribute 'a' contains unknown variable ${cert.nope}"),
    ({"attributes": {"a": "${cert.cn|field:-,0}"}}, "unknown variable"),
    ({"attributes": {"a": "${cert.cn}/x"}}, "attribute 'a' contains a '/'"),
    ({"attributes": {"a": "50${"}}, "attribute 'a' contains one of $ { }"),
    ({"attributes": {"a": "x{y}"}}, "attribute 'a' contains one of $ { }"),
    ({"attributes": {"a/b": "x"}}, "attribute 'a/b' has a name that contains one of"),
    ({"attributes": {"a%d" % n: "x" for n in range(65)}}, "member 'attributes' has more than 64 members"),
    ({"roles": "meter"}, "member 'roles' is not a list"),
    ({"roles": [1]}, "member 'roles' contains an element that is not a text"),
    ({"roles": ["${cert.cn}"]}, "member 'roles' contains '${cert.cn}', which begins with '$'"),
    ({"roles": ["nobody"]}, "provisioning: these roles do not exist: 'nobody'"),
    ({"roles": ["r%d" % n for n in range(65)]}, "member 'roles' has more than 64 elements"),
    ({"tenant": 1}, "member 'tenant' is not a text"),
    ({"tenant": "a+b"}, "member 'tenant' contains one of"),
    ({"required": ["site"]}, "member 'required' names 'site', which is no attribute of the template"),
    ({"required": ["tenant"]}, "member 'required' names 'tenant', but neither"),
    ({"on_missing": "ignore"}, "member 'on_missing' is not one of omit, refuse"),
    ({"on_existing": True}, "member 'on_existing' is not one of keep, merge, replace"),
    ({"attributes": {"a%d" % n: "${cert.cn}" + "x" * 300 for n in range(60)}}, "is longer than 16384 bytes"),
])
def test_a_template_that_cannot_be_meant_is_refused(admin, provisioning, words):
    text = provisioning if isinstance(provisioning, str) else json.dumps(provisioning)
    assert words in admin.call_refused("register_ca", ca_pem(), "x", auto_registration=True, provisioning=text)
    ca = new_ca(admin)
    assert words in admin.call_refused("set_ca", "acme", provisioning=text)
    assert words in admin.refused("UPDATE iot_auth.ca SET provisioning = %s WHERE ca_id = %s", text, ca)


def test_the_largest_template_is_accepted(admin):
    provisioning = {"attributes": {"a%d" % n: "x" * 128 for n in range(63)}, "required": ["a1"], "on_missing": "refuse",
                    "roles": ["meter"] * 64, "on_existing": "replace", "tenant": "${cert.subject.O}"}
    provisioning["attributes"]["splitters"] = "${cert.san.uri|prefix:urn:acme:}-${cert.cn|field:-,2}-${cert.san.uri|path:1}"
    ca = new_ca(admin, provisioning=provisioning)
    assert admin.one("SELECT fault FROM iot_auth.broker_ca WHERE ca_id = %s", ca) is None


def test_a_ca_with_a_tenant_gives_no_other(admin):
    words = "member 'tenant' cannot be set, because the CA has a tenant"
    assert words in admin.call_refused("register_ca", ca_pem(), "x", tenant="t1", provisioning='{"tenant": "t2"}')
    ca = new_ca(admin, provisioning={"tenant": "${cert.subject.O}"})
    assert words in admin.refused("UPDATE iot_auth.ca SET tenant = 't1' WHERE ca_id = %s", ca)
    new_ca(admin, "own", tenant="t1", provisioning={"required": ["tenant"]})


def test_a_template_that_was_stored_around_its_check_closes_its_ca(owner):
    ca = new_ca(owner)
    owner.all("SET LOCAL session_replication_role = replica")
    for wrong in ('{"attributes": 7}', "[]", '{"attributes": {"a": 7}}'):
        owner.all("UPDATE iot_auth.ca SET provisioning = %s WHERE ca_id = %s", wrong, ca)
        fault = owner.one("SELECT fault FROM iot_auth.broker_ca WHERE ca_id = %s", ca)
        assert fault.startswith("provisioning is not a JSON object"), wrong


def test_a_role_that_is_dropped_is_reported_and_the_others_are_given(owner):
    owner.call("create_role", "passing")
    ca = new_ca(owner, provisioning={"roles": ["meter", "passing"]})
    owner.call("drop_role", "passing")
    assert owner.one("SELECT problem FROM iot_auth.ca WHERE ca_id = %s", ca) == \
        "provisioning: these roles do not exist: 'passing'"
    assert register(owner, 1, "d1", ca, provision=filled())["roles"] == ["meter"]
    owner.all("SELECT iot_auth.broker_set_ca_parsed(%s, 'CN=x', now(), now(), 'another problem')", ca)
    assert owner.one("SELECT problem FROM iot_auth.ca WHERE ca_id = %s", ca) == \
        "another problem; provisioning: these roles do not exist: 'passing'"
    owner.call("create_role", "passing")
    assert owner.one("SELECT problem FROM iot_auth.ca WHERE ca_id = %s", ca) == "another problem"


# What is given


def test_attributes_roles_and_tenant_are_committed_with_the_row(owner):
    ca = new_ca(owner, provisioning={**TEMPLATE, "tenant": "${cert.subject.O}"})
    row = register(owner, 1, "d1", ca, provision=filled(attributes={"site": "berlin", "line": "7"}, tenant="north"))
    assert (row["outcome"], row["attrs"], row["roles"], row["tenant"]) == (
        "registered", ["line", "7", "site", "berlin"], ["meter"], "north")
    event = json.loads(row["detail"])
    assert (event["attributes"], event["roles"], event["tenant"]) == ({"site": "berlin", "line": "7"}, ["meter"], "north")
    assert owner.one("SELECT detail FROM iot_auth.event WHERE principal = 'd1'") == event
    assert owner.all("SELECT attributes, tenant FROM iot_auth.device WHERE device_id = 'd1'") == [
        ({"site": "berlin", "line": "7"}, "north")]


def test_what_a_broker_filled_in_counts_for_the_present_template_only(owner):
    ca = new_ca(owner, provisioning=TEMPLATE)
    before, provision = terms_of(owner, ca), filled(attributes={"site": "berlin", "line": "7"})
    owner.call("set_ca", "acme", provisioning=json.dumps({"attributes": {"site": "x"}}))
    for terms in (before, None, ""):
        assert register(owner, 1, "d1", ca, provision=provision, terms=terms)["outcome"] == "stale_template"
    assert register(owner, 1, "d1", ca, provision=provision)["attrs"] == ["site", "berlin"]


@pytest.mark.parametrize("change", [{"device_id_template": "x-${cert.cn}"}, {"provisioning": {"roles": ["meter"]}}])
def test_a_device_id_of_another_template_is_sent_back(owner, change):
    ca = new_ca(owner)
    before = terms_of(owner, ca)
    owner.call("set_ca", "acme", **{k: v if isinstance(v, str) else json.dumps(v) for k, v in change.items()})
    assert register(owner, 1, "d1", ca, terms=before)["outcome"] == "stale_template"
    assert owner.one("SELECT count(*) FROM iot_auth.device WHERE device_id = 'd1'") == 0
    assert register(owner, 1, "x-d1", ca)["outcome"] == "registered"


def test_a_broker_gives_only_attributes_of_the_template_and_no_roles(owner):
    ca = new_ca(owner, provisioning=TEMPLATE)
    hostile = {"site": "a/b", "line": "x" * 129, "admin": "yes"}
    row = register(owner, 1, "d1", ca, provision=filled(attributes=hostile, roles=["gateway"], tenant="other"))
    assert (row["outcome"], row["attrs"], row["roles"], row["tenant"]) == ("registered", None, ["meter"], None)


@pytest.mark.parametrize("settings,outcome", [
    ({}, "registered"), ({"on_missing": "omit"}, "registered"), ({"on_missing": "refuse"}, "identity_invalid"),
    ({"required": ["site"]}, "identity_invalid"), ({"required": ["line"]}, "registered"),
])
def test_what_is_missing_is_omitted_unless_it_is_required(owner, settings, outcome):
    ca = new_ca(owner, provisioning={**TEMPLATE, **settings})
    row = register(owner, 1, "d1", ca, provision=filled(
        attributes={"line": "7"}, missing={"site": "${cert.subject.OU}: the certificate has no value"}))
    assert row["outcome"] == outcome
    if outcome == "identity_invalid":
        assert row["detail"] == "attribute 'site': ${cert.subject.OU}: the certificate has no value"
        assert owner.one("SELECT count(*) FROM iot_auth.device WHERE device_id = 'd1'") == 0


def test_a_missing_tenant_is_that_of_the_ca_unless_it_is_required(owner):
    ca = new_ca(owner, provisioning={"tenant": "${cert.subject.O}"})
    assert register(owner, 1, "d1", ca, provision=filled(missing_tenant="no O"))["tenant"] is None
    owner.call("set_ca", "acme", provisioning=json.dumps({"tenant": "${cert.subject.O}", "required": ["tenant"]}))
    row = register(owner, 2, "d2", ca, provision=filled(missing_tenant="no O"))
    assert (row["outcome"], row["detail"]) == ("identity_invalid", "tenant: no O")


@pytest.mark.parametrize("rule,attributes,roles,tenant", [
    (None, {"own": 1, "site": "old"}, ["gateway"], "before"),
    ("keep", {"own": 1, "site": "old"}, ["gateway"], "before"),
    ("merge", {"own": 1, "site": "new", "line": "7"}, ["gateway", "meter"], "after"),
    ("replace", {"site": "new", "line": "7"}, ["meter"], "after"),
])
def test_a_device_that_exists_is_given_what_on_existing_says(owner, rule, attributes, roles, tenant):
    template = {**TEMPLATE, "tenant": "${cert.subject.O}", **({"on_existing": rule} if rule else {})}
    ca = new_ca(owner, provisioning=template)
    owner.all("INSERT INTO iot_auth.device (device_id, ca_id, tenant, status, attributes)"
              " VALUES ('d1', %s, 'before', 'INACTIVE', '{\"own\": 1, \"site\": \"old\"}')", ca)
    owner.call("grant_device_role", "d1", "gateway")
    provision = filled(attributes={"site": "new", "line": "7"}, tenant="after")
    row = register(owner, 1, "d1", ca, provision=provision)
    assert (row["outcome"], row["device_status"], row["roles"], row["tenant"]) == ("registered", "INACTIVE", roles, tenant)
    assert owner.one("SELECT attributes FROM iot_auth.device WHERE device_id = 'd1'") == attributes
    # Known: left alone, whatever the template says now.
    owner.call("set_ca", "acme", provisioning=json.dumps({"on_existing": "replace"}))
    assert register(owner, 1, "d1", ca)["outcome"] == "known"
    assert owner.one("SELECT attributes FROM iot_auth.device WHERE device_id = 'd1'") == attributes


def test_more_than_a_device_can_have_refuses_that_device_alone(owner):
    """A constraint would refuse the whole batch."""
    ca = new_ca(owner, provisioning={**TEMPLATE, "on_existing": "merge"})
    owner.all("INSERT INTO iot_auth.role SELECT 'many-' || n FROM generate_series(1, 256) n")
    owner.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('roles', %s), ('sound', %s)", ca, ca)
    owner.all("INSERT INTO iot_auth.device (device_id, ca_id, attributes) SELECT 'large', %s,"
              " jsonb_object_agg('a' || n, repeat('x', 120)) FROM generate_series(1, 496) n", ca)
    owner.all("INSERT INTO iot_auth.device_role SELECT 'roles', 'many-' || n FROM generate_series(1, 256) n")
    provision = filled(attributes={"site": "x" * 128, "line": "y" * 128})
    devices = ["sound", "roles", "large", "new"]
    rows = owner.all("SELECT d.id, r.outcome, r.detail FROM iot_auth.broker_register_many(%s, %s, %s, NULL, NULL, NULL, NULL, 'n1',"
                     " NULL, %s, %s) r JOIN unnest(%s) WITH ORDINALITY d(id, item) USING (item)",
                     [fingerprint(n) for n in range(4)], devices, [ca] * 4, [terms_of(owner, ca)] * 4, [provision] * 4, devices)
    outcomes = {device: (outcome, detail) for device, outcome, detail in rows}
    assert outcomes["sound"][0] == outcomes["new"][0] == "registered"
    assert outcomes["roles"] == ("identity_invalid", "device 'roles' would have more than 256 roles")
    assert outcomes["large"][0] == "identity_invalid" and "longer than 65536 bytes" in outcomes["large"][1]
    assert owner.one("SELECT count(*) FROM iot_auth.device_certificate WHERE device_id IN ('roles', 'large')") == 0


def test_a_role_that_a_template_names_twice_is_given_once(owner):
    ca = new_ca(owner, provisioning={"roles": ["meter", "meter"]})
    assert register(owner, 1, "d1", ca, provision=filled())["roles"] == ["meter"]


# Expected devices


@pytest.mark.parametrize("written,serial,matches", [
    ("0a1B", "0a1b", True), ("A:1b", "0a1b", True), ("0a:1b", "0a1b", True), ("000a1b", "0a1b", True), ("a1b", "0a1b", True),
    ("2587", "0a1b", True), ("0002587", "0a1b", True), ("2587", "2587", True), ("25:87", "0a1b", False), ("2588", "0a1b", False),
    ("ff" * 20, "ff" * 20, True), (str(2 ** 160 - 1), "ff" * 20, True), ("0", "00", True), ("10", "10", True), ("10", "0a", True),
    ("10", "-10", False), ("a1b", None, False),
])
def test_serial_numbers_match_in_either_notation(owner, written, serial, matches):
    assert owner.one("SELECT iot_auth.serial_matches(%s, %s)", written, serial) is matches


@pytest.mark.parametrize("arguments,words", [
    ({"ca_name": "nobody"}, "CA 'nobody' is not registered"),
    ({"device_id": "a/b"}, "device_id 'a/b' contains one of"),
    ({"device_id": "app:x"}, "begins with 'app:'"),
    ({"serial": "0x1f"}, "serial '0x1f' must be decimal or hexadecimal digits"),
    ({"serial": ""}, "serial '' must be"),
    ({"fingerprint_hex": "00"}, "must be 64 hexadecimal digits"),
    ({"attributes": "[]"}, "attributes is not a JSON object"),
    ({"attributes": '{"a": "x/y"}'}, "attributes contains 'a', which contains one of"),
    ({"attributes": '{"a": {}}'}, "attributes contains 'a', which is not a text, a number or a boolean"),
    ({"roles": ["nobody"]}, "role 'nobody' does not exist"),
    ({"expires_at": "2020-01-01"}, "is in the past"),
    ({"expires_at": "infinity"}, "must be finite"),
])
def test_an_entry_that_cannot_be_meant_is_refused(admin, arguments, words):
    new_ca(admin)
    assert words in admin.call_refused("expect_device", **{"ca_name": "acme", "device_id": "d1", **arguments})


def test_each_certificate_uses_up_one_entry(owner):
    ca = new_ca(owner, registration="expected")
    assert register(owner, 1, "d1", ca)["outcome"] == "device_unexpected"
    owner.call("expect_device", "acme", "d1")
    assert register(owner, 1, "d2", ca)["outcome"] == "device_unexpected"
    assert register(owner, 1, "d1", ca)["outcome"] == "registered"
    assert register(owner, 1, "d1", ca)["outcome"] == "known"
    assert register(owner, 2, "d1", ca)["outcome"] == "device_unexpected"
    owner.call("expect_device", "acme", "d1")
    assert register(owner, 2, "d1", ca)["outcome"] == "registered"
    assert owner.one("SELECT count(*) FROM iot_auth.expected_device WHERE used_at IS NOT NULL") == 2


def test_a_second_call_replaces_the_unused_entry(owner):
    ca = new_ca(owner, registration="expected")
    owner.call("expect_device", "acme", "d1", serial="1f", attributes='{"a": "1"}')
    owner.call("expect_device", "acme", "d1", serial="2f")
    assert register(owner, 1, "d1", ca, serial="1f")["outcome"] == "device_unexpected"
    assert register(owner, 1, "d1", ca, serial="2f")["attrs"] is None


@pytest.mark.parametrize("entry,outcome", [
    ({"serial": "10"}, "registered"), ({"serial": "0A"}, "registered"), ({"serial": "0b"}, "device_unexpected"),
    ({"fingerprint_hex": fingerprint(1).hex()}, "registered"), ({"fingerprint_hex": fingerprint(2).hex()}, "device_unexpected"),
])
def test_an_entry_may_name_the_certificate(owner, entry, outcome):
    ca = new_ca(owner, registration="expected")
    owner.call("expect_device", "acme", "d1", **entry)
    assert register(owner, 1, "d1", ca)["outcome"] == outcome


def test_a_refusal_uses_nothing_up(owner):
    ca = new_ca(owner, registration="expected", max_devices=0)
    owner.call("expect_device", "acme", "d1")
    assert register(owner, 1, "d1", ca)["outcome"] == "quota_exceeded"
    owner.call("set_ca", "acme", reset=["max_devices"])
    assert register(owner, 1, "d1", ca)["outcome"] == "registered"


def test_an_expired_entry_neither_admits_nor_reserves(owner):
    ca, other = new_ca(owner, registration="expected"), new_ca(owner, "other")
    owner.all("INSERT INTO iot_auth.expected_device (ca_name, device_id, expires_at) VALUES ('acme', 'd1', now() - interval '1 s')")
    row = register(owner, 1, "d1", ca)
    assert row["outcome"] == "device_unexpected" and "expired" in row["detail"]
    assert register(owner, 1, "d1", other)["outcome"] == "registered"


def test_an_entry_comes_over_the_template_and_gives_what_is_required(owner):
    ca = new_ca(owner, registration="expected", provisioning={**TEMPLATE, "required": ["site"]})
    owner.call("expect_device", "acme", "d1", attributes='{"site": "factory", "batch": 12}', roles=["gateway"])
    row = register(owner, 1, "d1", ca, provision=filled(attributes={"line": "7"}, missing={"site": "none"}))
    assert (row["outcome"], row["attrs"], row["roles"]) == (
        "registered", ["batch", "12", "line", "7", "site", "factory"], ["gateway", "meter"])


def test_an_entry_reserves_its_id(owner):
    ca, other = new_ca(owner, registration="expected"), new_ca(owner, "other")
    heir = new_ca(owner, "heir", replaces="acme")
    owner.call("expect_device", "acme", "d1")
    owner.call("expect_device", "acme", "d2")
    row = register(owner, 1, "d1", other)
    assert row["outcome"] == "device_conflict" and "CA 'acme'" in row["detail"]
    assert register(owner, 1, "d1", ca)["outcome"] == "registered"
    assert register(owner, 2, "d2", heir)["outcome"] == "registered"


def test_without_a_list_an_entry_gives_but_does_not_refuse(owner):
    ca = new_ca(owner)
    owner.call("expect_device", "acme", "d1", serial="0b", attributes='{"a": "1"}')
    assert register(owner, 1, "d1", ca)["attrs"] is None
    assert register(owner, 2, "d1", ca, serial="0b")["outcome"] == "registered"
    assert owner.one("SELECT count(*) FROM iot_auth.expected_device WHERE used_at IS NOT NULL") == 1


@pytest.mark.parametrize("registration,second", [("any", "registered"), ("expected", "device_unexpected")])
def test_an_entry_is_for_one_of_two_certificates_that_come_together(owner, registration, second):
    """With registration 'any' both once had what the entry gives, and one entry was used up."""
    ca = new_ca(owner, registration=registration)
    owner.call("expect_device", "acme", "d1", attributes='{"a": "1"}', roles=["gateway"])
    rows = owner.all("SELECT outcome, detail FROM iot_auth.broker_register_many(%s, %s, %s, NULL, NULL, NULL, NULL, 'n1', NULL, %s)"
                     " ORDER BY item = %s DESC", [fingerprint(n) for n in (1, 2)], ["d1"] * 2, [ca] * 2,
                     [terms_of(owner, ca)] * 2, min((1, 2), key=fingerprint))
    assert [outcome for outcome, _ in rows] == ["registered", second]
    assert owner.one("SELECT count(*) FROM iot_auth.expected_device WHERE used_at IS NOT NULL") == 1
    owner.call("expect_device", "acme", "d1", serial="0b")
    assert register(owner, 3, "d1", ca)["outcome"] == second


def test_entries_go_with_their_ca_and_keep_their_names(admin):
    new_ca(admin)
    admin.call("expect_device", "acme", "d1")
    assert "cannot be changed" in admin.refused("UPDATE iot_auth.expected_device SET device_id = 'd2'")
    assert "role 'nobody' does not exist" in admin.refused("UPDATE iot_auth.expected_device SET roles = '{nobody}'")
    assert "CA 'x' is not registered" in admin.refused("INSERT INTO iot_auth.expected_device (ca_name, device_id) VALUES ('x', 'y')")
    admin.all("DELETE FROM iot_auth.ca WHERE name = 'acme'")
    assert admin.one("SELECT count(*) FROM iot_auth.expected_device") == 0


# Hooks


def hooked(owner, body, name="acme", **options):
    """A CA with a hook of that body, a PL/pgSQL block over `request`."""
    ca = new_ca(owner, name, **options)
    owner.all(f"CREATE OR REPLACE FUNCTION public.hook(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $h$ BEGIN {body} END $h$")
    owner.call("set_registration_hook", name, "public.hook(jsonb)")
    return ca


def ask(owner, ca, n=1, device_id="d1", **more):
    """As a broker asks: the registration, and then what the hook did, into the CA's problem."""
    provision = more.pop("provision", None) or filled(identity={"cert.cn": device_id}, attributes={"line": "7"})
    row = register(owner, n, device_id, ca, provision=provision, hook="ask")
    failed = row["outcome"] == "registry_unavailable"
    owner.all("SELECT iot_auth.broker_note_hook(%s, %s)", ca, row["detail"] if failed else None)
    return row


def test_a_hook_gets_the_facts_and_may_replace_what_is_given(owner):
    owner.all("CREATE TABLE public.seen (request jsonb)")
    ca = hooked(owner, "INSERT INTO public.seen VALUES (request); RETURN jsonb_build_object('allow', true, 'reason', NULL,"
                       " 'attributes', '{\"erp\": 7}'::jsonb, 'roles', '[\"gateway\"]'::jsonb, 'tenant', 'south');",
                provisioning=TEMPLATE)
    assert register(owner, 1, "d1", ca, provision=filled())["outcome"] == "hook"
    assert owner.one("SELECT count(*) FROM iot_auth.device WHERE device_id = 'd1'") == 0
    row = ask(owner, ca)
    assert (row["outcome"], row["attrs"], row["roles"], row["tenant"]) == ("registered", ["erp", "7"], ["gateway"], "south")
    assert owner.one("SELECT request FROM public.seen") == {
        "device_id": "d1", "fingerprint": fingerprint(1).hex(), "serial": "0a", "subject": "CN=x",
        "identity": {"cert.cn": "d1"}, "address": "192.0.2.1", "ca": "acme", "tenant": None, "attributes": {"line": "7"},
        "roles": ["meter"], "existing": False}


def test_what_a_hook_does_not_give_comes_from_the_template(owner):
    ca = hooked(owner, "RETURN '{\"allow\": true}';", provisioning=TEMPLATE)
    row = ask(owner, ca)
    assert (row["outcome"], row["attrs"], row["roles"]) == ("registered", ["line", "7"], ["meter"])


def test_a_veto_is_a_refusal_that_uses_nothing_up(owner):
    ca = hooked(owner, "RETURN '{\"allow\": false, \"reason\": \"not in the ERP\"}';", registration="expected")
    owner.call("expect_device", "acme", "d1")
    row = ask(owner, ca)
    assert (row["outcome"], row["detail"]) == ("hook_refused", "not in the ERP")
    assert owner.one("SELECT count(*) FROM iot_auth.device WHERE device_id = 'd1'") == 0
    assert owner.one("SELECT count(*) FROM iot_auth.expected_device WHERE used_at IS NULL") == 1
    assert owner.one("SELECT problem FROM iot_auth.ca WHERE ca_id = %s", ca) is None


RUBBISH = [
    "NULL", "'null'", "'[]'", "'7'", "'\"yes\"'", "'{}'", '\'{"allow": null}\'', '\'{"allow": "true"}\'', '\'{"allow": 1}\'',
    '\'{"allow": true, "reason": 7}\'', '\'{"allow": false, "reason": {}}\'', '\'{"allow": true, "attributes": []}\'',
    '\'{"allow": true, "attributes": {"a": "x/y"}}\'', '\'{"allow": true, "attributes": {"a/b": "x"}}\'',
    '\'{"allow": true, "attributes": {"a": {}}}\'', '\'{"allow": true, "attributes": {"a": 1e40}}\'',
    '\'{"allow": true, "roles": "meter"}\'', '\'{"allow": true, "roles": ["nobody"]}\'', '\'{"allow": true, "roles": [1]}\'',
    '\'{"allow": true, "tenant": 1}\'', '\'{"allow": true, "tenant": "a+b"}\'', '\'{"allow": true, "status": "ACTIVE"}\'',
    "jsonb_build_object('allow', true, 'reason', repeat('x', 20000))",
    "jsonb_build_object('allow', true, 'attributes', (SELECT jsonb_object_agg('a' || n, 1) FROM generate_series(1, 65) n))",
]


@pytest.mark.parametrize("answer", RUBBISH, ids=range(len(RUBBISH)))
def test_an_answer_that_cannot_be_meant_registers_nobody_and_is_reported(owner, answer):
    ca = hooked(owner, f"RETURN {answer};")
    row = ask(owner, ca)
    assert row["outcome"] == "registry_unavailable"
    assert owner.one("SELECT problem FROM iot_auth.ca WHERE ca_id = %s", ca) == row["detail"]
    assert row["detail"].startswith("the registration hook public.hook(jsonb) ")
    assert owner.one("SELECT count(*) FROM iot_auth.device WHERE device_id = 'd1'") == 0
    owner.all("CREATE OR REPLACE FUNCTION public.hook(request jsonb) RETURNS jsonb LANGUAGE sql AS $h$ SELECT '{\"allow\": true}'::jsonb $h$")
    assert ask(owner, ca)["outcome"] == "registered"
    assert owner.one("SELECT problem FROM iot_auth.ca WHERE ca_id = %s", ca) is None


@pytest.mark.parametrize("body,words", [
    ("RAISE EXCEPTION 'no ERP today';", "failed: no ERP today"),
    ("ASSERT false, 'asserted'; RETURN NULL;", "failed: asserted"),
    ("RETURN 1 / 0;", "failed: division by zero"),
    ("PERFORM pg_sleep(30); RETURN NULL;", "took longer than the time limit"),
    ("LOOP NULL; END LOOP;", "took longer than the time limit"),
    ("SET LOCAL statement_timeout = 0; PERFORM pg_sleep(30); RETURN NULL;", "took longer than the time limit"),
    ("RETURN no_such_function();", "failed: function no_such_function() does not exist"),
    ("UPDATE iot_auth.device SET device_id = 'x'; PERFORM iot_auth.fail('own'); RETURN NULL;", "failed: own"),
])
def test_a_hook_that_fails_registers_nobody_and_leaves_nothing(owner, body, words):
    ca = hooked(owner, body)
    owner.connection.cursor().execute("SET LOCAL statement_timeout = 150")
    try:
        row = ask(owner, ca)
    finally:
        owner.connection.cursor().execute("SET LOCAL statement_timeout = 0")
    assert (row["outcome"], words in row["detail"]) == ("registry_unavailable", True), row
    assert owner.one("SELECT problem FROM iot_auth.ca WHERE ca_id = %s", ca) == row["detail"]


def test_a_hook_that_deletes_its_ca_registers_nobody(owner):
    ca = hooked(owner, "DELETE FROM iot_auth.ca; RETURN '{\"allow\": true}';")
    with pytest.raises(psycopg2.Error):
        ask(owner, ca)
    assert owner.one("SELECT count(*) FROM iot_auth.ca WHERE ca_id = %s", ca) == 1


@pytest.mark.parametrize("change,words", [
    ("DROP FUNCTION public.hook(jsonb)", "does not exist"),
    ("ALTER FUNCTION public.hook(jsonb) RENAME TO other_name", "does not exist"),
    ("ALTER FUNCTION public.hook(jsonb) OWNER TO iot_auth_admin", "does not belong to the owner of schema iot_auth"),
    ("DROP FUNCTION public.hook(jsonb); CREATE FUNCTION public.hook(jsonb) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
     "is not a function (jsonb) RETURNS jsonb"),
    ("DROP FUNCTION public.hook(jsonb); CREATE FUNCTION public.hook(jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT $1'",
     "is not a function (jsonb) RETURNS jsonb"),
])
def test_a_hook_is_checked_at_each_call(owner, change, words):
    ca = hooked(owner, "RETURN '{\"allow\": true}';")
    owner.all(change)
    row = ask(owner, ca)
    assert (row["outcome"], words in row["detail"]) == ("registry_unavailable", True), row


@pytest.mark.parametrize("function,words", [
    ("pg_catalog.now()", "is not a function (jsonb) RETURNS jsonb"), ("pg_catalog.jsonb_agg(anyelement)", "is not a function"),
    ("public.foreign_hook(jsonb)", "does not belong to the owner"),
])
def test_set_registration_hook_refuses_what_could_not_be_called(owner, function, words):
    new_ca(owner)
    owner.all("CREATE FUNCTION public.foreign_hook(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';"
              " ALTER FUNCTION public.foreign_hook(jsonb) OWNER TO iot_auth_admin")
    assert words in owner.call_refused("set_registration_hook", "acme", function)
    assert words in owner.refused("UPDATE iot_auth.ca SET registration_hook = %s WHERE name = 'acme'", function)


def test_a_hook_cannot_give_another_tenant_than_the_cas(owner):
    ca = hooked(owner, "RETURN '{\"allow\": true, \"tenant\": \"t2\"}';", tenant="t1")
    row = ask(owner, ca)
    assert row["outcome"] == "registry_unavailable" and "is not the tenant of the CA" in row["detail"]


def test_a_hooks_statements_are_planned_as_the_sessions(owner):
    """The registration switches sequential scans off and plans once for all arguments; both are not for a hook's tables."""
    settings = "current_setting('enable_seqscan') || ' ' || current_setting('plan_cache_mode')"
    ca = hooked(owner, f"RETURN jsonb_build_object('allow', false, 'reason', {settings});")
    assert ask(owner, ca)["detail"] == "on auto"
    owner.all("CREATE OR REPLACE FUNCTION public.hook(request jsonb) RETURNS jsonb LANGUAGE sql AS $h$ SELECT '{\"allow\": true}'::jsonb $h$")
    owner.all("CREATE TABLE public.planned (setting text)")
    owner.all("CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $h$ BEGIN INSERT INTO public.planned VALUES"
              f" ({settings}); RETURN NULL; END $h$")
    owner.all("CREATE TRIGGER note AFTER INSERT ON iot_auth.device_certificate EXECUTE FUNCTION public.note()")
    assert ask(owner, ca)["outcome"] == "registered"
    assert owner.one("SELECT setting FROM public.planned") == "off force_generic_plan"
    assert owner.one(f"SELECT {settings}") == "on auto"


def test_a_rehearsal_leaves_nothing_and_asks_no_hook(owner):
    ca = hooked(owner, "RAISE EXCEPTION 'asked';", registration="expected")
    owner.call("expect_device", "acme", "d1")
    owner.all("SELECT iot_auth.broker_rehearse(%s, 'd1', %s, '0a', '', now(), now(), 'n1', NULL, %s, NULL)",
              fingerprint(1), ca, terms_of(owner, ca))
    assert owner.one("SELECT count(*) FROM iot_auth.device WHERE device_id = 'd1'") == 0
    assert owner.one("SELECT count(*) FROM iot_auth.event WHERE principal = 'd1'") == 0
    assert owner.one("SELECT count(*) FROM iot_auth.expected_device WHERE used_at IS NULL") == 1


def test_what_a_hook_or_a_dropped_role_leaves_is_no_reason_why_a_ca_is_refused(owner):
    owner.call("create_role", "passing")
    ca = hooked(owner, "RETURN NULL;", provisioning={"roles": ["passing"]})
    owner.call("drop_role", "passing")
    ask(owner, ca)
    remedy = "SELECT iot_auth.refusal_remedy(%s, 'device/refused', 'd1', %s, NULL, '{}')"
    assert "ACTIVE now" in owner.one(remedy, "ca_inactive", ca)
    assert "the registration hook public.hook(jsonb) did not answer" in owner.one(remedy, "registry_unavailable", ca)
    owner.all("SELECT iot_auth.broker_set_ca_parsed(%s, 'CN=x', now(), now(), 'no certificate')", ca)
    assert owner.one(remedy, "ca_inactive", ca).endswith("must be usable: no certificate")


def test_a_broker_cannot_skip_a_hook(shared):
    with trial(shared, pg.BROKER) as broker:
        assert "a broker cannot skip a hook" in broker.refused(
            "SELECT iot_auth.broker_register(%s, 'd1', 1, '0a', '', now(), now(), 'n1', NULL, NULL, NULL, 'skip')", fingerprint(1))


def test_a_shipping_file_is_copied_and_looked_up_by_index(postgres):
    """A fifth of a million rows; a million take as long, five times over."""
    database = postgres.create_database()
    try:
        with cursor(database, pg.ADMIN) as admin:
            new_ca(admin, registration="expected")
            rows = io.StringIO("".join("acme,dev-%d,%x\n" % (n, n) for n in range(1, 200001)))
            begun = time.monotonic()
            with admin.connection.cursor() as c:
                c.copy_expert("COPY iot_auth.expected_device (ca_name, device_id, serial) FROM STDIN (FORMAT csv)", rows)
            assert time.monotonic() - begun < 60 / 5
        with cursor(database, pg.SUPERUSER) as root:
            root.all("ANALYZE iot_auth.expected_device")
            plan = root.one("EXPLAIN (FORMAT json) SELECT e.* FROM iot_auth.expected_device e WHERE e.device_id = 'dev-7'"
                            " AND e.ca_name = 'acme' AND e.used_at IS NULL FOR UPDATE")
            assert "expected_device_unused" in json.dumps(plan)
    finally:
        database.drop()
