# SPDX-License-Identifier: ISC
"""Apps connect with an access token: how it may be presented, which issuers are accepted, and under which client ids.
"""

import itertools

import pytest

from app_kit import DAY, AuthClient, Issuer, app, auth_app, bearer, mint_with_libjwt
from broker import wait_until
from client import CONNACK, REFUSED, V311, V5, authentication, connect_packet

USE = {"use": ["ALLOW PUBLISH,SUBSCRIBE,RECEIVE apps/${app_id}/#"]}
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LIBJWT_KNOWS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]


@pytest.fixture
def corp(site):
    return Issuer().register(site, USE)


def assert_works(client, app_id="dashboard"):
    """Publishes and reads back what the app may, and nothing else."""
    assert client.subscribe("apps/%s/#" % app_id) < 128
    client.publish("apps/%s/x" % app_id, "hello")
    assert client.receive() == ("apps/%s/x" % app_id, "hello")
    assert client.subscribe("apps/other/#") >= 128


# How it is presented

def test_a_token_is_a_password_on_listeners_with_and_without_tls(site, corp):
    broker = site.broker()
    for listener, protocol in itertools.product(("plain", "app"), (V311, V5)):
        assert_works(app(site, broker, corp.token(), listener=listener, protocol=protocol))


def test_a_token_is_a_password_on_websockets(site, corp):
    broker = site.broker(listeners=("plain", "plain_websockets"))
    client = site.connect_within(2.0, broker, None, client_id="app:corp:dashboard", listener="plain_websockets",
                                 password=corp.token())
    assert_works(client)


def test_the_username_says_nothing(site, corp):
    broker = site.broker()
    for username in (None, "admin", "app:corp:other", "sensor-1", "+/#"):
        mark = broker.mark()
        assert_works(app(site, broker, corp.token(), username=username))
        broker.wait_for_log("accepted app=app:corp:dashboard client=app:corp:dashboard address=127.0.0.1", since=mark)


FULL_RESPONSE = "n,a=somebody,\x01host=broker.example\x01port=8883\x01auth=bearer %s\x01\x01"


@pytest.mark.parametrize("listener", ["plain", "app"])
def test_enhanced_authentication_takes_rfc_7628_and_a_bare_token(site, corp, listener):
    broker = site.broker()
    for data in (bearer(corp.token()), corp.token(), FULL_RESPONSE % corp.token()):
        client = AuthClient(site, broker, "app:corp:dashboard", listener=listener)
        assert client.connect(data) == 0
        assert_works(client)


def test_the_answer_to_enhanced_authentication_names_the_method(site, corp):
    broker = site.broker()
    props = authentication("OAUTHBEARER", bearer(corp.token()))
    with site.raw(broker) as raw:
        packet = connect_packet("app:corp:dashboard", V5, props=props, username="ignored", password="ignored too")
        kind, _flags, body = raw.send(packet).receive()
    assert (kind, body[1]) == (CONNACK, 0)
    assert authentication("OAUTHBEARER") in body


def test_another_method_is_refused(site, corp):
    broker = site.broker()
    for method in ("SCRAM-SHA-256", "oauthbearer", "OAUTHBEARER ", ""):
        client = AuthClient(site, broker, "app:corp:dashboard")
        assert client.connect(bearer(corp.token()), method=method) != 0
    assert_works(app(site, broker, corp.token()))


def test_a_password_is_nothing_beside_a_refused_enhanced_authentication(site, corp):
    """A valid password does not make up for an invalid AUTH: one connection has one credential."""
    broker = site.broker()
    client = AuthClient(site, broker, "app:corp:dashboard")
    assert client.connect(bearer("no token"), password=corp.token()) in REFUSED


# Issuers

def check_algorithms(site, algorithms, mint):
    """One issuer for each algorithm; its tokens are accepted as a password and by AUTH."""
    issuers = [Issuer(algorithm, algorithm=algorithm).register(site, USE) for algorithm in algorithms]
    broker = site.broker()
    for issuer in issuers:
        client_id = "app:%s:dashboard" % issuer.name
        assert_works(app(site, broker, mint(issuer), client_id))
        assert_works(auth_app(site, broker, mint(issuer), client_id))


def test_tokens_of_python3_jwt_are_accepted(site):
    check_algorithms(site, ALGORITHMS, Issuer.token)


