# SPDX-License-Identifier: ISC
"""`proxy_from`: the client's address behind a balancer, under TLS, and whom a header is believed."""

import concurrent.futures
import ipaddress
import socket
import struct
import time

import pytest
from cryptography import x509

import app_kit
import pg
import pki
from broker import free_port, kinds, wait_until
from client import CLOSED, PATIENCE, Raw, connect_packet
from scaling_kit import Program
from site_kit import Registry, Site
from sql_kit import cursor

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
BALANCER = "127.0.0.1"
VERSIONS = pytest.mark.parametrize("tls13", [True, False], ids=["tls1.3", "tls1.2"])


def header(address="203.0.113.7", command=0x21, family=None, tlvs=b"", version_command=None):
    """A PROXY header, version 2, for a client with that address."""
    packed = ipaddress.ip_address(address).packed
    body = packed + packed + struct.pack("!HH", 50000, 8883) + tlvs
    family = (0x11 if len(packed) == 4 else 0x21) if family is None else family
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


class Proxied(Raw):
    """A TLS connection behind these bytes, sent in pieces of `step` bytes, from the source address `source`."""

    def __init__(self, port, context, before=b"", step=None, source=BALANCER, session=None):
        self.alert = None
        self.socket = socket.create_connection((BALANCER, port), timeout=5 * PATIENCE, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(before), step or len(before) or 1):
            self.socket.sendall(before[at:at + (step or len(before))])
            if step:
                time.sleep(0.002)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost", session=session)
        except OSError:
            self.socket.close()
            raise


def outcome(broker, context, client_id, *arguments, listener="device", password=None, **options):
    try:
        with Proxied(broker.ports[listener], context, *arguments, **options) as raw:
            return raw.connect(client_id, password=password, username="x" if password else None)
    except OSError:
        return CLOSED


@pytest.fixture(scope="module", params=kinds())
def proxied(request, plugin, postgres, pki_of_listeners, tmp_path_factory):
    site = Site(request.param, tmp_path_factory.mktemp("proxied"), pki_of_listeners, Registry(postgres.create_database()))
    site.acme = site.fleet()
    site.front = site.broker(options={"proxy_from": "127.0.0.1/32,2001:db8::/32"},
                             listeners=("device", "app", "plain", "websockets", "app_websockets"))
    site.device = site.acme.issue("sensor-1")
    site.shown = site.context(site.device)
    wait_until(lambda: outcome(site.front, site.shown, "sensor-1", header()) == 0, 5, "the CA")
    yield site
    site.close()


@pytest.fixture
def rules(proxied):
    """The registry, to add address rules to."""
    yield proxied.registry
    proxied.registry.query("DELETE FROM iot_auth.ip_rule")
    wait_until(lambda: outcome(proxied.front, proxied.shown, "sensor-1", header()) == 0, 5, "the end of the rules")


def counters(site):
    return dict(site.registry.query("SELECT counter, value FROM iot_auth.monitor_counter WHERE node_name = 'node-1'"))


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8:1::7", "::ffff:203.0.113.8"])
def test_a_client_behind_the_balancer_has_its_own_address(proxied, address, step):
    mark = proxied.front.mark()
    assert outcome(proxied.front, proxied.shown, "sensor-1", header(address, tlvs=b"\x04\x00\x05xxxxx" * 10), step=step) == 0
    shown = address.removeprefix("::ffff:")
    assert proxied.front.wait_for_log("iot-auth: accepted device=sensor-1 .* address=(\\S+)", since=mark)[1] == shown


@pytest.mark.parametrize("before", [
    b"", header(command=0x22), header(command=0x31), header(command=0x11), header(family=0x12), header(family=0x31), header(family=0),
    header(tlvs=b"x" * 600), b"PROXY TCP4 203.0.113.7 127.0.0.1 50000 8883\r\n", SIGNATURE[:11] + b"x" + b"\x21\x11\0\x0c" + b"x" * 12,
    SIGNATURE + b"\x21\x21\0\x0c" + b"x" * 12, SIGNATURE + b"\x21\x11\0\x0b" + b"x" * 11, header() + header()])
