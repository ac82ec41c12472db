# SPDX-License-Identifier: ISC
"""The schema by itself: roles and privileges, and rules that hold for direct writes too."""

import pathlib
import re

import pg
import pki
import pytest
from sql_kit import ca_pem, cursor, trial

FUNCTIONS = "SELECT p.oid::regprocedure::text, p.prosecdef, p.proconfig, l.lanname, p.prosrc FROM pg_proc p " \
            "JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'iot_auth'::regnamespace"


@pytest.fixture
def ca(admin):
    return admin.call("register_ca", ca_pem(), "acme", auto_registration=True)


@pytest.fixture(scope="module")
def shared(postgres):
    """One database for the tests that undo what they do."""
    database = postgres.create_database()
    with cursor(database, pg.ADMIN) as c:
        c.call("register_ca", ca_pem(), "acme")
    yield database
    database.drop()


@pytest.fixture
def scratch(shared):
    with trial(shared, pg.ADMIN) as c:
        yield c


def test_a_fresh_schema_holds_the_roles_device_and_monitor_and_nothing_else(database):
    assert database.query("SELECT role, effect, actions, topic_filter, max_qos, allow_retain FROM iot_auth.role_rule ORDER BY rule_id") == [
        ("device", "ALLOW", ["PUBLISH", "RECEIVE", "SUBSCRIBE"], "devices/${device_id}/#", 2, True),
        ("monitor", "ALLOW", ["SUBSCRIBE", "RECEIVE"], "$SYS/#", 2, True),
        ("monitor", "ALLOW", ["SUBSCRIBE", "RECEIVE"], "$iot-auth/events/#", 2, True)]
    for table in ("ca", "device", "oauth_issuer", "ip_rule", "event", "node"):
        assert database.value(f"SELECT count(*) FROM iot_auth.{table}") == 0


# Privileges


def test_nothing_is_executable_or_readable_by_public(root):
    assert root.all("""SELECT p.oid::regprocedure::text FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                       WHERE p.pronamespace = 'iot_auth'::regnamespace AND a.grantee = 0""") == []
    assert root.all("""SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a
                       WHERE c.relnamespace = 'iot_auth'::regnamespace AND a.grantee = 0""") == []
    assert not root.one("SELECT bool_or(has_schema_privilege('public', 'iot_auth', p)) FROM (VALUES ('USAGE'), ('CREATE')) v(p)")


def test_security_definer_functions_pin_their_search_path(root):
    definers = [(name, config) for name, definer, config, _, _ in root.all(FUNCTIONS) if definer]
    assert len(definers) > 5
    assert [name for name, config in definers if "search_path=pg_catalog, pg_temp" not in config] == []


def test_every_plpgsql_function_pins_its_search_path(root):
    loose = [name for name, _, config, language, _ in root.all(FUNCTIONS)
             if language == "plpgsql" and "search_path=pg_catalog, pg_temp" not in (config or [])]
    assert loose == []


def test_a_callers_search_path_cannot_redirect_the_checks(database, root, ca):
    """Names that SQL functions and constraints use were resolved when they were made."""
    root.all("CREATE SCHEMA evil")
    root.all("CREATE FUNCTION evil.octet_length(text) RETURNS int LANGUAGE sql RETURN 1")
    root.all("GRANT USAGE ON SCHEMA evil TO PUBLIC")
    with cursor(database, pg.ADMIN) as admin:
        admin.all("SET search_path = evil, pg_catalog")
        assert "longer than 128" in admin.call_refused("create_role", "r" * 129)
        admin.refused("INSERT INTO iot_auth.role (role) VALUES (%s)", "r" * 129)


def test_the_broker_writes_to_no_table(root):
    assert root.all("""SELECT c.relname, p FROM pg_class c,
                              unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
                       WHERE c.relnamespace = 'iot_auth'::regnamespace AND c.relkind IN ('r', 'v', 'm')
                         AND has_table_privilege('iot_auth_broker', c.oid, p)""") == []


