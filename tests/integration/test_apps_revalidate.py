# SPDX-License-Identifier: ISC
"""Apps that are not admitted any more: what they may do until they are disconnected, and that all of them are found."""

import pytest

import client as clients
import pg
from app_kit import METHOD, Issuer, auth_app, bearer, thumbprint
from client import V5, auth_packet, subscribe_packet
from outage_kit import BACK

READ = ["ALLOW SUBSCRIBE,RECEIVE mine/#"]
SOON = 1.0


@pytest.fixture
def corp(site):
    return Issuer().register(site, {"use": READ})


# Between the mark and the disconnect


@pytest.mark.parametrize("wanted", ["#", "secret/x", "$SYS/#", "$iot-auth/events/#"])
def test_a_session_to_be_ended_gains_no_subscription_and_no_message(site, corp, wanted):
    """A kick makes the broker check each subscription of the session again, so a session that was to be disconnected
    got every subscription: a bad re-authentication and a SUBSCRIBE in one TLS record brought all retained messages of
    the broker."""
    eyes = site.observer(site.fleet())
    broker = site.broker()
    site.connect(broker, eyes).publish("secret/x", "of another", retain=True)
    client = auth_app(site, broker, corp.token())
    assert client.subscribe(wanted) >= 128
    refused_again = auth_packet(0x19, METHOD, bearer("bad.bad.bad"))
    client.raw.send(refused_again + subscribe_packet(wanted, 0, 77, V5))
    packets = client.raw.wait_closed()
    assert clients.PUBLISH not in [kind for kind, _flags, _body in packets]
    assert all(body[-1] >= 128 for kind, _flags, body in packets if kind == clients.SUBACK)


# Bound to a device (RFC 8705)


@pytest.fixture
def bound(site, corp):
    """A broker, a gateway's certificate, and an app whose token is bound to it."""
    fleet = site.fleet()
    gateway = fleet.issue("gateway-1")
    broker = site.broker()
    site.connect(broker, gateway).disconnect()
    client = auth_app(site, broker, corp.token(cnf=thumbprint(gateway)), credential=gateway)
    return site, broker, gateway, client


def set_certificate_status(site, gateway, status):
    site.registry.query("UPDATE iot_auth.device_certificate SET status = %s WHERE fingerprint = %s", status,
                        gateway.fingerprint)


ENDS = [
    # (what happens to the device or its certificate, reason)
    ("device revoked", "device_revoked",
     lambda site, _gateway: site.registry.set_device_status(device_id="gateway-1", status="REVOKED")),
    ("device inactive", "device_inactive",
     lambda site, _gateway: site.registry.set_device_status(device_id="gateway-1", status="INACTIVE")),
    ("device deleted", "device_unknown",
     lambda site, _gateway: site.registry.query("DELETE FROM iot_auth.device WHERE device_id = 'gateway-1'")),
    ("certificate revoked", "certificate_revoked",
     lambda site, gateway: site.registry.revoke_certificate(fingerprint_hex=gateway.fingerprint.hex())),
    ("certificate inactive", "certificate_inactive",
     lambda site, gateway: set_certificate_status(site, gateway, "INACTIVE")),
    ("certificate deleted", "device_unknown",
     lambda site, gateway: site.registry.query("DELETE FROM iot_auth.device_certificate WHERE fingerprint = %s",
                                               gateway.fingerprint)),
]


@pytest.mark.parametrize("_what,reason,end", ENDS, ids=[row[0] for row in ENDS])
def test_an_app_bound_to_a_device_ends_with_it(bound, _what, reason, end):
    """Sessions were looked up by username, and the username of such a session is the app's: it stayed connected."""
    site, _broker, gateway, client = bound
    since = site.registry.last_event()
    end(site, gateway)
    client.wait_kicked(SOON)
    event = site.registry.wait_for_event(kind="session/ended", principal="app:corp:dashboard", since=since)
    assert event["reason"] == reason


def test_an_app_bound_to_a_device_survives_a_resync(bound):
    """The record of its device was replaced in memory but not in the session, and a resync took the old one for that of
    a deleted device."""
    site, broker, gateway, client = bound
    site.registry.query("UPDATE iot_auth.device SET attributes = '{\"floor\": \"2\"}' WHERE device_id = 'gateway-1'")
    mark = broker.mark()
    site.registry.database.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND datname = current_database()",
        (pg.BROKER,))
    broker.wait_for_log(BACK, timeout=10, since=mark)
    site.connect(broker, gateway).disconnect()
    device = site.fleet("other").issue("of-other")
    other = site.connect_within(SOON, broker, device)
    site.registry.set_device_status(device_id="of-other", status="REVOKED")
    other.wait_closed(SOON)  # so all sessions have been revalidated since
    client.ping()
    assert client.subscribe("mine/x") == 0


# Malformed AUTH packets


@pytest.mark.parametrize("number", [1, 2])
def test_an_empty_auth_packet_ends_the_session_and_not_the_broker(site, corp, number):
    """Mosquitto passes `F0 00` of a live client on as the next step of an authentication.  The refusal made it free the
    client id of a connection that it kept: every broker crashed, at once or at the next CONNECT with that id."""
    eyes = site.observer(site.fleet())
    broker = site.broker()
    bystander = auth_app(site, broker, corp.token(), "app:corp:dashboard/bystander")
    observer = site.connect(broker, eyes)
    client = auth_app(site, broker, corp.token())
    client.raw.send(b"\xf0\x00" * number)
    client.raw.wait_closed()
    for _ in range(5):
        auth_app(site, broker, corp.token()).disconnect()
    assert broker.running(), broker.log()[-3000:]
    bystander.ping()
    assert observer.connected
    site.registry.wait_for_event(kind="session/ended", reason="token_malformed")


def test_an_auth_packet_without_content_before_connect_is_survived(site, corp):
    broker = site.broker()
    with site.raw(broker) as raw:
        raw.send(b"\xf0\x00").wait_closed()
    auth_app(site, broker, corp.token())
