# SPDX-License-Identifier: ISC
"""Issuers whose keys come by URL: over HTTPS, kept when the provider fails, and never fetched too often."""

import gzip
import json
import threading
import time
import zlib

import pytest

import pki
from app_kit import Issuer, KeyServer, app, app_within, auth_app, new_key
from broker import wait_until
from client import CLOSED, REFUSED

SOON = 2.0
GAP = 10  # s between two fetches for one issuer, whatever tokens arrive
RULES = {"use": ["ALLOW PUBLISH,SUBSCRIBE,RECEIVE devices/#"]}
NOT_YET = (CLOSED, 3, 0x88)


@pytest.fixture(scope="module")
def authority():
    return pki.root("providers")


@pytest.fixture
def provider(authority, tmp_path):
    """A provider's HTTPS server on loopback; its CA is in tmp_path/providers.pem."""
    (tmp_path / "providers.pem").write_text(authority.pem)
    with KeyServer(pki.server(authority), tmp_path) as server:
        yield server


def trusting(site, **options):
    return site.broker(options={"jwks_ca_file": site.folder / "providers.pem", **options})


def admitted_soon(site, broker, issuer, seconds=SOON, **claims):
    return app_within(seconds, site, broker, issuer.token(**claims), "app:%s:dashboard" % issuer.name)


def problem(site, issuer, text, seconds=SOON):
    """Waits until the issuer's row has a problem that contains the text; returns it."""
    def matching():
        found = issuer.problem(site)
        return found if found and text in found else None

    try:
        return wait_until(matching, seconds, "problem '%s'" % text)
    except AssertionError as error:
        raise AssertionError("%s; it is: %s" % (error, issuer.problem(site))) from None


# Fetching

def test_keys_come_from_the_url_over_https(site, provider):
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    provider.answer(corp.jwks())
    broker = trusting(site)
    client = admitted_soon(site, broker, corp)
    assert client.subscribe("devices/#") == 1
    assert client.connected
    for _ in range(5):
        app(site, broker, corp.token())
    assert len(provider.times()) == 1, "one fetch for all"
    assert corp.problem(site) is None


def test_an_issuer_registered_live_has_its_keys_within_moments(site, provider):
    broker = trusting(site)
    corp = Issuer()
    provider.answer(corp.jwks())
    corp.register(site, RULES, jwks_url=provider.url())
    admitted_soon(site, broker, corp)


def test_a_provider_whose_certificate_is_not_trusted_is_not_believed(site, provider):
    """The system's CAs did not sign the server's certificate; none of its keys is ever used."""
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    provider.answer(corp.jwks())
    broker = site.broker()
    problem(site, corp, "certificate")
    assert provider.times() == []
    site.assert_refused("token_key_unknown", broker, client_id="app:corp:dashboard", codes=NOT_YET,
                        password=corp.token())


def test_a_provider_with_another_name_in_its_certificate_is_not_believed(site, authority, tmp_path):
    (tmp_path / "providers.pem").write_text(authority.pem)
    credential = authority.issue("elsewhere", eku=[pki.SERVER_AUTH], san_dns=["elsewhere.example"])
    with KeyServer(credential, tmp_path) as server:
        corp = Issuer().register(site, RULES, jwks_url=server.url())
        server.answer(corp.jwks())
        trusting(site)
        problem(site, corp, "127.0.0.1")
        assert server.times() == []


OIDC, RFC8414 = "/realms/plant/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/plant"


@pytest.mark.parametrize("path", [OIDC, RFC8414], ids=["openid", "rfc8414"])
def test_without_a_url_it_is_discovered_at_the_issuer(site, provider, path):
    issuer = provider.url("/realms/plant")
    corp = Issuer(issuer=issuer).register(site, RULES, jwks=None)
    provider.answer({"issuer": issuer, "jwks_uri": provider.url("/keys")}, path)
    provider.answer(corp.jwks(), "/keys")
    broker = trusting(site)
    assert admitted_soon(site, broker, corp).subscribe("devices/#") == 1
    assert corp.problem(site) is None


def test_metadata_of_another_issuer_is_refused(site, provider):
    """Otherwise any issuer could point to another's keys (RFC 8414 section 3.3)."""
    issuer = provider.url("/realms/plant")
    corp = Issuer(issuer=issuer).register(site, RULES, jwks=None)
    for path in (OIDC, RFC8414):
        provider.answer({"issuer": issuer + "/", "jwks_uri": provider.url("/keys")}, path)
    provider.answer(corp.jwks(), "/keys")
    trusting(site)
    problem(site, corp, "its issuer is another one")
    assert provider.times("/keys") == []