def test_the_broker_reads_configuration_and_no_events(broker):
    for view in "device ca crl role rule ip issuer scope unparsed event".split():
        broker.all(f"SELECT * FROM iot_auth.broker_{view}")
    broker.all("SELECT max(version) FROM iot_auth.schema_version")
    for table in "ca device device_certificate event node".split():
        assert "permission denied" in broker.refused(f"SELECT * FROM iot_auth.{table}")


def test_the_broker_executes_its_own_functions_only(root):
    rows = root.all("""SELECT p.proname, has_function_privilege('iot_auth_broker', p.oid, 'EXECUTE') FROM pg_proc p
                       WHERE p.pronamespace = 'iot_auth'::regnamespace""")
    assert {name for name, may in rows if may} == {
        "broker_register", "broker_register_many", "broker_set_ca_parsed", "broker_set_certificate_parsed", "broker_set_rule_problem",
        "broker_set_issuer_problem", "broker_write_events", "broker_write_refusals", "broker_write_owners", "broker_heartbeat", "broker_connected", "broker_prune", "broker_stopped",
        "broker_psk_used", "broker_set_psk_problem",
        "broker_set_issuer_note", "broker_note_hook", "broker_rehearse",
        "json_problem", "list_problem", "texts_problem", "usable_texts", "terms_version"}  # the last five are within views


def test_the_administrator_cannot_act_as_the_broker_or_forge_events(admin, ca):
    assert "permission denied" in admin.refused("SELECT * FROM iot_auth.broker_register('\\x00', 'd', 1, '', '', now(), now(), '', '')")
    assert "permission denied" in admin.refused("INSERT INTO iot_auth.event (kind) VALUES ('device/registered')")


def executable_by_admin(root):
    """The SECURITY DEFINER and trigger functions that the administrator may execute."""
    return root.all("""SELECT p.oid::regprocedure::text FROM pg_proc p
                       WHERE p.pronamespace = 'iot_auth'::regnamespace AND (p.prosecdef OR p.prorettype = 'trigger'::regtype)
                         AND has_function_privilege('iot_auth_admin', p.oid, 'EXECUTE')""")


def test_the_administrator_executes_no_function_with_the_rights_of_the_owner(root):
    """But one, which undoes all that it did before it returns (test_iot_auth_check)."""
    assert executable_by_admin(root) == [("iot_auth.would_register(bytea,text,bigint,text,text,text)",)]


@pytest.mark.parametrize("function", ["device_status_events", "ca_status_events", "usage_forget", "notify_change"])
def test_trigger_functions_cannot_be_attached_to_a_table_of_an_administrator(scratch, function):
    """EXECUTE, which firing a trigger does not require, let an administrator attach a SECURITY DEFINER trigger function to
    a temporary table: it forged events, and a cast to json of a type of the administrator ran code as the owner."""
    scratch.all("CREATE TEMP TABLE own (device_id text, ca_id bigint, status text, tenant text, name text)")
    message = scratch.refused("CREATE TRIGGER t AFTER UPDATE ON own REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"
                              f" FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.{function}()")
    assert message == f"permission denied for function iot_auth.{function}"


def test_a_role_without_grants_has_no_access(database):
    database.query("DROP ROLE IF EXISTS outsider")
    database.query("CREATE ROLE outsider LOGIN")
    try:
        with cursor(database, "outsider") as outsider:
            assert "permission denied" in outsider.refused("SELECT iot_auth.create_role('x')")
            assert "permission denied" in outsider.refused("SELECT * FROM iot_auth.broker_ca")
    finally:
        database.query("DROP ROLE outsider")


# Value rules: those of common/str.h


def bad_character(code):
    return code < 0x20 or 0x7F <= code <= 0x9F or chr(code) in "+#/*"


def test_value_rule_judges_every_character_of_the_first_planes_like_the_plugin(scratch):
    """Compare with the rule as it is stated in common/str.h, character by character."""
    rows = scratch.all("""SELECT n, iot_auth.value_problem('a' || chr(n)) IS NULL FROM generate_series(1, 70000) n
                       WHERE n NOT BETWEEN 55296 AND 57343""")
    assert [hex(n) for n, good in rows if good == bad_character(n)] == []


