# SPDX-License-Identifier: ISC
"""iot-auth check cert and check token: the decision of a broker by the registry, without a broker and without a trace.
The tests of this module share a registry; each has CAs and devices of its own names."""

import json

import jwt
import pg
import pki
import pytest
from app_kit import Issuer, KeyServer
from iot_auth_kit import Command


@pytest.fixture(scope="module")
def registry(postgres):
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture(scope="module")
def iot_auth(registry, tmp_path_factory):
    return Command(registry, tmp_path_factory.mktemp("check"))


@pytest.fixture(scope="module")
def acme(iot_auth):
    """CA acme with auto-registration and room for three devices."""
    ca = pki.root("acme root")
    iot_auth.done("ca", "add", "acme", "--pem", "-", "--auto-registration", "--max-devices", 3, stdin=ca.pem)
    return ca


@pytest.fixture(scope="module")
def check(iot_auth):
    """check cert of credentials: the leaf, then what is sent with it."""
    def run(leaf, *more, sent=()):
        files = [iot_auth.file("%d.pem" % i, c.pem) for i, c in enumerate([leaf, *sent])]
        return iot_auth("check", "cert", *files, *more)

    return run


def lines(done):
    return dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)


def refused(done, reason):
    assert done.status == 1 and done.out.startswith("deny: %s" % reason), done
    return done.out


# Certificates


def test_unregistered_device_would_register_and_does_not(check, acme, registry):
    before = registry.query("SELECT (SELECT count(*) FROM iot_auth.device), (SELECT count(*) FROM iot_auth.event), "
                            "(SELECT count(*) FROM iot_auth.audit)")
    done = check(acme.issue("new-1"))
    assert done.status == 0 and done.out.startswith("allow device=new-1\n"), done
    assert lines(done) == {"allow device": "new-1", "ca": "acme", "client_id": "new-1", "roles": "device",
                           "registered": "no; it would register now"}
    assert registry.query("SELECT (SELECT count(*) FROM iot_auth.device), (SELECT count(*) FROM iot_auth.event), "
                          "(SELECT count(*) FROM iot_auth.audit)") == before


def test_registered_device_is_admitted_with_its_roles(check, acme, iot_auth):
    leaf = acme.issue("d-1")
    iot_auth.done("device", "add", "d-1", "--pem", "-", "--ca", "acme", stdin=leaf.pem)
    iot_auth.done("role", "create", "meter")
    iot_auth.done("grant", "meter", "--device", "d-1")
    assert lines(check(leaf))["roles"] == "device,meter" and lines(check(leaf))["registered"] == "yes"
    iot_auth.done("device", "set-status", "d-1", "INACTIVE")
    assert "set_device_status('d-1', 'ACTIVE')" in refused(check(leaf), "device_inactive")
    iot_auth.done("device", "set-status", "d-1", "ACTIVE")
    iot_auth.done("cert", "revoke", leaf.fingerprint.hex(), "--yes")
    refused(check(leaf), "certificate_revoked")


def test_client_id_must_fit_the_template(check, acme):
    assert lines(check(acme.issue("d-2"), "--client-id", "d-2"))["client_id"] == "d-2"
    out = refused(check(acme.issue("d-2"), "--client-id", "d-3"), "client_id_mismatch")
    assert "client_id_templates of CA 'acme'" in out


def test_unknown_ca_is_named_with_near_misses(check, acme, iot_auth, registry):
    registry.query("UPDATE iot_auth.ca SET subject = 'CN=acme root,O=Acme' WHERE name = 'acme'")
    unknown = pki.root(subject=pki.name("acme ROOT 2", o="Acme"))
    out = refused(check(unknown.issue("d-9")), "ca_unknown")
    assert "No registered CA has the name" in out
    assert "acme" in out.split("Similar names have:")[1]
    assert "claimed_issuer=" in out and "claimed_subject=CN=d-9" in out


