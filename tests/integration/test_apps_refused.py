# SPDX-License-Identifier: ISC
"""Refusals of apps: the same checks with the same reasons, whether the token is a password or comes by AUTH."""

import hashlib
import hmac
import json
import re
import subprocess
import time

import pytest

from app_kit import AuthClient, Issuer, app, auth_app, base64url, bearer, new_key, public_pem, thumbprint
from broker import wait_until
from client import AUTH, CLOSED, DISCONNECT, REFUSED, V5

USE = {"use": ["ALLOW PUBLISH,SUBSCRIBE,RECEIVE apps/${app_id}/#"]}
CODES = REFUSED + (CLOSED, 0x88)  # closed, or 'server unavailable': after an unknown key a retry may succeed
WAYS = ("password", "rfc7628", "bare")


# Tokens that must be refused: name → (reason, what makes the token of an issuer).

def hs256(issuer, **header):
    """Signed with HMAC and the public key, which is known to everybody (RFC 8725 section 2.1)."""
    text = json.dumps(issuer.header(alg="HS256", **header))
    signed = base64url(text.encode()) + "." + base64url(json.dumps(issuer.claims()).encode())
    return signed + "." + base64url(hmac.digest(public_pem(issuer.key), signed.encode(), hashlib.sha256))


def unsigned(issuer):
    header, payload = json.dumps(issuer.header(alg="none")), json.dumps(issuer.claims())
    return base64url(header.encode()) + "." + base64url(payload.encode()) + "."


def altered(issuer, **changes):
    """A valid signature with other claims."""
    header, _payload, signature = issuer.token().split(".")
    return ".".join((header, base64url(json.dumps(issuer.claims(**changes)).encode()), signature))


def twice(issuer, name, value):
    """A duplicate member is ambiguous."""
    payload = json.dumps(issuer.claims())
    return issuer.sign(json.dumps(issuer.header()), payload[:-1] + ', "%s": %s}' % (name, json.dumps(value)))


def own_key(issuer, **header):
    """The header contains the key that signed it."""
    key = new_key("ES256")
    return issuer.token(key=key, headers=header)


def non_canonical(issuer):
    """Another text of the same token, by the unused bits of base64url (to bypass a cache of refusals, for example)."""
    token = issuer.token()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) ^ 1]


def now():
    return int(time.time())