@pytest.mark.parametrize("value, good", [
    ("x", True), ("x" * 128, True), ("ä" * 64, True), ("a b", True), ("a$b", True), ("${x}", False), ("", False),
    ("x" * 129, False), ("ä" * 65, False), ("$a", False), ("a/b", False), ("a\nb", False), ("*", False), (None, False)])
def test_value_rule_edges(scratch, value, good):
    assert (scratch.one("SELECT iot_auth.value_problem(%s)", value) is None) == good


# Templates: the variables that the plugin knows


def named_in(file, begin, end, pattern):
    """What the pattern captures between two lines of a source file."""
    text = (pg.ROOT / file).read_text(encoding="utf-8")
    return re.findall(pattern, text.partition(begin)[2].partition(end)[0])


def test_templates_of_a_ca_may_use_the_variables_that_the_plugin_knows(scratch):
    """SQL accepted certificate fields in client id templates; the plugin, which has no certificate there, refused the CA."""
    compared = r'strcmp\(name, "([^"]+)"\)'
    client_id = named_in("jitr/ca_settings.c", "static bool client_id_variable_known(", "\n}", compared)
    certificate = (named_in("jitr/ca_settings.c", "static bool certificate_variable_known(", "\n}", compared)
                   + named_in("x509/identity.c", "names[IA_ID_FIELDS] = {", "\n}", '= "([^"]+)"'))
    assert sorted(scratch.one("SELECT iot_auth.client_id_variables()").split()) == sorted(client_id)
    assert set(certificate) <= set(scratch.one("SELECT iot_auth.certificate_variables()").split())


@pytest.mark.parametrize("variable, good", [
    ("cert.subject.UID", True), ("cert.subject", True), ("cert.san.othername.1.3.6.1.4.1.311.20.2.3", True), ("cert.san.othername.1", False),
    ("cert.san.othername.3.1", False), ("cert.san.othername.1.02", False), ("cert.san.othername.OID", False), ("cert.san.othername.1." + "1" * 99, False),
    ("cert.cn|field:-,2", True), ("cert.cn|field:,,1", True), ("cert.cn|field:ä/+#,999", True), ("cert.cn|field:-,0", False), ("cert.cn|field:-,1000", False),
    ("cert.cn|field:-", False), ("cert.cn|field:,1", False), ("cert.san.uri|prefix:urn:dev:mac:", True), ("cert.san.uri|prefix:", False),
    ("cert.san.uri|path:2", True), ("cert.san.uri|path:x", False), ("cert.serial|prefix:a|b", True), ("ca|path:1", False), ("tenant|prefix:a", False),
    ("cert.cn|nope:1", False), ("cert.cn|", False), ("cert.cn|prefix:a\nb", False)])
def test_device_id_templates_may_use_splitters(scratch, variable, good):
    problem = scratch.one("SELECT iot_auth.template_problem('${' || %s || '}', false, iot_auth.certificate_variables())", variable)
    assert (problem is None) == good, problem


@pytest.mark.parametrize("variable, good", [
    ("app_id", True), ("issuer", True), ("tenant", True), ("claim.sub", True), ("claim.ä b", True), ("claim.", False), ("claim.a/b", False),
    ("claim." + "x" * 129, False), ("device_id", False), ("app_id issuer", False), ("", False)])
def test_client_id_templates_of_an_issuer_may_use_claims(scratch, variable, good):
    problem = scratch.one("SELECT iot_auth.template_problem('${' || %s || '}', true, iot_auth.app_variables())", variable)
    assert problem == (None if good else f"contains unknown variable ${{{variable}}} (known: app_id, issuer, tenant, claim.NAME)")


# Direct writes are held to the same rules


