# SPDX-License-Identifier: ISC
"""IP lists: which scopes count, in which order, and when an entry expires."""

import datetime

import pytest

from broker import has_ipv6
from client import CLOSED, REFUSED
from tokens import Provider

HERE, ELSEWHERE = "127.0.0.1/32", "198.51.100.0/24"


def in_seconds(seconds):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


def start(site):
    return site.fleet("acme"), site.broker()


def add_rule(site, effect, network, scope, key):
    add = site.registry.deny_ip if effect == "deny" else site.registry.allow_ip
    add(network=network, scope=scope, scope_key=key)


def test_without_rules_every_address_is_admitted(site):
    fleet, broker = start(site)
    site.connect(broker, fleet.issue("sensor-1"))


# (what, rules as (effect, network, scope, key), admitted)
CASES = [
    ("global deny", [("deny", "127.0.0.0/8", "GLOBAL", None)], False),
    ("global deny elsewhere", [("deny", ELSEWHERE, "GLOBAL", None)], True),
    ("global allow-list without us", [("allow", ELSEWHERE, "GLOBAL", None)], False),
    ("global allow-list with us", [("allow", ELSEWHERE, "GLOBAL", None), ("allow", HERE, "GLOBAL", None)], True),
    ("longer allow beats deny", [("deny", "127.0.0.0/8", "GLOBAL", None), ("allow", HERE, "GLOBAL", None)], True),
    ("longer deny beats allow", [("allow", "127.0.0.0/8", "GLOBAL", None), ("deny", HERE, "GLOBAL", None)], False),
    ("deny wins at equal length", [("allow", HERE, "GLOBAL", None), ("deny", HERE, "GLOBAL", None)], False),
    ("everything denied", [("deny", "0.0.0.0/0", "GLOBAL", None)], False),
    ("every IPv6 address denied", [("deny", "::/0", "GLOBAL", None)], True),
    ("allow-list of IPv6 alone", [("allow", "::/0", "GLOBAL", None)], False),
    ("deny of the CA", [("deny", HERE, "CA", "acme")], False),
    ("deny of another CA", [("deny", HERE, "CA", "other")], True),
    ("deny of the CA above", [("deny", HERE, "CA", "root")], False),
    ("allow-list of the CA above", [("allow", ELSEWHERE, "CA", "root")], False),
    ("deny of the device", [("deny", HERE, "DEVICE", "sensor-1")], False),
    ("deny of another device", [("deny", HERE, "DEVICE", "sensor-2")], True),
    ("allow-list of the device", [("allow", ELSEWHERE, "DEVICE", "sensor-1")], False),
    ("a scope cannot open what another closes",
     [("deny", "127.0.0.0/8", "GLOBAL", None), ("allow", HERE, "DEVICE", "sensor-1")], False),
    ("every scope admits",
     [("allow", HERE, "GLOBAL", None), ("allow", HERE, "CA", "acme"), ("allow", HERE, "DEVICE", "sensor-1")], True),
]


@pytest.mark.parametrize("what,rules,admitted", CASES, ids=[row[0] for row in CASES])
def test_lists(site, what, rules, admitted):
    site.register(site.root, "root")
    fleet = site.fleet("acme")
    site.fleet("other")
    device = fleet.issue("sensor-1")
    site.registry.register_device(device_id="sensor-1", pem=device.pem, ca_name="acme")
    site.registry.register_device(device_id="sensor-2", pem=fleet.issue("sensor-2").pem, ca_name="acme")
    for effect, network, scope, key in rules:
        add_rule(site, effect, network, scope, key)
    broker = site.broker()
    if admitted:
        site.connect(broker, device)
    else:
        site.assert_refused("address_denied", broker, device, codes=REFUSED + (CLOSED,))


def test_a_denied_address_registers_nobody(site):
    fleet = site.fleet()
    site.registry.deny_ip(network=HERE, scope="CA", scope_key="acme")
    site.assert_refused("address_denied", site.broker(), fleet.issue("sensor-1"))
    assert site.registry.devices() == []


def test_a_deny_that_expires_admits_again(site):
    fleet, broker = start(site)
    site.registry.deny_ip(network=HERE, expires_at=in_seconds(2))
    site.assert_refused_soon("address_denied", broker, fleet.issue("sensor-1"))
    site.connect_within(4, broker, fleet.issue("sensor-2"))


def test_an_allow_that_expires_closes_and_does_not_open_the_list(site):
    fleet, broker = start(site)
    site.registry.allow_ip(network=HERE, scope="CA", scope_key="acme", expires_at=in_seconds(4))
    client = site.connect(broker, fleet.issue("sensor-1"))
    assert client.connected
    client.wait_closed(6)
    rule = site.registry.value("SELECT rule_id FROM iot_auth.ip_rule")
    site.assert_refused("address_denied", broker, fleet.issue("sensor-2"))
    site.registry.remove_ip_rule(rule_id=rule)
    site.connect_within(1.0, broker, fleet.issue("sensor-3"))