def test_tokens_of_libjwt_are_accepted(site):
    check_algorithms(site, LIBJWT_KNOWS, mint_with_libjwt)


# Names

def test_each_app_has_its_own_name_whoever_issued_the_token(site, corp):
    """The same client_id at another provider is another principal."""
    partner = Issuer("partner").register(site, USE)
    broker = site.broker()
    app(site, broker, corp.token())
    app(site, broker, partner.token(), "app:partner:dashboard")
    site.assert_refused("client_id_mismatch", broker, client_id="app:corp:dashboard", password=partner.token())
    site.assert_refused("client_id_mismatch", broker, client_id="app:corp:dashboard/1", password=partner.token())


def test_client_ids_of_an_app_are_its_name_and_below(site, corp):
    broker = site.broker()
    for client_id in ("app:corp:dashboard", "app:corp:dashboard/", "app:corp:dashboard/7/b"):
        assert_works(app(site, broker, corp.token(), client_id))


WRONG_IDS = ["dashboard", "app:corp:dashboard2", "app:corp:other", "app:corp:", "app:corp:*", "sensor-1", "observer",
             "APP:corp:dashboard"]


def test_other_client_ids_are_refused(site, corp):
    broker = site.broker()
    for client_id in WRONG_IDS:
        mark = broker.mark()
        assert site.try_connect(broker, client_id=client_id, password=corp.token()) in REFUSED
        assert AuthClient(site, broker, client_id).connect(bearer(corp.token())) in REFUSED
        assert broker.log(mark).count("refused reason=client_id_mismatch app=app:corp:dashboard") == 2, client_id
    assert site.try_connect(broker, client_id="", password=corp.token()) in REFUSED


def test_no_device_is_registered_under_an_apps_name(site, corp):
    fleet = site.fleet(client_id_templates=["*"])
    broker = site.broker()
    site.connect(broker, fleet.issue("sensor-1"))
    site.assert_refused("identity_invalid", broker, fleet.issue("app:corp:dashboard"))
    assert site.registry.devices() == ["sensor-1"]
    app(site, broker, corp.token())


def test_a_device_cannot_take_an_apps_client_id_nor_an_app_a_devices(site, corp):
    """Not even if the templates admit any client id: the app would inherit the session of the other."""
    corp.set(site, client_id_templates=["*"])
    fleet = site.fleet(client_id_templates=["*"])
    broker = site.broker()
    holder = app(site, broker, corp.token(), "one", protocol=V5, clean=True, session_expiry=DAY)
    site.assert_refused("client_id_mismatch", broker, fleet.issue("sensor-1"), client_id="one")
    assert_works(holder)
    device = site.connect(broker, fleet.issue("sensor-2"), client_id="two", clean=False)
    site.assert_refused("client_id_mismatch", broker, client_id="two", password=corp.token())
    device.disconnect()
    site.assert_refused("client_id_mismatch", broker, client_id="two", password=corp.token(client_id="other"))
    site.connect(broker, fleet.issue("sensor-2"), client_id="two", clean=False)


def test_another_app_cannot_inherit_a_session(site, corp):
    corp.set(site, client_id_templates=["*"])
    broker = site.broker()
    with app(site, broker, corp.token(), "shared", clean=False) as first:
        assert first.subscribe("apps/dashboard/#") == 1
    site.assert_refused("client_id_mismatch", broker, client_id="shared", password=corp.token(client_id="other"))
    assert AuthClient(site, broker, "shared").connect(bearer(corp.token(client_id="other"))) in REFUSED
    again = app(site, broker, corp.token(), "shared", clean=False)
    assert again.session_present


def test_a_reconnect_takes_over_the_apps_own_connection(site, corp):
    broker = site.broker()
    first = auth_app(site, broker, corp.token())
    second = app(site, broker, corp.token())
    first.raw.wait_closed()
    third = auth_app(site, broker, corp.token())
    second.wait_closed()
    assert_works(third)


def test_the_issuers_app_id_claim_names_the_app(site):
    wanted = {"sub": "alice", "azp": "spa", "client_id": "dashboard", "https://example/app": "own"}
    issuers = [(claim, Issuer("by-%d" % n).register(site, USE, app_id_claim=claim)) for n, claim in enumerate(wanted)]
    broker = site.broker()
    for claim, issuer in issuers:
        client_id = "app:%s:%s" % (issuer.name, wanted[claim])
        assert_works(app(site, broker, issuer.token(**wanted), client_id), wanted[claim])
        site.assert_refused("token_claims", broker, client_id=client_id,
                            password=issuer.token(**{**wanted, claim: None}))


