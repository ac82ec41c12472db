# SPDX-License-Identifier: ISC
"""iot-auth-check token: tokens of python3-jwt, an implementation that is not ours, good ones and hostile ones."""

import base64
import hashlib
import hmac
import json
import os
import subprocess

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

ISSUER = "https://idp.example/realms/plant"
NOW = 1700000000
AT = "2023-11-14T22:13:20Z"  # the same

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = {
    "RS256": RSA, "RS384": RSA, "RS512": RSA, "PS256": RSA, "PS384": RSA, "PS512": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "EdDSA-448": ed448.Ed448PrivateKey.generate(),
}


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size=None):
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(key, kid="k1", **more):
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "kid": kid, "n": number(numbers.n), "e": number(numbers.e), **more}
    if isinstance(public, ec.EllipticCurvePublicKey):
        numbers, size = public.public_numbers(), (public.key_size + 7) // 8
        return {"kty": "EC", "kid": kid, "crv": "P-%d" % public.key_size, "x": number(numbers.x, size),
                "y": number(numbers.y, size), **more}
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"kty": "OKP", "kid": kid, "crv": "Ed25519" if len(raw) == 32 else "Ed448", "x": base64url(raw), **more}


def payload(**claims):
    base = {"iss": ISSUER, "aud": "mqtt", "exp": NOW + 300, "client_id": "dashboard", "scope": "read write"}
    return {name: value for name, value in {**base, **claims}.items() if value is not None}


def mint(alg="ES256", headers=None, **claims):
    key = KEYS[alg]
    headers = {"kid": "k1", "typ": "at+jwt", **(headers or {})}
    return jwt.encode(payload(**claims), key, algorithm=alg[:5], headers=headers)


def by_hand(header, body, alg="ES256"):
    """A token whose header and payload are exactly this text, signed by the key of `alg`."""
    signed = base64url(header.encode()) + "." + base64url(body.encode())
    signer = jwt.get_algorithm_by_name(alg)
    return signed + "." + base64url(signer.sign(signed.encode(), KEYS[alg]))


class Checker:
    def __init__(self, folder):
        build = os.environ.get("IOT_AUTH_BUILD", "build")
        self.program = os.environ.get("IOT_AUTH_CHECK", os.path.join(build, "cli", "iot-auth-check"))
        self.jwks_file = folder / "jwks.json"
        self.keys(*(jwk(KEYS["ES256"]),))

    def keys(self, *keys):
        self.jwks_file.write_text(json.dumps({"keys": list(keys)}))

    def run(self, token, *arguments):
        command = [self.program, "token", "--jwks", str(self.jwks_file), *arguments]
        data = token if isinstance(token, bytes) else token.encode()
        done = subprocess.run(command, input=data, capture_output=True, timeout=20, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def decide(self, token, *, alg="ES256", issuer=ISSUER, audience="mqtt", at=AT):
        status, out, err = self.run(token, "--issuer", issuer, "--audience", audience, "--alg", alg, "--at", at)
        assert status in (0, 1), err
        if status == 0:
            assert out.startswith("allow ")
            return "allow"
        assert out.startswith("deny: ")
        return out.split()[1]


@pytest.fixture
def checker(tmp_path):
    return Checker(tmp_path)


@pytest.mark.parametrize("alg", sorted(KEYS))
def test_token_of_each_algorithm_is_allowed(checker, alg):
    checker.keys(jwk(KEYS[alg]))
    token = mint(alg)
    assert checker.decide(token, alg=alg[:5]) == "allow"
    checker.keys(jwk(KEYS[alg], alg=alg[:5], use="sig"))
    assert checker.decide(token, alg=alg[:5]) == "allow"


@pytest.mark.parametrize("alg", sorted(KEYS))
def test_token_of_each_algorithm_is_refused_where_another_is_expected(checker, alg):
    checker.keys(jwk(KEYS[alg]))
    other = "ES256" if alg != "ES256" else "RS256"
    assert checker.decide(mint(alg), alg=other) == "token_algorithm"


def test_allow_prints_what_counts(checker):
    token = mint(dept="ops", aud=["other", "mqtt"], nbf=NOW - 10)
    status, out, err = checker.run(token, "--issuer", ISSUER, "--audience", "mqtt", "--alg", "ES256", "--at", AT)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:11] == [
        "allow app_id=dashboard", "iss=" + ISSUER, "aud=other", "aud=mqtt", "exp=2023-11-14T22:18:20Z",
        "nbf=2023-11-14T22:13:10Z", "alg=ES256", "kid=k1", "typ=at+jwt", "scope=read", "scope=write",
    ]
    assert sorted(lines[11:]) == [
        "claim.client_id=dashboard", "claim.dept=ops", "claim.exp=1700000300", "claim.nbf=1699999990",
        "claim.scope=read write",
    ]


