# SPDX-License-Identifier: ISC
"""Issuers in SQL: claims by JSON Pointer, rows that share one issuer, and changes of a row by set_issuer."""

import concurrent.futures
import json

import pg
import psycopg2
import pytest
from sql_kit import cursor, trial

KEY = '{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
KEYS = '{"keys": [%s]}' % KEY


@pytest.fixture(scope="module")
def shared(postgres):
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture
def admin(shared):
    with trial(shared, pg.ADMIN) as c:
        c.call("register_issuer", "corp", "https://id.example.com/", ["mqtt"])
        yield c


def row(admin, columns, name="corp"):
    return admin.all("SELECT %s FROM iot_auth.oauth_issuer WHERE name = '%s'" % (columns, name))[0]


# Pointers

GOOD_POINTERS = ["/scope", "/realm_access/roles", "/cognito:groups", "/https:~1~1plant.example~1roles", "/groups/0", "/a~0b", "/",
                 "/x" * 16, "/" + "x" * 511, "/r\u00f6le"]
BAD_POINTERS = [("", "is empty"), ("scope", "no slash at its start"), ("/a~", "a ~ that is neither"), ("/a~2", "a ~ that is neither"),
                ("/a\n", "control character"), ("/x" * 17, "deeper than 16 levels"), ("/" + "x" * 512, "longer than 512 bytes")]


def test_claims_take_pointers(admin):
    admin.call("set_issuer", "corp", scope_claims=GOOD_POINTERS, audience_claims=["/client_id"], app_id_claim="/ext/app")
    assert row(admin, "scope_claims, audience_claims, app_id_claim") == (GOOD_POINTERS, ["/client_id"], "/ext/app")


@pytest.mark.parametrize("column", ["scope_claims", "audience_claims"])
@pytest.mark.parametrize("pointer, why", BAD_POINTERS)
def test_claims_refuse_what_is_no_pointer(admin, column, pointer, why):
    assert why in admin.call_refused("set_issuer", "corp", **{column: [pointer]})
    assert why in admin.call_refused("register_issuer", "x", "https://x/", ["a"], **{column: ["/a", pointer]})
    admin.refused("UPDATE iot_auth.oauth_issuer SET %s = ARRAY[%%s]" % column, pointer)


def test_claims_are_bounded(admin):
    admin.call("set_issuer", "corp", scope_claims=["/s%d" % n for n in range(16)])
    assert "too many" in admin.call_refused("set_issuer", "corp", scope_claims=["/s%d" % n for n in range(17)])
    assert "is empty" in admin.call_refused("set_issuer", "corp", audience_claims=[])
    assert "NULL" in admin.call_refused("set_issuer", "corp", scope_claims=["/a", None])


@pytest.mark.parametrize("pointer, why", [p for p in BAD_POINTERS if p[0].startswith("/")])
def test_app_id_claim_refuses_a_bad_pointer(admin, pointer, why):
    assert why in admin.call_refused("set_issuer", "corp", app_id_claim=pointer)
    admin.refused("UPDATE iot_auth.oauth_issuer SET app_id_claim = %s", pointer)


REQUIRED = [
    ({}, None), ({"/token_use": "access"}, None), ({"/tid": ["a", 1, True, 2.5]}, None), ({"/p%d" % n: 1 for n in range(16)}, None),
    ({"/tid": ["t%d" % n for n in range(64)]}, None), ({"/n": 9223372036854775806}, None),
    ([], "not a JSON object"), ("x", "not a JSON object"), ({"tid": "a"}, "no slash at its start"), ({"": "a"}, "is empty"),
    ({"/a": None}, "neither a string, a number nor a boolean"), ({"/a": {"b": 1}}, "neither a string, a number nor a boolean"),
    ({"/a": [["b"]]}, "neither a string, a number nor a boolean"), ({"/a": []}, "1 to 64 values"), ({"/a": ["t"] * 65}, "1 to 64 values"),
    ({"/p%d" % n: 1 for n in range(17)}, "more than 16 members"), ({"/a": "x" * 17000}, "longer than 16384 bytes"),
    ({"/a": 9223372036854775807}, "neither a string"), ({"/a": "b\b"}, "neither a string"),
]


@pytest.mark.parametrize("claims, why", REQUIRED)
def test_required_claims(admin, claims, why):
    text = json.dumps(claims)
    if why is None:
        admin.call("set_issuer", "corp", required_claims=text)
        assert row(admin, "required_claims")[0] == claims
        return
    assert why in admin.call_refused("set_issuer", "corp", required_claims=text)
    assert why in admin.call_refused("register_issuer", "x", "https://x/", ["a"], required_claims=text)
    admin.refused("UPDATE iot_auth.oauth_issuer SET required_claims = %s", text)


