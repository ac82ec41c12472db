# SPDX-License-Identifier: ISC
"""How long an app's session lasts: until its token expires, and no longer than its issuer, its key or its address is
valid.
"""

import random
import time

import pytest

from app_kit import DAY, AuthClient, Issuer, app, app_within, auth_app, bearer
from broker import wait_until
from client import AUTH, V311, V5
from test_sighup import hangups

SOON = 1.0
RULES = {"read": ["ALLOW SUBSCRIBE,RECEIVE devices/#"],
         "write": ["ALLOW PUBLISH devices/#"],
         "use": ["ALLOW PUBLISH,SUBSCRIBE,RECEIVE devices/#"]}


@pytest.fixture
def world(site):
    corp = Issuer().register(site, RULES)
    return site, corp, site.broker()


@pytest.fixture
def crowd(world):
    """Makes many sessions, half of them by password, half by AUTH, with one token."""
    site, _corp, broker = world

    def connect(token, number):
        sessions = [AuthClient(site, broker, "app:corp:dashboard/%d" % n, listener="plain") for n in range(number)]
        for client in sessions[::2]:
            assert client.connect(bearer(token)) == 0
        for client in sessions[1::2]:
            assert client.raw.connect(client.client_id, protocol=V5, password=token) == 0
        return sessions

    return connect


def lives(*sessions):
    for session in sessions:
        assert session.subscribe("devices/x") < 128
    return True


def ended(site, reason, client_id, since=0):
    """The event of that session's end."""
    def found():
        events = site.registry.events(since, "session/ended")
        return [e for e in events if e["detail"]["client_id"] == client_id]

    event = wait_until(found, what="event of the end of " + client_id)[0]
    assert (event["reason"], event["principal"]) == (reason, client_id.partition("/")[0])


# Expiry

def test_a_session_ends_at_exp_plus_leeway_and_not_before(site):
    corp = Issuer().register(site, RULES, leeway_s=2)
    partner = Issuer("partner").register(site, RULES, leeway_s=60)
    broker = site.broker()
    lasting = app(site, broker, corp.token(), "app:corp:dashboard/lasting")
    lenient = app(site, broker, partner.token(1), "app:partner:dashboard")
    exp = int(time.time()) + 2
    ends = [app(site, broker, corp.token(exp=exp), "app:corp:dashboard/%d" % p, protocol=p) for p in (V311, V5)]
    by_auth = auth_app(site, broker, corp.token(exp=exp, client_id="panel"), "app:corp:panel")  # of one app, two events a second
    wait_until(lambda: time.time() >= exp, 5, "exp")
    assert lives(*ends, by_auth), "the leeway is not over"
    assert site.try_connect(broker, client_id="app:corp:dashboard/late", password=corp.token(exp=exp)) == 0
    for client in ends:
        client.wait_closed(exp + 2 + SOON - time.time())
    assert time.time() >= exp + 2
    by_auth.wait_kicked()
    for client_id in [c.client_id for c in ends] + [by_auth.client_id]:
        ended(site, "token_expired", client_id)
    site.assert_refused("token_expired", broker, client_id="app:corp:dashboard", password=corp.token(exp=exp))
    assert lives(lasting, lenient)


def test_reauthentication_extends_the_session(world):
    site, corp, broker = world
    exp = int(time.time()) + 2
    extended = auth_app(site, broker, corp.token(exp=exp), "app:corp:dashboard/extended")
    not_extended = auth_app(site, broker, corp.token(exp=exp), "app:corp:dashboard/not")
    extended.assert_reauthenticated(bearer(corp.token()))
    not_extended.assert_reauthenticated(bearer(corp.token(exp=exp)))
    not_extended.wait_kicked(exp + 1 + SOON - time.time())
    assert lives(extended)


def test_reauthentication_can_shorten_the_session_too(world):
    site, corp, broker = world
    client = auth_app(site, broker, corp.token())
    client.assert_reauthenticated(bearer(corp.token(1)))
    client.wait_kicked(2 + 1 + SOON)
    ended(site, "token_expired", "app:corp:dashboard")