def test_a_balancers_connection_without_an_accepted_header_is_closed(proxied, before):
    mark = proxied.front.mark()
    assert outcome(proxied.front, proxied.shown, "sensor-1", before) == CLOSED
    assert "iot-auth: accepted" not in proxied.front.log(mark)


def test_a_refused_header_is_counted(proxied):
    before = wait_until(lambda: counters(proxied).get("proxy/refused"), 10, "the counter")
    assert outcome(proxied.front, proxied.shown, "sensor-1", b"") == CLOSED
    wait_until(lambda: counters(proxied).get("proxy/refused") > before, 10, "the counter")


def test_a_header_from_anybody_else_is_garbage_and_none_is_needed(proxied):
    assert outcome(proxied.front, proxied.shown, "sensor-1", header(), source="127.0.0.2") == CLOSED
    mark = proxied.front.mark()
    assert outcome(proxied.front, proxied.shown, "sensor-1", b"", source="127.0.0.2") == 0
    assert "address=127.0.0.2" in proxied.front.wait_for_log("iot-auth: accepted .*", since=mark)[0]


def test_certificates_that_are_slow_to_parse_are_refused_behind_a_balancer_too(proxied):
    """OpenSSL has one message callback for each connection: finding the client and looking at its certificates share it."""
    slow = x509.load_pem_x509_certificate(pki.SLOW_CURVE.read_bytes())
    attack = pki.Credential(proxied.device.key, proxied.device.certificate, [slow] * 10)
    context = proxied.context(attack)
    since, before = proxied.registry.last_event(), proxied.front.cpu_seconds()
    assert outcome(proxied.front, context, "sensor-1", header("198.51.100.9")) == CLOSED
    assert proxied.registry.wait_for_event("chain_invalid", since=since, refusal=True)["address"] == "198.51.100.9"
    assert proxied.front.cpu_seconds() - before < 0.7, "parsed, they take two seconds"


def test_the_balancers_own_connection_has_the_balancers_address(proxied):
    mark = proxied.front.mark()
    assert outcome(proxied.front, proxied.shown, "sensor-1", header(command=0x20)) == 0
    assert "address=127.0.0.1" in proxied.front.wait_for_log("iot-auth: accepted .*", since=mark)[0]


def test_address_rules_see_the_client_before_and_after_the_handshake(proxied, rules):
    since = proxied.registry.last_event()
    rules.deny_ip(network="203.0.113.0/24")
    wait_until(lambda: outcome(proxied.front, proxied.shown, "sensor-1", header()) == CLOSED, 5, "the rule")
    assert proxied.registry.wait_for_event(reason="address_denied", since=since)["address"] == "203.0.113.7"
    assert outcome(proxied.front, proxied.shown, "sensor-1", header("198.51.100.1")) == 0
    rules.deny_ip(network="198.51.100.2", scope="CA", scope_key="acme")
    wait_until(lambda: outcome(proxied.front, proxied.shown, "sensor-1", header("198.51.100.2")) != 0, 5, "the CA's rule")
    rules.deny_ip(network="127.0.0.0/8")
    wait_until(lambda: outcome(proxied.front, proxied.shown, "sensor-1", b"", source="127.0.0.2") == CLOSED, 5, "the rule")
    assert outcome(proxied.front, proxied.shown, "sensor-1", header("198.51.100.1")) == 0, "not the balancer's address"


def test_connections_that_come_together_keep_their_addresses(proxied):
    """The CONNECTs are sent in the reverse order of the handshakes, in two pieces."""
    devices = [proxied.acme.issue("many-%d" % n) for n in range(20)]
    raws = [Proxied(proxied.front.ports["device"], proxied.context(device), header("203.0.113.%d" % (n + 1))) for n, device in enumerate(devices)]
    packets = [connect_packet("many-%d" % n) for n in range(20)]
    for raw, packet in zip(raws, packets):
        raw.send(packet[:5])
    for raw, packet in reversed(list(zip(raws, packets))):
        raw.send(packet[5:])
    for n, raw in enumerate(raws):
        assert raw.receive()[2][1] == 0
        assert "device=many-%d client=many-%d address=203.0.113.%d " % (n, n, n + 1) in proxied.front.log()
        raw.close()


