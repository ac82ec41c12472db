# SPDX-License-Identifier: ISC
"""The TLS gate: which listeners it guards, and that no hostile peer can bypass it."""

import contextlib
import os
import socket
import ssl
import struct
import subprocess

import pytest
from cryptography import x509

import pki
from client import (
    CLOSED,
    PUBACK,
    REFUSED,
    SUBACK,
    V5,
    authentication,
    connect_packet,
    packet,
    publish_packet,
    subscribe_packet,
)


# Other listeners


def test_a_listener_that_is_not_the_gates_admits_no_device(site):
    fleet = site.fleet()
    broker = site.broker(
        listeners=("device", "internal"),
        internal_ca=site.listeners_pki.throw_away,
        options={"tls_gate": "{device}"},
    )
    device = fleet.issue("sensor-1")
    site.connect(broker, device)
    assert site.try_connect(broker, device, listener="internal") == CLOSED


def test_a_listener_without_the_gate_admits_no_device_by_its_own_cafile(site):
    """The `cafile` contains the fleet's authority: the broker's check passes, but the gate has not verified the chain.
    """
    fleet = site.fleet()
    own = site.folder / "own.pem"
    own.write_text(fleet.pem + site.root.pem)
    broker = site.broker(listeners=("device", "internal"), internal_ca=own, options={"tls_gate": "{device}"})
    device = fleet.issue("sensor-1")
    site.connect(broker, device)
    assert site.try_connect(broker, device, listener="internal") in REFUSED
    assert site.try_connect(broker, fleet.issue("sensor-2"), listener="internal") in REFUSED
    assert site.registry.devices() == ["sensor-1"]


def test_an_internal_listener_admits_its_clients_under_defer(site):
    """`other_clients defer` leaves a client without our credentials to the password file."""
    fleet = site.fleet()
    internal = pki.root("internal")
    own = site.folder / "own.pem"
    own.write_text(internal.pem)
    passwords = site.folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "ops", "secret"], check=True, capture_output=True)
    broker = site.broker(
        listeners=("device", "internal"),
        internal_ca=own,
        options={"tls_gate": "{device}", "other_clients": "defer"},
        lines=["password_file %s" % passwords],
    )
    worker = internal.issue("worker")
    assert site.try_connect(broker, worker, "w", listener="internal", username="ops", password="secret") == 0
    assert site.try_connect(broker, worker, "w", listener="internal", username="ops", password="wrong") != 0
    assert site.try_connect(broker, fleet.issue("sensor-1"), listener="internal") == CLOSED


def test_with_the_gate_off_no_device_is_admitted_by_the_cafile(site):
    fleet = site.fleet()
    broker = site.broker(options={"tls_gate": "off"})
    assert site.try_connect(broker, fleet.issue("sensor-1")) == CLOSED
    assert broker.running()


@pytest.mark.parametrize("listener", ["identity", "subject"])
def test_a_username_from_the_certificate_lets_nobody_impersonate(site, listener):
    """use_identity_as_username skips BASIC_AUTH: an attacker gets the victim's username by choosing the common name."""
    fleet = site.fleet()
    other = site.register(pki.root("other"), "other", device_id_template="${cert.subject.serialNumber}")
    victim = fleet.issue("victim")
    eyes = site.observer(fleet)
    broker = site.broker(listeners=("device", listener))
    observer = site.connect(broker, eyes)
    assert observer.subscribe("devices/#") == 1
    site.connect(broker, victim).disconnect()

    imposters = [other.issue(subject=pki.name("victim", serial_number="4711")), fleet.issue("attacker"), victim]
    for imposter in imposters:
        with site.raw(broker, imposter, listener=listener) as raw:
            if raw.connect("victim") != 0:
                continue
            raw.send(subscribe_packet("devices/victim/#", 1))
            raw.send(publish_packet("devices/victim/data", b"forged", 1, 2))
            for kind, _flags, body in raw.wait_closed():
                assert kind != 3, "received %s" % body
                assert kind != 9 or body[-1] >= 128, "subscribed"
    observer.received_nothing_before("devices/probe", lambda: observer.publish("devices/probe"))


def test_a_username_from_the_certificate_does_not_inherit_a_session(site):
    """A client that takes over the victim's client id on such a listener must not read its queue."""
    fleet = site.fleet()
    eyes = site.observer(fleet)
    victim = fleet.issue("victim")
    broker = site.broker(listeners=("device", "identity"))
    observer = site.connect(broker, eyes)
    asleep = site.connect(broker, victim, clean=False)
    assert asleep.subscribe("devices/victim/#") == 1
    asleep.disconnect()
    observer.publish("devices/victim/secret", "for the victim")
    with site.raw(broker, fleet.issue("attacker"), listener="identity") as raw:
        if raw.connect("victim", clean=False) == 0:
            assert not [body for kind, _, body in raw.wait_closed() if kind == 3]


# Addresses