def test_a_changed_leeway_moves_the_end(site):
    corp = Issuer().register(site, RULES, leeway_s=600)
    partner = Issuer("partner").register(site, RULES, leeway_s=0)
    broker = site.broker()
    shorter = app(site, broker, corp.token(-5))
    longer = app(site, broker, partner.token(2), "app:partner:dashboard")
    corp.set(site, leeway_s=0)
    partner.set(site, leeway_s=600)
    shorter.wait_closed(SOON)
    ended(site, "token_expired", "app:corp:dashboard")
    end = time.time() + 3
    wait_until(lambda: time.time() > end, what="the old end")
    assert lives(longer)


def test_a_crowd_of_sessions_ends_together(world, crowd):
    site, corp, broker = world
    stays = app(site, broker, corp.token(client_id="other"), "app:corp:other")
    exp = int(time.time()) + 5
    for client in crowd(corp.token(exp=exp), 300):
        client.wait_kicked(max(exp + 2 + SOON - time.time(), 0.1))
    assert lives(stays)


# Other ends

def test_a_disabled_issuer_loses_its_sessions_within_a_second(world):
    site, corp, broker = world
    partner = Issuer("partner").register(site, RULES)
    stays = site.connect_within(SOON, broker, None, client_id="app:partner:dashboard", password=partner.token())
    by_password = app(site, broker, corp.token(), "app:corp:dashboard/1")
    by_auth = auth_app(site, broker, corp.token(), "app:corp:dashboard/2")
    site.registry.set_issuer_status(name="corp", status="INACTIVE")
    by_password.wait_closed(SOON)
    by_auth.wait_kicked(SOON)
    for client_id in (by_password.client_id, by_auth.client_id):
        ended(site, "issuer_inactive", client_id)
    assert lives(stays)
    site.registry.set_issuer_status(name="corp", status="ACTIVE")
    site.connect_within(SOON, broker, None, client_id="app:corp:dashboard", password=corp.token())


def test_a_deleted_issuer_loses_its_sessions(world):
    site, corp, broker = world
    client = app(site, broker, corp.token())
    site.registry.query("DELETE FROM iot_auth.oauth_issuer WHERE name = 'corp'")
    client.wait_closed(SOON)
    ended(site, "token_issuer", "app:corp:dashboard")


def test_a_key_that_is_removed_takes_its_sessions_and_only_those(world):
    site, corp, broker = world
    old_kid, old_token = corp.kid, corp.token()
    corp.rotate()
    corp.publish_keys(site)
    old = app(site, broker, old_token, "app:corp:dashboard/old")
    old_auth = auth_app(site, broker, old_token, "app:corp:dashboard/old-auth")
    new = site.connect_within(SOON, broker, None, client_id="app:corp:dashboard/new", password=corp.token())
    assert lives(old, old_auth)
    del corp.keys[old_kid]
    corp.publish_keys(site)
    old.wait_closed(SOON)
    old_auth.wait_kicked(SOON)
    ended(site, "token_key_unknown", "app:corp:dashboard/old")
    site.assert_refused("token_key_unknown", broker, client_id="app:corp:dashboard", codes=("closed", 3, 0x88),
                        password=old_token)
    assert lives(new)


def test_another_key_under_the_same_kid_ends_the_old_keys_sessions(world):
    """A token verified with the old key is not accepted from the cache either."""
    site, corp, broker = world
    token = corp.token()
    client = app(site, broker, token)
    corp.keys[corp.kid] = Issuer().key
    corp.publish_keys(site)
    client.wait_closed(SOON)
    site.assert_refused("token_signature", broker, client_id="app:corp:dashboard", password=token)
    app(site, broker, corp.token())


CHANGES = [
    # (columns, reason)
    ({"audience": ["other"]}, "token_audience"),
    ({"algorithms": ["RS256"]}, "token_algorithm"),
    ({"token_types": ["JWT"]}, "token_type"),
    ({"app_id_claim": "azp"}, "rights_changed"),
    ({"client_id_templates": ["other-${app_id}"]}, "rights_changed"),
    ({"issuer": "https://elsewhere.example"}, "token_issuer"),
]


