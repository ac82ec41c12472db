# SPDX-License-Identifier: ISC
"""revoke_tokens: one token, one app or one user is out, at once and until the row is removed."""

import time

import pytest

from app_kit import AuthClient, Issuer, bearer
from broker import wait_until
from client import REFUSED

SOON = 1.0


@pytest.fixture
def world(site):
    corp = Issuer().register(site, {"use": ["ALLOW PUBLISH,SUBSCRIBE,RECEIVE devices/#"]})
    return site, corp, site.broker()


def connect(site, broker, token, number=0):
    client = AuthClient(site, broker, "app:corp:dashboard/%d" % number, listener="plain")
    outcome = client.connect(bearer(token))
    return client if outcome == 0 else outcome


def test_revoked_tokens_end_their_sessions_within_a_second_and_no_others(world):
    site, corp, broker = world
    claims = [dict(jti="one", sub="alice", sid="s1"), dict(jti="two", sub="alice", sid="s2"), dict(jti="three", sub="bob", sid="s3"),
              dict(jti="four", sub="carol", sid="s4", amr=["pwd", "otp"]), dict(jti="five", sub="dave", sid="s5", tenant_id=42)]
    tokens = [corp.token(**c) for c in claims]
    sessions = [connect(site, broker, token, n) for n, token in enumerate(tokens)]
    for expected, arguments in (([0], ("/jti", "one")), ([1], ("/sub", "alice")), ([3], ("/amr", "otp")), ([4], ("/tenant_id", "42"))):
        site.registry.query("SELECT iot_auth.revoke_tokens('corp', %s, %s)", *arguments)
        for n in expected:
            sessions[n].wait_kicked(SOON)  # the machine may be busy: PATIENCE
            assert connect(site, broker, tokens[n], n) in REFUSED
    sessions[2].ping()
    events = wait_until(lambda: [e for e in site.registry.events(0, "session/ended") if e["reason"] == "token_revoked"])
    assert events[0]["principal"] == "app:corp:dashboard"

    # A token that was issued later is admitted, and the old one again when the row is removed.
    later = corp.token(**claims[1], iat=int(time.time()) + 2)
    time_of_later = int(time.time()) + 2
    site.registry.query("UPDATE iot_auth.token_revocation SET issued_before = now() - interval '1 s' WHERE value = 'alice'")
    wait_until(lambda: time.time() > time_of_later - 1)
    wait_until(lambda: isinstance(connect(site, broker, later, 11), AuthClient), what="admission of a later token")
    site.registry.query("SELECT iot_auth.unrevoke_tokens(id) FROM iot_auth.token_revocation WHERE value = 'one'")
    site.registry.query("SELECT iot_auth.unrevoke_tokens(id) FROM iot_auth.token_revocation WHERE value = 'alice'")
    wait_until(lambda: isinstance(connect(site, broker, tokens[0], 10), AuthClient), what="admission after unrevoke_tokens")


def test_a_renewed_session_answers_for_its_newest_token(world):
    site, corp, broker = world
    renewed, other = (connect(site, broker, corp.token(jti="old-%d" % n), n) for n in range(2))
    renewed.assert_reauthenticated(bearer(corp.token(jti="new")))
    site.registry.query("SELECT iot_auth.revoke_tokens('corp', '/jti', 'old-0')")
    site.registry.query("SELECT iot_auth.revoke_tokens('corp', '/jti', 'old-1')")
    other.wait_kicked()
    renewed.ping()
    site.registry.query("SELECT iot_auth.revoke_tokens('corp', '/jti', 'new')")
    renewed.wait_kicked()
