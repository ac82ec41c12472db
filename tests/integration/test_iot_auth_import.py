# SPDX-License-Identifier: ISC
"""iot-auth device import and cert import: all or nothing, each bad line with its reason, existing devices untouched."""

import base64
import hashlib

import pki
import pytest
from iot_auth_kit import Command
from pg import Listener

HEADER = "device_id,ca_name,status,tenant,attributes,roles,fingerprint\n"


@pytest.fixture(scope="module")
def registry(postgres):
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture(scope="module")
def iot_auth(registry, tmp_path_factory):
    return Command(registry, tmp_path_factory.mktemp("import"))


@pytest.fixture(scope="module")
def acme(iot_auth):
    ca = pki.root("acme root")
    iot_auth.done("ca", "add", "acme", "--pem", "-", stdin=ca.pem)
    iot_auth.done("role", "create", "meter")
    return ca


@pytest.fixture
def load(iot_auth, acme):
    def run(text, *options):
        return iot_auth("device", "import", iot_auth.file("devices.csv", text), *options)

    return run


def count(registry, pattern):
    return registry.value("SELECT count(*) FROM iot_auth.device WHERE device_id LIKE %s", (pattern,))


def test_devices_are_written_with_all_their_columns(load, iot_auth, registry):
    fingerprint = hashlib.sha256(b"a-1").hexdigest()
    done = load("\ufeff" + HEADER.replace("\n", "\r\n") +
                f'a-1,acme,PENDING,t1,"{{""site"": ""north, east""}}","device,meter",{fingerprint.upper()}\r\n'
                '"a-2",acme,,,,,\r\n\r\n')
    assert done.status == 0 and done.out == "2 good, 0 existing, 0 bad; 2 written\n", done
    shown, = iot_auth.json("device", "show", "a-1")
    device = shown["device"][0]
    assert (device["status"], device["tenant"], device["attributes"], device["roles"]) == (
        "PENDING", "t1", {"site": "north, east"}, ["device", "meter"])
    assert shown["certificates"][0]["fingerprint"] == fingerprint
    assert iot_auth.json("device", "show", "a-2")[0]["device"][0]["status"] == "ACTIVE"


def test_existing_device_is_reported_and_unchanged(load, iot_auth):
    iot_auth.done("device", "import", "-", stdin="device_id,ca_name,status\ne-1,acme,INACTIVE\n")
    done = load("ca_name,device_id,status\nacme,e-1,ACTIVE\nacme,e-2,ACTIVE\n")
    assert done.status == 0 and "line 2: device 'e-1' exists and stays as it is" in done.err
    assert done.out == "1 good, 1 existing, 0 bad; 1 written\n"
    assert iot_auth.json("device", "show", "e-1")[0]["device"][0]["status"] == "INACTIVE"


BAD = [
    ("b+1,acme,,,,,", "device_id 'b+1' contains one of + # / *"),
    (",acme,,,,,", "device_id is missing"),
    ("admin,acme,,,,,", "reserved name"),
    ("b-1,no,,,,,", "CA 'no' is not registered"),
    ("b-1,,,,,,", "CA NULL is not registered"),
    ("b-1,acme,active,,,,", "status 'active' is unknown"),
    ("b-1,acme,,a/b,,,", "tenant 'a/b' contains one of"),
    ("b-1,acme,,,[1],,", "attributes is not a JSON object"),
    ("b-1,acme,,,{bad,,", "attributes is not a JSON object"),
    ("b-1,acme,,,,nothing,", "role 'nothing' does not exist"),
    ("b-1,acme,,,,,00ff", "fingerprint must be 64 hexadecimal digits"),
    ("b-1,acme,,,,", "its number of fields differs"),
    ("b-1,acme,,,,,,", "its number of fields differs"),
    ('b-1,acme,"x"y,,,,', "text follows the closing quote"),
    ('b-1,ac"me,,,,,', "a quote stands within a field"),
    ('b-1,acme,"x,,,,', "a quoted field has no end"),
    ("b-1\x00,acme,,,,,", "contains a NUL"),
    ("\x00b-1,acme,,,,,", "contains a NUL"),
    ("b-1,acme,,,\"%s\",," % ("x" * 2 ** 20), "longer than 1 MiB"),
]


@pytest.mark.parametrize("line, reason", BAD)
def test_bad_line_is_reported_and_nothing_is_written(load, registry, line, reason):
    registry.query("INSERT INTO iot_auth.reserved_name VALUES ('admin') ON CONFLICT DO NOTHING")
    done = load(HEADER + "good-1,acme,,,,,\n" + line + "\n")
    assert done.status == 3 and done.err.startswith("line 3: ") and reason in done.err, done
    assert "1 bad; 0 written" in done.out and count(registry, "good-%") == 0


