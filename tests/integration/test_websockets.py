# SPDX-License-Identifier: ISC
"""Listeners with `protocol websockets`, where the broker was built with them."""

import pytest

from broker import wait_until
from client import REFUSED, CLOSED
from tokens import Provider


@pytest.fixture
def world(site):
    fleet = site.fleet()
    broker = site.broker(listeners=("device", "plain", "app", "plain_websockets", "websockets"))
    return site, fleet, broker


def test_a_client_without_a_credential_is_refused(world):
    site, fleet, broker = world
    site.connect(broker, fleet.issue("sensor-1"))
    site.assert_refused("no_credential", broker, client_id="sensor-1", listener="plain_websockets",
                        username="sensor-1", password="x", codes=REFUSED + (CLOSED,))


def test_a_certificate_of_an_unregistered_authority_is_refused(world):
    site, fleet, broker = world
    site.connect(broker, fleet.issue("sensor-1"))
    unknown = site.root.intermediate("other").issue("sensor-1")
    assert site.try_connect(broker, unknown, listener="websockets") != 0
    assert site.try_connect(broker, fleet.same_name().issue("sensor-1"), listener="websockets") != 0


def test_a_device_is_admitted_as_itself_or_not_at_all(world):
    """2.0 does not show plugins the certificate of a WebSocket client."""
    site, fleet, broker = world
    client = site.client(broker, fleet.issue("sensor-1"), listener="websockets")
    result = client.connect()
    if broker.version >= (2, 1):
        assert result == 0
    if result == 0:
        assert client.subscribe("devices/sensor-1/#") == 1
        assert client.subscribe("devices/sensor-2/#") == 128
    assert site.try_connect(broker, fleet.issue("sensor-1"), "sensor-2", listener="websockets") != 0


def test_an_app_with_a_token_is_admitted(world):
    site, fleet, broker = world
    provider = Provider()
    site.role("reader", "ALLOW SUBSCRIBE,RECEIVE devices/#")
    provider.register(site.registry)
    site.registry.map_scope(issuer_name="corp", scope="read", role="reader")
    options = {"client_id": "app:corp:dashboard", "listener": "plain_websockets"}
    app = site.connect_within(2.0, broker, None, password=provider.token(scope="read"), **options)
    wait_until(lambda: app.subscribe("devices/#") == 1, 2.0, "the scope's role")
    site.connect(broker, fleet.issue("sensor-1")).publish("devices/sensor-1/x", "hi")
    assert app.receive() == ("devices/sensor-1/x", "hi")


# Mosquitto 2.0.15 to 2.0.22 take a WebSocket client's address from a header that it sends.
BELIEVES_HEADERS = ((2, 0, 15), (2, 1))
FORGED = {"X-Forwarded-For": "10.0.0.1"}


@pytest.fixture
def apps(world):
    """An app that claims another address in a header: (site, broker, its options)."""
    site, _fleet, broker = world
    provider = Provider()
    provider.register(site.registry)
    options = {"client_id": "app:corp:dashboard", "listener": "plain_websockets", "password": provider.token()}
    site.connect_within(2.0, broker, None, **options).disconnect()
    return site, broker, options


def outcome(site, broker, options):
    client = site.client(broker, None, **options)
    client.paho.ws_set_options(headers=FORGED)
    return client.connect()


@pytest.mark.parametrize("scope, key", [("GLOBAL", None), ("ISSUER", "corp")])
def test_a_denied_app_does_not_get_in_by_a_header(apps, scope, key):
    site, broker, options = apps
    assert outcome(site, broker, options) == 0
    site.registry.deny_ip(network="127.0.0.0/8", scope=scope, scope_key=key)
    wait_until(lambda: outcome(site, broker, options) != 0, what="the refusal")
    site.registry.wait_for_event(reason="address_denied", refusal=True)


def test_an_allow_list_admits_only_where_the_address_is_known(apps):
    site, broker, options = apps
    site.registry.allow_ip(network="10.0.0.1/32")
    wait_until(lambda: outcome(site, broker, options) != 0, what="the refusal")
    site.registry.allow_ip(network="127.0.0.1/32")
    if BELIEVES_HEADERS[0] <= broker.version < BELIEVES_HEADERS[1]:
        assert outcome(site, broker, options) != 0
        broker.wait_for_log("this Mosquitto does not say reliably where a WebSocket comes from")
    else:
        wait_until(lambda: outcome(site, broker, options) == 0, what="the admission")


def test_a_live_app_is_denied_by_its_own_address(apps):
    site, broker, options = apps
    client = site.client(broker, None, **options)
    client.paho.ws_set_options(headers=FORGED)
    assert client.connect() == 0
    site.registry.deny_ip(network="127.0.0.1/32")
    client.wait_closed()


def test_a_device_has_the_address_of_its_handshake(world):
    site, fleet, broker = world
    device = fleet.issue("sensor-1")

    def connected():
        client = site.client(broker, device, listener="websockets")
        client.paho.ws_set_options(headers=FORGED)
        return client if client.connect() == 0 else None

    client = connected()
    if client is None:
        assert broker.version < (2, 1), "only 2.0.11 hides a WebSocket client's certificate from plugins"
        return
    site.registry.allow_ip(network="10.0.0.1/32", scope="CA", scope_key="acme")
    client.wait_closed()
    site.registry.allow_ip(network="127.0.0.1/32", scope="CA", scope_key="acme")
    client = wait_until(connected, what="the admission")
    site.registry.deny_ip(network="127.0.0.1/32", scope="CA", scope_key="acme")
    client.wait_closed()