def test_plain_http_is_for_loopback_only(site):
    """0.0.0.0 reaches this machine, but is not a loopback address."""
    with KeyServer() as server, KeyServer(host="0.0.0.0") as elsewhere:
        corp = Issuer("corp").register(site, RULES, jwks_url=server.url())
        far = Issuer("far").register(site, RULES, jwks_url=elsewhere.url())
        server.answer(corp.jwks())
        elsewhere.answer(far.jwks())
        broker = site.broker()
        admitted_soon(site, broker, corp)
        problem(site, far, "plain http is for loopback only")
        assert site.try_connect(broker, client_id="app:far:dashboard", password=far.token()) in NOT_YET
        assert elsewhere.times() == []


def test_insecure_http_jwks_allows_plain_http_elsewhere(site):
    with KeyServer(host="0.0.0.0") as elsewhere:
        far = Issuer("far").register(site, RULES, jwks_url=elsewhere.url())
        elsewhere.answer(far.jwks())
        broker = site.broker(options={"insecure_http_jwks": "on"})
        admitted_soon(site, broker, far)


def test_a_redirect_is_followed_to_https_only(site, provider):
    with KeyServer() as plain:
        good = Issuer("good").register(site, RULES, jwks_url=provider.url("/moved"))
        bad = Issuer("bad").register(site, RULES, jwks_url=provider.url("/downgraded"))
        provider.answer("", "/moved", 302, {"Location": provider.url("/keys")})
        provider.answer("", "/downgraded", 302, {"Location": plain.url("/keys")})
        provider.answer(good.jwks(), "/keys")
        plain.answer(bad.jwks(), "/keys")
        broker = trusting(site)
        admitted_soon(site, broker, good)
        problem(site, bad, "")
        assert plain.times("/keys") == []


# Rotation

def test_rotation_while_connected_under_a_storm_of_unknown_keys(site, provider):
    """The old key's sessions end, the new key's tokens are accepted; unknown keys cannot make the broker fetch more
    often."""
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    provider.answer(corp.jwks())
    broker = trusting(site)
    old_token = corp.token()
    old = admitted_soon(site, broker, corp)
    old_auth = auth_app(site, broker, old_token, "app:corp:dashboard/auth")
    unknown = Issuer()
    stop = threading.Event()

    def storm():
        while not stop.is_set():
            kid = "made-up-%d" % time.monotonic_ns()
            password = corp.token(headers={"kid": kid}, key=unknown.key)
            assert site.try_connect(broker, client_id="app:corp:x", password=password) in NOT_YET
            stop.wait(0.01)

    thread = threading.Thread(target=storm)
    thread.start()
    corp.rotate(keep=False)
    provider.answer(corp.jwks())
    try:
        new = admitted_soon(site, broker, corp, GAP + SOON)
    finally:
        stop.set()
        thread.join()
    old.wait_closed(SOON)
    old_auth.wait_kicked(SOON)
    assert new.subscribe("devices/#") == 1
    event = site.registry.wait_for_event("token_key_unknown", "session/ended", "app:corp:dashboard")
    assert event["detail"]["client_id"].startswith("app:corp:dashboard")
    assert site.try_connect(broker, client_id="app:corp:dashboard", password=old_token) in NOT_YET
    first, second = provider.times()
    assert second - first >= GAP - 0.1


# Providers that fail

class Failing:
    """An issuer whose provider fails in one way after it has worked."""

    def __init__(self, site, provider, name, text, **answer):
        self.path = "/" + name
        self.issuer = Issuer(name).register(site, RULES, jwks_url=provider.url(self.path))
        self.text = text
        self.bad_answer = answer
        self.good(provider)

    def good(self, provider):
        provider.answer(self.issuer.jwks(), self.path)

    def bad(self, provider):
        provider.answer(path=self.path, **self.bad_answer)

    def noticed(self, site, broker):
        """Shows a token with an unknown key, which lets the broker ask again.  Does the row report the failure?"""
        token = self.issuer.token(headers={"kid": "unknown"})
        assert site.try_connect(broker, client_id="x", password=token) in NOT_YET
        return self.text in (self.issuer.problem(site) or "")