class Member:
    """A device that keeps the TLS session of its last connection; its header comes byte by byte."""

    def __init__(self, site, name, tls13):
        self.site, self.name, self.session = site, name, None
        self.context = site.context(site.acme.issue(name), tls13=tls13)

    def connect(self, address, **options):
        """Was its handshake resumed?  It must be admitted, with that address."""
        result, resumed = self.attempt(address, **options)
        assert result == 0
        assert "device=%s client=%s address=%s " % (self.name, self.name, address) in self.site.front.log()
        return resumed

    def attempt(self, address, before=None, **options):
        before = header(address) if before is None else before
        try:
            with Proxied(self.site.front.ports["device"], self.context, before, 1, session=self.session, **options) as raw:
                result, resumed = raw.connect(self.name), raw.socket.session_reused
                self.session = raw.socket.session if result == 0 else self.session
                return result, resumed
        except OSError:
            return CLOSED, False


@VERSIONS
def test_a_new_device_is_parked_behind_its_header_and_resumed_with_another_address(proxied, rules, tls13):
    """The three that stop a connection's reads, one after the other: header, parking, and what a resumed handshake knows."""
    member = Member(proxied, "member-%s" % tls13, tls13)
    total = wait_until(lambda: counters(proxied).get("parked/total"), 10, "the counter")
    with concurrent.futures.ThreadPoolExecutor(1) as background, cursor(proxied.registry.database, pg.SUPERUSER) as root:
        root.all("BEGIN; LOCK iot_auth.device IN SHARE ROW EXCLUSIVE MODE")
        attempt = background.submit(member.connect, "203.0.113.21")
        wait_until(lambda: root.one("SELECT exists (SELECT FROM pg_locks WHERE NOT granted)"), 5, "the registration")
        assert not attempt.done()
        root.all("COMMIT")
        assert attempt.result() is False
    wait_until(lambda: counters(proxied)["parked/total"] > total, 10, "the counter")
    assert member.connect("203.0.113.22") is tls13, "TLS 1.2 behind a balancer resumes nothing"
    assert member.connect("2001:db8:1::23") is tls13
    rules.deny_ip(network="203.0.113.24")
    wait_until(lambda: member.attempt("203.0.113.24")[0] == CLOSED, 5, "the rule")
    assert member.connect("203.0.113.25") in (False, tls13)


@VERSIONS
def test_a_session_that_was_made_elsewhere_brings_no_address_along(proxied, rules, tls13):
    """Made without the balancer, offered behind it: over TLS 1.2 the address is not known then, and any address rule asks
    for a full handshake."""
    member = Member(proxied, "roamer-%s" % tls13, tls13)
    wait_until(lambda: member.attempt("", before=b"", source="127.0.0.2")[0] == 0, 5, "the registration")
    assert member.attempt("", before=b"", source="127.0.0.2") == (0, True)
    assert member.attempt("203.0.113.31") == (0, True)
    rules.allow_ip(network="203.0.113.0/24", scope="CA", scope_key="acme")
    wait_until(lambda: outcome(proxied.front, proxied.shown, "sensor-1", header("198.51.100.1")) != 0, 5, "the rule")
    result, resumed = member.attempt("203.0.113.31")
    assert resumed and (result == 0) is tls13
    assert member.connect("203.0.113.31") is tls13


def test_one_device_with_tls_1_2_ends_nobody_elses_resumption(proxied):
    old, new = Member(proxied, "tls-1.2", False), Member(proxied, "tls-1.3", True)
    for member in (old, new, old):
        wait_until(lambda: member.attempt("203.0.113.41")[0] == 0, 5, "the registration")
    assert new.connect("203.0.113.41") is True


@pytest.fixture(scope="module")
def corp(proxied):
    issuer = app_kit.Issuer()
    issuer.register(proxied)
    issuer.token_of_app_1 = issuer.token(client_id="app-1")
    wait_until(lambda: app_outcome(proxied, issuer, source="127.0.0.2") == 0, 5, "the app")
    return issuer


def app_outcome(proxied, corp, *arguments, tls13=True, **options):
    return outcome(proxied.front, proxied.context(tls13=tls13), "app:corp:app-1", *arguments, listener="app",
                   password=corp.token_of_app_1, **options)


