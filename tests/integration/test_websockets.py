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


def test_a_stranger_with_a_certificate_is_refused(world):
    site, fleet, broker = world
    site.connect(broker, fleet.issue("sensor-1"))
    stranger = site.root.intermediate("other").issue("sensor-1")
    assert site.try_connect(broker, stranger, listener="websockets") != 0
    assert site.try_connect(broker, fleet.twin().issue("sensor-1"), listener="websockets") != 0


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