@pytest.mark.parametrize("statement, why", [
    ("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('app:x', %(ca)s)", "device_id_is_a_value"),
    ("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('a/b', %(ca)s)", "device_id_is_a_value"),
    ("INSERT INTO iot_auth.device (device_id, ca_id, status) VALUES ('d', %(ca)s, 'active')", "device_status_known"),
    ("INSERT INTO iot_auth.device (device_id, ca_id, attributes) VALUES ('d', %(ca)s, '[1]')", "attributes_is_an_object"),
    ("INSERT INTO iot_auth.device (device_id, ca_id, registered_by) VALUES ('d', %(ca)s, 'me')", "registered_by"),
    ("INSERT INTO iot_auth.device (device_id, ca_id, tenant) VALUES ('d', %(ca)s, '#')", "tenant"),
    ("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('d', 4711)", "ca_with_devices"),
    ("UPDATE iot_auth.device SET device_id = 'other'", "cannot be changed"),
    ("INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) VALUES ('\\x00', 'known', %(ca)s)", "sha256"),
    ("INSERT INTO iot_auth.device_certificate (device_id, ca_id, pem) VALUES ('known', %(ca)s, 'garbage')", "no line"),
    ("INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) VALUES (sha256('x'), 'nobody', %(ca)s)", "foreign key"),
    ("UPDATE iot_auth.device_certificate SET ca_id = %(ca)s + 1", "cannot be changed"),
    ("UPDATE iot_auth.ca SET name = 'other'", "cannot be changed"),
    ("UPDATE iot_auth.ca SET fingerprint = sha256('x')", "cannot be changed"),
    ("UPDATE iot_auth.ca SET status = 'DELETED'", "ca_status_known"),
    ("UPDATE iot_auth.ca SET registered_status = 'INACTIVE'", "active_or_pending"),
    ("UPDATE iot_auth.ca SET device_id_template = '${cert.cn'", "outside of a variable"),
    ("UPDATE iot_auth.ca SET device_id_template = 'fixed'", "all certificates would be one device"),
    ("UPDATE iot_auth.ca SET client_id_templates = ARRAY['a*b']", "not at the end"),
    ("UPDATE iot_auth.ca SET client_id_templates = ARRAY['${cert.cn}']", "unknown variable ${cert.cn} (known: device_id, ca, tenant)"),
    ("UPDATE iot_auth.ca SET client_id_templates = '{}'", "templates_not_empty"),
    ("UPDATE iot_auth.ca SET max_devices = -1", "not_negative"),
    ("UPDATE iot_auth.ca SET tenant = 'x'", "has devices"),
    ("UPDATE iot_auth.ca SET replaces = ca_id", "must not replace itself"),
    ("DELETE FROM iot_auth.ca", "ca_with_"),
    ("INSERT INTO iot_auth.ca (name, pem) VALUES ('x', 'garbage')", "no line"),
    ("INSERT INTO iot_auth.crl (ca_id, pem) VALUES (%(ca)s, 'garbage')", "no line"),
    ("INSERT INTO iot_auth.role VALUES ('a#')", "role_is_a_value"),
    ("UPDATE iot_auth.role SET role = 'x'", "cannot be changed"),
    ("INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) VALUES ('device', 'ALLOW', '{PUBLISH}', 'a/#/b')", "not at the end"),
    ("INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) VALUES ('device', 'ALLOW', '{}', 'a')", "actions_not_empty"),
    ("INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) VALUES ('device', 'ALLOW', '{READ}', 'a')", "actions_known"),
    ("INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) VALUES ('device', 'allow', '{PUBLISH}', 'a')", "effect_known"),
    ("INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) VALUES ('nobody', 'ALLOW', '{PUBLISH}', 'a')", "foreign key"),
    ("INSERT INTO iot_auth.ip_rule (effect, network, scope) VALUES ('DENY', '10.0.0.0/8', 'CA')", "key_unless_global"),
    ("INSERT INTO iot_auth.ip_rule (effect, network, scope_key) VALUES ('DENY', '10.0.0.0/8', 'x')", "key_unless_global"),
    ("INSERT INTO iot_auth.ip_rule (effect, network, expires_at) VALUES ('DENY', '10.0.0.0/8', 'infinity')", "finite"),
    ("INSERT INTO iot_auth.oauth_issuer (name, issuer, audience) VALUES ('a:b', 'https://x', '{a}')", "issuer_name_fits"),
    ("INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, algorithms) VALUES ('a', 'https://x', '{a}', '{HS256}')", "algorithms_known"),
    ("INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, algorithms) VALUES ('a', 'https://x', '{a}', '{none}')", "algorithms_known"),
    ("INSERT INTO iot_auth.oauth_issuer (name, issuer, audience) VALUES ('a', 'http://x', '{a}')", "neither jwks nor jwks_url"),
    ("INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, jwks, jwks_url) VALUES ('a', 'x', '{a}', '{}', 'https://x')", "issuer_keys_from_one_place"),
    ("INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, jwks) VALUES ('a', 'x', '{a}', '{\"keys\":[{\"kty\":\"oct\"}]}')", "symmetric"),
])
def test_a_direct_write_that_breaks_a_rule_is_refused(scratch, statement, why):
    scratch.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('known', 1)")
    scratch.all("INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) VALUES (sha256('known'), 'known', 1)")
    assert why in scratch.refused(statement.replace("%(ca)s", "1"))