def test_max_lifetime(admin):
    for seconds in (1, 3600, 315360000):
        admin.call("set_issuer", "corp", max_lifetime_s=seconds)
        assert row(admin, "max_lifetime_s") == (seconds,)
    for seconds in (0, -1, 315360001):
        assert "1 to 315360000" in admin.call_refused("set_issuer", "corp", max_lifetime_s=seconds)
        admin.refused("UPDATE iot_auth.oauth_issuer SET max_lifetime_s = %s", seconds)


@pytest.mark.parametrize("scope", ["authentik Admins", "a/b", '"quoted"', "back\\slash", "r\u00f6le", "x" * 256, "*", "${x}"])
def test_map_scope_takes_any_text(admin, scope):
    admin.call("map_scope", "corp", scope, "device")
    admin.call("unmap_scope", "corp", scope, "device")


@pytest.mark.parametrize("scope", ["", "x" * 257, "a\nb", "a\x7f", "a\u0085"])
def test_map_scope_refuses(admin, scope):
    admin.call_refused("map_scope", "corp", scope, "device")
    admin.refused("INSERT INTO iot_auth.scope_role VALUES ('corp', %s, 'device')", scope)


# Rules and templates with pointers

GOOD_VARIABLES = ["${claim:/https:~1~1plant.example~1tenant}", "${claim:/a}", "${claim:/a/b/0}", "${claim.dept}"]
BAD_VARIABLES = ["${claim:}", "${claim:a}", "${claim:/a~2}", "${claim:/a+}", "${claim:/a/#}", "${claim:/a*}", "${claim:/a", "x${claim:/a}",
                 "${claim:/a}x", "${claim:/a/${tenant}}", "${claims:/a}", "${attr:/a}"]


@pytest.mark.parametrize("variable", GOOD_VARIABLES)
def test_rules_and_templates_take_pointers(admin, variable):
    admin.call("add_rule", "device", "ALLOW", ["PUBLISH"], "plant/%s/#" % variable)
    admin.call("add_rule", "device", "ALLOW", ["PUBLISH"], variable)
    admin.call("set_issuer", "corp", client_id_templates=["app:%s:*" % variable])


@pytest.mark.parametrize("variable", BAD_VARIABLES)
def test_rules_refuse_bad_pointers(admin, variable):
    admin.call_refused("add_rule", "device", "DENY", ["PUBLISH"], "plant/%s/x" % variable)


@pytest.mark.parametrize("variable", [v for v in BAD_VARIABLES if v[0] == "$" and v[-1] == "}"])
def test_templates_refuse_bad_pointers(admin, variable):
    admin.call_refused("set_issuer", "corp", client_id_templates=["app:" + variable])


# set_issuer

def test_set_issuer_changes_only_what_is_given(admin):
    before = row(admin, "issuer, audience, algorithms, client_id_templates, token_types, leeway_s")
    admin.call("set_issuer", "corp", tenant="acme")
    assert row(admin, "issuer, audience, algorithms, client_id_templates, token_types, leeway_s") == before
    assert row(admin, "tenant") == ("acme",)
    admin.call("set_issuer", "corp")
    admin.call("set_issuer", "corp", audience=["a", "b"], algorithms=["EdDSA"], token_types=["JWT"], leeway_s=0,
               client_id_templates=["*"])
    assert row(admin, "audience, algorithms, token_types, leeway_s, client_id_templates, tenant") == (
        ["a", "b"], ["EdDSA"], ["JWT"], 0, ["*"], "acme")


def test_set_issuer_keeps_keys_from_one_place(admin):
    admin.call("set_issuer", "corp", jwks=KEYS)
    assert row(admin, "jwks IS NOT NULL, jwks_url") == (True, None)
    admin.call("set_issuer", "corp", jwks_url="https://id.example.com/keys")
    assert row(admin, "jwks, jwks_url") == (None, "https://id.example.com/keys")
    admin.call("set_issuer", "corp", reset=["jwks_url"])
    assert row(admin, "jwks, jwks_url") == (None, None)
    assert "not both" in admin.call_refused("set_issuer", "corp", jwks=KEYS, jwks_url="https://x/")


def test_set_issuer_resets_to_the_defaults(admin):
    columns = ("algorithms, client_id_templates, app_id_claim, token_types, leeway_s, tenant, scope_claims, audience_claims, required_claims,"
               " max_lifetime_s")
    before = row(admin, columns)
    admin.call("set_issuer", "corp", algorithms=["EdDSA"], client_id_templates=["*"], app_id_claim="sub", token_types=["x"], leeway_s=1,
               tenant="t", scope_claims=["/a"], audience_claims=["/b"], required_claims='{"/c": 1}', max_lifetime_s=5)
    assert not [1 for old, new in zip(before, row(admin, columns)) if old == new]
    admin.call("set_issuer", "corp", reset=columns.replace(" ", "").split(","))
    assert row(admin, columns) == before