def test_an_issuers_stricter_row_ends_what_it_no_longer_admits(site):
    issuers = [Issuer("corp-%d" % n).register(site, RULES) for n in range(len(CHANGES))]
    lasting = Issuer("lasting").register(site, RULES)
    broker = site.broker()
    stays = app(site, broker, lasting.token(), "app:lasting:dashboard")
    clients = [app(site, broker, i.token(azp="dashboard"), "app:%s:dashboard" % i.name) for i in issuers]
    for (columns, reason), issuer, client in zip(CHANGES, issuers, clients):
        issuer.set(site, **columns)
        client.wait_closed(SOON)
        event = site.registry.wait_for_event(kind="session/ended", principal="app:%s:dashboard" % issuer.name)
        assert event["reason"] == reason, columns
    assert lives(stays)


def test_a_denied_network_loses_its_sessions(world):
    site, corp, broker = world
    client = auth_app(site, broker, corp.token())
    rule = site.registry.deny_ip(network="127.0.0.1/32", scope="ISSUER", scope_key="corp")
    client.wait_kicked(SOON)
    ended(site, "address_denied", "app:corp:dashboard")
    site.registry.remove_ip_rule(rule_id=rule)
    by_password = site.connect_within(SOON, broker, None, client_id="app:corp:dashboard", password=corp.token())
    site.registry.deny_ip(network="127.0.0.0/8")
    by_password.wait_closed(SOON)


def test_changes_elsewhere_end_nobody(world):
    site, corp, broker = world
    sessions = [app(site, broker, corp.token(), "app:corp:dashboard/1"),
                auth_app(site, broker, corp.token(), "app:corp:dashboard/2")]
    for number in range(10):
        Issuer("other-%d" % number).register(site, jwks=corp.jwks())
        site.role("role-%d" % number, *["ALLOW PUBLISH a/%d" % n for n in range(20)])
        site.registry.set_issuer_status(name="other-%d" % number, status="INACTIVE")
        site.registry.deny_ip(network="198.51.100.%d/32" % number, scope="ISSUER", scope_key="corp")
        assert lives(*sessions)
    wait_until(lambda: lives(*sessions))


# SIGHUP

def test_hangups_end_no_token_session(world):
    """The broker asks BASIC_AUTH again for each client, with its password or, by AUTH, with none at all."""
    site, corp, broker = world
    kinds = [(V311, "plain"), (V5, "plain"), (V311, "app"), (V5, "app"), (V5, "plain_websockets")]
    broker = site.broker(listeners=("plain", "app", "plain_websockets"))
    sessions = [app(site, broker, corp.token(), "app:corp:dashboard/p%d" % n, protocol=p, listener=l)
                for n, (p, l) in enumerate(kinds)]
    sessions += [auth_app(site, broker, corp.token(), "app:corp:dashboard/a%d" % n, listener=l)
                 for n, l in enumerate(["plain", "app"])]
    extended = auth_app(site, broker, corp.token(), "app:corp:dashboard/extended")
    extended.assert_reauthenticated(bearer(corp.token(scope="read")))
    with_password = AuthClient(site, broker, "app:corp:dashboard/both")
    assert with_password.connect(bearer(corp.token()), username="u", password="not a token") == 0
    both = [extended, with_password]
    hangups(broker)
    assert lives(*sessions, *both)
    hangups(broker, 5)
    for client in sessions:
        client.publish("devices/x", client.client_id)
        assert client.receive() == ("devices/x", client.client_id)
        for other in sessions + both:
            if other is not client:
                assert other.receive()[1] == client.client_id
    assert lives(*both)


def test_hangups_end_none_of_a_crowd(world, crowd):
    _site, corp, broker = world
    sessions = crowd(corp.token(), 600)
    hangups(broker, 5)
    for client in sessions:
        assert client.subscribe("devices/%s" % client.client_id.rsplit("/", maxsplit=1)[-1]) < 128