def test_without_the_setting_the_first_usual_claim_names_the_app(site, corp):
    broker = site.broker()
    assert_works(app(site, broker, corp.token(client_id=None, azp="spa"), "app:corp:spa"), "spa")
    assert_works(app(site, broker, corp.token(client_id=None), "app:corp:dashboard"))
    spoilt = corp.token(client_id="a/b", azp="spa")
    site.assert_refused("token_claims", broker, client_id="app:corp:spa", password=spoilt)


# Real providers, with the settings that docs/apps.md gives for each

GUID = "8f3c0a1e-5b7d-4c2a-9e61-0d4b7a2c5f18"
WILD = [
    # (name, issuer, settings, header's typ, claims of the token, app id)
    ("keycloak", "https://sso.example.com/realms/plant", {}, "JWT",
     {"azp": "dashboard", "sub": GUID, "typ": "Bearer", "aud": ["mqtt", "account"], "client_id": None, "acr": "1",
      "realm_access": {"roles": ["offline_access"]}, "scope": "openid use email"}, "dashboard"),
    ("keycloak-service", "https://sso.example.com/realms/services", {}, "JWT",
     {"azp": "dashboard", "client_id": "dashboard", "sub": GUID, "typ": "Bearer", "scope": "use"}, "dashboard"),
    ("auth0", "https://example.eu.auth0.com/", {}, "JWT",
     {"azp": "K1AUPhZq8mRi", "sub": "K1AUPhZq8mRi@clients", "gty": "client-credentials", "client_id": None},
     "K1AUPhZq8mRi"),
    ("auth0-users", "https://example.us.auth0.com/", {"app_id_claim": "sub", "token_types": ["at+jwt"]}, "at+jwt",
     {"client_id": "K1AUPhZq8mRi", "sub": "auth0|6553da60a54af58e", "jti": "73WakrfVbNJ",
      "aud": ["mqtt", "https://example.us.auth0.com/userinfo"]}, "auth0|6553da60a54af58e"),
    ("entra", "https://login.microsoftonline.com/%s/v2.0" % GUID, {}, "JWT",
     {"azp": GUID, "sub": "AAAAAAAA", "oid": GUID, "ver": "2.0", "scp": "use other", "scope": None, "client_id": None},
     GUID),
    ("entra-1", "https://sts.windows.net/%s/" % GUID, {"app_id_claim": "appid"}, "JWT",
     {"appid": GUID, "ver": "1.0", "scp": "use", "scope": None, "client_id": None}, GUID),
    ("entra-users", "https://login.microsoftonline.com/users/v2.0", {"app_id_claim": "oid"}, "JWT",
     {"azp": GUID, "oid": "alice", "scp": "use", "scope": None, "client_id": None}, "alice"),
]


def test_tokens_shaped_like_those_of_well_known_providers_are_accepted(site):
    issuers = [Issuer(name, iss, algorithm="RS256").register(site, USE, **settings)
               for name, iss, settings, *_ in WILD]
    broker = site.broker()
    for issuer, (name, _iss, _settings, typ, claims, app_id) in zip(issuers, WILD):
        token = issuer.token(headers={"typ": typ}, **claims)
        assert_works(app(site, broker, token, "app:%s:%s" % (name, app_id)), app_id)


def test_a_token_of_an_entra_daemon_is_admitted_without_rights(site, corp):
    """Its permissions are roles of the application; rights come by scopes."""
    broker = site.broker()
    client = app(site, broker, corp.token(scope=None, roles=["use"]))
    assert client.subscribe("apps/dashboard/x") == 128


# Many at once

def test_a_storm_of_reconnects_is_answered_from_memory(site, corp):
    """Verified once, as the counters show."""
    broker = site.broker(options={"node_name": "storm"})
    token = corp.token()

    def counter(name):
        return site.registry.value("SELECT counters -> %s FROM iot_auth.node WHERE node_name = 'storm'", name)

    for number in range(30):
        assert site.try_connect(broker, client_id="app:corp:dashboard/%d" % (number % 3), password=token) == 0
    wait_until(lambda: counter("connects/accepted/apps") == 30, 10, "counters")
    assert (counter("cache/token_hits"), counter("cache/token_misses")) == (29, 1)