def test_apps_have_their_own_address_too(proxied, corp):
    mark = proxied.front.mark()
    assert app_outcome(proxied, corp, header("203.0.113.9")) == 0
    assert "address=203.0.113.9" in proxied.front.wait_for_log("iot-auth: accepted app=.*", since=mark)[0]


def websocket_outcome(proxied, corp, before=b"", **options):
    """CONNECT in one frame of a WebSocket; its first 12 bytes first, so that the rest comes by another read."""
    with Proxied(proxied.front.ports["app_websockets"], proxied.context(), before, **options) as raw:
        raw.send(b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += raw.socket.recv(1)
        packet = connect_packet("app:corp:app-1", username="x", password=corp.token_of_app_1)
        raw.send(struct.pack("!BBHI", 0x82, 0x80 | 126, len(packet), 0) + packet)  # masked with zeroes
        connack = raw.socket.recv(6)
        return connack[-1] if connack[2:4] == b"\x20\x02" else CLOSED


@pytest.mark.parametrize("attempt", [websocket_outcome, lambda *a: app_outcome(*a, tls13=False)], ids=["websockets", "tls1.2"])
def test_an_app_whose_address_cannot_be_known_is_refused_as_soon_as_there_is_an_address_rule(proxied, rules, corp, attempt):
    """Neither the balancer's address counts, nor that of a client whose connection was read last."""
    since = proxied.registry.last_event()
    device = Proxied(proxied.front.ports["device"], proxied.shown, header("198.51.100.1"))  # admitted, and read last
    assert device.connect("sensor-1") == 0
    for network in ("198.51.100.0/24", "127.0.0.0/8"):
        rules.allow_ip(network=network, scope="ISSUER", scope_key="corp")
    wait_until(lambda: attempt(proxied, corp, header("198.51.100.1")) != 0, 5, "the rules")
    assert "not known" in proxied.registry.wait_for_event(reason="address_denied", since=since)["detail"]["detail"]
    assert app_outcome(proxied, corp, header("198.51.100.1")) == 0
    device.close()


def test_a_bad_network_stops_the_broker(site):
    for value, why in (("10.0.0.0/33", "prefix length"), ("x", "not an IPv4"), ("10.0.0.1/8", "bits set"), ("10.0.0.0/8,", "proxy_from")):
        assert why in site.new_broker(options={"proxy_from": value}).expect_no_start()
    assert "tls_gate is off" in site.new_broker(options={"proxy_from": "10.0.0.0/8", "tls_gate": "off"}).expect_no_start()


def test_a_real_balancer_sends_the_header(proxied):
    front = free_port()
    (proxied.folder / "proxy.cfg").write_text("""defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen devices
    bind 127.0.0.1:%d
    server broker-1 127.0.0.1:%d check port %d check-ssl verify none inter 200ms send-proxy-v2 check-send-proxy
listen websockets
    bind 127.0.0.1:%d
    server broker-1 127.0.0.1:%d send-proxy-v2
""" % (front, proxied.front.ports["device"], proxied.front.ports["app"], websockets := free_port(), proxied.front.ports["websockets"]))
    balancer = Program(proxied.folder, "haproxy", ["haproxy", "-db", "-f", proxied.folder / "proxy.cfg"])
    proxied.front.ports.update({"balanced": front, "balanced_websockets": websockets})
    refused = counters(proxied).get("proxy/refused", 0)
    try:
        wait_until(lambda: counters(proxied).get("proxy/connections", 0) >= 2, 10, "two health checks")
        for listener in ("balanced", "balanced_websockets"):
            mark = proxied.front.mark()
            client = proxied.connect_within(5, proxied.front, proxied.device, listener=listener)
            client.disconnect()
            assert "address=127.0.0.1" in proxied.front.wait_for_log("iot-auth: accepted .*", since=mark)[0]
        wait_until(lambda: counters(proxied).get("proxy/connections", 0) >= 3, 10, "the counter")
        assert counters(proxied).get("proxy/refused", 0) == refused
    finally:
        balancer.stop()
        for name in ("balanced", "balanced_websockets"):
            del proxied.front.ports[name]
