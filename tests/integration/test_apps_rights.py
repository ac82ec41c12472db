# SPDX-License-Identifier: ISC
"""What an app may do: the current roles of its scopes, with its variables."""

import json

import pytest

from app_kit import METHOD, AuthClient, Issuer, app, auth_app, bearer
from broker import wait_until
from client import AUTH, CLOSED, DISCONNECT, REFUSED, V5, auth_packet, publish_packet

SOON = 1.0
READ = ["ALLOW SUBSCRIBE,RECEIVE devices/#"]
COMMAND = ["ALLOW PUBLISH devices/+/commands", "DENY PUBLISH devices/vault/#"]
ABOUT_ME = [
    "ALLOW SUBSCRIBE,RECEIVE,PUBLISH app/${app_id}/#",
    "ALLOW SUBSCRIBE issuer/${issuer}",
    "ALLOW SUBSCRIBE tenant/${tenant}",
    "ALLOW SUBSCRIBE client/${client_id}",
    "ALLOW SUBSCRIBE dept/${claim.dept}/#",
    "ALLOW SUBSCRIBE site/${claim.site_id}",
    "ALLOW SUBSCRIBE vip/${claim.vip}",
    "ALLOW SUBSCRIBE groups/${claim.groups}",
    "ALLOW SUBSCRIBE device/${device_id}",
]


@pytest.fixture
def world(site):
    corp = Issuer().register(site, {"read": READ, "command": COMMAND, "me": ABOUT_ME}, tenant="acme-ltd",
                             client_id_templates=["app:${issuer}:${app_id}", "${app_id}-*"])
    return site, corp, site.broker()


@pytest.fixture(params=["password", "auth"])
def connect(request):
    return app if request.param == "password" else auth_app


def granted(client, topic):
    return client.subscribe(topic) < 128


# Scopes

def test_a_scope_gives_its_roles_rights_and_no_more(world, connect):
    site, corp, broker = world
    reader = connect(site, broker, corp.token(scope="read"))
    operator = connect(site, broker, corp.token(scope="openid command", client_id="ops"), "app:corp:ops")
    assert granted(reader, "devices/#")
    assert granted(reader, "devices/+/x")
    assert not granted(reader, "#")
    assert not granted(operator, "devices/#")
    operator.publish("devices/vault/commands", "open")
    reader.publish("devices/one/commands", "mine")
    operator.publish("devices/one/commands", "stop")
    assert reader.receive() == ("devices/one/commands", "stop")


def test_what_a_scope_does_not_give_is_refused_by_name(world):
    site, corp, broker = world
    client = auth_app(site, broker, corp.token(scope="command"))
    assert client.publish("devices/one/commands") in (0, 0x10)
    since = site.registry.last_event()
    assert client.publish("devices/vault/commands") == 0x87
    event = site.registry.wait_for_event("topic_denied", "app/refused", "app:corp:dashboard", since)
    rule = site.registry.value("SELECT rule_id FROM iot_auth.role_rule WHERE topic_filter = 'devices/vault/#'")
    assert event["detail"]["detail"] == "publish devices/vault/commands: rule %d" % rule


def test_scopes_come_as_a_text_or_an_array(world):
    site, corp, broker = world
    for claims in ({"scope": "me read"}, {"scope": None, "scp": "read me"}, {"scope": None, "scp": ["me", "read"]},
                   {"scope": "read  me ", "scp": ["other"]}):
        client = app(site, broker, corp.token(**claims))
        assert granted(client, "devices/#"), claims
        assert granted(client, "app/dashboard/#"), claims


def test_without_a_mapped_scope_nothing_is_allowed(world):
    site, corp, broker = world
    for scope in (None, "", "READ", "readme", "rea", "unmapped"):
        client = app(site, broker, corp.token(scope=scope))
        assert not granted(client, "devices/x"), scope
        assert not granted(client, "app/dashboard/x"), scope


def test_a_scope_means_what_its_own_issuer_says(world):
    site, corp, broker = world
    partner = Issuer("partner").register(site, {"read": ["ALLOW SUBSCRIBE public/#"]})
    client_id = "app:partner:dashboard"
    theirs = site.connect_within(SOON, broker, None, client_id=client_id, password=partner.token(scope="read"))
    ours = app(site, broker, corp.token(scope="read"))
    wait_until(lambda: granted(theirs, "public/x"), SOON, "the role")
    assert not granted(theirs, "devices/x")
    assert [granted(ours, "public/x"), granted(ours, "devices/x")] == [False, True]


# Variables

def test_variables_are_filled_in_from_the_token(world, connect):
    site, corp, broker = world
    token = corp.token(scope="me", dept="ops", site_id=42, vip=True, groups=["a", "b"])
    client = connect(site, broker, token)
    may = ["app/dashboard/x", "app/dashboard/#", "issuer/corp", "tenant/acme-ltd", "client/app:corp:dashboard",
           "dept/ops/x", "site/42", "vip/true"]
    may_not = ["app/other/x", "app/#", "issuer/other", "tenant/other", "client/x", "dept/hr/x", "dept/#", "site/43",
               "vip/false", "groups/a", "groups/+", "device/x", "device/dashboard", "device/+", "site/"]
    assert [topic for topic in may if not granted(client, topic)] == []
    assert [topic for topic in may_not if granted(client, topic)] == []


