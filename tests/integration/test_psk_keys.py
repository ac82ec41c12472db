# SPDX-License-Identifier: ISC
"""The keys themselves: iot-auth-psk, the key file and its rotation, and what the database never sees."""

import os
import re
import subprocess

import pytest

import pg
from broker import wait_until
from iot_auth_kit import Command
from psk_kit import HANDSHAKE, TLS12, TLS13, KeyFile, PskClient, after_handshake, attempt, command, connack, device, seal


@pytest.fixture(scope="module")
def registry(site_of_module):
    return site_of_module.registry


@pytest.fixture(scope="module", name="keys")
def key_file(tmp_path_factory):
    return KeyFile(tmp_path_factory.mktemp("keys"))


def admits(broker, identity, key):
    return attempt(broker.ports["psk"], identity, key) == 0


def test_generate_prints_the_key_once_and_the_database_never_sees_it(registry, keys):
    registry.create_device(device_id="generated")
    done = command(registry, keys, "generate", "generated")
    identity, _, key = done.stdout.strip().partition(":")
    assert identity == "generated" and len(bytes.fromhex(key)) == 32
    sealed, key_id = registry.query("SELECT sealed, key_id FROM iot_auth.device_psk WHERE identity = 'generated'")[0]
    assert len(sealed) == 60 and key_id == 1 and bytes.fromhex(key) not in bytes(sealed)
    again = command(registry, keys, "generate", "generated", check=False)
    assert again.returncode == 1 and "has a key already" in again.stderr and again.stdout == ""


def test_import_takes_one_line_of_hexadecimal_digits(registry, keys):
    registry.create_device(device_id="imported")
    for number, key in enumerate(("ab" * 16, "CD" * 64)):
        assert command(registry, keys, "import", "imported", "--identity", "imported %d" % number, stdin=key + "\n").stdout == ""
    for line in ("ab" * 15, "ab" * 65, "abc" * 11, "xy" * 16, "ab" * 16 + "\n" + "ab" * 16, ""):
        done = command(registry, keys, "import", "imported", "--identity", "refused", stdin=line + "\n", check=False)
        assert done.returncode == 1 and "32 to 128 hexadecimal digits" in done.stderr, line
    assert registry.value("SELECT count(*) FROM iot_auth.device_psk WHERE identity = 'refused'") == 0


@pytest.mark.parametrize("words", [
    (), ("generate",), ("generate", "a", "b"), ("rotate", "a"), ("check", "--identity", "x"), ("delete", "a"), ("--nonsense",)])
def test_wrong_usage_is_status_2(registry, keys, words):
    done = command(registry, keys, *words, check=False)
    assert done.returncode == 2 and "--help" in done.stderr and done.stdout == ""


def test_what_fails_is_status_1_and_named(registry, keys, tmp_path):
    assert "is not registered" in (done := command(registry, keys, "generate", "nobody", check=False)).stderr and done.returncode == 1
    registry.create_device(device_id="named")
    done = command(registry, keys, "generate", "named", "--identity", "a\nb", check=False)
    assert done.returncode == 1 and "control characters" in done.stderr
    other = KeyFile(tmp_path)
    other.path.chmod(0o640)
    done = command(registry, other, "check", check=False)
    assert done.returncode == 1 and "chmod 600" in done.stderr


@pytest.mark.parametrize("mode, text, says", [
    (0o644, None, "chmod 600"), (0o600, "x", "line 1"), (0o600, "1 " + "ab" * 31, "64 hexadecimal"), (None, None, "No such file")])
def test_a_bad_key_file_stops_the_start(site_of_module, tmp_path, mode, text, says):
    keys = KeyFile(tmp_path)
    if text is not None:
        keys.path.write_text(text)
    if mode is None:
        keys.path.unlink()
    else:
        keys.path.chmod(mode)
    broker = site_of_module.new_broker(options={"psk_key_file": keys.path}, listeners=("psk",))
    log = broker.expect_no_start()
    assert says in log and "psk_key_file" in log and "ab" * 31 not in log