def test_the_event_names_the_rule_that_decided(site):
    fleet, broker = start(site)
    device = fleet.issue("sensor-1")
    site.connect(broker, device).disconnect()
    rule = site.registry.deny_ip(network=HERE, scope="DEVICE", scope_key="sensor-1")
    event = site.assert_refused_soon("address_denied", broker, device)
    assert str(rule) in str(event["detail"])
    assert event["address"] == "127.0.0.1"


@pytest.mark.parametrize("listener", ["plain", "app"])
def test_a_global_deny_holds_on_listeners_without_certificates(site, listener):
    fleet, broker = start(site)
    site.registry.deny_ip(network=HERE)
    site.assert_refused_soon("address_denied", broker, fleet.issue("sensor-1"))
    site.assert_refused("address_denied", broker, client_id="x", listener=listener, codes=REFUSED + (CLOSED,))


# (what, effect, network, who is admitted, who is not)
FAMILIES = [
    ("an IPv4 deny is about IPv4 alone", "deny", HERE, "::1", "127.0.0.1"),
    ("an IPv6 deny is about IPv6 alone", "deny", "::1/128", "127.0.0.1", "::1"),
    ("an IPv4 allow-list closes IPv6", "allow", HERE, "127.0.0.1", "::1"),
    ("an IPv6 allow-list closes IPv4", "allow", "::/0", "::1", "127.0.0.1"),
]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("scope, key", [("GLOBAL", None), ("CA", "acme")])
@pytest.mark.parametrize("what,effect,network,admitted,refused", FAMILIES, ids=[row[0] for row in FAMILIES])
def test_a_listener_for_both_families(site, what, effect, network, admitted, refused, scope, key):
    fleet = site.fleet("acme")
    add_rule(site, effect, network, scope, key)
    broker = site.broker(addresses={"device": ""})
    site.connect(broker, fleet.issue("sensor-1"), host=admitted)
    event = site.assert_refused("address_denied", broker, fleet.issue("sensor-2"), host=refused,
                                codes=REFUSED + (CLOSED,))
    assert event["address"] == refused


# (what, rules as (effect, network), whether ::ffff:203.0.113.7 is admitted)
MAPPED = [
    ("its deny", [("deny", "203.0.113.7/32")], False),
    ("its network's deny", [("deny", "203.0.112.0/23")], False),
    ("everything of IPv4 denied", [("deny", "0.0.0.0/0")], False),
    ("another's deny", [("deny", "203.0.113.8/32")], True),
    ("everything of IPv6 denied", [("deny", "::/0")], True),
    ("allow-list with it", [("allow", ELSEWHERE), ("allow", "203.0.113.7/32")], True),
    ("allow-list without it", [("allow", ELSEWHERE)], False),
    ("allow-list of IPv6 alone", [("allow", "::/0")], False),
]


@pytest.mark.parametrize("scope, key", [("GLOBAL", None), ("ISSUER", "corp")])
@pytest.mark.parametrize("what,rules,admitted", MAPPED, ids=[row[0] for row in MAPPED])
def test_a_mapped_address_counts_as_ipv4(site, what, rules, admitted, scope, key):
    """A load balancer that listens on IPv6 for both families reports an IPv4 client's address in that form."""
    broker = site.new_broker(listener_lines={"plain": "enable_proxy_protocol 1\n"})
    if broker.version < (2, 1):
        pytest.skip("2.0 never sees such an address: its IPv6 sockets are IPV6_V6ONLY, and it knows no PROXY protocol")
    provider = Provider()
    provider.register(site.registry)
    for effect, network in rules:
        add_rule(site, effect, network, scope, key)
    broker.start()
    with site.raw(broker, listener="plain") as raw:
        raw.send(b"PROXY TCP6 ::ffff:203.0.113.7 ::1 40000 1883\r\n")
        assert (raw.connect("app:corp:dashboard", username="", password=provider.token()) == 0) == admitted
    if not admitted:
        event = site.registry.wait_for_event(reason="address_denied", refusal=True)
        assert event["address"] == "::ffff:203.0.113.7"


def test_ten_thousand_prefixes_are_as_good_as_one(site):
    fleet, broker = start(site)
    site.registry.query(
        "INSERT INTO iot_auth.ip_rule (effect, network, scope)"
        " SELECT 'DENY', set_masklen('10.0.0.0'::inet + 256 * n, 24)::cidr, 'GLOBAL' FROM generate_series(0, 9999) n"
    )
    device = fleet.issue("sensor-1")
    site.connect(broker, device).disconnect()
    site.registry.deny_ip(network=HERE, scope="DEVICE", scope_key="sensor-1")
    site.assert_refused_soon("address_denied", broker, device, seconds=3)
    site.connect(broker, fleet.issue("sensor-2"))