def test_an_empty_key_set_withdraws_the_keys(site, provider):
    """A provider that lists no key has none that may be used: its sessions end."""
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    provider.answer(corp.jwks())
    broker = trusting(site)
    client = admitted_soon(site, broker, corp)
    provider.answer({"keys": []})
    site.try_connect(broker, client_id="x", password=corp.token(headers={"kid": "unknown"}))  # makes it look
    client.wait_closed(GAP + SOON)
    problem(site, corp, "no key")
    assert site.try_connect(broker, client_id="app:corp:dashboard", password=corp.token()) in NOT_YET
    provider.answer(corp.jwks())
    app_within(1.5 * GAP + SOON, site, broker, corp.token())


def test_a_new_key_under_the_same_kid_is_found(site, provider):
    """A bad signature asks for the keys again, no more often than an unknown kid does."""
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    provider.answer(corp.jwks())
    broker = trusting(site)
    admitted_soon(site, broker, corp)
    corp.keys[corp.kid] = new_key(corp.algorithm)
    provider.answer(corp.jwks())
    app_within(1.5 * GAP + SOON, site, broker, corp.token())
    times = provider.times()
    assert all(later - earlier > GAP - 1 for earlier, later in zip(times, times[1:])), times


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_key_set_is_decoded(site, provider, encoding):
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    text = json.dumps(corp.jwks()).encode()
    packed = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
    provider.answer(packed, headers={"Content-Encoding": encoding})
    admitted_soon(site, trusting(site), corp)
    assert corp.problem(site) is None