def test_a_claim_that_is_no_value_opens_nothing(world):
    site, corp, broker = world
    for dept in (None, "a/b", "+", "#", "$SYS", "", "x" * 129, 1.5, ["ops"], {"a": 1}, "a\nb"):
        client = app(site, broker, corp.token(scope="me", dept=dept))
        assert granted(client, "app/dashboard/x")
        for topic in ("dept/+/x", "dept/a/b", "dept//x", "dept/#", "dept/$SYS/x", "dept/1.5/x", "dept/ops/x"):
            assert not granted(client, topic), (dept, topic)


def test_a_denial_with_an_unset_variable_holds_for_any_level(site):
    rules = ["ALLOW SUBSCRIBE,RECEIVE #", "DENY SUBSCRIBE,RECEIVE dept/${claim.dept}/secret"]
    corp = Issuer().register(site, {"use": rules})
    broker = site.broker()
    with_claim = app(site, broker, corp.token(dept="hr"))
    without = app(site, broker, corp.token(client_id="other"), "app:corp:other")
    assert [granted(with_claim, "dept/ops/secret"), granted(with_claim, "dept/hr/secret")] == [True, False]
    assert not granted(without, "dept/ops/secret")


# Events and the broker's own topics

def test_events_need_a_rule_and_can_never_be_written(site):
    audit = ["ALLOW SUBSCRIBE,RECEIVE $iot-auth/events/#", "ALLOW PUBLISH $iot-auth/#"]
    corp = Issuer().register(site, {"audit": audit, "all": ["ALLOW SUBSCRIBE,RECEIVE,PUBLISH #"]})
    broker = site.broker()
    auditor = auth_app(site, broker, corp.token(scope="audit", client_id="audit"), "app:corp:audit")
    nosy = auth_app(site, broker, corp.token(scope="all"))
    assert granted(auditor, "$iot-auth/events/#")
    assert not granted(nosy, "$iot-auth/events/#")
    assert auditor.publish("$iot-auth/events/app/refused", "{}") == 0x87
    site.assert_refused("token_expired", broker, client_id="app:corp:x", password=corp.token(-60))
    seen = [auditor.receive(), auditor.receive()]
    assert {topic for topic, _payload in seen} == {"$iot-auth/events/app/refused"}
    assert [json.loads(payload)["reason"] for _topic, payload in seen] == ["topic_denied", "token_expired"]


# Changes while connected

def test_a_changed_scope_mapping_is_a_sessions_new_right_and_ends_nobody(world, connect):
    site, corp, broker = world
    client = connect(site, broker, corp.token(scope="later"))
    assert not granted(client, "later/x")
    role = corp.grant(site, "later", "ALLOW SUBSCRIBE,RECEIVE later/#")
    wait_until(lambda: granted(client, "later/x"), SOON, "the new right")
    site.registry.unmap_scope(issuer_name="corp", scope="later", role=role)
    wait_until(lambda: not granted(client, "later/x"), SOON, "its end")
    site.registry.map_scope(issuer_name="corp", scope="later", role=role)
    wait_until(lambda: granted(client, "later/y"), SOON, "the right again")
    site.registry.drop_role(role=role)
    wait_until(lambda: not granted(client, "later/y"), SOON, "the end of the role")
    assert not granted(client, "devices/x")


def test_without_the_right_to_receive_a_subscription_delivers_nothing(world):
    site, corp, broker = world
    reader = app(site, broker, corp.token(scope="read me"))
    operator = app(site, broker, corp.token(scope="command", client_id="ops"), "app:corp:ops")
    assert granted(reader, "devices/#") and granted(reader, "app/dashboard/#")
    operator.publish("devices/one/commands", "seen")
    assert reader.receive()[1] == "seen"
    site.registry.unmap_scope(issuer_name="corp", scope="read", role="read of corp")
    wait_until(lambda: not granted(reader, "devices/x"), SOON, "the end of the right")
    operator.publish("devices/one/commands", "unseen")
    reader.received_nothing_before("app/dashboard/mark", lambda: reader.publish("app/dashboard/mark"))


# Re-authentication

def test_reauthentication_replaces_the_rights(world):
    site, corp, broker = world
    client = auth_app(site, broker, corp.token(scope="read"))
    assert granted(client, "devices/#")
    client.assert_reauthenticated(bearer(corp.token(scope="me")))
    assert not granted(client, "devices/x")
    assert granted(client, "app/dashboard/#")
    client.assert_reauthenticated(corp.token(scope="me read", dept="ops"))
    assert granted(client, "devices/x") and granted(client, "dept/ops/#")
    client.assert_reauthenticated(bearer(corp.token(scope="me", dept="hr")))
    assert [granted(client, "dept/ops/#"), granted(client, "dept/hr/#")] == [False, True]