TOKENS = {
    # RFC 7515: only the compact form
    "payload-no-json": ("token_malformed", lambda i: i.sign(json.dumps(i.header()), "no json")),
    "payload-an-array": ("token_malformed", lambda i: i.sign(json.dumps(i.header()), "[]")),
    "payload-more-behind": ("token_malformed", lambda i: i.sign(json.dumps(i.header()), json.dumps(i.claims()) + "{}")),
    "payload-not-utf8": ("token_malformed", lambda i: i.sign(json.dumps(i.header()), b'{"iss": "\xff"}')),
    "payload-deep": ("token_malformed", lambda i: i.token(deep=json.loads("[" * 40 + "]" * 40))),
    "duplicate-claim": ("token_malformed", lambda i: twice(i, "client_id", "admin")),
    "critical-extension": ("token_malformed", lambda i: i.token(headers={"crit": ["exp"]})),
    "padding": ("token_malformed", lambda i: i.token() + "="),
    "non-canonical": ("token_malformed", non_canonical),
    "too-long": ("token_malformed", lambda i: i.token(filler="x" * 17000)),
    # RFC 8725: the issuer's row says which algorithms
    "hmac-with-the-public-key": ("token_algorithm", hs256),
    "none": ("token_algorithm", unsigned),
    "algorithm-not-listed": ("token_algorithm", lambda i: i.token(headers={"alg": "ES384"})),
    "algorithm-unfit-for-the-key": ("token_algorithm", lambda i: i.token(headers={"alg": "RS256"})),
    "algorithm-unknown": ("token_algorithm", lambda i: i.token(headers={"alg": "ES256K"})),
    # Which key
    "unknown-kid": ("token_key_unknown", lambda i: i.token(headers={"kid": "nobody's"})),
    "no-kid": ("token_signature", lambda i: i.token(headers={"kid": None}, key=new_key(i.algorithm))),
    "foreign-key": ("token_signature", own_key),
    "its-own-jwk": ("token_signature", lambda i: own_key(i, jwk={"kty": "EC"})),
    "its-own-jku": ("token_key_unknown", lambda i: own_key(i, jku="http://127.0.0.1:1/", kid="mine")),
    "altered": ("token_signature", lambda i: altered(i, client_id="admin")),
    # Times
    "expired": ("token_expired", lambda i: i.token(exp=now() - 2)),
    "not-yet-valid": ("token_not_yet_valid", lambda i: i.token(nbf=now() + 60)),
    "no-exp": ("token_claims", lambda i: i.token(exp=None)),
    "exp-a-text": ("token_claims", lambda i: i.token(exp=str(now() + 600))),
    "exp-in-milliseconds": ("token_claims", lambda i: i.token(exp=(now() + 600) * 1000)),
    # Issuer and audience
    "issuer-unknown": ("token_issuer", lambda i: i.token(iss="https://elsewhere.example")),
    "issuer-with-a-slash": ("token_issuer", lambda i: i.token(iss=i.issuer + "/")),
    "no-issuer": ("token_issuer", lambda i: i.token(iss=None)),
    "audience-other": ("token_audience", lambda i: i.token(aud=["billing", "MQTT"])),
    "no-audience": ("token_audience", lambda i: i.token(aud=None)),
    "type-other": ("token_type", lambda i: i.token(headers={"typ": "dpop+jwt"})),
    "type-logout": ("token_type", lambda i: i.token(headers={"typ": "logout+jwt"})),
    # Subject
    "no-app": ("token_claims", lambda i: i.token(client_id=None, azp=None, sub=None)),
    "app-a-wildcard": ("token_claims", lambda i: i.token(client_id="#")),
    "app-a-path": ("token_claims", lambda i: i.token(client_id="a/b")),
    "app-a-number": ("token_claims", lambda i: i.token(client_id=7)),
    "app-with-a-nul": ("token_malformed", lambda i: i.token(client_id="dash\0board")),
    "app-too-long": ("token_claims", lambda i: i.token(client_id="a" * 129)),
    "audience-an-object": ("token_claims", lambda i: i.token(aud={"mqtt": True})),
    # RFC 8705, RFC 9449: a token that requires a proof is invalid without it
    "bound-to-a-certificate": ("token_unbound", lambda i: i.token(cnf={"x5t#S256": "A" * 43})),
    "bound-to-a-dpop-key": ("token_unbound", lambda i: i.token(cnf={"jkt": "A" * 43})),
}


@pytest.fixture
def corp(site):
    return Issuer().register(site, USE)


def attempt(site, broker, way, token, client_id, credential=None):
    """The outcome of a CONNECT with that token."""
    client = AuthClient(site, broker, client_id, credential)
    if way == "password":
        return client.raw.connect(client_id, protocol=V5, username="ignored", password=token)
    return client.connect(bearer(token) if way == "rfc7628" else token)


def reason_in_log(broker, mark, client_id):
    """The reason of the client id's refusal, from its one log line."""
    lines = [line for line in broker.log(mark).splitlines() if " client=%s " % client_id in line and "refused" in line]
    assert len(lines) == 1, "%s: %r\n%s" % (client_id, lines, broker.log(mark))
    return lines[0].split("reason=")[1].split()[0]


@pytest.mark.parametrize("way", WAYS)
def test_each_bad_token_is_refused_with_its_reason(site, corp, way):
    broker = site.broker()
    wrong = []
    for row, (reason, mint) in TOKENS.items():
        client_id = "app:corp:dashboard/" + row
        mark = broker.mark()
        outcome = attempt(site, broker, way, mint(corp), client_id)
        logged = reason_in_log(broker, mark, client_id)
        if logged != reason or outcome not in CODES:
            wrong.append("%s: %s instead of %s, answered %s" % (row, logged, reason, outcome))
    assert not wrong, "\n".join(wrong)
    assert attempt(site, broker, way, corp.token(), "app:corp:dashboard") == 0


