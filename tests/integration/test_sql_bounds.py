# SPDX-License-Identifier: ISC
"""No row stops the others: what SQL accepts the broker can read, and what an older row holds is bounded in every view."""

import base64

import pg
import pki
import pytest
from sql_kit import ca_pem, cursor, trial


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


def lines(pem):
    return pem.strip().split("\n")


def text_of(pem):
    return "".join(lines(pem)[1:-1])


def wrapped(pem, width, end="\n"):
    head, tail = lines(pem)[0], lines(pem)[-1]
    body = text_of(pem)
    return end.join([head] + [body[i:i + width] for i in range(0, len(body), width)] + [tail]) + end


# One PEM reader.  PgJDBC, for one, writes PEM on one line; editors, mail and configuration files do the rest.

FORMS = {
    "canonical": lambda p: p,
    "one line with spaces": lambda p: " ".join(lines(p)),
    "one line without spaces": lambda p: "".join(lines(p)),
    "indented": lambda p: "".join(f"    {line}\n" for line in lines(p)),
    "indented by tabs": lambda p: "".join(f"\t\t{line}\n" for line in lines(p)),
    "CR only": lambda p: p.replace("\n", "\r"),
    "CRLF": lambda p: p.replace("\n", "\r\n"),
    "blank lines between": lambda p: "\n\n".join(lines(p)),
    "blank lines around": lambda p: "\n\n\n" + p + "\n\n \t\n",
    "words before BEGIN on its line": lambda p: "certificate: " + p,
    "text before": lambda p: "Certificate:\n    Data: …\n" + p,
    "byte order mark": lambda p: "\ufeff" + p + "\ufeff",
    "no newline at the end": lambda p: p.rstrip("\n"),
    "trailing blanks on each line": lambda p: "".join(f"{line}  \n" for line in lines(p)),
    "76 characters a line": lambda p: wrapped(p, 76),
    "one character a line": lambda p: wrapped(p, 1),
    "everything in one line": lambda p: wrapped(p, 100000),
    "spaces within the lines": lambda p: wrapped(p, 7, " \n "),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_whatever_form_of_pem_is_accepted_is_stored_as_the_broker_reads_it(scratch, form):
    root = pki.root()
    leaf, crl = root.issue("d1"), root.crl()
    scratch.call("register_ca", form(root.pem), "new")
    scratch.call("add_crl", "new", form(crl))
    scratch.call("register_device", "d1", form(leaf.pem), "new")
    assert scratch.all("SELECT pem, encode(fingerprint, 'hex') FROM iot_auth.ca WHERE name = 'new'") == [(root.pem, root.fingerprint.hex())]
    assert scratch.one("SELECT pem FROM iot_auth.crl") == wrapped(crl, 64)
    assert scratch.all("SELECT pem, encode(fingerprint, 'hex') FROM iot_auth.device_certificate") == [(leaf.pem, leaf.fingerprint.hex())]
    scratch.all("INSERT INTO iot_auth.ca (name, pem) VALUES ('direct', %s)", form(ca := ca_pem()))
    assert scratch.one("SELECT pem FROM iot_auth.ca WHERE name = 'direct'") == ca


def utf16(p, text):
    return p.encode("utf-16-le").decode("latin-1").replace("\0", text)


BROKEN = {
    "UTF-16 with replacement characters": (lambda p: utf16(p, "\ufffd"), "is it DER"),
    "UTF-16 with spaces": (lambda p: utf16(p, " "), "is it DER"),
    "mail quoting": (lambda p: "".join(f"> {line}\n" for line in lines(p)), "not base64"),
    "typographic dashes": (lambda p: p.replace("-----", "—————"), "contains no line"),
    "no-break spaces": (lambda p: p.replace("\n", "\u00a0\n"), "not base64"),
    "base64 in quotes": (lambda p: p.replace("\n", '"\n"'), "more than the one"),
    "backslash n": (lambda p: p.replace("\n", "\\n"), "more than the one"),
    "headers": (lambda p: p.replace("CERTIFICATE-----\n", "CERTIFICATE-----\nProc-Type: 4\n\n", 1), "not base64"),
    "two of them": (lambda p: p + p, "more than one CERTIFICATE"),
    "text behind": (lambda p: p + "bye", "more than the one CERTIFICATE"),
    "cut off": (lambda p: p[:200], "contains no line '-----END CERTIFICATE-----'"),
    "lines lost": (lambda p: "\n".join(lines(p)[:3] + lines(p)[4:]), "truncated or damaged"),
    "base64 of something else": (lambda p: "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----" % base64.b64encode(
        b"\x30\x82\x00\x20" + b"\x30\x1e" + b"\x04" * 30).decode(), "does not encode a CERTIFICATE"),
    "only blanks": (lambda p: " \n\t", "is empty"),
    "too long": (lambda p: "x" * 140000 + p, "is longer than 131072 bytes"),
}


@pytest.mark.parametrize("form, why", BROKEN.values(), ids=BROKEN)
def test_pem_that_the_broker_could_not_read_is_refused_with_words(scratch, form, why):
    for function, arguments in (("register_ca", ("new",)), ("register_device", ("acme",))):
        pem = form(ca_pem())
        parameters = (pem, *arguments) if function == "register_ca" else ("d1", pem, *arguments)
        assert why in scratch.call_refused(function, *parameters)
    assert why in scratch.refused("INSERT INTO iot_auth.ca (name, pem) VALUES ('direct', %s)", form(ca_pem()))


def test_a_ca_whose_stored_pem_the_broker_cannot_read_can_be_corrected(database, admin):
    """SQL took it on one line, the broker could not read it, and no statement could change it."""
    root = pki.root()
    admin.call("register_ca", root.pem, "acme")
    database.plant("UPDATE iot_auth.ca SET pem = %s", [" ".join(lines(root.pem))])
    admin.all("UPDATE iot_auth.ca SET pem = %s", root.pem.replace("\n", "\r\n"))
    assert admin.one("SELECT pem FROM iot_auth.ca") == root.pem
    assert "cannot be changed" in admin.refused("UPDATE iot_auth.ca SET pem = %s", ca_pem())


def test_a_crl_of_megabytes_is_taken(admin):
    admin.call("register_ca", ca_pem(), "acme")
    body = b"\x30\x03\x02\x01\x01" * 700000
    der = b"\x30\x83" + len(body).to_bytes(3, "big") + body
    admin.call("add_crl", "acme", "-----BEGIN X509 CRL-----\n%s-----END X509 CRL-----\n" % base64.encodebytes(der).decode())
    assert admin.one("SELECT sha256(%s) = fingerprint FROM iot_auth.crl", der)


# Bounds on what is written


@pytest.mark.parametrize("statement, why", [
    ("UPDATE iot_auth.ca SET client_id_templates = '{{a,b},{c,d}}'", "client_id_templates"),
    ("UPDATE iot_auth.ca SET client_id_templates = '{a,NULL}'", "client_id_templates"),
    ("UPDATE iot_auth.ca SET client_id_templates = ARRAY[repeat('a', 513)]", "ca_sizes"),
    ("UPDATE iot_auth.ca SET problem = repeat('x', 2049)", "ca_parsed_sizes"),
    ("UPDATE iot_auth.ca SET subject = repeat('x', 2049)", "ca_parsed_sizes"),
    ("UPDATE iot_auth.device SET attributes = jsonb_build_object('a', repeat('x', 70000))", "device_attributes_size"),
    ("UPDATE iot_auth.device SET attributes = '{\"a\": 1e131071}'", "device_attributes_size"),
    ("UPDATE iot_auth.device SET attributes = '{\"a\": [{\"b\": -1e30}]}'", "device_attributes_size"),
    ("UPDATE iot_auth.device SET attributes = '{\"a\": 1e-16000}'", "device_attributes_size"),
    ("UPDATE iot_auth.device SET attributes = ('{\"a\": 1.' || repeat('0', 16000) || '}')::jsonb", "device_attributes_size"),
    ("UPDATE iot_auth.device_certificate SET serial = repeat('a', 129)", "certificate_sizes"),
    ("UPDATE iot_auth.device_certificate SET subject = repeat('a', 2049)", "certificate_sizes"),
    ("UPDATE iot_auth.role_rule SET actions = '{{PUBLISH}}'", "rule_actions"),
    ("UPDATE iot_auth.role_rule SET actions = '{PUBLISH,NULL}'", "rule_actions"),
    ("UPDATE iot_auth.role_rule SET problem = repeat('x', 2049)", "rule_problem_size"),
    ("UPDATE iot_auth.oauth_issuer SET audience = '{{a}}'", "issuer_"),
    ("UPDATE iot_auth.oauth_issuer SET audience = '{a,NULL}'", "issuer_audience"),
    ("UPDATE iot_auth.oauth_issuer SET audience = ARRAY[repeat('a', 513)]", "issuer_sizes"),
    ("UPDATE iot_auth.oauth_issuer SET audience = array_fill('a'::text, ARRAY[65])", "issuer_audience"),
    ("UPDATE iot_auth.oauth_issuer SET algorithms = '{{RS256}}'", "issuer_"),
    ("UPDATE iot_auth.oauth_issuer SET algorithms = '{RS256,NULL}'", "issuer_algorithms"),
    ("UPDATE iot_auth.oauth_issuer SET token_types = '{{JWT}}'", "issuer_"),
    ("UPDATE iot_auth.oauth_issuer SET token_types = ARRAY[repeat('a', 129)]", "issuer_sizes"),
    ("UPDATE iot_auth.oauth_issuer SET jwks_url = 'https://' || repeat('a', 2048)", "issuer_sizes"),
    ("UPDATE iot_auth.oauth_issuer SET jwks = '{\"keys\": [{\"kty\": \"EC\"}], \"x\": 1e131071}'", "issuer_sizes"),
    ("UPDATE iot_auth.oauth_issuer SET jwks = jsonb_build_object('keys', '[{}]'::jsonb, 'x', repeat('x', 262144))", "issuer_sizes"),
    ("UPDATE iot_auth.oauth_issuer SET note = repeat('x', 2049)", "issuer_parsed_sizes"),
    ("INSERT INTO iot_auth.crl (ca_id, pem) SELECT 1, '-----BEGIN X509 CRL-----' || repeat('x', 140000000)", "longer than"),
])
def test_a_value_beyond_its_bound_is_refused(scratch, statement, why):
    scratch.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('known', 1)")
    scratch.all("INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) VALUES (sha256('known'), 'known', 1)")
    scratch.call("register_issuer", "corp", "https://id/", ["a"])
    assert why in scratch.refused(statement)


def test_a_ca_or_device_with_more_roles_than_a_principal_may_have_is_refused(scratch):
    scratch.all("INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('d', 1)")
    scratch.all("INSERT INTO iot_auth.role SELECT 'r' || i FROM generate_series(1, 256) i")
    for table, holder in (("ca_role", "1"), ("device_role", "'d'")):
        scratch.all(f"DELETE FROM iot_auth.{table}")
        scratch.all(f"INSERT INTO iot_auth.{table} SELECT {holder}, role FROM iot_auth.role WHERE role ~ '^r'")
        assert "more than 256 roles" in scratch.refused(f"INSERT INTO iot_auth.{table} VALUES ({holder}, 'device')")


def test_a_null_member_of_a_key_counts_as_absent(scratch):
    scratch.call("register_issuer", "a", "https://a/", ["x"], jwks='{"keys": [{"kty": "EC", "d": null, "use": null}]}')
    for member in ("d", "p", "q", "dp", "dq", "qi", "oth", "k"):
        assert "private key" in scratch.call_refused("register_issuer", "b", "https://b/", ["x"], jwks='{"keys": [{"kty": "RSA", "%s": "x"}]}' % member)


@pytest.mark.parametrize("change", [dict(issuer=" https://x/"), dict(issuer="https://x/ "), dict(issuer="https://x /y"), dict(issuer="https://x/\u00a0"),
                                    dict(issuer="https://x/\ufeff"), dict(audience=["a", " b"]), dict(audience=["b\u3000"]), dict(token_types=["JWT "]),
                                    dict(app_id_claim=" sub")])
def test_a_setting_of_an_issuer_that_can_never_match_is_refused(scratch, change):
    arguments = {"name": "new", "issuer": "https://new/", "audience": ["a"], **change}
    assert "no token would match" in scratch.call_refused("register_issuer", **arguments).replace("no iss claim would", "no token would")
    (column, value), = change.items()
    scratch.call("register_issuer", "corp", "https://id/", ["a"])
    assert "would match" in scratch.refused(f"UPDATE iot_auth.oauth_issuer SET {column} = %s", value)


@pytest.mark.parametrize("topic_filter", ["a/%u/b", "%c", "sensors/%m", "x-%u/y", "{app_id}", "a/{anything}/b", "x-{client_id}/b", "{{client_id}}/x", "$queue/a",
                                          "$device_id/a", "a/$(device_id)", "<tenant>/x", "%app_id%", "a/:issuer", "$claim.sub/x", " a", "a ", "a\ufffeb",
                                          "a\U0010ffff",
                                          "$exclusive/a", "$delayed/10/a", "$oshare/g/a", "$queue"])
def test_a_topic_filter_in_the_notation_of_another_broker_is_refused(scratch, topic_filter):
    assert "topic filter" in scratch.refused("INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)"
                                             " VALUES ('device', 'DENY', '{PUBLISH}', %s)", topic_filter)


@pytest.mark.parametrize("topic_filter", ["100%", "50%capacity", "%c3%a9", "a/50%/b", "a{b}c/d", "a/{}", "{1}", "$SYS/#", "$queues/a", "a/$queue", "%uptime", "tenant", "a:b",
                                          "{0b0e1c1e-8a3c-4b0f-9b55-d1f1b1a1c1d1}"])
def test_a_topic_filter_that_only_looks_alike_is_taken(scratch, topic_filter):
    assert scratch.call("add_rule", "device", "DENY", ["PUBLISH"], topic_filter) > 0


# What older rows hold


HUGE = "repeat('x', 10000000)"
LONG = "repeat('x', 2000)"  # an index takes no more
NUMBERS = "(SELECT jsonb_object_agg('k' || i, 1e131071::numeric) FROM generate_series(1, 500) i)"
POISON = [
    ("ca", "name", LONG), ("ca", "pem", HUGE), ("ca", "status", HUGE), ("ca", "device_id_template", HUGE), ("ca", "tenant", HUGE), ("ca", "problem", HUGE),
    ("ca", "client_id_templates", f"ARRAY[{HUGE}]"), ("ca", "client_id_templates", "'{{a,b},{c,d}}'"), ("ca", "client_id_templates", "'{NULL}'"),
    ("ca", "client_id_templates", "'{}'"), ("ca", "client_id_templates", "array_fill('x'::text, ARRAY[1100000])"),
    ("crl", "pem", "repeat('x', 70000000)"),
    ("device", "tenant", HUGE), ("device", "status", HUGE), ("device", "attributes", NUMBERS), ("device", "attributes", f"jsonb_build_object('a', {HUGE})"),
    ("device", "attributes", f"jsonb_build_object({HUGE[:-9]}1000000), 1)"),
    ("device_certificate", "status", HUGE), ("device_certificate", "pem", HUGE), ("device_certificate", "subject", HUGE), ("device_certificate", "serial", HUGE),
    ("role_rule", "topic_filter", LONG), ("role_rule", "effect", HUGE), ("role_rule", "problem", HUGE), ("role_rule", "actions", "'{{PUBLISH},{RECEIVE}}'"),
    ("role_rule", "actions", "'{PUBLISH,NULL}'"), ("role_rule", "actions", f"ARRAY[{HUGE}]"), ("role_rule", "actions", "array_fill('PUBLISH'::text, ARRAY[1100000])"),
    ("ip_rule", "scope_key", LONG), ("ip_rule", "scope", LONG), ("ip_rule", "effect", LONG),
    ("oauth_issuer", "issuer", LONG), ("oauth_issuer", "jwks", NUMBERS), ("oauth_issuer", "jwks", f"jsonb_build_object('keys', {HUGE})"),
    ("oauth_issuer", "jwks_url", HUGE), ("oauth_issuer", "app_id_claim", HUGE), ("oauth_issuer", "tenant", HUGE), ("oauth_issuer", "status", HUGE),
    ("oauth_issuer", "problem", HUGE), ("oauth_issuer", "note", HUGE),
    *[("oauth_issuer", column, value) for column in ("audience", "algorithms", "token_types", "client_id_templates")
      for value in ("'{{a,b},{c,d}}'", "'{a,NULL}'", f"ARRAY[{HUGE}]", "array_fill('x'::text, ARRAY[1100000])")],
    ("scope_role", "scope", "repeat('x', 2000)"),
]
VIEWS = "device ca crl role rule ip issuer scope unparsed event".split()


@pytest.fixture(scope="module")
def old(postgres):
    """A registry with one of everything, from before there were constraints."""
    database = postgres.create_database()
    with cursor(database, pg.ADMIN) as c:
        root = pki.root()
        c.call("register_ca", root.pem, "acme")
        c.call("add_crl", "acme", root.crl())
        c.call("register_device", "d1", root.issue("d1").pem, "acme")
        c.call("register_issuer", "corp", "https://id/", ["a"])
        c.call("map_scope", "corp", "s", "device")
        c.call("deny_ip", "10.0.0.0/8", "CA", "acme")
    for table, name in database.query("SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c'"
                                      " AND connamespace = 'iot_auth'::regnamespace AND conislocal"):
        database.query(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    yield database
    database.drop()


@pytest.mark.parametrize("table, column, value", POISON)
def test_no_value_of_an_older_row_makes_a_view_unreadable(old, table, column, value):
    """One such row, which an identity provider or a tenant could supply, stopped every revocation on every broker."""
    with trial(old, pg.SUPERUSER) as c:
        c.all("SET session_replication_role = replica")
        c.all(f"UPDATE iot_auth.{table} SET {column} = {value}")
        c.all("SET session_replication_role = origin")
        c.all(f"SET SESSION AUTHORIZATION {pg.BROKER}")
        for view in VIEWS:
            size = sum(len(str(row)) for row in c.all(f"SELECT * FROM iot_auth.broker_{view}"))
            assert size < 200000, view
            for row in c.all(f"SELECT * FROM iot_auth.broker_{view}"):
                assert not [v for v in row if isinstance(v, list) and (len(v) > 257 or any(not isinstance(i, str) for i in v))], view


@pytest.mark.parametrize("table, column, value, key", [
    ("ca", "client_id_templates", "'{{a,b},{c,d}}'", "name = 'acme'"), ("ca", "pem", HUGE, "name = 'acme'"),
    ("device", "attributes", NUMBERS, "device_id = 'd1'"), ("device_certificate", "serial", HUGE, "device_id = 'd1'")])
def test_a_row_beyond_a_newer_bound_can_still_be_revoked(database, admin, table, column, value, key):
    """The constraints of 0007 are not validated for older rows, and must not refuse their revocation either."""
    root = pki.root()
    admin.call("register_ca", root.pem, "acme")
    admin.call("register_device", "d1", root.issue("d1").pem, "acme")
    names = database.query("SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'"
                           " AND NOT convalidated", (f"iot_auth.{table}",))
    older = database.query("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c' AND convalidated"
                           " AND conname = 'ca_client_id_templates_not_empty'", (f"iot_auth.{table}",))
    for name, *_ in names + older:
        database.query(f"ALTER TABLE iot_auth.{table} DROP CONSTRAINT {name}")
    database.plant(f"UPDATE iot_auth.{table} SET {column} = {value}")
    for name, definition in names:
        database.query(f"ALTER TABLE iot_auth.{table} ADD CONSTRAINT {name} {definition}")
    admin.all(f"UPDATE iot_auth.{table} SET status = 'REVOKED' WHERE {key}")
    assert admin.one(f"SELECT status FROM iot_auth.{table} WHERE {key}") == "REVOKED"


def test_a_fault_names_the_column(database, admin):
    admin.call("register_ca", ca_pem(), "acme")
    admin.call("register_issuer", "corp", "https://id/", ["a"])
    database.query("ALTER TABLE iot_auth.oauth_issuer DROP CONSTRAINT issuer_sizes, DROP CONSTRAINT issuer_audience_not_empty")
    database.query("ALTER TABLE iot_auth.ca DROP CONSTRAINT ca_sizes")
    database.plant("UPDATE iot_auth.oauth_issuer SET audience = '{a,NULL}'")
    database.plant("UPDATE iot_auth.ca SET pem = repeat('x', 70000)")
    with cursor(database, pg.BROKER) as broker:
        assert broker.all("SELECT audience, fault FROM iot_auth.broker_issuer") == [([], "audience contains a NULL")]
        assert broker.all("SELECT pem, fault FROM iot_auth.broker_ca") == [("", "pem is longer than 65536 bytes")]