def test_ca_that_is_not_active_refuses(check, iot_auth):
    ca = pki.root("off root")
    iot_auth.done("ca", "add", "off", "--pem", "-", "--auto-registration", stdin=ca.pem)
    iot_auth.done("ca", "disable", "off")
    assert "set_ca_status('off', 'ACTIVE')" in refused(check(ca.issue("o-1")), "ca_inactive")


def test_ca_without_auto_registration_knows_only_registered_devices(check, iot_auth):
    ca = pki.root("closed root")
    iot_auth.done("ca", "add", "closed", "--pem", "-", stdin=ca.pem)
    assert "auto-registration" in refused(check(ca.issue("c-1")), "device_unknown")


def test_device_of_another_ca_is_a_conflict(check, iot_auth, acme):
    ca = pki.root("rival root")
    iot_auth.done("ca", "add", "rival", "--pem", "-", "--auto-registration", stdin=ca.pem)
    iot_auth.done("device", "add", "shared", "--pem", "-", "--ca", "acme", stdin=acme.issue("shared").pem)
    refused(check(ca.issue("shared")), "device_conflict")


def test_pending_registration_is_refused(check, iot_auth):
    ca = pki.root("pending root")
    iot_auth.done("ca", "add", "pending", "--pem", "-", "--auto-registration", "--registered-status", "PENDING",
                  stdin=ca.pem)
    refused(check(ca.issue("p-1")), "device_pending")


def test_quota_counts_by_the_number_of_now(check, iot_auth):
    ca = pki.root("small root")
    iot_auth.done("ca", "add", "small", "--pem", "-", "--auto-registration", "--max-devices", 1, stdin=ca.pem)
    assert check(ca.issue("s-1")).status == 0
    iot_auth.done("device", "add", "s-0", "--pem", "-", "--ca", "small", stdin=ca.issue("s-0").pem)
    assert "CA 'small' admits 1 devices" in refused(check(ca.issue("s-1")), "quota_exceeded")


def test_addresses_count_only_when_one_is_given(check, acme, iot_auth):
    rule, = iot_auth.json("ip", "deny", "203.0.113.0/24", "--ca", "acme")
    leaf = acme.issue("d-4")
    assert check(leaf).status == 0 and check(leaf, "--from", "203.0.112.1").status == 0
    out = refused(check(leaf, "--from", "203.0.113.7"), "address_denied")
    assert "rule %d" % rule["rule_id"] in out
    assert check(leaf, "--from", "nonsense").status == 2
    iot_auth.done("ip", "remove", rule["rule_id"])


def test_revoked_expired_and_intermediate_certificates(check, acme, iot_auth):
    middle = acme.intermediate("acme middle")
    leaf = middle.issue("d-5")
    assert check(leaf, sent=[middle]).status == 0
    refused(check(leaf), "ca_unknown")
    refused(check(acme.issue("d-6", not_after=-3600)), "certificate_expired")
    listed = acme.issue("d-7")
    iot_auth.done("ca", "crl", "add", "acme", "--crl", "-", stdin=acme.crl(listed))
    refused(check(listed), "certificate_revoked")


def test_unreadable_files_and_databases_are_errors_not_decisions(check, iot_auth, acme):
    assert iot_auth("check", "cert", iot_auth.file("bad.pem", "nothing")).status == 2
    assert iot_auth("check", "cert", "/nonexistent").status == 2
    leaf = iot_auth.file("d.pem", acme.issue("d-8").pem)
    done = iot_auth("check", "cert", leaf, PGPORT="1")
    assert done.status == 4 and done.out == ""


# Tokens


@pytest.fixture(scope="module")
def corp(iot_auth):
    issuer = Issuer()
    iot_auth.done("role", "create", "reader")
    iot_auth.done("issuer", "add", "corp", "--issuer", issuer.issuer, "--audience", "mqtt", "--algorithms", "ES256",
                  "--jwks", iot_auth.file("corp.json", json.dumps(issuer.jwks())))
    iot_auth.done("issuer", "map", "corp", "use", "reader")
    return issuer