def test_printed_scope_cannot_forge_a_line(checker):
    status, out, _ = checker.run(mint(scope="read\nclaim.admin=true"), "--issuer", ISSUER, "--audience", "mqtt",
                                 "--alg", "ES256", "--at", AT)
    assert status == 0
    assert "scope=read?claim.admin=true" in out.splitlines()


@pytest.mark.parametrize("claims, reason", [
    ({"exp": NOW - 31}, "token_expired"),
    ({"exp": NOW - 29}, "allow"),
    ({"exp": None}, "token_claims"),
    ({"nbf": NOW + 60}, "token_not_yet_valid"),
    ({"nbf": NOW + 20}, "allow"),
    ({"iss": "https://evil.example"}, "token_issuer"),
    ({"iss": ISSUER + "/"}, "token_issuer"),
    ({"iss": None}, "token_issuer"),
    ({"aud": "billing"}, "token_audience"),
    ({"aud": ["billing", "mqtt"]}, "allow"),
    ({"aud": None}, "token_audience"),
    ({"client_id": None}, "token_claims"),
    ({"client_id": None, "azp": "a"}, "allow"),
    ({"client_id": None, "sub": "a"}, "allow"),
    ({"client_id": "a/b", "sub": "a"}, "token_claims"),
    ({"client_id": "#"}, "token_claims"),
    ({"scope": ["read"]}, "allow"),
    ({"scope": {"read": True}}, "allow"),
    ({"cnf": {"x5t#S256": base64url(b"x" * 32)}}, "token_unbound"),
])
def test_claims_decide(checker, claims, reason):
    assert checker.decide(mint(**claims)) == reason


@pytest.mark.parametrize("headers, reason", [
    ({"typ": "JWT"}, "allow"),
    ({"typ": "application/at+jwt"}, "allow"),
    ({"typ": "logout+jwt"}, "token_type"),
    ({"kid": "k2"}, "token_key_unknown"),
    ({"crit": ["exp"]}, "token_malformed"),
    ({"jku": "https://evil.example/jwks"}, "allow"),
    ({"x5u": "file:///etc/passwd", "x5c": ["AAAA"]}, "allow"),
])
def test_header_decides(checker, headers, reason):
    assert checker.decide(mint(headers=headers)) == reason