def test_each_bad_token_ends_a_session_that_shows_it(site, corp):
    """TICK disconnects the client: after a refused AUTH, 2.0 would send a second CONNACK."""
    broker = site.broker()
    wrong = []
    for row, (reason, mint) in TOKENS.items():
        client_id = "app:corp:dashboard/" + row
        client = auth_app(site, broker, corp.token(), client_id)
        mark = broker.mark()
        client.reauthenticate(bearer(mint(corp)))
        kinds = [kind for kind, _flags, _body in client.raw.wait_closed()]
        logged = reason_in_log(broker, mark, client_id)
        if logged != reason or kinds != [AUTH, DISCONNECT]:
            wrong.append("%s: %s instead of %s, answered %s" % (row, logged, reason, kinds))
        broker.wait_for_log(re.escape("ended reason=%s app=app:corp:dashboard client=%s" % (reason, client_id)), since=mark)
    assert not wrong, "\n".join(wrong)


def test_an_event_names_each_reason(site, corp):
    broker = site.broker()
    rows = {reason: (row, mint) for row, (reason, mint) in TOKENS.items()}
    for reason, (row, mint) in rows.items():
        for way in ("password", "rfc7628"):
            since, client_id = site.registry.last_event(), "app:corp:dashboard/%s/%s" % (row, way)

            def events_of(way=way, mint=mint, client_id=client_id, since=since):
                attempt(site, broker, way, mint(corp), client_id)  # again: events are sampled
                return [e for e in site.registry.events(since) if e["detail"]["client_id"] == client_id]

            event = wait_until(events_of, what="event of %s" % row)[0]
            assert (event["kind"], event["reason"]) == ("app/refused", reason)
            assert event["address"] == "127.0.0.1"
            assert event["detail"]["reason"] == reason
            assert event["principal"] in (None, ""), "nobody is known before the token is believed"


NO_TOKENS = ["", "secret", "a.b.c", "..", "eyJhbGciOiJFUzI1NiJ9", "e30.e30.e30", "correct horse battery staple, and more",
             "x" * 60000]

# What resembles a token → words of the detail.
ALMOST_TOKENS = {
    "eyJhbGciOiJFUzI1NiJ9.e30": "2 parts",
    "eyJhbGciOiJFUzI1NiJ9.e30.AA.AA": "4 parts",
    "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a2V5.aXY.dGV4dA.dGFn": "JWE",
    "2YotnFZFEjr1zCsicMWpAA": "opaque",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479": "opaque",
    "ory_at_Q2F0cyBhbmQgZG9ncw.bW9yZQ": "opaque",
    "Bearer hunter2": "Bearer",
}


def test_a_password_that_is_no_token_is_no_credential(site, corp):
    broker = site.broker()
    for password in NO_TOKENS:
        site.assert_refused("no_credential", broker, client_id="app:corp:dashboard", password=password)
    site.assert_refused("no_credential", broker, client_id="app:corp:dashboard")
    assert corp.problem(site) is None


def test_a_password_that_resembles_a_token_is_refused_as_what_it_is(site, corp):
    broker = site.broker()
    for password, words in ALMOST_TOKENS.items():
        event = site.assert_refused("token_malformed", broker, client_id="app:corp:dashboard", password=password)
        assert event["kind"] == "app/refused"
        assert words in event["detail"]["detail"], event["detail"]
        assert password.split()[-1] not in broker.log(), "no part of a secret is logged"


@pytest.mark.parametrize("around", ["Bearer %s", "bearer  %s"])
def test_the_scheme_of_http_before_a_token_does_not_count(site, corp, around):
    broker = site.broker()
    client = app(site, broker, around % corp.token())
    assert client.subscribe("apps/dashboard/x") == 1
    broker.sighup()  # asks for the password again
    assert client.subscribe("apps/dashboard/y") == 1