def test_token_is_admitted_as_its_app_with_the_roles_of_its_scopes(iot_auth, corp):
    done = iot_auth("check", "token", "--issuer", "corp", stdin=corp.token(scope="use other") + "\n")
    assert done.status == 0, done
    assert lines(done)["roles"] == "reader" and lines(done)["client_id"] == "app:corp:dashboard"
    refused(iot_auth("check", "token", "--issuer", "corp", "--client-id", "x", stdin=corp.token()), "client_id_mismatch")


def test_refused_token_says_why_and_what_it_claims(iot_auth, corp):
    out = refused(iot_auth("check", "token", "--issuer", "corp", stdin=corp.token(aud="web")), "token_audience")
    assert "remedy: aud is 'web'" in out and '"claimed_aud":"web"' in out.replace(" ", "")
    out = refused(iot_auth("check", "token", "--issuer", "corp", stdin=corp.token(iss=corp.issuer + "/")), "token_issuer")
    assert corp.issuer in out
    refused(iot_auth("check", "token", "--issuer", "corp", stdin=corp.token(lifetime=-3600)), "token_expired")
    refused(iot_auth("check", "token", "--issuer", "corp", stdin="no token"), "token_malformed")


def test_options_of_the_other_way_are_refused(iot_auth, corp):
    for words in (("--issuer", "corp", "--at", "2030-01-01T00:00:00Z"),
                  ("--jwks", "keys.json", "--alg", "ES256", "--issuer", "i", "--audience", "a", "--from", "192.0.2.1"),
                  ("--jwks", "keys.json", "--alg", "ES256", "--issuer", "i", "--audience", "a", "--client-id", "x")):
        done = iot_auth("check", "token", *words, stdin="x")
        assert done.status == 2 and "--jwks" in done.err and done.out == "", done


def test_token_is_never_printed(iot_auth, corp):
    token = corp.token(aud="web")
    done = iot_auth("check", "token", "--issuer", "corp", stdin=token)
    assert token.split(".")[2] not in done.out + done.err and token.split(".")[1] not in done.out + done.err


def test_issuer_that_is_disabled_or_unknown(iot_auth, corp):
    assert iot_auth("check", "token", "--issuer", "no", stdin=corp.token()).status == 3
    iot_auth.done("issuer", "disable", "corp")
    refused(iot_auth("check", "token", "--issuer", "corp", stdin=corp.token()), "issuer_inactive")
    iot_auth.done("issuer", "enable", "corp")
    assert iot_auth("check", "token", stdin=corp.token()).status == 2


def test_keys_are_fetched_as_brokers_do(iot_auth):
    with KeyServer() as server:
        issuer = Issuer("web", issuer="https://web.example")
        server.answer(issuer.jwks())
        iot_auth.done("issuer", "add", "web", "--issuer", issuer.issuer, "--audience", "mqtt", "--jwks-url", server.url())
        assert iot_auth("check", "token", "--issuer", "web", stdin=issuer.token()).status == 0
        server.answer({"keys": []})
        refused(iot_auth("check", "token", "--issuer", "web", stdin=issuer.token()), "token_key_unknown")


@pytest.mark.parametrize("words", [("check", "cert", "leaf.pem"), ("check", "token", "--issuer", "corp"),
                                   ("check", "device", "d-1", "publish", "a")], ids=lambda words: words[1])
def test_check_that_cannot_ask_the_registry_does_not_decide(registry, iot_auth, acme, corp, words):
    """3 and 4 are no decisions: a script that takes every failure for deny would lock out, one that takes it for allow admit."""
    iot_auth.file("leaf.pem", acme.issue("d-1").pem)
    for role, more, status, why in (("iot_auth_monitor", {}, 3, "permission denied"), (pg.ADMIN, {"PGPORT": "1"}, 4, "onnection"),
                                    (pg.ADMIN, {"PGDATABASE": "postgres"}, 3, "schema")):
        done = Command(registry, iot_auth.folder, user=role)(*words, stdin=corp.token(), **more)
        assert (done.status, done.out) == (status, "") and why in done.err, done