def test_token_without_kid_takes_the_only_key_that_fits(checker):
    assert checker.decide(jwt.encode(payload(), KEYS["ES256"], algorithm="ES256")) == "allow"
    assert checker.decide(jwt.encode(payload(), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")) == "token_signature"


def test_key_in_the_header_is_not_taken(checker):
    unknown = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode(payload(), unknown, algorithm="ES256", headers={"kid": "k1", "jwk": jwk(unknown)})
    assert checker.decide(token) == "token_signature"


def test_unsigned_token_is_refused(checker):
    for alg in ("none", "None", "NONE"):
        header = json.dumps({"alg": alg, "kid": "k1"})
        token = base64url(header.encode()) + "." + base64url(json.dumps(payload()).encode()) + "."
        assert checker.decide(token) == "token_algorithm"


def test_hmac_with_the_public_key_is_refused(checker):
    checker.keys(jwk(RSA))
    pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = base64url(b'{"alg":"HS256","kid":"k1"}') + "." + base64url(json.dumps(payload()).encode())
    token = signed + "." + base64url(hmac.new(pem, signed.encode(), hashlib.sha256).digest())
    assert checker.decide(token, alg="RS256") == "token_algorithm"


def test_changed_bytes_are_refused(checker):
    header, body, signature = mint().split(".")
    forged = base64url(json.dumps(payload(client_id="admin")).encode())
    assert checker.decide(".".join((header, forged, signature))) == "token_signature"
    assert checker.decide(".".join((header, body, signature[:-2]))) == "token_signature"
    assert checker.decide(".".join((header, body, signature + "AAAA"))) == "token_signature"
    assert checker.decide(".".join((header, body, ""))) == "token_signature"


@pytest.mark.parametrize("header, body", [
    ('{"alg":"ES256","kid":"k1","kid":"k2"}', json.dumps(payload())),
    ('{"alg":"ES256","kid":"k1"}', '{"iss":"https://evil.example",' + json.dumps(payload())[1:]),
    ('{"alg":"ES256","kid":"k1"}', json.dumps(payload()) + "x"),
    ('{"alg":"ES256","kid":"k1"}', "[" * 2000 + "]" * 2000),
    ('{"alg":"ES256","kid":"k1"}', json.dumps(payload())[:-1] + ',"x":' + "[" * 20 + "]" * 20 + "}"),
    ('["ES256"]', json.dumps(payload())),
    ('{"alg":"ES256","kid":"k1"}', "null"),
    ('{"alg":"ES256","kid":1}', json.dumps(payload())),
], ids=["kid twice", "iss twice", "something after it", "deep", "deep inside", "header list", "null", "kid number"])
def test_malformed_json_is_refused_though_signed(checker, header, body):
    assert checker.decide(by_hand(header, body)) == "token_malformed"


def test_second_spelling_of_a_token_is_refused(checker):
    header, body, signature = mint().split(".")
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = signature[:-1] + digits[digits.index(signature[-1]) ^ 1]  # 64 bytes leave four bits unused
    for changed in (".".join((header, body, other)), ".".join((header, body, signature + "==")),
                    ".".join((header, body, signature)) + ".", " " + ".".join((header, body, signature)),
                    ".".join((header, body, signature + "\0")), ".".join((header + "\n", body, signature))):
        assert checker.decide(changed) == "token_malformed"


def test_newline_of_echo_is_not_part_of_the_token(checker):
    assert checker.decide(mint() + "\n") == "allow"
    assert checker.decide(mint() + "\r\n") == "allow"


def test_long_token_is_refused(checker):
    assert checker.decide(mint(padding="x" * 11000)) == "allow"
    assert checker.decide(mint(padding="x" * 13000)) == "token_malformed"


@pytest.mark.parametrize("key, words", [
    (lambda: jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "shorter than 2048"),
    (lambda: jwk(rsa.generate_private_key(public_exponent=3, key_size=2048)), "exponent is weak"),
    (lambda: {"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}, "symmetric"),
    (lambda: {**jwk(RSA), "d": "c2VjcmV0"}, "private"),
    (lambda: {**jwk(KEYS["ES256"]), "y": jwk(KEYS["ES256"])["x"]}, "not a point"),
], ids=["RSA 1024", "e = 3", "symmetric", "private", "not on the curve"])
def test_weak_key_is_reported_and_not_used(checker, key, words):
    checker.keys(key())
    status, out, err = checker.run(mint(), "--issuer", ISSUER, "--audience", "mqtt", "--alg", "ES256", "--at", AT)
    assert status == 1 and out.startswith("deny: token_key_unknown ")
    assert words in err and "c2VjcmV0" not in err


@pytest.mark.parametrize("changes, headers, reason, words, claimed", [
    ({"iss": ISSUER + "/"}, {}, "token_issuer", "by a slash", "claimed_iss=%s/" % ISSUER),
    ({"iss": "https://other.example/\n\u0085"}, {}, "token_issuer", "not a registered", "claimed_iss=https://other.example/??"),
    ({"aud": ["billing", "account"]}, {}, "token_audience", "none of", "claimed_aud=billing account"),
    ({}, {"kid": "2024-01"}, "token_key_unknown", "kid is not", "claimed_kid=2024-01"),
    ({}, {"typ": "dpop+jwt"}, "token_type", "typ is not", "claimed_typ=dpop+jwt"),
], ids=["slash", "issuer", "audience", "kid", "typ"])
def test_refusal_shows_what_the_token_claims(checker, changes, headers, reason, words, claimed):
    status, out, _ = checker.run(mint(headers=headers, **changes), "--issuer", ISSUER, "--audience", "mqtt", "--alg", "ES256",
                                 "--at", AT)
    assert status == 1 and out.startswith("deny: %s " % reason) and words in out
    assert claimed in out.splitlines()


def test_the_scheme_of_http_does_not_count(checker):
    assert checker.decide("Bearer %s\r\n" % mint()) == "allow"


def test_keys_of_other_kinds_are_named_and_no_problem(checker):
    checker.keys({"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44"}, jwk(KEYS["ES256"], d=None))
    status, _, err = checker.run(mint(), "--issuer", ISSUER, "--audience", "mqtt", "--alg", "ES256", "--at", AT)
    assert status == 0 and "key 'pq': kty 'AKP' is not used here" in err


def test_bad_key_does_not_hold_up_the_good_one(checker):
    checker.keys({"kty": "oct", "kid": "k0", "k": "AAAA"}, jwk(KEYS["ES256"]))
    assert checker.decide(mint()) == "allow"


def test_several_values_of_an_option(checker):
    checker.keys(jwk(RSA, kid="r"), jwk(KEYS["ES256"], kid="e"))
    for spelled in (["--alg", "RS256", "--alg", "ES256"], ["--alg", "RS256", "ES256"]):
        for alg, kid in (("RS256", "r"), ("ES256", "e")):
            status, _, err = checker.run(mint(alg, headers={"kid": kid}, aud="b"), "--issuer", ISSUER, "--audience",
                                         "a", "--audience", "b", *spelled, "--at", AT)
            assert status == 0, err


def test_signature_only_does_not_look_at_the_payload(checker):
    token = by_hand('{"alg":"ES256","kid":"k1"}', "It's a dangerous business, Frodo")
    assert checker.run(token, "--alg", "ES256", "--signature-only")[:2] == (0, "allow alg=ES256\nkid=k1\n")
    header, body, signature = token.split(".")
    changed = ".".join((header, body[:-4] + "AAAA", signature))
    assert checker.run(changed, "--alg", "ES256", "--signature-only")[1].startswith("deny: token_signature ")
    assert checker.run(token, "--alg", "ES384", "--signature-only")[1].startswith("deny: token_algorithm ")
    unnamed = by_hand('{"alg":"ES256"}', "x")
    assert checker.run(unnamed, "--alg", "ES256", "--signature-only")[1] == "allow alg=ES256\nkid=\n"


@pytest.mark.parametrize("arguments", [
    [], ["--alg", "ES256"], ["--issuer", ISSUER, "--alg", "ES256"], ["--issuer", ISSUER, "--audience", "mqtt"],
    ["--signature-only"], ["--signature-only", "--alg", "HS256"], ["--signature-only", "--alg", "none"],
    ["--signature-only", "--alg"], ["--signature-only", "--alg", "ES256", "--wrong"],
    ["--issuer", "", "--audience", "mqtt", "--alg", "ES256"], ["--issuer", ISSUER, "--audience", "", "--alg", "ES256"],
    ["--issuer", ISSUER, "--audience", "mqtt", "--alg", "ES256", "--at", "yesterday"],
    ["--issuer", ISSUER, "more", "--audience", "mqtt", "--alg", "ES256"],
])
def test_bad_usage_exits_2_and_says_why(checker, arguments):
    status, out, err = checker.run(mint(), *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("iot-auth-check token: ")


@pytest.mark.parametrize("text", ["", "[]", "{}", "<html>", '{"keys":{}}', '{"keys":[],"keys":[]}'])
def test_unreadable_key_set_exits_2(checker, text):
    checker.jwks_file.write_text(text)
    status, out, err = checker.run(mint(), "--alg", "ES256", "--signature-only")
    assert (status, out) == (2, "")
    assert "JWK set" in err
    checker.jwks_file.unlink()
    assert checker.run(mint(), "--alg", "ES256", "--signature-only")[0] == 2


def test_refusal_never_prints_the_token(checker):
    token = mint(secret="hunter2", exp=NOW - 100)
    _, out, err = checker.run(token, "--issuer", ISSUER, "--audience", "mqtt", "--alg", "ES256", "--at", AT)
    assert out == "deny: token_expired the token has expired: exp plus leeway is in the past\n" and err == ""