@pytest.mark.parametrize("around", ['"%s"', "'Bearer %s'", " %s", 'Bearer "%s"', "%s\n"])
def test_blanks_or_quotes_around_a_token_are_named(site, corp, around):
    event = site.assert_refused("token_malformed", site.broker(), client_id="app:corp:dashboard",
                                password=around % corp.token())
    assert "blanks or quotes" in event["detail"]["detail"]


def test_with_defer_only_a_jose_compact_form_is_a_token(site, corp):
    """Whatever else resembles a token may be the password of a client that the password file knows."""
    passwords = {"user%d" % number: password for number, password in enumerate(ALMOST_TOKENS) if "JWE" not in
                 ALMOST_TOKENS[password]}
    path = site.folder / "passwords"
    path.write_text("".join("%s:%s\n" % pair for pair in passwords.items()))
    subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True)
    path.chmod(0o644)
    broker = site.broker(options={"other_clients": "defer"}, lines=["password_file %s" % path])
    for user, password in passwords.items():
        client = site.connect(broker, client_id=user, username=user, password=password)
        assert client.connected
    encrypted = next(password for password, words in ALMOST_TOKENS.items() if words == "JWE")
    site.assert_refused("token_malformed", broker, client_id="x", username="x", password=encrypted)
    app(site, broker, "Bearer " + corp.token())


CLAIMED = {
    "issuer": ("token_issuer", lambda i: i.token(iss="https://elsewhere.example/\u0007"),
               {"claimed_iss": "https://elsewhere.example/?", "claimed_aud": "mqtt"}, "not a registered issuer"),
    "slash": ("token_issuer", lambda i: i.token(iss=i.issuer + "/"), {"claimed_iss": "https://idp.example/corp/"},
              "issuer 'corp' by a slash"),
    "audience": ("token_audience", lambda i: i.token(aud=["billing", "account"], azp="dash"),
                 {"claimed_aud": "billing account", "claimed_azp": "dash"}, "none of the issuer's audiences"),
    "audience-slash": ("token_audience", lambda i: i.token(aud="mqtt/"), {"claimed_aud": "mqtt/"}, "by a slash"),
    "key": ("token_key_unknown", lambda i: i.token(headers={"kid": "2024-01"}),
            {"claimed_kid": "2024-01", "claimed_typ": "at+jwt"}, "kid is not one of"),
}


@pytest.mark.parametrize("row", sorted(CLAIMED))
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_event_and_log_have_what_a_refused_token_claims(site, corp, row, log_format):
    reason, mint, members, words = CLAIMED[row]
    broker = site.broker(options={"log_format": log_format})
    mark = broker.mark()
    event = site.assert_refused(reason, broker, client_id="app:corp:dashboard", password=mint(corp), codes=CODES)
    assert words in event["detail"]["detail"]
    log = broker.log(mark)
    for name, value in members.items():
        assert event["detail"][name] == value, event["detail"]
        assert ('%s="%s"' if log_format == "text" else '"%s":"%s"') % (name, value) in log, log


def test_client_ids_of_apps_are_bounded(site):
    """Under a template that ends in `*` each session could cost 60 KB."""
    corp = Issuer().register(site, USE, client_id_templates=["*"])
    broker = site.broker()
    for client_id in ("a" * 512, "caf\u00e9/1", "a b"):
        assert site.connect(broker, client_id=client_id, password=corp.token()).connected
    refused = {"a" * 513: "512", "a" * 60000: "512", "a+b": "+", "a/#": "#"}
    for number, (client_id, words) in enumerate(refused.items()):
        token = corp.token(client_id="app%d" % number)  # events of one principal are limited
        event = site.assert_refused("client_id_mismatch", broker, client_id=client_id, password=token, codes=CODES)
        assert words in event["detail"]["detail"]