@pytest.mark.parametrize("change, why", [
    (dict(name="nobody"), "not registered"), (dict(reset=["issuer"]), "no column with a default"), (dict(reset=["audience"]), "no column"),
    (dict(reset=["status"]), "no column"), (dict(reset=[None]), "NULL"), (dict(reset=["tenant"], tenant="t"), "both given and reset"),
    (dict(audience=[]), "empty"), (dict(audience=["a" * 513]), "too long"), (dict(algorithms=["HS256"]), "must be one of"),
    (dict(algorithms=["none"]), "must be one of"), (dict(jwks='{"keys": [{"kty": "oct", "kid": "k", "k": "AA"}]}'), "symmetric"),
    (dict(jwks="7"), "not a JSON object"), (dict(jwks_url="ftp://x"), "https"), (dict(client_id_templates=["${cert.cn}"]), "unknown variable"),
    (dict(leeway_s=601), "0 to 600"), (dict(tenant="a/b"), "one of"), (dict(token_types=[""]), ""), (dict(app_id_claim=""), "empty"),
    (dict(audience=[" mqtt"]), "blank"),
])
def test_set_issuer_refuses(admin, change, why):
    assert why in admin.call_refused("set_issuer", **{"name": "corp", **change})


def test_set_issuer_refuses_to_remove_the_last_keys(admin):
    admin.call("register_issuer", "local", "urn:local", ["a"], jwks=KEYS)
    assert "neither jwks nor jwks_url" in admin.call_refused("set_issuer", "local", reset=["jwks"])


def test_each_function_has_one_signature(admin):
    assert admin.one("SELECT count(*) FROM pg_proc WHERE proname IN ('register_issuer', 'set_issuer')") == 2


# Rows of one issuer

def test_rows_of_one_issuer_have_disjoint_audiences(admin):
    admin.call("register_issuer", "two", "https://id.example.com/", ["billing", "billing"])
    assert "audience 'billing'" in admin.call_refused("set_issuer", "corp", audience=["mqtt", "billing"])
    assert "audience 'mqtt'" in admin.call_refused("register_issuer", "three", "https://id.example.com/", ["mqtt"])
    assert "audience 'mqtt'" in admin.refused("INSERT INTO iot_auth.oauth_issuer (name, issuer, audience) VALUES "
                                              "('three', 'https://id.example.com/', '{x,mqtt}')")
    assert "audience 'mqtt'" in admin.refused("UPDATE iot_auth.oauth_issuer SET audience = '{mqtt}' WHERE name = 'two'")
    admin.call("set_issuer", "corp", audience=["x"])
    admin.call("set_issuer", "two", audience=["mqtt"])
    admin.all("DELETE FROM iot_auth.oauth_issuer WHERE name = 'two'")
    admin.call("register_issuer", "three", "https://id.example.com/", ["mqtt"])
    # It would take all devices with it, those of CAs too.
    assert "permission denied" in admin.refused("TRUNCATE iot_auth.oauth_issuer CASCADE")
    admin.all("DELETE FROM iot_auth.oauth_issuer")
    admin.call("register_issuer", "four", "https://id.example.com/", ["mqtt", "x"])


def test_no_audience_outlives_a_truncated_table(shared):
    with trial(shared, pg.SUPERUSER) as root:
        root.call("register_issuer", "corp", "https://id.example.com/", ["mqtt"])
        root.all("TRUNCATE iot_auth.oauth_issuer CASCADE")
        root.call("register_issuer", "four", "https://id.example.com/", ["mqtt", "x"])


def test_administrators_cannot_write_the_audiences_by_themselves(admin):
    for statement in ("DELETE FROM iot_auth.issuer_audience", "INSERT INTO iot_auth.issuer_audience VALUES ('a', 'b', 'c')"):
        assert "permission denied" in admin.refused(statement)


def test_disjoint_audiences_hold_under_concurrency(shared):
    def register(n):
        with cursor(shared, pg.ADMIN) as c:
            try:
                c.call("register_issuer", "race%d" % n, "https://race.example/", ["shared", "own%d" % n])
                return True
            except psycopg2.Error as e:
                assert "disjoint" in e.diag.message_hint
                return False

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(register, range(4))) == 1
    with cursor(shared, pg.ADMIN) as c:
        assert c.one("SELECT count(*) FROM iot_auth.oauth_issuer WHERE issuer = 'https://race.example/'") == 1
        c.all("DELETE FROM iot_auth.oauth_issuer WHERE issuer = 'https://race.example/'")


