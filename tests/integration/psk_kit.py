# SPDX-License-Identifier: ISC
"""Devices with pre-shared keys: the key file, iot-auth-psk, and clients that speak MQTT through `openssl s_client -psk`."""

import os
import secrets
import select
import subprocess
import time

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