NO_RESPONSES = ["", "n,,\x01auth=Basic YTpi\x01\x01", "n,,\x01auth=Bearer %s\x01", "n,,\x01\x01",
                "p=tls,,\x01auth=Bearer %s\x01\x01", "n,,\x01auth=Bearer %s\x01auth=Bearer %s\x01\x01",
                "auth=Bearer %s", "n,,\x01auth=Bearer %s\x01\x01more",
                "\0%s", "Bearer %s"]


def test_enhanced_authentication_without_a_token_is_malformed(site, corp):
    broker = site.broker()
    for number, data in enumerate([*NO_RESPONSES, None]):
        mark, client_id = broker.mark(), "app:corp:dashboard/%d" % number
        client = AuthClient(site, broker, client_id)
        assert client.connect(data and data.replace("%s", corp.token())) in CODES, data
        assert reason_in_log(broker, mark, client_id) == "token_malformed"


# Beyond the token itself

@pytest.mark.parametrize("way", WAYS)
def test_issuer_address_and_client_id_are_checked_on_both_paths(site, corp, way):
    broker = site.broker()
    token = corp.token()

    def refused(reason, client_id="app:corp:dashboard"):
        def logged():
            mark = broker.mark()
            return attempt(site, broker, way, token, client_id) in CODES and reason_in_log(broker, mark, client_id)

        wait_until(lambda: logged() == reason, 2, reason)

    def admitted():
        wait_until(lambda: attempt(site, broker, way, token, "app:corp:dashboard") == 0, 2, "admission")

    admitted()
    refused("client_id_mismatch", "app:corp:other")
    site.registry.set_issuer_status(name="corp", status="INACTIVE")
    refused("issuer_inactive")
    site.registry.set_issuer_status(name="corp", status="ACTIVE")
    admitted()
    rule = site.registry.allow_ip(network="192.0.2.0/24", scope="ISSUER", scope_key="corp")
    refused("address_denied")
    site.registry.remove_ip_rule(rule_id=rule)
    admitted()
    site.registry.deny_ip(network="127.0.0.1/32", scope="ISSUER", scope_key="corp")
    refused("address_denied")


def test_an_issuers_address_rules_concern_only_its_apps(site, corp):
    partner = Issuer("partner").register(site, USE)
    site.registry.deny_ip(network="127.0.0.0/8", scope="ISSUER", scope_key="partner")
    broker = site.broker()
    app(site, broker, corp.token())
    site.assert_refused("address_denied", broker, client_id="app:partner:dashboard", password=partner.token())


def test_a_global_address_rule_holds_on_a_plain_listener(site, corp):
    site.registry.deny_ip(network="127.0.0.0/8")
    broker = site.broker()
    token = corp.token()
    site.assert_refused("address_denied", broker, client_id="app:corp:dashboard", listener="plain", password=token)
    client = AuthClient(site, broker, "app:corp:dashboard", listener="plain")
    assert client.connect(bearer(token)) in CODES


# Beside a certificate (RFC 8705)