def test_a_hangup_neither_extends_nor_restores_a_session(world):
    site, corp, broker = world
    exp = int(time.time()) + 2
    client = app(site, broker, corp.token(exp=exp), "app:corp:dashboard/1")
    by_auth = auth_app(site, broker, corp.token(exp=exp), "app:corp:dashboard/2")
    while time.time() < exp + 1:
        broker.sighup()
    client.wait_closed(SOON)
    by_auth.wait_kicked(SOON)


def test_a_hangup_lets_nobody_in_by_another_token(world):
    """Many valid, expired and foreign tokens for one client id, while the broker reloads repeatedly."""
    site, corp, broker = world
    holder = app(site, broker, corp.token(), "app:corp:dashboard/held")
    bad = [corp.token(-60), corp.token(client_id="other"), corp.token(iss="https://elsewhere.example"), "x.y.z"]
    generator = random.Random(4)
    for _ in range(15):
        broker.sighup()
        token = generator.choice(bad)
        assert site.try_connect(broker, client_id="app:corp:dashboard/held", listener="plain", password=token) != 0
        assert AuthClient(site, broker, "app:corp:dashboard/held").connect(bearer(token)) != 0
    assert lives(holder)


# Wills

def watcher(site, corp, broker):
    client = auth_app(site, broker, corp.token(client_id="watcher"), "app:corp:watcher")
    assert client.subscribe("devices/#") == 0
    return client


def assert_nothing_came(client):
    client.publish("devices/mark")
    assert client.receive()[0] == "devices/mark"


WILL = {"topic": "devices/will", "payload": "lost"}


def test_an_apps_will_is_published_when_its_connection_is_lost(world):
    site, corp, broker = world
    eyes = watcher(site, corp, broker)
    app(site, broker, corp.token(scope="write"), will=WILL).drop()
    assert eyes.receive() == ("devices/will", "lost")
    client = AuthClient(site, broker, "app:corp:dashboard")
    assert client.connect(bearer(corp.token(scope="write")), will=("devices/will", "by auth")) == 0
    client.drop()
    assert eyes.receive() == ("devices/will", "by auth")


def test_a_will_needs_the_right_to_publish(world):
    site, corp, broker = world
    eyes = watcher(site, corp, broker)
    app(site, broker, corp.token(scope="read"), will=WILL).drop()
    assert_nothing_came(eyes)


DELAYED = {"protocol": V5, "session_expiry": DAY}


def test_a_delayed_will_of_an_app_outlives_its_token(world):
    """The client disconnected before the token expired, so its will is still published."""
    site, corp, broker = world
    eyes = watcher(site, corp, broker)
    app(site, broker, corp.token(1, scope="write"), will={**WILL, "delay": 3}, **DELAYED).drop()
    assert eyes.receive() == ("devices/will", "lost")


def test_a_delayed_will_is_withheld_once_the_issuer_is_disabled(world):
    site, corp, broker = world
    partner = Issuer("partner").register(site, RULES)
    eyes = watcher(site, corp, broker)
    withheld = {**WILL, "payload": "withheld", "delay": 2}
    client_id = "app:partner:dashboard"
    app_within(SOON, site, broker, partner.token(), client_id)
    app(site, broker, partner.token(), client_id, will=withheld, **DELAYED).drop()
    app(site, broker, corp.token(), will={**WILL, "delay": 3}, **DELAYED).drop()
    site.registry.set_issuer_status(name="partner", status="INACTIVE")
    assert eyes.receive() == ("devices/will", "lost")


def test_an_app_that_is_cut_off_leaves_no_will(world):
    """When its token expires, with its issuer, and by an invalid re-authentication."""
    site, corp, broker = world
    partner = Issuer("partner").register(site, RULES)
    eyes = watcher(site, corp, broker)
    expired = [app(site, broker, corp.token(1), "app:corp:dashboard/%d" % p, protocol=p, will=WILL) for p in (4, V5)]
    wait_until(lambda: site.try_connect(broker, client_id="app:partner:dashboard", password=partner.token()) == 0)
    disabled = app(site, broker, partner.token(), "app:partner:dashboard", will=WILL)
    site.registry.set_issuer_status(name="partner", status="INACTIVE")
    disabled.wait_closed(SOON)
    reauthenticating = AuthClient(site, broker, "app:corp:dashboard/auth")
    assert reauthenticating.connect(bearer(corp.token()), will=("devices/will", "lost")) == 0
    reauthenticating.reauthenticate("bad").wait_kicked(before=[AUTH])
    for client in expired:
        client.wait_closed(5)
    assert_nothing_came(eyes)


