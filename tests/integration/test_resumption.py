# SPDX-License-Identifier: ISC
"""TLS sessions are resumed after an accepted login, and every decision is made as after a full handshake: each way to be
refused, between the full handshake and the resumed one."""

import collections
import contextlib
import itertools
import signal
import struct
import subprocess

import pytest

import pki
from broker import wait_until
from client import CLOSED, V5, connect_packet

VERSIONS = pytest.mark.parametrize("tls13", [True, False], ids=["tls1.3", "tls1.2"])
Attempt = collections.namedtuple("Attempt", "result resumed")
_names = itertools.count(1)


class Device:
    """A device that keeps the TLS session of its last connection, and offers it at the next."""

    def __init__(self, site, broker, credential, name, tls13=True):
        self.site, self.broker, self.credential, self.name = site, broker, credential, name
        self.context = site.context(credential, tls13=tls13)
        self.session = None

    def connect(self, client_id=None, listener="device", **options):
        """One attempt; where it is refused the session stays."""
        try:
            raw = self.site.raw(self.broker, listener=listener, context=self.context, session=self.session)
        except OSError:
            return Attempt(CLOSED, False)
        with raw:
            result = raw.connect(client_id or self.name, **options)
            resumed = raw.socket.session_reused
            if result == 0:
                self.session = raw.socket.session
        return Attempt(result, resumed)

    def accepted(self):
        """Connects; True: by a resumed handshake."""
        attempt = self.connect()
        assert attempt.result == 0, self.broker.log()[-2000:]
        return attempt.resumed

    def refused(self, reason, timeout=3.0, **options):
        """Offers its session until it is refused, for that reason; the refused attempt.  After it no session is left."""
        since = self.site.registry.last_event()
        attempt = wait_until(lambda: (lambda a: a.result != 0 and a)(self.connect(**options)), timeout, "refusal")
        assert not self.connect(**options).resumed, "the session of a refused client was left"

        def event():
            with contextlib.suppress(AssertionError):
                return self.site.registry.wait_for_event(reason=reason, since=since, refusal=True, timeout=0.3)
            self.connect(**options)  # of clients that are not registered ten events a second are written
            return None

        wait_until(event, 5.0, "event")
        return attempt


class World:
    """The broker of the module, and for each test an authority and a device of its own that has connected."""

    def __init__(self, site, broker):
        self.site, self.broker = site, broker

    def fleet(self, **options):
        name = "fleet-%d" % next(_names)
        root = pki.root("root of " + name)
        fleet = self.site.register(root.intermediate(name), name, **options)
        fleet.name, fleet.root = name, root
        return fleet

    def device(self, fleet, tls13, **options):
        """Connected once, and by a resumed handshake once more."""
        name = "sensor-%d" % next(_names)
        device = Device(self.site, self.broker, fleet.issue(name, **options), name, tls13)
        wait_until(lambda: device.connect().result == 0, what="the registration")
        assert device.accepted()
        return device


@pytest.fixture(scope="module")
def world(site_of_module):
    site = site_of_module
    return World(site, site.broker(listeners=("device", "second_device", "plain", "websockets")))


# Accepted


@VERSIONS
def test_a_device_resumes_again_and_again_and_has_its_rights(world, tls13):
    device = world.device(world.fleet(), tls13)
    for _ in range(3):
        assert device.accepted()
    assert device.connect(protocol=V5) == (0, True)
    assert world.site.connect(world.broker, device.credential).subscribe("devices/%s/#" % device.name) == 1


@VERSIONS
def test_a_session_is_of_one_port(world, tls13):
    device = world.device(world.fleet(), tls13)
    old = device.session
    assert device.connect(listener="second_device") == (0, False)
    device.session = old
    assert device.connect(listener="second_device") == (0, False)


@VERSIONS
def test_sessions_survive_a_reload(world, tls13):
    device = world.device(world.fleet(), tls13)
    world.broker.process.send_signal(signal.SIGHUP)
    assert device.accepted() and device.accepted()