def test_a_denied_address_is_turned_away_in_the_handshake(site):
    fleet = site.fleet()
    site.registry.deny_ip(network="127.0.0.0/8")
    broker = site.broker()
    site.assert_refused("address_denied", broker, fleet.issue("sensor-1"), codes=CLOSED)
    site.assert_refused("address_denied", broker, client_id="x", listener="plain")


# Hostile bytes

JUNK = [
    ("nothing", b""),
    ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("zeroes", bytes(4096)),
    ("noise", os.urandom(4096)),
    ("half a ClientHello", bytes.fromhex("160301020001000ffc0303") + os.urandom(40)),
    ("an alert", bytes.fromhex("15030300020228")),
    ("plain MQTT", connect_packet("sensor-1")),
]


def still_serves(site, broker, fleet, name="afterwards"):
    """Mosquitto 2.0.11 drops the next client when an entry is left in OpenSSL's error queue: one attempt."""
    client = site.client(broker, fleet.issue(name))
    assert client.connect() == 0, broker.log()[-3000:]
    client.disconnect()


@pytest.mark.parametrize("junk", [row[1] for row in JUNK], ids=[row[0] for row in JUNK])
def test_garbage_on_the_device_port_does_no_harm(site, junk):
    fleet = site.fleet()
    broker = site.broker()
    with socket.create_connection(("127.0.0.1", broker.ports["device"])) as peer:
        peer.sendall(junk)
        still_serves(site, broker, fleet)


def test_a_refused_handshake_does_not_harm_the_next_client(site):
    fleet = site.fleet()
    broker = site.broker()
    bad = [pki.root("x").issue("x"), fleet.issue("y", not_after=-5, not_before=-10), fleet.same_name().issue("z")]
    bad.append(fleet.issue("w", eku=(pki.SERVER_AUTH,)))
    for number, credential in enumerate(bad):
        assert site.try_connect(broker, credential) == CLOSED
        still_serves(site, broker, fleet, "after-%d" % number)