# Sessions that outlive their connection

@pytest.mark.parametrize("way", ["password", "auth"])
def test_an_expired_token_costs_a_persistent_session_nothing(world, way):
    """A kick makes the broker check each subscription again; a refused one would be deleted with its queue."""
    site, corp, broker = world
    writer = app(site, broker, corp.token(client_id="writer"), "app:corp:writer")
    if way == "password":
        client = app(site, broker, corp.token(1, scope="read"), clean=False)
        assert client.subscribe("devices/#") == 1
        client.wait_closed(5)
    else:
        client = auth_app(site, broker, corp.token(1, scope="read"), session_expiry=DAY)
        assert client.subscribe("devices/#", qos=1) == 1
        client.wait_kicked(5)
    writer.publish("devices/one/x", "while away")
    site.assert_refused("token_expired", broker, client_id="app:corp:dashboard", clean=False, password=corp.token(-9))
    writer.publish("devices/one/x", "still away")
    if way == "password":
        again = app(site, broker, corp.token(scope="read"), clean=False)
        assert again.session_present
    else:
        again = AuthClient(site, broker, "app:corp:dashboard")
        assert again.connect(bearer(corp.token(scope="read")), session_expiry=DAY, clean=False) == 0
    writer.publish("devices/one/x", "back")
    assert [again.receive()[1] for _ in range(3)] == ["while away", "still away", "back"]


def test_a_returning_app_receives_by_its_new_rights(world):
    """What was queued under the old token is checked again when it is delivered."""
    site, corp, broker = world
    writer = app(site, broker, corp.token(client_id="writer"), "app:corp:writer")
    with app(site, broker, corp.token(scope="read"), clean=False) as client:
        assert client.subscribe("devices/#") == 1
    writer.publish("devices/one/x", "queued")
    again = app(site, broker, corp.token(scope="write"), clean=False)
    assert again.session_present
    assert again.subscribe("devices/x") == 128
    writer.publish("devices/one/x", "now")
    assert again.subscribe("devices/y") == 128, "answered after all that was sent before"
    assert again.messages.empty()


def test_a_disabled_issuer_keeps_what_its_apps_left_until_it_is_back(world):
    site, corp, broker = world
    partner = Issuer("partner").register(site, RULES)
    writer = site.connect_within(SOON, broker, None, client_id="app:partner:writer",
                                 password=partner.token(client_id="writer"))
    client = app(site, broker, corp.token(scope="read"), clean=False)
    assert client.subscribe("devices/#") == 1
    site.registry.set_issuer_status(name="corp", status="INACTIVE")
    client.wait_closed(SOON)
    wait_until(lambda: writer.subscribe("devices/y") == 1, SOON)
    writer.publish("devices/one/x", "meanwhile")
    site.registry.set_issuer_status(name="corp", status="ACTIVE")
    options = {"client_id": "app:corp:dashboard", "clean": False, "password": corp.token(scope="read")}
    again = site.connect_within(SOON, broker, None, **options)
    assert again.receive() == ("devices/one/x", "meanwhile")


def test_a_restart_keeps_an_apps_queue(site):
    corp = Issuer().register(site, RULES)
    broker = site.broker(persistence=True)
    with app(site, broker, corp.token(scope="read"), clean=False) as client:
        assert client.subscribe("devices/#") == 1
    writer = app(site, broker, corp.token(client_id="writer"), "app:corp:writer")
    writer.publish("devices/one/x", "before")
    broker.restart()
    writer = app(site, broker, corp.token(client_id="writer"), "app:corp:writer")
    writer.publish("devices/one/x", "after")
    broker.sighup()
    writer.publish("devices/one/x", "after a hangup")
    again = app(site, broker, corp.token(scope="read"), clean=False)
    assert [again.receive()[1] for _ in range(3)] == ["before", "after", "after a hangup"]
