# SPDX-License-Identifier: ISC
"""Devices with pre-shared keys: the key file, iot-auth-psk, and clients that speak MQTT through `openssl s_client -psk`."""

import ctypes
import os
import secrets
import select
import socket
import subprocess
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import pg
from broker import PATIENCE
from client import CLOSED, connect_packet
from iot_auth_kit import BUILD

PROGRAM = os.environ.get("IOT_AUTH_PSK", str(BUILD / "cli" / "iot-auth-psk"))
HANDSHAKE = "handshake"  # the outcome of a client whose TLS handshake failed
TLS12, TLS13 = "-tls1_2", "-tls1_3"


class KeyFile:
    """Lines of `ID HEX64`; the first one seals."""

    def __init__(self, folder, *ids):
        folder.mkdir(exist_ok=True)
        self.path = folder / "psk.keys"
        self.lines = {}
        self.write(*(ids or (1,)))

    def write(self, *ids):
        for key_id in ids:
            self.lines.setdefault(key_id, secrets.token_hex(32))
        text = "".join("%d %s\n" % (key_id, self.lines[key_id]) for key_id in ids)
        self.path.unlink(missing_ok=True)
        self.path.touch(mode=0o600)
        self.path.write_text(text)


def seal(kek, key_id, identity, device_id, key):
    """What iot-auth-psk writes: nonce, ciphertext and tag of AES-256-GCM (docs/psk.md)."""
    names = b"".join(len(name).to_bytes(2, "big") + name for name in (identity.encode(), device_id.encode()))
    nonce = os.urandom(12)
    return nonce + AESGCM(kek).encrypt(nonce, key, b"iot-auth psk 1" + key_id.to_bytes(2, "big") + names)


def command(registry, key_file, *words, stdin="", check=True):
    """Runs iot-auth-psk."""
    done = subprocess.run([PROGRAM, "--key-file", str(key_file.path), *words], env=registry.database.environment(pg.ADMIN), input=stdin,
                          capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def generate(registry, key_file, device_id, *words):
    """A new key of the device, as hexadecimal digits."""
    return command(registry, key_file, "generate", device_id, *words).stdout.strip().rpartition(":")[2]


def device(registry, key_file, device_id, **options):
    """A new device with one key, whose identity is the device id."""
    registry.create_device(device_id=device_id, **options)
    return generate(registry, key_file, device_id)


class PskClient:
    """A connection by openssl s_client, which passes bytes through."""

    def __init__(self, port, identity, key, version=TLS13, words=()):
        words = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-psk_identity", identity, "-psk", key, "-quiet",
                 version, *words]
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def send(self, octets):
        self.process.stdin.write(octets)
        self.process.stdin.flush()

    def receive(self, timeout=5.0):
        """What comes next; b"" at the end of the connection, None after the time-out."""
        ready, _, _ = select.select([self.process.stdout], [], [], timeout * PATIENCE)
        return os.read(self.process.stdout.fileno(), 4096) if ready else None

    def connect(self, client_id, **options):
        """CONNECT; the code of CONNACK, HANDSHAKE or CLOSED."""
        try:
            self.send(connect_packet(client_id, **options))
        except BrokenPipeError:
            pass
        answer = self.receive()
        if answer and answer[0] == 0x20:
            return answer[3]
        self.close()
        assert answer is not None, "no answer"
        return HANDSHAKE if b"alert" in self.errors else CLOSED

    def is_closed(self, timeout=5.0):
        end = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < end:
            if self.receive(max(0.0, end - time.monotonic())) == b"":
                return True
        return False

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.terminate()
        self.errors = self.process.stderr.read()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    errors = b""


def attempt(port, identity, key, client_id=None, version=TLS13, **options):
    """The outcome of one attempt; an admitted client is disconnected again."""
    client = PskClient(port, identity, key, version)
    result = client.connect(identity if client_id is None else client_id, **options)
    if client.process.returncode is None:
        client.close()
    return result


def after_handshake(broker, identity, key, client_id, version=TLS13):
    """A client that has proved its key and has sent the beginning of a CONNECT."""
    mark = broker.mark()
    client = PskClient(broker.ports["psk"], identity, key, version)
    broker.wait_for_log("New connection", since=mark)
    client.send(connect_packet(client_id)[:3])
    return client


def connack(client, client_id):
    """Sends the rest of the CONNECT; the code of the answer."""
    client.send(connect_packet(client_id)[3:])
    answer = client.receive()
    client.close()
    assert answer[:2] == b"\x20\x02"
    return answer[3]


# GnuTLS by its library: gnutls-cli 3.7 itself crashes in TLS 1.2 where the server shows no certificate.

GNUTLS_CLIENT, GNUTLS_CRD_PSK, GNUTLS_PSK_KEY_HEX = 2, 4, 1


class Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_uint)]


def gnutls_connect(port, identity, key, client_id, priority):
    """The outcome as of attempt()."""
    gnutls = ctypes.CDLL("libgnutls.so.30")
    gnutls.gnutls_record_send.argtypes = gnutls.gnutls_record_recv.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    session, credentials = ctypes.c_void_p(), ctypes.c_void_p()
    gnutls.gnutls_psk_allocate_client_credentials(ctypes.byref(credentials))
    gnutls.gnutls_psk_set_client_credentials(credentials, identity.encode(), ctypes.byref(Datum(key.encode(), len(key))), GNUTLS_PSK_KEY_HEX)
    gnutls.gnutls_init(ctypes.byref(session), GNUTLS_CLIENT)
    assert gnutls.gnutls_priority_set_direct(session, priority.encode(), None) == 0, priority
    gnutls.gnutls_credentials_set(session, GNUTLS_CRD_PSK, credentials)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10 * PATIENCE) as connection:
            connection.setblocking(True)
            gnutls.gnutls_transport_set_int2(session, connection.fileno(), connection.fileno())
            if gnutls.gnutls_handshake(session) != 0:
                return HANDSHAKE
            packet, answer = connect_packet(client_id), ctypes.create_string_buffer(64)
            gnutls.gnutls_record_send(session, packet, len(packet))
            n = gnutls.gnutls_record_recv(session, answer, len(answer))
            if n >= 4 and answer.raw[0] == 0x20:
                return answer.raw[3]
            return CLOSED if n == 0 else HANDSHAKE  # TLS 1.3: the alert comes after the client's own end of the handshake
    finally:
        gnutls.gnutls_deinit(session)
        gnutls.gnutls_psk_free_client_credentials(credentials)
