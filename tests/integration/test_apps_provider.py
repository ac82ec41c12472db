# SPDX-License-Identifier: ISC
"""End to end with an independent identity provider: oidc-provider, run by Node.js."""

import base64
import json
import os
import pathlib
import subprocess
import urllib.parse
import urllib.request

import pytest

import pki
from app_kit import Issuer, app, app_within, auth_app, base64url, bearer, jwk
from broker import SOURCE, free_port, wait_until
from client import CLOSED, V5

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


def private_jwk(key, kid):
    numbers = key.private_numbers()
    parts = {"d": numbers.d, "p": numbers.p, "q": numbers.q, "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
    texts = {name: base64url(n.to_bytes((n.bit_length() + 7) // 8, "big")) for name, n in parts.items()}
    return jwk(key, kid, use="sig", alg="RS256", **texts)


class Provider:
    """oidc-provider on loopback; start() it again to let it sign with other keys."""

    def __init__(self, installed, folder):
        self.port = free_port()
        self.url = "http://127.0.0.1:%d" % self.port
        self._jwks_file = folder / "provider-keys.json"
        self._log = folder / "provider.log"
        self._process = None
        # Modules are looked for beside the program.
        self._program = installed / ("provider-%d.mjs" % os.getpid())
        self._program.write_bytes((SOURCE / "tests/integration/oidc-provider/provider.mjs").read_bytes())

    def start(self, kid, lifetime=600):
        """Starts it with one new key of that name."""
        self.stop()
        self._jwks_file.write_text(json.dumps({"keys": [private_jwk(pki.rsa_key(), kid)]}))
        words = ["node", self._program, str(self.port), self._jwks_file, "mqtt", str(lifetime)]
        with open(self._log, "ab") as log:
            # pylint: disable-next=consider-using-with
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._serves, 60, "oidc-provider")

    def _serves(self):
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(self.url + "/.well-known/openid-configuration", timeout=5) as answer:
                return json.load(answer)["issuer"] == self.url
        except OSError:
            return False

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def close(self):
        self.stop()
        self._program.unlink()

    def token(self, scope):
        """An access token by the client-credentials grant (RFC 6749 section 4.4, RFC 8707)."""
        form = {"grant_type": "client_credentials", "client_id": "dashboard", "resource": "urn:mqtt", "scope": scope,
                "client_secret": "the secret of the dashboard"}
        with urllib.request.urlopen(self.url + "/token", urllib.parse.urlencode(form).encode(), timeout=20) as answer:
            got = json.load(answer)
        assert got["token_type"] == "Bearer"
        return got["access_token"]


@pytest.fixture
def provider(installed, tmp_path):
    made = Provider(installed, tmp_path)
    yield made
    made.close()


@pytest.fixture
def world(site, provider):
    provider.start("first")
    corp = Issuer(issuer=provider.url).register(site, RULES, jwks_url=provider.url + "/jwks", algorithms=["RS256"])
    broker = site.broker()
    token = provider.token("telemetry:read")
    app_within(SOON, site, broker, token).disconnect()
    return site, corp, broker, provider


def decoded(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_roles_in_a_nested_claim_are_rights(world):
    site, corp, broker, provider = world
    corp.grant(site, "operator", "ALLOW SUBSCRIBE,RECEIVE plant/#")
    token = provider.token("telemetry:read")
    assert decoded(token.split(".")[1])["realm_access"] == {"roles": ["operator", "offline_access"]}
    client = app(site, broker, token, protocol=V5)
    assert client.subscribe("plant/boiler") >= 0x80
    client.disconnect()
    site.registry.query("SELECT iot_auth.set_issuer('corp', scope_claims => '{/scope,/realm_access/roles}')")

    def allowed():
        again = app(site, broker, token, protocol=V5)
        code = again.subscribe("plant/boiler")
        again.disconnect()
        return code < 0x80

    wait_until(allowed, what="rights of the role")


def test_its_tokens_are_what_they_are_taken_for(world):
    """RFC 9068 as a real provider implements it."""
    _site, _corp, _broker, provider = world
    header, payload, _signature = provider.token("telemetry:read telemetry:write").split(".")
    assert decoded(header) == {"alg": "RS256", "typ": "at+jwt", "kid": "first"}
    claims = decoded(payload)
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
        nonlocal token
        token = provider.token("telemetry:read")
        return site.try_connect(broker, client_id="app:corp:dashboard", password=token) == 0

    token = None
    wait_until(admitted, 15, "the new key")
    client = app(site, broker, token)
    client.wait_closed(3 + SOON)
    event = site.registry.wait_for_event("token_expired", "session/ended", "app:corp:dashboard")
    assert event["detail"]["client_id"] == "app:corp:dashboard"