def test_role_of_brokers_may_not_ask_for_a_registration(registry, iot_auth, acme, tmp_path):
    broker = Command(registry, tmp_path, user=pg.BROKER)
    done = broker("check", "cert", broker.file("x.pem", acme.issue("x-1").pem))
    assert (done.status, done.out) == (3, "") and "permission denied" in done.err


# An app without a provider


@pytest.fixture(scope="module")
def demo(iot_auth):
    """Issuer demo for trying out, and its folder."""
    folder = iot_auth.folder / "demo"
    iot_auth.done("issuer", "add", "demo", "--try-out", folder)
    return folder


def make(iot_auth, demo, *more):
    return iot_auth.done("token", "make", "--issuer", "demo", "--dir", demo, "--app", "dash", *more,
                         PGPORT="1").out.strip()


def test_app_without_a_provider_is_admitted(iot_auth, demo):
    done = iot_auth("check", "token", "--issuer", "demo", stdin=make(iot_auth, demo, "--scope", "telemetry:read"))
    assert done.status == 0, done
    assert (lines(done)["client_id"], lines(done)["roles"]) == ("app:demo:dash", "try-out")
    assert lines(iot_auth("check", "token", "--issuer", "demo", stdin=make(iot_auth, demo)))["roles"] == ""
    assert "issuer demo is for trying out" in iot_auth.done("status").out


def test_token_has_the_claims_that_are_asked_for(iot_auth, demo):
    token = make(iot_auth, demo, "--expires-in", "2h", "--claim", 'site="north"', "--claim", "level=3", "--scope", "a,b")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["site"], claims["level"], claims["scope"], claims["exp"] - claims["iat"]) == ("north", 3, "a b", 7200)
    assert {"iss", "aud", "sub", "client_id", "jti"} <= set(claims)
    assert jwt.get_unverified_header(token)["typ"] in ("JWT", "at+jwt")  # libjwt 1.10 always writes JWT
    refused(iot_auth("check", "token", "--issuer", "demo", stdin=make(iot_auth, demo, "--claim", 'aud="web"')),
            "token_audience")


def test_key_is_private_and_never_overwritten(iot_auth, demo):
    assert (demo / "try-out-key.pem").stat().st_mode & 0o777 == 0o600
    before = (demo / "try-out-key.pem").read_bytes()
    done = iot_auth("issuer", "add", "demo2", "--try-out", demo)
    assert done.status == 2 and "File exists" in done.err
    assert (demo / "try-out-key.pem").read_bytes() == before
    assert iot_auth("issuer", "show", "demo2").status == 3  # nothing was registered


def test_a_try_out_issuer_that_is_not_registered_leaves_no_key(iot_auth, demo):
    folder = iot_auth.folder / "demo3"
    folder.mkdir()
    other = demo / "try-out-key.pem"
    issuer = next(path for path in demo.iterdir() if path != other)
    (folder / issuer.name).write_text("own")
    done = iot_auth("issuer", "add", "demo3", "--try-out", folder)
    assert done.status == 2 and "File exists" in done.err
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(issuer.name, "own")]


@pytest.mark.parametrize("words, complaint", [
    (("--issuer", "other"), "the folder is that of issuer 'demo'"),
    (("--issuer", "demo", "--expires-in", "10x"), "is not a time such as"),
    (("--issuer", "demo", "--claim", "site=north"), "the value is not JSON"),
])
def test_token_is_not_made_of_wrong_words(iot_auth, demo, words, complaint):
    done = iot_auth("token", "make", "--dir", demo, "--app", "dash", *words)
    assert (done.status, done.out) == (2, "") and complaint in done.err


def test_issuer_needs_its_words_or_a_folder(iot_auth, demo):
    assert "--try-out DIR" in iot_auth("issuer", "add", "x").err
    assert iot_auth("issuer", "add", "x", "--try-out", "y", "--issuer", "z").status == 2
    assert iot_auth("issuer", "add", "x", "--try-out", "y", "--max-lifetime-s", 60).status == 2
    assert iot_auth("issuer", "add", "x", "--issuer", "z", "--audience", "a", "--role", "r").status == 2
