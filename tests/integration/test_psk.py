# SPDX-License-Identifier: ISC
"""Devices with pre-shared keys: who proves a key is that device, and nobody else is."""

import itertools
import os
import subprocess

import pytest

import pki
from broker import wait_until
from client import NOT_AUTHORIZED, connect_packet, publish_packet, subscribe_packet
from iot_auth_kit import BUILD
from psk_kit import HANDSHAKE, TLS12, TLS13, KeyFile, PskClient, after_handshake, attempt, connack, device, generate, gnutls_connect

VERSIONS = pytest.mark.parametrize("version", [TLS13, TLS12], ids=["tls1.3", "tls1.2"])
WRONG = "00" * 32
MBEDTLS = os.environ.get("IOT_AUTH_MBEDTLS", str(BUILD / "tests" / "integration" / "mbedtls_psk"))
_names = itertools.count(1)


@pytest.fixture(scope="module", name="keys")
def key_file(tmp_path_factory):
    return KeyFile(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def broker(site_of_module, keys):
    return site_of_module.broker(options={"psk_key_file": keys.path},
                                 listeners=("device", "app", "plain", "psk", "psk_mixed", "psk_identity"))


@pytest.fixture
def registry(site_of_module):
    return site_of_module.registry


@pytest.fixture
def name():
    return "meter-%d" % next(_names)


def refused(registry, detail, connect):
    """The event of a refused key.  Of clients that are not registered only ten events a second are written, so connect() is
    tried again."""
    for tries_left in (2, 1, 0):
        since = registry.last_event()
        connect()
        try:
            event = registry.wait_for_event(reason="psk_unknown", since=since, timeout=2.0, refusal=True)
            break
        except AssertionError:
            if not tries_left:
                raise
    assert event["kind"] == "device/refused" and detail in event["detail"]["detail"], event


def admits(broker, identity, key, version=TLS13, client_id=None):
    return attempt(broker.ports["psk"], identity, key, client_id, version) == 0


def known(broker, registry, keys, name, **options):
    """The key of a new device, which the broker knows."""
    key = device(registry, keys, name, **options)
    wait_until(lambda: attempt(broker.ports["psk"], name, key, "nobody") != HANDSHAKE, what="the new key")
    return key


@VERSIONS
def test_who_has_the_key_is_the_device(broker, registry, keys, name, version):
    key = known(broker, registry, keys, name)
    mark = broker.mark()
    client = PskClient(broker.ports["psk"], name, key, version)
    assert client.connect(name) == 0
    client.send(subscribe_packet("devices/%s/#" % name))
    assert client.receive()[-1] != 0x80
    client.send(publish_packet("devices/%s/x" % name, b"hello"))
    assert b"hello" in client.receive()
    client.close()
    assert 'psk_identity="%s"' % name in broker.wait_for_log("accepted device=%s .*" % name, since=mark).group()
    wait_until(lambda: registry.value("SELECT last_used_at FROM iot_auth.device_psk WHERE identity = %s", name), what="last_used_at")
    assert registry.value("SELECT last_connected_at FROM iot_auth.device WHERE device_id = %s", name)


@VERSIONS
def test_mosquitto_pub_connects(broker, registry, keys, name, version):
    key = known(broker, registry, keys, name)
    words = ["mosquitto_pub", "-p", str(broker.ports["psk"]), "--psk", key, "--psk-identity", name, "-i", name, "-t",
             "devices/%s/x" % name, "-m", "x", "-q", "1", "--tls-version", "tlsv1.3" if version == TLS13 else "tlsv1.2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mbedtls_connects(broker, registry, keys, name):
    if not os.path.exists(MBEDTLS):
        pytest.skip("libmbedtls-dev was not there when the tests were built")
    key = known(broker, registry, keys, name)
    answers = []
    for key_of_client in (key, WRONG):
        words = [MBEDTLS, str(broker.ports["psk"]), name, key_of_client, name]
        answers.append(subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout)
    assert answers[0].startswith("0 TLS-ECDHE-PSK-WITH-") and answers[1] == "handshake\n"


@VERSIONS
def test_gnutls_connects(broker, registry, keys, name, version):
    key = known(broker, registry, keys, name)
    protocol = "VERS-TLS1.3" if version == TLS13 else "VERS-TLS1.2"
    priority = "NORMAL:-VERS-ALL:+%s:-KX-ALL:+ECDHE-PSK" % protocol
    assert gnutls_connect(broker.ports["psk"], name, key, name, priority) == 0
    assert gnutls_connect(broker.ports["psk"], name, WRONG, name, priority) == HANDSHAKE


@VERSIONS
def test_every_fault_of_a_key_looks_the_same_and_the_event_says_which(broker, registry, keys, name, version):
    keyed = {}
    for fault in ("wrong", "inactive", "revoked", "expired", "damaged", "moved", "lost"):
        identity = "%s-%s" % (name, fault)
        keyed[fault] = (identity, device(registry, keys, identity))
    registry.set_psk_status(identity=keyed["inactive"][0], status="INACTIVE")
    registry.set_psk_status(identity=keyed["revoked"][0], status="REVOKED")
    registry.query("UPDATE iot_auth.device_psk SET expires_at = now() - interval '1 minute' WHERE identity = %s", keyed["expired"][0])
    registry.query("UPDATE iot_auth.device_psk SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE identity = %s", keyed["damaged"][0])
    registry.query("UPDATE iot_auth.device_psk SET device_id = %s WHERE identity = %s", keyed["wrong"][0], keyed["moved"][0])
    registry.query("UPDATE iot_auth.device_psk SET key_id = 77 WHERE identity = %s", keyed["lost"][0])
    keyed["wrong"] = (keyed["wrong"][0], WRONG)
    keyed["unknown"] = (name + "-unknown", WRONG)
    details = {"wrong": "another key", "inactive": "INACTIVE", "revoked": "REVOKED", "expired": "expired",
               "damaged": "does not open", "moved": "does not open", "lost": "psk_key_file", "unknown": "not registered"}
    last = known(broker, registry, keys, name)  # then the broker knows the others, too
    mark = broker.mark()
    assert admits(broker, name, last, version)
    alerts = set()
    for fault, detail in details.items():
        identity, key = keyed[fault]
        client = PskClient(broker.ports["psk"], identity, key, version)
        assert client.connect(identity) == HANDSHAKE, fault
        alerts.add(client.errors.decode().rpartition("alert")[2].partition(":")[0])
        broker.wait_for_log('refused reason=psk_unknown .*%s.*psk_identity="%s"' % (detail, identity), since=mark)
    assert len(alerts) == 1, alerts


def test_a_client_without_any_key_leaves_an_event(site_of_module, broker, registry):
    """A device with a certificate, and an app, that come to a listener of keys."""
    credential = site_of_module.root.intermediate("no-keys").issue("sensor")

    def connect(shown, listener):
        with pytest.raises(OSError):
            site_of_module.raw(broker, shown, listener=listener).connect("sensor")

    for shown, listener in ((credential, "psk"), (None, "psk"), (None, "psk_identity")):
        refused(registry, "offers no pre-shared key", lambda one=shown, to=listener: connect(one, to))


def test_why_refused_finds_the_identity_and_says_what_must_be_true(broker, registry, name):
    refused(registry, "not registered", lambda: attempt(broker.ports["psk"], name, WRONG))
    assert registry.query("SELECT reason, remedy FROM iot_auth.why_refused(%s)", name)[0][0] == "psk_unknown"
    assert name in registry.query("SELECT remedy FROM iot_auth.why_refused(%s)", name)[0][0]


@VERSIONS
def test_a_wrong_key_leaves_nothing_for_clients_without_a_key(site_of_module, broker, registry, keys, name, version):
    """Mosquitto 2.1.2 sends no DISCONNECT after a failed handshake, and uses the client's memory again."""
    key = known(broker, registry, keys, name)
    for key_of_client in (WRONG, key):
        client = PskClient(broker.ports["psk"], name, key_of_client, version)
        wait_until(lambda c=client: c.process.poll() is not None or c.process.stdin, what="handshake")
        if key_of_client == WRONG:
            assert client.connect(name) == HANDSHAKE
        else:
            client.close()  # proven, and disconnected before CONNECT
        for listener in ("plain", "app", "psk_mixed"):
            for _ in range(3):
                assert site_of_module.try_connect(broker, client_id=name, listener=listener) in NOT_AUTHORIZED


def test_a_plain_client_in_the_middle_of_anothers_connect_is_nobody(site_of_module, broker, registry, keys, name):
    key = known(broker, registry, keys, name)
    client = PskClient(broker.ports["psk"], name, key)
    packet = connect_packet(name)
    client.send(packet[:7])
    for listener in ("plain", "app"):
        assert site_of_module.try_connect(broker, client_id=name, listener=listener) in NOT_AUTHORIZED
    other = known(broker, registry, keys, name + "-other")
    wait_until(lambda: admits(broker, name + "-other", other), what="the other device")
    client.send(packet[7:])
    assert client.receive()[:4] == b"\x20\x02\x00\x00"
    client.close()


@pytest.mark.parametrize("key_of_client", ["right", "wrong"])
def test_a_listener_with_a_certificate_admits_nobody_by_a_key(broker, registry, keys, name, key_of_client):
    key = known(broker, registry, keys, name) if key_of_client == "right" else WRONG
    for version in (TLS12, TLS13):
        mark = broker.mark()
        assert attempt(broker.ports["psk_mixed"], name, key, version=version) != 0
        client = PskClient(broker.ports["psk_mixed"], name, key, version, ["-cipher", "ECDHE-PSK-CHACHA20-POLY1305"])
        assert client.connect(name) != 0
        if broker.version >= (2, 0, 20):  # before, Mosquitto itself ignores psk_hint there
            broker.wait_for_log('refused reason=psk_unknown .*the listener has a certificate.*psk_identity="%s"' % name, since=mark)


def test_a_listener_with_a_certificate_is_named_at_start(broker):
    """Before any client comes to it; and the other listeners are not named."""
    if broker.version < (2, 0, 20):
        pytest.skip("Mosquitto 2.0.11 ignores psk_hint where there is a certificate")
    broker.wait_for_log("the listener with psk_hint 'iot' also has a certificate")
    assert broker.log().count("also has a certificate") == 1


def test_use_identity_as_username_admits_nobody_and_the_log_names_it(broker, registry, keys, name):
    """Also after a client of another listener has left early."""
    key = known(broker, registry, keys, name)
    wait_until(lambda: admits(broker, name, key), what="the key")
    mark = broker.mark()
    client = PskClient(broker.ports["psk"], name, key)
    broker.wait_for_log("New connection", since=mark)
    client.close()
    for version in (TLS12, TLS13):
        assert attempt(broker.ports["psk_identity"], name, key, version=version) != 0
    broker.wait_for_log("has left port %d before .*use_identity_as_username" % broker.ports["psk_identity"])
    assert "has left port %d" % broker.ports["psk"] not in broker.log()


def test_all_missing_key_encryption_keys_are_in_the_log(broker, registry, keys, name):
    for key_id in (81, 83):
        device(registry, keys, "%s-%d" % (name, key_id))
    mark = broker.mark()
    registry.query("UPDATE iot_auth.device_psk SET key_id = split_part(identity, '-', 3)::int WHERE identity LIKE %s", name + "-%")
    broker.wait_for_log("psk_key_file has no key 81, 83, under which", timeout=20, since=mark)


@VERSIONS
def test_the_client_id_must_be_the_device_id(broker, registry, keys, name, version):
    key = known(broker, registry, keys, name)
    mark = broker.mark()
    assert attempt(broker.ports["psk"], name, key, "another", version) in NOT_AUTHORIZED
    broker.wait_for_log("refused reason=client_id_mismatch device=%s client=another" % name, since=mark)


def test_what_is_wrong_with_the_device_is_answered_after_the_key(broker, registry, keys, name):
    key = known(broker, registry, keys, name)
    for status in ("PENDING", "INACTIVE", "REVOKED"):
        registry.set_device_status(device_id=name, status=status)
        mark = broker.mark()
        wait_until(lambda: attempt(broker.ports["psk"], name, key) in NOT_AUTHORIZED, what=status)
        broker.wait_for_log("refused reason=device_%s device=%s " % (status.lower(), name), since=mark)
    registry.query("DELETE FROM iot_auth.device WHERE device_id = %s", name)
    assert registry.query("SELECT * FROM iot_auth.device_psk WHERE identity = %s", name) == []
    wait_until(lambda: attempt(broker.ports["psk"], name, key) == HANDSHAKE, what="the deleted key")


def test_addresses_of_the_device_count(broker, registry, keys, name):
    key = known(broker, registry, keys, name)
    rule = registry.deny_ip(network="127.0.0.0/8", scope="DEVICE", scope_key=name)
    wait_until(lambda: attempt(broker.ports["psk"], name, key) in NOT_AUTHORIZED, what="the rule")
    broker.wait_for_log("refused reason=address_denied device=%s " % name)
    registry.remove_ip_rule(rule_id=rule)
    wait_until(lambda: admits(broker, name, key), what="the removed rule")


@pytest.mark.parametrize("change", ["inactive", "revoked", "expired", "deleted", "device", "moved", "replaced"])
def test_a_live_session_ends_within_a_second_of_the_change(broker, registry, keys, name, change):
    key = known(broker, registry, keys, name)
    other = name + "-other"
    registry.create_device(device_id=other)
    client = PskClient(broker.ports["psk"], name, key)
    assert client.connect(name) == 0
    {"inactive": lambda: registry.set_psk_status(identity=name, status="INACTIVE"),
     "revoked": lambda: registry.set_psk_status(identity=name, status="REVOKED"),
     "expired": lambda: registry.query("UPDATE iot_auth.device_psk SET expires_at = now() - interval '2 s' WHERE identity = %s", name),
     "deleted": lambda: registry.query("DELETE FROM iot_auth.device_psk WHERE identity = %s", name),
     "device": lambda: registry.set_device_status(device_id=name, status="REVOKED"),
     "moved": lambda: registry.query("UPDATE iot_auth.device_psk SET device_id = %s WHERE identity = %s", other, name),
     "replaced": lambda: registry.query("UPDATE iot_auth.device_psk SET sealed = decode(repeat('5a', 60), 'hex') WHERE identity = %s", name),
     }[change]()
    assert client.is_closed(1.0)
    client.close()
    reason = {"deleted": "device_unknown", "device": "device_revoked", "moved": "device_unknown"}.get(change, "psk_unknown")
    registry.wait_for_event(reason=reason, kind="session/ended", principal=name)


def test_a_session_ends_when_its_key_expires(broker, registry, keys, name):
    registry.create_device(device_id=name)
    key = generate(registry, keys, name, "--expires-at", registry.value("SELECT (now() + interval '4 s')::text"))
    client = PskClient(broker.ports["psk"], name, key)
    assert client.connect(name) == 0
    assert client.is_closed(8.0)
    client.close()
    registry.wait_for_event(reason="psk_unknown", kind="session/ended", principal=name)


def test_a_key_that_is_revoked_between_handshake_and_connect_admits_nobody(broker, registry, keys, name):
    key = known(broker, registry, keys, name)
    mark = broker.mark()
    client = after_handshake(broker, name, key, name)
    registry.set_psk_status(identity=name, status="REVOKED")
    wait_until(lambda: attempt(broker.ports["psk"], name, key) == HANDSHAKE, what="the revocation")
    assert connack(client, name) in NOT_AUTHORIZED
    broker.wait_for_log('refused reason=psk_unknown device=%s .*REVOKED' % name, since=mark)


@VERSIONS
def test_a_key_that_is_replaced_between_handshake_and_connect_admits_nobody(broker, registry, keys, name, version):
    old = known(broker, registry, keys, name)
    mark = broker.mark()
    client = after_handshake(broker, name, old, name, version)
    registry.query("DELETE FROM iot_auth.device_psk WHERE identity = %s", name)
    new = generate(registry, keys, name)
    wait_until(lambda: admits(broker, name, new), what="the new key")
    assert connack(client, name) in NOT_AUTHORIZED
    broker.wait_for_log('refused reason=psk_unknown device=%s .*the key has been replaced since the handshake' % name, since=mark)


def test_a_key_that_is_moved_between_handshake_and_connect_is_not_the_other_device(broker, registry, keys, name):
    key = known(broker, registry, keys, name)
    other = name + "-other"
    registry.create_device(device_id=other)
    mark = broker.mark()
    client = after_handshake(broker, name, key, other)
    registry.query("UPDATE iot_auth.device_psk SET device_id = %s WHERE identity = %s", other, name)
    wait_until(lambda: attempt(broker.ports["psk"], name, key) == HANDSHAKE, what="the moved row")
    assert connack(client, other) in NOT_AUTHORIZED
    broker.wait_for_log('refused reason=psk_unknown device=%s .*the key has been replaced since the handshake' % other, since=mark)


def test_two_keys_serve_one_device_and_either_is_withdrawn_alone(broker, registry, keys, name):
    old = known(broker, registry, keys, name)
    new = generate(registry, keys, name, "--identity", name + "#2")
    wait_until(lambda: attempt(broker.ports["psk"], name + "#2", new, name) == 0, what="the new key")
    assert admits(broker, name, old)
    registry.set_psk_status(identity=name, status="REVOKED")
    wait_until(lambda: not admits(broker, name, old), what="the old key")
    assert attempt(broker.ports["psk"], name + "#2", new, name) == 0


def test_a_token_beside_a_key_is_refused(broker, registry, keys, name):
    key = known(broker, registry, keys, name)
    wait_until(lambda: admits(broker, name, key), what="the key")
    token = ".".join(["eyJhbGciOiJFUzI1NiJ9", "eyJpc3MiOiJ4In0", "A" * 86])
    since = registry.last_event()
    assert attempt(broker.ports["psk"], name, key, username="x", password=token) in NOT_AUTHORIZED
    registry.wait_for_event(reason="token_unbound", since=since)
    assert attempt(broker.ports["psk"], name, key, username="x", password="no token") == 0


@pytest.mark.parametrize("disabled", ["device's", "above"])
def test_a_disabled_ca_concerns_a_key_too_when_the_device_has_that_ca(site_of_module, broker, registry, keys, name, disabled):
    above = pki.root(name + "-root")
    site_of_module.register(above, name + "-root")
    ca = above.intermediate(name + "-ca")
    site_of_module.register(ca, name + "-ca", auto_registration=True)
    credential = ca.issue(name)
    site_of_module.connect(broker, credential).disconnect()
    key = generate(registry, keys, name)
    wait_until(lambda: admits(broker, name, key), what="the key beside a certificate")
    client = PskClient(broker.ports["psk"], name, key)
    assert client.connect(name) == 0
    registry.set_ca_status(name=name + ("-ca" if disabled == "device's" else "-root"), status="INACTIVE")
    assert client.is_closed(1.0)
    client.close()
    assert attempt(broker.ports["psk"], name, key) in NOT_AUTHORIZED
    broker.wait_for_log("refused reason=ca_inactive device=%s " % name)


def test_no_certificate_registers_itself_for_a_device_of_keys(site_of_module, broker, registry, keys, name):
    device(registry, keys, name)
    ca = pki.root(name + "-ca")
    site_of_module.register(ca, name + "-ca", auto_registration=True)
    site_of_module.assert_refused("device_conflict", broker, ca.issue(name))
    assert registry.certificates(name) == set()


def test_sighup_keeps_the_sessions_of_keys(broker, registry, keys, name):
    key = known(broker, registry, keys, name)
    client = PskClient(broker.ports["psk"], name, key)
    assert client.connect(name) == 0
    broker.sighup()
    client.send(subscribe_packet("devices/%s/#" % name))
    assert client.receive()[0] == 0x90
    client.send(publish_packet("devices/%s/x" % name, b"still here"))
    assert b"still here" in client.receive()
    client.close()