WITH_CERTIFICATE = [
    # (name, cnf of: own certificate, another's, or none; reason)
    ("unbound", None, "token_unbound"),
    ("bound-to-another", "other", "token_unbound"),
    ("not-a-digest", {"x5t#S256": "AAAA"}, "token_unbound"),
    ("sha1", {"x5t": "A" * 27}, "token_unbound"),
    ("bound", "own", None),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_token_beside_a_certificate_must_be_bound_to_it(site, corp, way):
    fleet = site.fleet()
    device, other = fleet.issue("gateway"), fleet.issue("other")
    broker = site.broker()
    site.connect(broker, device).disconnect()
    for row, cnf, reason in WITH_CERTIFICATE:
        cnf = {"own": thumbprint(device), "other": thumbprint(other)}.get(cnf, cnf) if isinstance(cnf, str) else cnf
        mark, client_id = broker.mark(), "app:corp:dashboard/" + row
        outcome = attempt(site, broker, way, corp.token(cnf=cnf), client_id, device)
        if reason is None:
            assert outcome == 0, broker.log(mark)
        else:
            assert outcome in CODES and reason_in_log(broker, mark, client_id) == reason, row


def test_an_app_with_a_bound_token_has_the_rights_of_its_scopes_alone(site, corp):
    fleet = site.fleet()
    device = fleet.issue("gateway")
    broker = site.broker()
    site.connect(broker, device).disconnect()
    token = corp.token(cnf=thumbprint(device))
    for connect in (app, auth_app):
        client = connect(site, broker, token, credential=device)
        assert client.subscribe("apps/dashboard/#") < 128
        assert client.subscribe("devices/gateway/#") >= 128
    site.assert_refused("client_id_mismatch", broker, device, client_id="gateway", password=token)


@pytest.mark.parametrize("way", ["password", "rfc7628"])
@pytest.mark.parametrize("status", ["PENDING", "INACTIVE", "REVOKED"])
def test_the_certificate_beside_a_token_must_be_an_active_devices(site, corp, way, status):
    fleet = site.fleet(auto_registration=False)
    good, bad, unknown = fleet.issue("good"), fleet.issue("bad"), fleet.issue("unknown")
    for credential, name in ((good, "good"), (bad, "bad")):
        site.registry.register_device(device_id=name, pem=credential.pem, ca_name="acme",
                                      status=status if name == "bad" else "ACTIVE")
    broker = site.broker()
    for credential, name, reason in ((bad, "bad", "device_" + status.lower()), (unknown, "unknown", "device_unknown")):
        mark, client_id = broker.mark(), "app:corp:dashboard/" + name
        outcome = attempt(site, broker, way, corp.token(cnf=thumbprint(credential)), client_id, credential)
        assert outcome in CODES and reason_in_log(broker, mark, client_id) == reason
    assert attempt(site, broker, way, corp.token(cnf=thumbprint(good)), "app:corp:dashboard", good) == 0


@pytest.mark.parametrize("way", ["password", "rfc7628"])
def test_a_certificate_that_is_revoked_lets_no_token_in(site, corp, way):
    fleet = site.fleet()
    credential = fleet.issue("gateway")
    broker = site.broker()
    site.connect(broker, credential).disconnect()
    site.registry.revoke_certificate(fingerprint_hex=credential.fingerprint.hex())
    token = corp.token(cnf=thumbprint(credential))

    def logged():
        mark = broker.mark()
        outcome = attempt(site, broker, way, token, "app:corp:dashboard", credential)
        return outcome != 0 and reason_in_log(broker, mark, "app:corp:dashboard")

    assert wait_until(logged, 2, "refusal") == "certificate_revoked"


def test_a_token_does_not_make_up_for_a_certificate_of_an_unknown_ca(site, corp):
    site.fleet()
    unknown = site.root.intermediate("unknown").issue("gateway")
    broker = site.broker()
    token = corp.token(cnf=thumbprint(unknown))
    assert site.try_connect(broker, unknown, client_id="app:corp:dashboard", password=token) == CLOSED


@pytest.mark.parametrize("change", ["device", "certificate", "authority"])
def test_the_end_of_the_certificate_ends_the_apps_session(site, corp, change):
    fleet = site.fleet()
    credential = fleet.issue("gateway")
    broker = site.broker()
    site.connect(broker, credential).disconnect()
    token = corp.token(cnf=thumbprint(credential))
    by_password = app(site, broker, token, "app:corp:dashboard/1", credential=credential)
    by_auth = auth_app(site, broker, token, "app:corp:dashboard/2", credential=credential)
    stays = app(site, broker, corp.token(), "app:corp:dashboard/3")
    if change == "device":
        site.registry.set_device_status(device_id="gateway", status="INACTIVE")
    elif change == "certificate":
        site.registry.revoke_certificate(fingerprint_hex=credential.fingerprint.hex())
    else:
        site.registry.set_ca_status(name="acme", status="INACTIVE")
    by_password.wait_closed(1.0)
    by_auth.wait_kicked(1.0)
    assert stays.subscribe("apps/dashboard/x") == 1