def test_a_client_that_leaves_in_the_handshake_does_no_harm(site):
    fleet = site.fleet()
    broker = site.broker()
    context = site.context(fleet.issue("leaver"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    hello = outgoing.read()
    for length in (1, 5, len(hello) // 2, len(hello)):
        with socket.create_connection(("127.0.0.1", broker.ports["device"])) as peer:
            peer.sendall(hello[:length])
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # disconnect with a reset
    still_serves(site, broker, fleet)
    assert site.registry.devices() == ["afterwards"]


def spoil_signature(flight):
    """A client's second flight in TLS 1.2, with another signature in CertificateVerify (RFC 5246 7.4.8)."""
    spoilt, at = bytearray(flight), 0
    while at < len(flight):
        length = int.from_bytes(flight[at + 3 : at + 5], "big")
        if flight[at] == 22 and flight[at + 5] == 15:
            spoilt[at + 5 + length - 1] ^= 1
            return bytes(spoilt)
        at += 5 + length
    raise AssertionError("no CertificateVerify")


def test_a_certificate_without_its_key_registers_nobody(site):
    fleet = site.fleet()
    broker = site.broker()
    context = site.context(fleet.issue("stolen"), tls13=False)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", broker.ports["device"]), timeout=5) as peer:
        flights = []
        while len(flights) < 2:
            with contextlib.suppress(ssl.SSLWantReadError):
                handshake.do_handshake()
            flight = outgoing.read()
            if flight:
                flights.append(flight)
                peer.sendall(spoil_signature(flight) if len(flights) == 2 else flight)
            incoming.write(peer.recv(65536))
    still_serves(site, broker, fleet)
    assert site.registry.devices() == ["afterwards"]


@pytest.mark.parametrize(
    "data",
    [
        packet(15),
        packet(14),
        packet(1, b""),
        b"\x10\xff\xff\xff\xff\xff",
        publish_packet("devices/sensor-1/x"),
        packet(12),
        connect_packet("sensor-1")[:-3],
        connect_packet("sensor-1", protocol=9),
    ],
    ids=["auth", "disconnect", "empty-connect", "bad-length", "publish", "ping", "half-connect", "protocol-9"],
)
def test_garbage_inside_tls_does_no_harm(site, data):
    fleet = site.fleet()
    broker = site.broker()
    with site.raw(broker, fleet.issue("sensor-1")) as raw:
        raw.send(data)
        still_serves(site, broker, fleet)


def test_garbage_after_connect_ends_that_connection_alone(site):
    fleet = site.fleet()
    broker = site.broker()
    bystander = site.connect(broker, fleet.issue("bystander"))
    for number, data in enumerate((bytes(2) + os.urandom(200), connect_packet("noisy"), packet(15, b"\x18"), packet(0))):
        with site.raw(broker, fleet.issue("noisy-%d" % number)) as raw:
            assert raw.connect("noisy-%d" % number) == 0
            raw.send(data)
            raw.send(packet(0)).wait_closed()
    assert bystander.connected
    still_serves(site, broker, fleet)


def test_a_topic_of_65000_slashes_is_refused_at_once(site):
    fleet = site.fleet()
    broker = site.broker()
    with site.raw(broker, fleet.issue("sensor-1")) as raw:
        assert raw.connect("sensor-1", protocol=V5) == 0
        raw.send(publish_packet("devices/sensor-1" + "/" * 65000, b"x", 1, protocol=V5))
        answer = raw.receive()
        assert answer is None or answer[0] != PUBACK or answer[2][2] >= 128, answer
    with site.raw(broker, fleet.issue("sensor-1")) as raw:
        assert raw.connect("sensor-1", protocol=V5) == 0
        answer = raw.send(subscribe_packet("/" * 65000, 1, protocol=V5)).receive()
        assert answer is None or answer[0] != SUBACK or answer[2][-1] >= 128, answer
    still_serves(site, broker, fleet)


def test_a_certificate_of_many_names_does_no_harm(site):
    fleet = site.fleet(client_id_templates=["*"])
    broker = site.broker()
    crowded = fleet.issue(subject=pki.name(["cn-%d" % i for i in range(300)]), san_dns=["d%d" % i for i in range(500)])
    site.assert_refused("identity_invalid", broker, crowded, client_id="x")
    still_serves(site, broker, fleet)


def test_a_long_chain_does_no_harm(site):
    """Thirty links: refused by depth or not, the broker keeps running."""
    fleet = site.fleet()
    authority = fleet
    for number in range(30):
        authority = authority.intermediate("level %d" % number)
    broker = site.broker()
    assert site.try_connect(broker, authority.issue("deep")) == CLOSED
    still_serves(site, broker, fleet)


def test_certificates_that_are_slow_to_parse_are_refused_unparsed(site):
    """OpenSSL decodes the keys of all certificates before it asks the plugin: 200 ms for this one on its own curve, and 35
    of them fit into a list."""
    slow = x509.load_pem_x509_certificate(pki.SLOW_CURVE.read_bytes())
    fleet = site.fleet()
    device = fleet.issue("sensor-1")
    broker = site.broker()
    attack = pki.Credential(device.key, device.certificate, [slow] * 10)
    before = broker.cpu_seconds()
    site.assert_refused("chain_invalid", broker, attack, client_id="sensor-1", codes=CLOSED)
    assert broker.cpu_seconds() - before < 0.7, "parsed, they take two seconds"
    site.connect(broker, device)


# Extended authentication


def test_an_authentication_method_does_not_pass_a_device_by(site):
    """A CONNECT with an Authentication Method never reaches BASIC_AUTH; it must not be a way in."""
    fleet = site.fleet(registered_status="PENDING")
    broker = site.broker()
    for method in ("OAUTHBEARER", "SCRAM-SHA-1", ""):
        with site.raw(broker, fleet.issue("sensor-1")) as raw:
            result = raw.connect("sensor-1", protocol=V5, props=authentication(method, b"x.y.z"))
            assert result != 0, method
    assert broker.running()


def test_the_broker_stops_in_good_order_with_clients_connected(site):
    fleet = site.fleet()
    broker = site.broker()
    clients = [site.connect(broker, fleet.issue("sensor-%d" % i)) for i in range(3)]
    broker.stop()
    for client in clients:
        client.wait_closed()


# What a refused handshake reports


@pytest.mark.parametrize("tls13", [True, False], ids=["tls1.3", "tls1.2"])
def test_a_client_without_a_certificate_is_counted_and_has_an_event(site, tls13):
    """The handshake ends before any callback about a certificate: nothing was reported."""
    site.fleet()
    broker = site.broker()
    mark = broker.mark()
    try:
        with site.raw(broker, listener="device", context=site.context(None, tls13=tls13)) as raw:
            assert raw.connect("sensor-1") == CLOSED
    except OSError:
        pass  # TLS 1.2: the handshake itself fails
    broker.wait_for_log("refused reason=no_credential", since=mark)
    event = site.registry.wait_for_event("no_credential", "device/refused")
    assert event["detail"]["detail"] == "the client shows no certificate"


def test_a_refused_chain_is_reported_with_what_its_certificate_claims(site):
    """`device=- client=- ca=-` did not help anybody to find the device."""
    site.fleet()
    broker = site.broker()
    with pytest.raises(OSError):
        with site.raw(broker, pki.root("elsewhere").issue("sensor-77")) as raw:
            assert raw.connect("sensor-77") == CLOSED
            raise OSError
    event = site.registry.wait_for_event("ca_unknown", "device/refused")
    detail = event["detail"]
    assert detail["cn"] == "sensor-77"
    assert "sensor-77" in detail["claimed_subject"] and "elsewhere" in detail["claimed_issuer"]
    assert detail["serial"] and detail["fingerprint"] and detail["claimed_not_after"]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_request_for_a_certificate_names_no_authority(site, version):
    """Java, Go and .NET clients choose their certificate by these names: that of a registered CA would not be among those of cafile."""
    broker = site.broker()
    words = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % broker.ports["device"], version]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    assert "No client certificate CA names sent" in done.stdout, done.stdout
    assert "Requested Signature Algorithms" in done.stdout  # there was a request