def test_changed_claims_are_notified(shared):
    with cursor(shared, pg.ADMIN) as c:
        c.call("register_issuer", "loud", "https://loud.example/", ["a"])
        try:
            listener = pg.Listener(shared)
            try:
                for change in (dict(scope_claims=["/a"]), dict(audience_claims=["/b"]), dict(required_claims='{"/c": 1}'),
                               dict(max_lifetime_s=5)):
                    c.call("set_issuer", "loud", **change)
                    assert [(topic, keys) for topic, keys in listener.drain()] == [("issuer", ["loud"])], change
            finally:
                listener.close()
        finally:
            c.all("DELETE FROM iot_auth.oauth_issuer WHERE name = 'loud'")


# Revoked tokens

def revocation(admin, revoked):
    return admin.all("SELECT issuer_name, claim, value, issued_before, until FROM iot_auth.token_revocation WHERE id = %s", revoked)[0]


def test_revoke_tokens_ends_by_itself_where_the_lifetime_is_known(admin):
    revoked = admin.call("revoke_tokens", "corp", "/sub", "alice", "2026-01-01 00:00 UTC")
    assert revocation(admin, revoked)[:3] == ("corp", "/sub", "alice") and revocation(admin, revoked)[4] is None
    admin.call("set_issuer", "corp", max_lifetime_s=3600)
    later = admin.call("revoke_tokens", "corp", "/sub", "bob", "2036-01-01 00:00 UTC")
    assert admin.one("SELECT until = issued_before + interval '3630 s' FROM iot_auth.token_revocation WHERE id = %s", later)
    # An issuer that allows longer lifetimes later prolongs what ended by default, and nothing else.
    short = admin.call("revoke_tokens", "corp", "/sub", "carol", "2036-01-01 00:00 UTC", "2036-01-01 00:01 UTC")
    admin.call("set_issuer", "corp", max_lifetime_s=7200)
    assert admin.one("SELECT until = issued_before + interval '7230 s' FROM iot_auth.token_revocation WHERE id = %s", later)
    admin.call("set_issuer", "corp", max_lifetime_s=10)
    assert admin.one("SELECT until = issued_before + interval '7230 s' FROM iot_auth.token_revocation WHERE id = %s", later)
    admin.call("set_issuer", "corp", reset=["max_lifetime_s"])
    assert revocation(admin, later)[4] is None
    assert admin.one("SELECT until - issued_before = interval '60 s' FROM iot_auth.token_revocation WHERE id = %s", short)


def test_revoke_tokens_keeps_what_reaches_further(admin):
    first = admin.call("revoke_tokens", "corp", "/jti", "x", "2026-01-02 UTC", "2036-01-01 UTC")
    assert admin.call("revoke_tokens", "corp", "/jti", "x", "2026-01-01 UTC", "2037-01-01 UTC") == first
    assert admin.one("SELECT issued_before = '2026-01-02 UTC' AND until = '2037-01-01 UTC' FROM iot_auth.token_revocation WHERE id = %s",
                     first)
    admin.call("unrevoke_tokens", first)
    assert "does not exist" in admin.call_refused("unrevoke_tokens", first)
    assert "does not exist" in admin.call_refused("unrevoke_tokens", None)


@pytest.mark.parametrize("arguments, why", [
    (("nobody", "/jti", "x"), "not registered"), (("corp", "jti", "x"), "no slash at its start"), (("corp", "", "x"), "is empty"),
    (("corp", None, "x"), "missing"), (("corp", "/jti", None), "missing"), (("corp", "/jti", ""), "1 to 1024"),
    (("corp", "/jti", "x" * 1025), "1 to 1024"), (("corp", "/jti", "x", None), "missing"), (("corp", "/jti", "x", "infinity"), "finite"),
    (("corp", "/jti", "x", "2026-01-01 UTC", "2020-01-01 UTC"), "in the past"), (("corp", "/jti", "x", "2026-01-01 UTC", "infinity"), "finite"),
])
def test_revoke_tokens_refuses(admin, arguments, why):
    assert why in admin.call_refused("revoke_tokens", *arguments)


def test_ended_revocations_are_not_returned(admin):
    admin.all("INSERT INTO iot_auth.token_revocation (issuer_name, claim, value, until) VALUES ('corp', '/a', 'past', now() - interval '2 days'),"
              " ('corp', '/a', 'now', NULL)")
    assert admin.all("SELECT value FROM iot_auth.broker_token_revocation") == [("now",)]
    admin.call("revoke_tokens", "corp", "/a", "more")
    assert admin.all("SELECT value FROM iot_auth.token_revocation ORDER BY 1") == [("more",), ("now",)]