def test_a_session_permits_no_early_data(world):
    """Python cannot send any; OpenSSL's client says what the ticket permits."""
    device = world.device(world.fleet(), True)
    chain, key = device.credential.files(world.site.folder)
    session = world.site.folder / "session.pem"
    words = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % world.broker.ports["device"], "-tls1_3", "-cert", chain,
             "-key", key, "-cert_chain", chain, "-sess_out", session]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, stdin=subprocess.PIPE, **silent) as client:
        try:
            wait_until(lambda: session.exists() and session.read_text().endswith("END SSL SESSION PARAMETERS-----\n"))
        finally:
            client.terminate()
    shown = subprocess.run(["openssl", "sess_id", "-in", session, "-text", "-noout"], capture_output=True, text=True,
                           check=True).stdout
    assert "TLSv1.3" in shown and "Max Early Data: 0" in shown


# Refused: what has changed between the full handshake and the resumed one


def revoke_certificate(site, device, fleet):
    site.registry.revoke_certificate(fingerprint_hex=device.credential.fingerprint.hex())


def rotate(site, device, fleet):
    """The device has a new certificate, and the old one is withdrawn."""
    site.connect(device.broker, fleet.issue(device.name)).disconnect()
    site.registry.query("UPDATE iot_auth.device_certificate SET status = 'INACTIVE' WHERE fingerprint = %s",
                        device.credential.fingerprint)


def delete(site, device, fleet):
    site.registry.query("UPDATE iot_auth.ca SET auto_registration = false WHERE name = %s", fleet.name)
    site.registry.query("DELETE FROM iot_auth.device WHERE device_id = %s", device.name)


def disable_parent(site, device, fleet):
    site.register(fleet.root, "parent of " + fleet.name)
    site.registry.set_ca_status(name="parent of " + fleet.name, status="INACTIVE")


def disable_same_key_ca(site, device, fleet):
    """Another certificate of the CA's subject and key."""
    site.register(fleet.recertified_by(fleet.root), "same key as " + fleet.name)
    site.registry.set_ca_status(name="same key as " + fleet.name, status="INACTIVE")


def device_is(status):
    return lambda site, device, fleet: site.registry.set_device_status(device_id=device.name, status=status)


def ca_is(status):
    return lambda site, device, fleet: site.registry.set_ca_status(name=fleet.name, status=status)


def deny(scope, key):
    return lambda site, device, fleet: site.registry.deny_ip(network="127.0.0.1/32", scope=scope,
                                                             scope_key=key(device, fleet))


CHANGES = [
    ("device-inactive", "device_inactive", device_is("INACTIVE")),
    ("device-pending", "device_pending", device_is("PENDING")),
    ("device-revoked", "device_revoked", device_is("REVOKED")),
    ("device-deleted", "device_unknown", delete),
    ("certificate-revoked", "certificate_revoked", revoke_certificate),
    ("certificate-rotated", "certificate_inactive", rotate),
    ("in-list", "certificate_revoked",
     lambda site, device, fleet: site.registry.add_crl(ca_name=fleet.name, crl=fleet.crl(device.credential))),
    ("ca-inactive", "ca_inactive", ca_is("INACTIVE")),
    ("ca-revoked", "ca_inactive", ca_is("REVOKED")),
    ("parent-inactive", "ca_inactive", disable_parent),
    ("same-key-ca-inactive", "ca_inactive", disable_same_key_ca),
    ("address-of-ca", "address_denied", deny("CA", lambda device, fleet: fleet.name)),
    ("address-of-device", "address_denied", deny("DEVICE", lambda device, fleet: device.name)),
]