def test_a_rotation_and_a_new_key_file_reach_a_running_broker(site, tmp_path):
    registry, keys = site.registry, KeyFile(tmp_path)
    broker = site.broker(options={"psk_key_file": keys.path}, listeners=("psk",))
    key = device(registry, keys, "meter")
    wait_until(lambda: admits(broker, "meter", key), what="the key")
    client = PskClient(broker.ports["psk"], "meter", key)
    assert client.connect("meter") == 0
    device(registry, keys, "damaged")
    registry.query("UPDATE iot_auth.device_psk SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE identity = 'damaged'")
    keys.write(2, 1)
    proven = after_handshake(broker, "meter", key, "meter")
    for _ in range(2):  # it can be started again
        done = command(registry, keys, "rotate", check=False)
        assert done.returncode == 1 and "identity 'damaged' of device 'damaged'" in done.stderr
    assert registry.value("SELECT key_id FROM iot_auth.device_psk WHERE identity = 'meter'") == 2
    assert "does not open" in registry.value("SELECT problem FROM iot_auth.device_psk WHERE identity = 'damaged'")
    later = device(registry, keys, "later")
    wait_until(lambda: admits(broker, "later", later), timeout=10, what="what has changed since the rotation")
    assert connack(proven, "meter") == 0  # its handshake was before the rotation, and it has taken the session over
    client.close()
    assert admits(broker, "meter", key)
    client = PskClient(broker.ports["psk"], "meter", key)
    assert client.connect("meter") == 0
    registry.query("DELETE FROM iot_auth.device WHERE device_id = 'damaged'")
    assert "key 2: 2 keys (it seals)" in command(registry, keys, "check").stdout
    mark = broker.mark()
    keys.write(2)
    broker.sighup()
    broker.wait_for_log("psk_key_file has 1 keys", since=mark)
    assert admits(broker, "meter", key)
    mark = broker.mark()
    keys.path.write_text("broken")
    broker.sighup()
    broker.wait_for_log("psk_key_file.*line 1.*the keys that were read before stay in use", since=mark)
    assert admits(broker, "meter", key)
    client.close()
    for secret in (key, *keys.lines.values()):
        assert secret not in broker.log()


def problem_of(registry, identity):
    return registry.value("SELECT problem FROM iot_auth.device_psk WHERE identity = %s", identity)


def test_brokers_write_which_keys_they_cannot_open_until_they_can(site, tmp_path):
    """Before any device comes.  Nobody is notified, and nothing is audited: brokers may have different key files."""
    registry, keys, other = site.registry, KeyFile(tmp_path), KeyFile(tmp_path / "other", 5)
    broker = site.broker(options={"psk_key_file": keys.path}, listeners=("psk",))
    for name in ("damaged", "moved", "fine"):
        device(registry, keys, name)
    key = device(registry, other, "sealed-elsewhere")
    audited = registry.value("SELECT count(*) FROM iot_auth.audit")
    wait_until(lambda: "no key 5" in (problem_of(registry, "sealed-elsewhere") or ""), what="the missing key")
    for change in ("SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE identity = 'damaged'",
                   "SET device_id = 'fine' WHERE identity = 'moved'"):
        registry.query("UPDATE iot_auth.device_psk " + change)
    for name in ("damaged", "moved"):
        wait_until(lambda n=name: "does not open" in (problem_of(registry, n) or ""), what=name)
        broker.wait_for_log("pre-shared key of identity '%s': it does not open" % name)
    assert problem_of(registry, "fine") is None
    assert registry.value("SELECT sum(with_problem) FROM iot_auth.monitor_psk") == 3
    shown = Command(registry.database, tmp_path).done("status").out
    assert "3 pre-shared keys have a problem" in shown and re.search(r"pre-shared key +damaged +it does not open", shown), shown
    assert registry.value("SELECT count(*) FROM iot_auth.audit") == audited + 2
    registry.query("UPDATE iot_auth.device_psk SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE identity = 'damaged'")
    registry.query("UPDATE iot_auth.device_psk SET device_id = 'moved' WHERE identity = 'moved'")
    keys.lines.update(other.lines)
    keys.write(1, 5)
    broker.sighup()
    for name in ("damaged", "moved", "sealed-elsewhere"):
        wait_until(lambda n=name: problem_of(registry, n) is None, timeout=10, what=name)
    assert admits(broker, "sealed-elsewhere", key)


def test_a_session_whose_new_key_could_not_be_compared_ends_when_it_can(site, tmp_path):
    registry, keys, other = site.registry, KeyFile(tmp_path), KeyFile(tmp_path / "other", 9)
    broker = site.broker(options={"psk_key_file": keys.path}, listeners=("psk",))
    clients, kek = {}, bytes.fromhex(other.lines[9])
    for name in ("sealed again", "replaced"):
        key = device(registry, keys, name)
        wait_until(lambda n=name, k=key: admits(broker, n, k), what=name)
        clients[name] = PskClient(broker.ports["psk"], name, key)
        assert clients[name].connect(name) == 0
        new = bytes.fromhex(key) if name == "sealed again" else bytes(32)
        registry.query("UPDATE iot_auth.device_psk SET key_id = 9, sealed = %s WHERE identity = %s", seal(kek, 9, name, name, new), name)
        wait_until(lambda n=name: "no key 9" in (problem_of(registry, n) or ""), what="the row under key 9")
        assert not clients[name].is_closed(0.2)
    keys.lines.update(other.lines)
    keys.write(1, 9)
    broker.sighup()
    assert clients["replaced"].is_closed()
    registry.wait_for_event(reason="psk_unknown", kind="session/ended", principal="replaced")
    assert not clients["sealed again"].is_closed(0.2)
    for client in clients.values():
        client.close()