def test_reauthentication_with_a_new_key_goes_on(world):
    site, corp, broker = world
    client = auth_app(site, broker, corp.token(scope="read"))
    old = corp.kid
    corp.rotate()
    corp.publish_keys(site)

    def admitted():
        return site.try_connect(broker, client_id="dashboard-2", password=corp.token()) == 0

    wait_until(admitted, SOON, "the new key")
    client.assert_reauthenticated(bearer(corp.token(scope="read")))
    del corp.keys[old]
    corp.publish_keys(site)
    wait_until(lambda: granted(client, "devices/x"), SOON)
    probe = corp.rotate()
    corp.publish_keys(site)
    wait_until(admitted, SOON, "the key " + probe)
    assert granted(client, "devices/y"), "its present token is by a key that is still there"


def others(site, corp):
    """Valid tokens that do not belong to the session."""
    partner = Issuer("partner").register(site)
    return {"app": corp.token(client_id="other"), "issuer": partner.token()}


@pytest.mark.parametrize("whose", ["app", "issuer"])
def test_reauthentication_as_somebody_else_ends_the_session(world, whose):
    """TICK disconnects the client: no second CONNACK, no will, and none of the other's rights until then."""
    site, corp, broker = world
    token = others(site, corp)[whose]
    watcher = auth_app(site, broker, corp.token(scope="me read", client_id="watcher"), "watcher-1")
    assert granted(watcher, "devices/#")

    def partner_known():
        return AuthClient(site, broker, "app:partner:dashboard").connect(token) == 0

    if whose == "issuer":
        wait_until(partner_known, SOON, "the issuer")
    client = AuthClient(site, broker, "dashboard-1")
    outcome = client.connect(bearer(corp.token(scope="command")), will=("devices/one/commands", "lost"))
    assert outcome == 0
    since, mark = site.registry.last_event(), broker.mark()
    client.reauthenticate(bearer(token)).wait_kicked(before=[AUTH])
    event = site.registry.wait_for_event("token_claims", "session/ended", "app:corp:dashboard", since)
    assert event["detail"]["client_id"] == "dashboard-1"
    assert "re-authentication as another app" in broker.log(mark)
    again = auth_app(site, broker, corp.token(scope="command"), "dashboard-2")
    again.publish("devices/one/commands", "mark")
    assert watcher.receive() == ("devices/one/commands", "mark"), "no will"


def test_nothing_sent_behind_a_failed_reauthentication_has_an_effect(world):
    """Packets that follow in the same TLS record, before TICK disconnects."""
    site, corp, broker = world
    watcher = auth_app(site, broker, corp.token(scope="me read command", client_id="watcher"), "watcher-1")
    assert granted(watcher, "devices/#")
    client = auth_app(site, broker, corp.token(scope="command"), "dashboard-1")
    smuggled = publish_packet("devices/one/commands", b"smuggled", 1, protocol=V5)
    client.raw.send(auth_packet(0x19, METHOD, bearer("bad")) + smuggled)
    kinds = [kind for kind, _flags, _body in client.raw.wait_closed()]
    assert kinds[0] == AUTH and kinds[-1] == DISCONNECT
    watcher.publish("devices/one/commands", "mark")
    assert watcher.receive() == ("devices/one/commands", "mark")


def test_a_failed_reauthentication_costs_no_messages(world):
    """The queue of the app's persistent session is still there when it reconnects with a valid token."""
    site, corp, broker = world
    client = auth_app(site, broker, corp.token(scope="read"), "dashboard-1", session_expiry=300)
    assert client.subscribe("devices/#", qos=1) == 1
    client.reauthenticate("bad").wait_kicked(before=[AUTH])
    operator = auth_app(site, broker, corp.token(scope="command", client_id="ops"), "app:corp:ops")
    operator.publish("devices/one/commands", "kept")
    again = AuthClient(site, broker, "dashboard-1")
    assert again.connect(bearer(corp.token(scope="read")), session_expiry=300, clean=False) == 0
    operator.publish("devices/one/commands", "new")
    assert [again.receive()[1], again.receive()[1]] == ["kept", "new"]


def test_a_client_with_a_password_cannot_reauthenticate(world):
    """The client sent no method in CONNECT (MQTT 5, section 4.12)."""
    site, corp, broker = world
    client = AuthClient(site, broker, "dashboard-1")
    assert client.raw.connect("dashboard-1", protocol=V5, password=corp.token(scope="read")) == 0
    client.reauthenticate(bearer(corp.token(scope="read")))
    client.raw.wait_closed()


def test_reauthentication_by_another_method_ends_the_session(world):
    site, corp, broker = world
    client = auth_app(site, broker, corp.token(scope="read"))
    client.reauthenticate(bearer(corp.token()), method="SCRAM-SHA-256")
    client.raw.wait_closed()


def test_auth_before_connect_is_nothing(world):
    site, corp, broker = world
    client = AuthClient(site, broker, "dashboard-1")
    client.reauthenticate(bearer(corp.token()))
    assert client.raw.wait_closed() == []


def test_an_authentication_in_steps_is_refused(world):
    """OAUTHBEARER has one step: no challenge is sent for a method without data."""
    site, corp, broker = world
    client = AuthClient(site, broker, "dashboard-1")
    assert client.connect(None) in REFUSED + (CLOSED,)