@VERSIONS
@pytest.mark.parametrize("reason, change", [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_change_refuses_a_resumed_connection_as_a_full_one(world, tls13, reason, change):
    fleet = world.fleet()
    device = world.device(fleet, tls13)
    change(world.site, device, fleet)
    device.refused(reason)


@VERSIONS
def test_a_denied_address_is_refused_at_scope_global(world, tls13):
    device = world.device(world.fleet(), tls13)
    rule = world.site.registry.deny_ip(network="127.0.0.1/32")
    try:
        device.refused("address_denied")
    finally:
        world.site.registry.remove_ip_rule(rule_id=rule)


@VERSIONS
def test_another_client_id_is_refused_though_the_handshake_was_resumed(world, tls13):
    device = world.device(world.fleet(), tls13)
    assert device.refused("client_id_mismatch", client_id="sensor-other").resumed


@VERSIONS
def test_a_session_ends_with_its_certificate(world, tls13):
    fleet = world.fleet()
    device = world.device(fleet, tls13, not_after=3)
    device.refused("certificate_expired", timeout=6.0)


@VERSIONS
def test_a_ca_that_was_disabled_and_enabled_again_has_lost_its_sessions(world, tls13):
    fleet = world.fleet()
    device = world.device(fleet, tls13)
    world.site.registry.set_ca_status(name=fleet.name, status="INACTIVE")
    bystander = Device(world.site, world.broker, fleet.issue("bystander"), "bystander")
    wait_until(lambda: bystander.connect().result != 0, what="the change")
    world.site.registry.set_ca_status(name=fleet.name, status="ACTIVE")
    attempt = wait_until(lambda: (lambda a: a.result == 0 and a)(device.connect()), what="the change back")
    assert not attempt.resumed


# Other listeners, other settings


def connect_by_websocket(device):
    """One attempt by hand, because Paho offers no session."""
    raw = device.site.raw(device.broker, listener="websockets", context=device.context, session=device.session)
    with raw:
        raw.send(b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
                 b"Sec-WebSocket-Protocol: mqtt\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += raw.socket.recv(1)
        frame = connect_packet(device.name)
        raw.send(struct.pack("!BBI", 0x82, 0x80 | len(frame), 0) + frame)  # masked with zeroes
        connack = raw.socket.recv(6)
        device.session = raw.socket.session
        return Attempt(connack[-1] if connack[2:4] == b"\x20\x02" else CLOSED, raw.socket.session_reused)


@VERSIONS
def test_websockets_resume_only_where_the_address_is_known(world, tls13):
    """Mosquitto 2.0.15 to 2.0.22 know a WebSocket client's address from its full handshake alone."""
    device = world.device(world.fleet(), tls13)
    known = not (2, 0, 15) <= world.broker.version < (2, 1)
    assert [connect_by_websocket(device) for _ in range(3)] == [(0, False)] + 2 * [(0, known)]


@VERSIONS
def test_a_restarted_broker_resumes_nothing(site, tls13):
    world = World(site, site.broker(listeners=("device",)))
    device = world.device(world.fleet(), tls13)
    world.broker.stop()
    world.broker.start()
    assert not device.accepted()
    assert device.accepted()


@VERSIONS
def test_without_resumption_nothing_is_offered(site, tls13):
    broker = site.broker(listeners=("device",), options={"tls_resumption": "off"})
    device = Device(site, broker, site.fleet().issue("sensor-1"), "sensor-1", tls13)
    wait_until(lambda: device.connect().result == 0, what="the registration")
    assert not device.accepted()


@VERSIONS
def test_a_session_is_not_resumed_beyond_its_time_however_often_it_was_renewed(site, tls13):
    broker = site.broker(listeners=("device",), options={"tls_session_s": 3, "tls_session_cache": 1})
    world = World(site, broker)
    fleet = world.fleet()
    device = world.device(fleet, tls13)
    wait_until(lambda: not device.accepted(), 5.0, "the end of the session")
    assert device.accepted()
    world.device(fleet, tls13)  # takes the only place
    assert not device.accepted()


@VERSIONS
def test_a_resumed_connection_waits_for_its_record(site, tls13):
    """The device is not in memory any more: its connection is held back as after a full handshake."""
    broker = site.broker(listeners=("device",), options={"device_cache_size": 1})
    fleet = site.fleet()
    devices = [Device(site, broker, fleet.issue(name), name, tls13) for name in ("sensor-1", "sensor-2")]
    wait_until(lambda: all(device.connect().result == 0 for device in devices), what="the registration")
    for device in 2 * devices:
        assert device.accepted()
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    devices[0].refused("device_revoked")