@pytest.mark.parametrize("table, key", [("ca", "name = 'acme'"), ("device", "device_id = 'd'"), ("device_certificate", "device_id = 'd'")])
def test_revoked_is_final(scratch, table, key):
    scratch.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('d', 1)")
    scratch.all("INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) VALUES (sha256('d'), 'd', 1)")
    scratch.all(f"UPDATE iot_auth.{table} SET status = 'INACTIVE' WHERE {key}")
    scratch.all(f"UPDATE iot_auth.{table} SET status = 'REVOKED' WHERE {key}")
    for status in ("ACTIVE", "INACTIVE"):
        assert "stays REVOKED" in scratch.refused(f"UPDATE iot_auth.{table} SET status = '{status}' WHERE {key}")
    scratch.all(f"UPDATE iot_auth.{table} SET status = 'REVOKED' WHERE {key}")


def test_a_direct_insert_fills_in_fingerprints_and_defaults(admin):
    root = pki.root()
    leaf = root.issue("d1")
    admin.all("INSERT INTO iot_auth.ca (name, pem) VALUES ('acme', %s)", root.pem)
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'd1', ca_id FROM iot_auth.ca")
    admin.all("INSERT INTO iot_auth.device_certificate (device_id, ca_id, pem) SELECT 'd1', ca_id, %s FROM iot_auth.ca", leaf.pem)
    assert bytes(admin.one("SELECT fingerprint FROM iot_auth.ca")) == root.fingerprint
    assert bytes(admin.one("SELECT fingerprint FROM iot_auth.device_certificate")) == leaf.fingerprint
    assert admin.all("SELECT status, attributes, registered_by, created_at IS NOT NULL FROM iot_auth.device") == [
        ("ACTIVE", {}, "admin", True)]
    assert admin.all("SELECT status, auto_registration, device_id_template, client_id_templates FROM iot_auth.ca") == [
        ("ACTIVE", False, "${cert.cn}", ["${device_id}"])]
    assert "not the SHA-256" in admin.refused("INSERT INTO iot_auth.ca (name, pem, fingerprint) VALUES ('x', %s, sha256('x'))", ca_pem())


def test_a_new_pem_of_a_crl_brings_its_fingerprint_along(admin):
    """The update was refused with the hint to omit the fingerprint, although it was omitted."""
    root = pki.root()
    admin.call("register_ca", root.pem, "acme")
    first, second = root.crl(), root.crl(root.issue("d1"))
    admin.call("add_crl", "acme", first)
    old = admin.one("SELECT fingerprint FROM iot_auth.crl")
    admin.all("UPDATE iot_auth.crl SET pem = %s", second)
    assert admin.one("SELECT fingerprint FROM iot_auth.crl") != old
    assert "already has this CRL" in admin.call_refused("add_crl", "acme", second)
    assert "not the SHA-256" in admin.refused("UPDATE iot_auth.crl SET fingerprint = %s", old)
    assert "not the SHA-256" in admin.refused("UPDATE iot_auth.crl SET pem = %s, fingerprint = sha256('x')", first)