def test_keys_of_other_kinds_are_no_problem(site, provider):
    """RFC 7517 section 5: ignored.  And one key may be listed for each of its algorithms under one kid."""
    corp = Issuer(algorithm="RS256")
    listed = [dict(key, alg=algorithm) for key in corp.jwks()["keys"] for algorithm in ("RS256", "RS384", "RS512")]
    others = [{"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "AA"},
              {"kty": "OKP", "crv": "X25519", "kid": "x", "x": "A" * 43},
              dict(listed[0], kid="enc", alg="RSA-OAEP-256", use=None, d=None)]
    corp.register(site, RULES, jwks_url=provider.url())
    provider.answer({"keys": others + listed})
    admitted_soon(site, trusting(site), corp)
    assert corp.problem(site) is None
    note = wait_until(lambda: site.registry.value("SELECT note FROM iot_auth.oauth_issuer WHERE name = 'corp'"), SOON, "note")
    assert "key 'pq': kty 'AKP' is not used here" in note and "'X25519'" in note and "'RSA-OAEP-256'" in note


def stored(folder):
    return sorted(path.name for path in folder.iterdir())


def test_keys_survive_a_restart_while_the_provider_is_down(site, provider):
    folder = site.folder / "state"
    folder.mkdir(mode=0o700)
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    provider.answer(corp.jwks())
    broker = trusting(site, state_dir=folder)
    admitted_soon(site, broker, corp)
    wait_until(lambda: stored(folder), SOON, "stored keys")
    assert stored(folder) == ["jwks-corp.json"]
    assert (folder / "jwks-corp.json").stat().st_mode & 0o777 == 0o600
    provider.stop()
    broker.restart()
    admitted_soon(site, broker, corp)
    problem(site, corp, "onnect")
    (folder / "jwks-corp.json").chmod(0o666)
    broker.restart()
    assert site.try_connect(broker, client_id="app:corp:dashboard", password=corp.token()) in NOT_YET
    provider.start()
    app_within(1.5 * GAP + SOON, site, broker, corp.token())


def test_keys_that_are_too_old_end_their_sessions(site, provider):
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    provider.answer(corp.jwks())
    broker = trusting(site, jwks_stale_max_s=8)
    client = admitted_soon(site, broker, corp)
    provider.stop()
    client.wait_closed(8 + SOON)
    problem(site, corp, "jwks_stale_max_s")


def test_a_state_directory_that_others_can_write_to_stops_the_broker(site):
    folder = site.folder / "open"
    folder.mkdir()
    folder.chmod(0o777)
    log = site.new_broker(options={"state_dir": folder}).expect_no_start()
    assert any("state_dir" in line for line in log.splitlines() if "iot-auth" in line), log


def private_set():
    key = new_key("RS256")
    numbers = key.private_numbers()
    public = Issuer(algorithm="RS256")
    public.keys[public.kid] = key
    jwks = public.jwks()
    jwks["keys"][0]["d"] = "%x" % numbers.d
    return jwks, "%x" % numbers.d


def test_the_last_good_keys_stay_while_the_provider_fails(site, provider):
    leaked, secret = private_set()
    failing = [
        Failing(site, provider, "error", "HTTP status 500", body="sorry", status=500),
        Failing(site, provider, "rubbish", "JWK set", body="<html>maintenance</html>"),
        Failing(site, provider, "slow", "timed out", body="", slow=True),
        Failing(site, provider, "endless", "too long", body=json.dumps({"keys": [], "x": "y" * 300000})),
        Failing(site, provider, "leaked", "no key", body=leaked),
        Failing(site, provider, "redirected", "rotocol", body="", status=302,
                headers={"Location": "file:///etc/passwd"}),
    ]
    broker = trusting(site)
    sessions = [admitted_soon(site, broker, f.issuer) for f in failing]
    for each in failing:
        each.bad(provider)
    for each, session in zip(failing, sessions):
        wait_until(lambda each=each: each.noticed(site, broker), GAP + 5 + SOON, "problem of " + each.path)
        assert session.subscribe("devices/x") == 1
        app(site, broker, each.issuer.token(), "app:%s:dashboard/new" % each.issuer.name)
    assert secret not in broker.log(), "a private key is not logged"
    for each in failing:
        each.good(provider)
    for each, session in zip(failing, sessions):
        wait_until(lambda each=each: each.issuer.problem(site) is None, 1.3 * GAP + SOON, "end of the problem")
        assert session.connected


def test_a_provider_that_is_down_is_reported_and_tried_again(site, provider):
    """No app is admitted before there are keys, and every app soon after."""
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    provider.answer(corp.jwks())
    provider.stop()
    broker = trusting(site)
    problem(site, corp, "onnect")
    assert site.try_connect(broker, client_id="app:corp:dashboard", password=corp.token()) in NOT_YET
    provider.start()
    client = admitted_soon(site, broker, corp, 1.3 * GAP + SOON)
    wait_until(lambda: corp.problem(site) is None, SOON, "end of the problem")
    provider.stop()
    assert client.subscribe("devices/x") == 1
    app(site, broker, corp.token(), "app:corp:dashboard/2")


def test_a_slow_provider_does_not_hold_up_the_others_nor_the_shutdown(site, provider):
    slow = Issuer("slow").register(site, RULES, jwks_url=provider.url("/slow"))
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    provider.answer("", "/slow", slow=True)
    provider.answer(corp.jwks())
    broker = trusting(site)
    admitted_soon(site, broker, corp)
    began = time.monotonic()
    broker.stop()
    assert time.monotonic() - began < 3, "it waited for the provider"
    assert len(provider.times("/slow")) == 1
    assert slow.problem(site) is None


def test_a_row_with_another_url_forgets_the_old_keys(site, provider):
    corp = Issuer().register(site, RULES, jwks_url=provider.url("/old"))
    provider.answer(corp.jwks(), "/old")
    broker = trusting(site)
    client = admitted_soon(site, broker, corp)
    corp.rotate(keep=False)
    provider.answer(corp.jwks(), "/new")
    corp.set(site, jwks_url=provider.url("/new"))
    admitted_soon(site, broker, corp).disconnect()
    client.wait_closed(SOON)


def test_keys_in_the_row_take_the_place_of_a_url(site, provider):
    """No request is sent."""
    corp = Issuer().register(site, RULES, jwks_url=provider.url())
    corp.set(site, jwks=json.dumps(corp.jwks()), jwks_url=None)
    broker = trusting(site)
    app(site, broker, corp.token())
    assert provider.requests == []


def test_a_key_that_cannot_be_used_is_reported_and_the_others_work(site, provider):
    corp = Issuer()
    weak = pki.rsa_key(1024)
    jwks = corp.jwks()
    corp.keys["weak"] = weak
    jwks["keys"].append(corp.jwks()["keys"][-1])
    del corp.keys["weak"]
    provider.answer(jwks)
    corp.register(site, RULES, jwks_url=provider.url(), algorithms=["ES256", "RS256"])
    broker = trusting(site)
    admitted_soon(site, broker, corp)
    assert "weak" in problem(site, corp, "2048")
    site.assert_refused("token_key_unknown", broker, client_id="app:corp:dashboard", codes=NOT_YET + REFUSED,
                        password=corp.token(headers={"kid": "weak"}))
