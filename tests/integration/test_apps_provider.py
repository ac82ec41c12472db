# SPDX-License-Identifier: ISC
"""End to end with independent identity providers (identity_providers.py): oidc-provider and glewlwyd."""

import pathlib
import subprocess

import pytest

from app_kit import Issuer, app, app_within, auth_app, bearer, may_subscribe
from broker import SOURCE, wait_until
from client import CLOSED
from identity_providers import Glewlwyd, OidcProvider, decoded

SOON = 2.0
REGISTRY_UNREACHABLE = 75
RULES = {"telemetry:read": ["ALLOW SUBSCRIBE,RECEIVE devices/#"], "telemetry:write": ["ALLOW PUBLISH devices/#"]}


@pytest.fixture(scope="session")
def installed():
    """The folder of the installed provider."""
    script = SOURCE / "scripts" / "get-identity-provider"
    run = subprocess.run([script], capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
    if run.returncode == REGISTRY_UNREACHABLE:
        pytest.skip("oidc-provider is not installed and the npm registry cannot be reached")
    assert run.returncode == 0, run.stderr
    return pathlib.Path(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shared_provider(installed, tmp_path_factory):
    """Node.js takes seconds to start it."""
    made = OidcProvider(installed, tmp_path_factory.mktemp("provider"))
    yield made
    made.close()


@pytest.fixture
def provider(shared_provider):
    """oidc-provider as every test finds it: whatever a test before has done to its keys."""
    if shared_provider.kid != "first":
        shared_provider.start("first")
    return shared_provider


@pytest.fixture
def world(site, provider):
    corp = Issuer(issuer=provider.url).register(site, RULES, jwks_url=provider.jwks_url, algorithms=["RS256"])
    broker = site.broker()
    token = provider.token("telemetry:read")
    app_within(SOON, site, broker, token).disconnect()
    return site, corp, broker, provider


def test_roles_in_a_nested_claim_are_rights(world):
    site, corp, broker, provider = world
    corp.grant(site, "operator", "ALLOW SUBSCRIBE,RECEIVE plant/#")
    token = provider.token("telemetry:read")
    assert decoded(token)[1]["realm_access"] == {"roles": ["operator", "offline_access"]}
    assert not may_subscribe(site, broker, token, "plant/boiler")
    site.registry.query("SELECT iot_auth.set_issuer('corp', scope_claims => '{/scope,/realm_access/roles}')")
    wait_until(lambda: may_subscribe(site, broker, token, "plant/boiler"), what="rights of the role")


@pytest.fixture
def real_provider(request, tmp_path):
    """Each of the two."""
    if request.param == "oidc-provider":
        yield request.getfixturevalue("provider")
        return
    made = Glewlwyd(tmp_path)
    made.start()
    yield made
    made.close()


@pytest.mark.parametrize("real_provider", ["oidc-provider", "glewlwyd"], indirect=True)
def test_tokens_by_client_credentials_and_by_authorization_code_have_the_rights_of_their_nested_roles(site, real_provider):
    """By the keys that the provider publishes.  The broker's right is the provider's role, of an app alone and of a user."""
    provider = real_provider
    corp = Issuer(issuer=provider.issuer, audience=provider.audience)
    corp.register(site, RULES, jwks_url=provider.jwks_url, algorithms=[provider.algorithm], scope_claims=["/scope", *provider.roles])
    corp.grant(site, "operator", "ALLOW SUBSCRIBE,RECEIVE plant/#")
    broker = site.broker()
    tokens = {"app alone": provider.token("telemetry:read"), "operator": provider.token_of("alice", "telemetry:read"),
              "guest": provider.token_of("bob", "telemetry:read")}
    app_within(15, site, broker, tokens["app alone"]).disconnect()
    for whose, token in tokens.items():
        payload = decoded(token)[1]
        assert payload["client_id"] == "dashboard" and "telemetry:read" in payload["scope"].split(" "), whose
        assert (payload["sub"] == "dashboard") == (whose == "app alone"), payload
        client = app(site, broker, token)
        assert client.subscribe("devices/one") < 0x80, "the right of the scope, of " + whose
        assert (client.subscribe("plant/boiler") < 0x80) == (whose != "guest"), whose
        client.disconnect()
    corp.set(site, audience=["another"])
    wait_until(lambda: not may_subscribe(site, broker, tokens["operator"], "plant/boiler"), what="refusal of another audience")


def test_its_tokens_are_what_they_are_taken_for(world):
    """RFC 9068 as a real provider implements it."""
    _site, _corp, _broker, provider = world
    header, claims = decoded(provider.token("telemetry:read telemetry:write"))
    assert header == {"alg": "RS256", "typ": "at+jwt", "kid": "first"}
    assert (claims["iss"], claims["aud"], claims["client_id"]) == (provider.url, "mqtt", "dashboard")
    assert claims["scope"] == "telemetry:read telemetry:write"


def test_an_app_reads_and_writes_by_the_scopes_that_it_was_given(world):
    site, _corp, broker, provider = world
    reader = app(site, broker, provider.token("telemetry:read"), "app:corp:dashboard/1")
    writer = auth_app(site, broker, provider.token("telemetry:write"), "app:corp:dashboard/2")
    assert reader.subscribe("devices/#") == 1
    assert writer.subscribe("devices/#") >= 128
    reader.publish("devices/one/x", "not mine to say")
    writer.publish("devices/one/x", "21.5")
    assert reader.receive() == ("devices/one/x", "21.5")
    writer.assert_reauthenticated(bearer(provider.token("telemetry:read")))
    assert writer.subscribe("devices/#") < 128


def test_its_key_is_rotated_while_apps_are_connected(world):
    site, corp, broker, provider = world
    old_token = provider.token("telemetry:read")
    by_password = app(site, broker, old_token, "app:corp:dashboard/1")
    by_auth = auth_app(site, broker, old_token, "app:corp:dashboard/2")
    provider.start("second")
    assert by_password.subscribe("devices/#") == 1, "it stays connected while no token with the new key has come"
    new_token = provider.token("telemetry:read")
    new = app_within(15, site, broker, new_token, "app:corp:dashboard/3")
    by_password.wait_closed(SOON)
    by_auth.wait_kicked(SOON)
    assert new.subscribe("devices/#") == 1
    assert site.try_connect(broker, client_id="app:corp:dashboard", password=old_token) in (CLOSED, 3, 0x88)
    provider.stop()
    app(site, broker, new_token, "app:corp:dashboard/4")
    assert corp.problem(site) is None


def test_a_session_ends_with_its_short_lived_token(world):
    site, corp, broker, provider = world
    corp.set(site, leeway_s=0)
    provider.start("second", lifetime=3)
    site.registry.set_issuer_status(name="corp", status="INACTIVE")  # forgets the first key at once
    site.registry.set_issuer_status(name="corp", status="ACTIVE")

    def admitted():
        """With a token that is new: a busy machine may take seconds for each attempt."""
        client = site.client(broker, None, "app:corp:dashboard", password=provider.token("telemetry:read"))
        return client if client.connect() == 0 else client.disconnect()

    wait_until(admitted, 15, "the new key").wait_closed(3 + SOON)
    event = site.registry.wait_for_event("token_expired", "session/ended", "app:corp:dashboard")
    assert event["detail"]["client_id"] == "app:corp:dashboard"