def test_another_pem_of_a_certificate_is_refused(admin, ca):
    admin.call("register_device", "d1", ca_pem(), "acme")
    assert "cannot be changed" in admin.refused("UPDATE iot_auth.device_certificate SET pem = %s", ca_pem())
    admin.all("UPDATE iot_auth.device_certificate SET pem = pem || E'\\n'")


def test_deleting_a_device_deletes_its_certificates_and_role_grants(admin, ca):
    admin.call("register_device", "d1", ca_pem(), "acme")
    admin.call("grant_device_role", "d1", "device")
    admin.all("DELETE FROM iot_auth.device WHERE device_id = 'd1'")
    assert admin.one("SELECT count(*) FROM iot_auth.device_certificate") == 0
    assert admin.one("SELECT count(*) FROM iot_auth.device_role") == 0


def test_a_ca_without_devices_can_be_deleted(admin, ca):
    admin.all("DELETE FROM iot_auth.ca")
    assert admin.one("SELECT count(*) FROM iot_auth.ca_role") == 0


def test_a_certificate_of_an_unrelated_ca_cannot_be_put_under_a_device(admin, ca):
    other = admin.call("register_ca", ca_pem(), "other")
    successor = admin.call("register_ca", ca_pem(), "successor", replaces="acme")
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('d', %s)", ca)
    insert = "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) VALUES (sha256(%s::bytea), 'd', %s)"
    assert "neither the CA of device 'd'" in admin.refused(insert, "x", other)
    admin.all(insert, "x", successor)
    assert "not connected to the new CA" in admin.refused("UPDATE iot_auth.device SET ca_id = %s", other)
    admin.all("UPDATE iot_auth.device SET ca_id = %s", successor)


def test_updated_at_follows_changes_but_not_book_keeping(admin, ca):
    admin.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('d', %s)", ca)
    admin.all("UPDATE iot_auth.device SET last_connected_at = now()")
    assert admin.one("SELECT updated_at FROM iot_auth.device") is None
    admin.all("UPDATE iot_auth.device SET attributes = '{\"a\": 1}'")
    assert admin.one("SELECT updated_at FROM iot_auth.device") is not None


# What brokers read


def test_broker_device_returns_scalar_attributes_and_own_roles(admin, broker, ca):
    admin.call("register_device", "d1", ca_pem(), "acme", attributes='{"n": 1.5, "s": "x", "t": true, "o": {}, "l": [1], "z": null}')
    admin.call("register_device", "d2", ca_pem(), "acme", status="PENDING")
    admin.call("create_role", "b")
    for role in ("device", "b"):
        admin.call("grant_device_role", "d1", role)
    rows = broker.all("SELECT device_id, device_status, certificate_status, certificate_ca_id, device_ca_id, tenant, not_after,"
                      " attrs, roles FROM iot_auth.broker_device ORDER BY device_id")
    assert rows == [("d1", "ACTIVE", "ACTIVE", ca, ca, None, None, ["n", "1.5", "s", "x", "t", "true"], ["b", "device"]),
                    ("d2", "PENDING", "ACTIVE", ca, ca, None, None, None, None)]