def test_bytes_that_are_no_text_are_a_bad_line(iot_auth, acme):
    path = iot_auth.file("latin.csv", b"device_id,ca_name\nm\xfcller,acme\n")
    done = iot_auth("device", "import", path)
    assert done.status == 3 and "line 2: it is not UTF-8" in done.err


def test_duplicates_within_the_file_are_bad(load, registry):
    fingerprint = hashlib.sha256(b"twice").hexdigest()
    done = load(HEADER + f"t-1,acme,,,,,{fingerprint}\nt-1,acme,,,,,\nt-2,acme,,,,,{fingerprint}\n")
    assert done.status == 3 and "line 3: device_id 't-1' is in the file twice" in done.err
    assert "line 4: the fingerprint is in the file twice" in done.err
    assert count(registry, "t-%") == 0


def test_skip_bad_writes_the_others_and_dry_run_nothing(load, registry):
    text = 'device_id,ca_name\ns-1,acme\ns-2,no\n"s-3\nx",acme\ns-4,acme\n'
    done = load(text, "--skip-bad", "--dry-run", "--json")
    assert done.status == 0 and done.rows[-1] == {"good": 2, "existing": 0, "bad": 2, "written": 0}
    assert [row["number"] for row in done.rows[:-1]] == [3, 4] and count(registry, "s-%") == 0
    done = load(text, "--skip-bad")
    assert done.status == 0 and count(registry, "s-%") == 2 and "line 4: " in done.err


@pytest.mark.parametrize("header, complaint", [
    ("device_id,ca_nam\n", "unknown column 'ca_nam'; did you mean 'ca_name'?"),
    ("device_id\n", "columns device_id and ca_name are required"),
    ("device_id,ca_name,device_id\n", "'device_id' is there twice"),
    ("", "there is no header"),
    ("d-1,acme\n", "unknown column 'd-1'"),
])
def test_wrong_header_is_exit_2(load, header, complaint):
    done = load(header + "h-1,acme\n" if header else "")
    assert (done.status, done.out) == (2, "") and complaint in done.err


def test_many_devices_are_one_transaction_and_one_notification(iot_auth, registry, acme):
    listener = Listener(registry)
    text = "device_id,ca_name,roles\n" + "".join(f"many-{n},acme,meter\n" for n in range(5000))
    done = iot_auth("device", "import", iot_auth.file("many.csv", text))
    assert done.status == 0 and "5000 written" in done.out
    assert count(registry, "many-%") == 5000
    assert {keys[0] for topic, keys in listener.drain() if topic.startswith("device")} == {"*"}
    listener.close()


# Certificates


def test_folder_of_certificates_becomes_devices(iot_auth, acme, registry, tmp_path):
    der = base64.b64decode("".join(acme.issue("f-2").pem.splitlines()[1:-1]))
    (tmp_path / "f-1.pem").write_text(acme.issue("f-1").pem)
    (tmp_path / "f-2.der").write_bytes(der)
    (tmp_path / "notes").mkdir()
    done = iot_auth("cert", "import", tmp_path, "--ca", "acme", "--status", "PENDING")
    assert done.status == 0 and "2 written" in done.out, done
    shown, = iot_auth.json("device", "show", "f-2")
    assert shown["device"][0]["status"] == "PENDING"
    assert shown["certificates"][0]["fingerprint"] == hashlib.sha256(der).hexdigest()
    done = iot_auth("cert", "import", tmp_path)
    assert done.status == 0 and "2 existing" in done.out


def test_bad_certificates_are_reported_by_their_file(iot_auth, acme, registry, tmp_path):
    rival = pki.root("rival root")
    (tmp_path / "good.pem").write_text(acme.issue("g-1").pem)
    (tmp_path / "other.pem").write_text(rival.issue("g-2").pem)
    (tmp_path / "bad.pem").write_text("nothing")
    (tmp_path / "name.pem").write_text(acme.issue("a/b").pem)
    done = iot_auth("cert", "import", tmp_path)
    assert done.status == 3 and count(registry, "g-%") == 0
    for report in ("other.pem: ca_unknown", "bad.pem: ", "name.pem: identity_invalid"):
        assert report in done.err
    assert iot_auth("cert", "import", tmp_path, "--skip-bad").status == 0 and count(registry, "g-%") == 1
    assert iot_auth("cert", "import", tmp_path, "--ca", "acm").status == 3
    assert iot_auth("cert", "import", tmp_path / "good.pem").status == 2
