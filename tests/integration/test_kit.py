# SPDX-License-Identifier: ISC
"""The test kit itself, on brokers without the plugin: what the other tests rely on."""

import threading

import pytest

import pki
from broker import DidNotStart
from client import CLOSED, V311, V5, mqtt_string, packet, publish_packet, subscribe_packet

ANONYMOUS = ("allow_anonymous true",)


@pytest.fixture
def open_broker(bare_site):
    return bare_site.broker(lines=ANONYMOUS)


@pytest.fixture
def fleet(bare_site):
    """An authority that the device listener of `mtls_broker` trusts."""
    authority = pki.root("fleet")
    (bare_site.folder / "fleet.pem").write_text(authority.pem)
    return authority


@pytest.fixture
def mtls_broker(bare_site, fleet):  # pylint: disable=unused-argument
    return bare_site.broker(lines=ANONYMOUS, trust=bare_site.folder / "fleet.pem")


@pytest.mark.parametrize("protocol", [V311, V5])
@pytest.mark.parametrize("listener", ["plain", "app"])
def test_messages_pass_between_two_clients(bare_site, open_broker, listener, protocol):
    reader = bare_site.client(open_broker, client_id="reader", listener=listener, protocol=protocol)
    writer = bare_site.client(open_broker, client_id="writer", listener=listener, protocol=protocol)
    assert (reader.connect(), writer.connect()) == (0, 0)
    assert reader.subscribe("a/#") == 1
    writer.publish("a/b", "hello")
    assert reader.receive() == ("a/b", "hello")
    assert reader.unsubscribe("a/#") in (None, 0)
    reader.disconnect()
    assert not reader.connected


def test_a_device_with_a_trusted_certificate_connects(bare_site, fleet, mtls_broker):
    assert bare_site.client(mtls_broker, fleet.issue("one")).connect() == 0


def test_a_device_with_a_strange_certificate_sees_the_connection_closed(bare_site, mtls_broker):
    assert bare_site.client(mtls_broker, pki.root("other").issue("one")).connect() == CLOSED


def test_a_refused_connect_returns_its_code(bare_site):
    broker = bare_site.broker()
    assert bare_site.client(broker, client_id="x", listener="plain").connect() == 5
    assert bare_site.client(broker, client_id="x", listener="plain", protocol=V5).connect() == 0x87


def test_a_dropped_connection_sends_the_will(bare_site, open_broker):
    reader = bare_site.client(open_broker, client_id="reader", listener="plain")
    assert reader.connect() == 0
    reader.subscribe("wills")
    leaver = bare_site.client(open_broker, client_id="leaver", will={"topic": "wills", "payload": "lost"})
    assert leaver.connect() == 0
    leaver.drop()
    assert reader.receive() == ("wills", "lost")


def test_a_taken_over_client_is_closed(bare_site, open_broker):
    first, second = (bare_site.client(open_broker, client_id="same", protocol=V5) for _ in range(2))
    assert first.connect() == 0
    assert second.connect() == 0
    first.wait_closed()
    assert second.connected


def test_the_bare_client_speaks(bare_site, open_broker):
    with bare_site.raw(open_broker, listener="plain") as raw:
        assert raw.connect("raw") == 0
        assert raw.send(subscribe_packet("t")).receive() == (9, 0, b"\x00\x01\x00")
        assert raw.send(publish_packet("t", b"self")).receive() == (3, 0, mqtt_string("t") + b"self")
        raw.send(packet(15))
        assert raw.wait_closed() == []


def test_a_restart_keeps_persistent_sessions(bare_site):
    broker = bare_site.broker(lines=ANONYMOUS, persistence=True)
    reader = bare_site.client(broker, client_id="reader", listener="plain", clean=False)
    assert reader.connect() == 0
    reader.subscribe("t")
    reader.disconnect()
    broker.restart()
    again = bare_site.client(broker, client_id="reader", listener="plain", clean=False)
    assert again.connect() == 0
    assert again.session_present


def test_a_broker_that_cannot_start_says_why(bare_site):
    broker = bare_site.new_broker(lines=["no_such_option x"])
    assert "no_such_option" in broker.expect_no_start()
    with pytest.raises(DidNotStart):
        broker.start()


def test_sighup_reloads(open_broker):
    open_broker.sighup()
    assert open_broker.running()


def test_many_connect_at_once(bare_site, fleet, mtls_broker):
    clients = [bare_site.client(mtls_broker, fleet.issue("d%d" % i)) for i in range(20)]
    threads = [threading.Thread(target=client.connect) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [client.result for client in clients] == [0] * 20


def test_websockets(bare_site):
    broker = bare_site.broker(lines=ANONYMOUS, listeners=("plain", "plain_websockets"))
    assert bare_site.client(broker, client_id="w", listener="plain_websockets").connect() == 0


# Certificates that the kit must be able to make, as OpenSSL reads them.


def test_hostile_certificates_can_be_made():
    authority = pki.root("maker").intermediate(path_length=0)
    digest = pki.hashes.SHA1()
    assert authority.issue("sha1", digest=digest).certificate.signature_hash_algorithm.name == "sha1"
    assert authority.issue("small", key=pki.rsa_key(1024)).key.key_size == 1024
    assert len(authority.issue(subject=pki.name(["a", "b"])).certificate.subject) == 2
    assert len(authority.issue(subject=pki.name()).certificate.subject) == 0
    assert authority.issue("nul\0byte").certificate.subject.rfc4514_string() == "CN=nul\\00byte"


def test_an_authority_of_the_same_name_has_another_key():
    authority = pki.root("r").intermediate("i")
    other = authority.same_name()
    assert other.certificate.subject == authority.certificate.subject
    assert other.fingerprint != authority.fingerprint
    assert other.key.public_key().public_numbers() != authority.key.public_key().public_numbers()


def test_a_crl_lists_what_was_revoked():
    authority = pki.root("r")
    leaf = authority.issue("leaf")
    crl = pki.x509.load_pem_x509_crl(authority.crl(leaf).encode())
    assert [row.serial_number for row in crl] == [leaf.certificate.serial_number]
    assert crl.is_signature_valid(authority.key.public_key())