def test_broker_device_cuts_a_list_at_the_length_that_is_too_large(root, broker, ca):
    """jitr/device.c keeps 65,535 words, sql/codec.c reads a million; members that are no scalars use up none of them."""
    root.all("ALTER TABLE iot_auth.device DROP CONSTRAINT device_attributes_size")
    root.all("SET session_replication_role = replica")
    root.all("INSERT INTO iot_auth.device (device_id, ca_id, attributes) SELECT 'd1', %s, jsonb_object_agg(i::text, 1)"
             " || jsonb_object_agg('o' || i, '{}'::jsonb) FROM generate_series(1, 70000) i", ca)
    root.all("INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) VALUES (sha256('x'), 'd1', %s)", ca)
    root.all("INSERT INTO iot_auth.role SELECT 'r' || i FROM generate_series(1, 70000) i")
    root.all("INSERT INTO iot_auth.device_role SELECT 'd1', role FROM iot_auth.role")
    assert broker.all("SELECT cardinality(attrs), cardinality(roles) FROM iot_auth.broker_device") == [(131072, 65536)]


def test_a_device_without_a_tenant_has_that_of_its_ca(admin, broker):
    ca_id = admin.call("register_ca", ca_pem(), "t", tenant="tenant-1")
    for device_id, tenant in (("d1", None), ("d2", "own")):
        admin.all("INSERT INTO iot_auth.device (device_id, ca_id, tenant) VALUES (%s, %s, %s)", device_id, ca_id, tenant)
        admin.all("INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) VALUES (sha256(%s::bytea), %s, %s)",
                  device_id, device_id, ca_id)
    assert broker.all("SELECT device_id, tenant FROM iot_auth.broker_device ORDER BY 1") == [("d1", "tenant-1"), ("d2", "own")]


def test_broker_ca_returns_the_columns_of_a_snapshot(admin, broker, ca):
    successor = admin.call("register_ca", ca_pem(), "successor", roles=[], replaces="acme", client_id_templates=["${device_id}", "x/*"])
    assert broker.all("SELECT ca_id, name, status, auto_registration, device_id_template, client_id_templates, tenant, replaces,"
                      " problem, roles FROM iot_auth.broker_ca ORDER BY ca_id") == [
        (ca, "acme", "ACTIVE", True, "${cert.cn}", ["${device_id}"], None, None, None, ["device"]),
        (successor, "successor", "ACTIVE", False, "${cert.cn}", ["${device_id}", "x/*"], None, ca, None, [])]


def test_the_statements_of_the_plugin_fit_the_schema(broker):
    """sql/*.c names views and functions: each must exist for the broker."""
    source = "".join(path.read_text(encoding="utf-8") for path in (pathlib.Path(pg.ROOT) / "sql").glob("*.c"))
    named = set(re.findall(r"iot_auth\.(broker_[a-z_]+)", source))
    known = {row[0] for row in broker.all("""
        SELECT relname FROM pg_class WHERE relnamespace = 'iot_auth'::regnamespace AND has_table_privilege(oid, 'SELECT')
        UNION SELECT proname FROM pg_proc WHERE pronamespace = 'iot_auth'::regnamespace AND has_function_privilege(oid, 'EXECUTE')""")}
    assert named and named <= known


# Words


def test_every_table_column_view_and_function_has_a_comment(root):
    assert root.all("""SELECT p.oid::regprocedure::text FROM pg_proc p
                       WHERE p.pronamespace = 'iot_auth'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL""") == []
    relations = "FROM pg_class c WHERE c.relnamespace = 'iot_auth'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition"
    assert root.all(f"SELECT c.relname {relations} AND obj_description(c.oid, 'pg_class') IS NULL") == []
    assert root.all(f"""SELECT c.relname, a.attname FROM (SELECT c.oid, c.relname, c.relkind {relations}) c JOIN pg_attribute a ON a.attrelid = c.oid
                        WHERE c.relkind <> 'v' AND a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL""") == []


def test_a_function_is_an_administrators_or_says_that_it_is_internal(root):
    """The administrators' functions are those of docs/reference/sql.md."""
    page = (pg.ROOT / "docs/reference/sql.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    found = root.all("""SELECT p.proname, obj_description(p.oid, 'pg_proc') FROM pg_proc p WHERE p.pronamespace = 'iot_auth'::regnamespace""")
    wrong = [name for name, words in found if words.startswith("Internal: ") == (name in listed)]
    assert wrong == [] and len(listed) > 30