def test_keys_are_known_without_the_database(site, tmp_path):
    registry, keys = site.registry, KeyFile(tmp_path)
    key = device(registry, keys, "meter")
    broker = site.broker(options={"psk_key_file": keys.path, "device_cache_size": 1}, listeners=("psk",))
    others = [device(registry, keys, "other-%d" % i) for i in range(3)]
    for _ in range(2):  # one record fits into memory: each connect asks for its own, and is parked until it is there
        for identity, its in [("meter", key)] + [("other-%d" % i, its) for i, its in enumerate(others)]:
            wait_until(lambda i=identity, k=its: admits(broker, i, k), timeout=10, what=identity)


@pytest.mark.parametrize("version", [TLS13, TLS12])
def test_no_session_is_resumed_and_no_plain_key_is_taken(site, tmp_path, version):
    registry, keys = site.registry, KeyFile(tmp_path)
    key = device(registry, keys, "meter")
    broker = site.broker(options={"psk_key_file": keys.path}, listeners=("psk",))
    session = tmp_path / "session"
    words = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % broker.ports["psk"], "-psk_identity", "meter", "-psk", key, version]
    with open(os.devnull, "rb") as nothing:
        first = subprocess.run([*words, "-sess_out", str(session)], stdin=nothing, capture_output=True, text=True, check=False)
        assert "Cipher is (NONE)" not in first.stdout and "alert" not in first.stderr, first.stdout + first.stderr
        if session.exists():
            words[words.index(key)] = "00" * 32
            again = subprocess.run([*words, "-sess_in", str(session)], stdin=nothing, capture_output=True, text=True, check=False)
            assert "Reused" not in again.stdout and "alert" in again.stderr
        words[words.index("-psk") + 1] = key
        if version == TLS12:
            plain = subprocess.run([*words, "-cipher", "PSK-AES128-GCM-SHA256:DHE-PSK-AES128-GCM-SHA256"], stdin=nothing, capture_output=True,
                                   text=True, check=False)
            assert "alert" in plain.stderr


def test_insecure_plain_psk_takes_plain_keys_in_tls_12(site, tmp_path):
    registry, keys = site.registry, KeyFile(tmp_path)
    key = device(registry, keys, "meter")
    broker = site.broker(options={"psk_key_file": keys.path, "insecure_plain_psk": "on"}, listeners=("psk",))
    client = PskClient(broker.ports["psk"], "meter", key, TLS12, ["-cipher", "PSK-AES128-GCM-SHA256"])
    assert client.connect("meter") == 0
    client.close()
    client = PskClient(broker.ports["psk"], "meter", key, TLS12, ["-cipher", "DHE-PSK-AES128-GCM-SHA256"])
    assert client.connect("meter") == HANDSHAKE


def test_dump_and_data_directory_hold_no_key(site, tmp_path):
    registry, keys = site.registry, KeyFile(tmp_path)
    broker = site.broker(options={"psk_key_file": keys.path}, listeners=("psk", "app"))
    key = device(registry, keys, "planted")
    wait_until(lambda: admits(broker, "planted", key), what="the key")
    token, password = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJwbGFudGVkIn0." + "Q" * 86, "planted-pass-word-1234567"
    for secret in (token, password):
        assert site.try_connect(broker, client_id="x", listener="app", username="x", password=secret) != 0
    command(registry, keys, "check")
    server = registry.database.server
    with registry.database.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    dump = subprocess.run([str(pg.bindir() / "pg_dump")], env=registry.database.environment(), capture_output=True, check=True).stdout
    files = [path.read_bytes() for path in server.data.rglob("*") if path.is_file()]
    assert b"planted" in dump and any(b"planted" in octets for octets in files)
    for secret in (key, *keys.lines.values(), token, password):
        planted = [secret.encode()] + ([bytes.fromhex(secret)] if len(secret) == 64 else [])
        for octets in planted:
            assert octets not in dump
            assert not any(octets in content for content in files), secret[:8]
