# SPDX-License-Identifier: ISC
"""iot-auth-check chain: certificates of python3-cryptography, an implementation that is not ours."""

import datetime
import os
import pathlib
import subprocess

import pki
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("IOT_AUTH_CHECK", str(ROOT / "build" / "release" / "cli" / "iot-auth-check"))

ALLOW, DENY, USAGE = 0, 1, 2


class Checker:
    """Writes PEM texts to files and runs the command on them."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    def file(self, text):
        self.count += 1
        path = self.folder / ("%d.pem" % self.count)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def run(self, *arguments):
        done = subprocess.run([PROGRAM, "chain", *arguments], capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout, done.stderr

    def chain(self, leaf, cas, beside=(), crls=(), at=None):
        arguments = []
        for ca in cas:
            arguments += ["--ca", self.file(ca.pem)]
        for crl in crls:
            arguments += ["--crl", self.file(crl)]
        if at is not None:
            arguments += ["--at", at]
        arguments += [self.file(c.pem) for c in [leaf, *beside]]
        status, out, complaint = self.run(*arguments)
        assert out.startswith(("deny: ", "allow ")[status == ALLOW]), (out, complaint)
        return status, out


@pytest.fixture
def check(tmp_path):
    return Checker(tmp_path)


@pytest.fixture(scope="module")
def world():
    """root > inter > leaf, and a leaf of the root."""
    class World:
        root = pki.root("Chain Root")
        inter = root.intermediate("Chain Inter")
        leaf = inter.issue("dev-1", subject=pki.name("dev-1", o="Acme", serial_number="SN-1"), san_dns=["d.example"])
        root_leaf = root.issue("dev-2")
    return World


def rfc3339(seconds_from_now, zone="Z"):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds_from_now)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + zone


def test_allow_prints_the_registered_ca_and_the_identity(check, world):
    status, out = check.chain(world.leaf, [world.inter])
    lines = out.splitlines()
    assert status == ALLOW
    assert "Chain Inter" in lines[0]
    assert "cert.cn=dev-1" in lines
    assert "cert.subject.O=Acme" in lines
    assert "cert.subject.serialNumber=SN-1" in lines
    assert "cert.san.dns=d.example" in lines
    assert "cert.fingerprint=%s" % world.leaf.fingerprint.hex() in lines
    assert any(line.startswith("cert.san.uri unset: ") for line in lines)


def test_unregistered_intermediate_is_taken_from_what_is_sent(check, world):
    assert check.chain(world.leaf, [world.root], beside=[world.inter])[0] == ALLOW
    status, out = check.chain(world.leaf, [world.root])
    assert (status, out.split()[1]) == (DENY, "ca_unknown")


def test_nearest_registered_ca_is_printed(check, world):
    status, out = check.chain(world.leaf, [world.root, world.inter], beside=[world.inter])
    assert status == ALLOW and "Chain Inter" in out.splitlines()[0]


def test_bundles_hold_several_certificates(check, world):
    other = pki.root("Other")
    cas = check.file(other.pem + "some text\n" + world.root.pem)
    chain = check.file(world.leaf.pem + world.inter.pem)
    assert check.run("--ca", cas, chain)[0] == ALLOW


def test_forged_leaf_is_denied(check, world):
    impostor = pki.root(subject=world.root.subject, key_identifiers=False)
    status, out = check.chain(impostor.issue("dev-1", key_identifiers=False), [world.root])
    assert (status, out.split()[1]) == (DENY, "chain_invalid")


def test_roll_over_without_key_identifiers_finds_the_right_authority(check):
    old = pki.root("Roll", key_identifiers=False)
    new = old.same_name(key_identifiers=False)
    for ca in old, new:
        assert check.chain(ca.issue("dev-1", key_identifiers=False), [old, new])[0] == ALLOW
        assert check.chain(ca.issue("dev-1", key_identifiers=False), [new, old])[0] == ALLOW


@pytest.mark.parametrize("options, reason", [
    ({"eku": [pki.SERVER_AUTH]}, "certificate_unfit"),
    ({"usage": ("key_encipherment",)}, "certificate_unfit"),
    ({"critical_unknown": True}, "certificate_unfit"),
    ({"not_after": -60, "not_before": -3600}, "certificate_expired"),
    ({"not_before": 3600}, "certificate_expired"),
], ids=lambda value: str(value))
def test_leaf_faults_have_their_reason(check, world, options, reason):
    status, out = check.chain(world.root.issue("dev-1", **options), [world.root])
    assert (status, out.split()[1]) == (DENY, reason)


def test_at_moves_the_clock(check, world):
    assert check.chain(world.root_leaf, [world.root], at=rfc3339(3600))[0] == ALLOW
    status, out = check.chain(world.root_leaf, [world.root], at=rfc3339(2 * 86400))
    assert (status, out.split()[1]) == (DENY, "certificate_expired")
    status, out = check.chain(world.root_leaf, [world.root], at=rfc3339(-7200))
    assert (status, out.split()[1]) == (DENY, "certificate_expired")


def test_at_takes_offsets(check, world):
    # One hour and a bit after the certificate began, written in a zone that is 14 hours ahead.
    assert check.chain(world.root_leaf, [world.root], at=rfc3339(14 * 3600, "+14:00"))[0] == ALLOW
    assert check.chain(world.root_leaf, [world.root], at=rfc3339(0, ".25Z"))[0] == ALLOW
    assert check.chain(world.root_leaf, [world.root], at=rfc3339(14 * 3600, "-14:00"))[0] == DENY


# Strict: with any --crl, every CA on the chain needs a valid one.

def test_crl_without_the_leaf_allows_and_with_it_denies(check, world):
    assert check.chain(world.root_leaf, [world.root], crls=[world.root.crl()])[0] == ALLOW
    status, out = check.chain(world.root_leaf, [world.root], crls=[world.root.crl(world.root_leaf)])
    assert (status, out.split()[1]) == (DENY, "certificate_revoked")


def test_every_ca_on_the_chain_needs_a_crl(check, world):
    both = [world.root.crl(), world.inter.crl()]
    assert check.chain(world.leaf, [world.root], beside=[world.inter], crls=both)[0] == ALLOW
    for one in both:
        status, out = check.chain(world.leaf, [world.root], beside=[world.inter], crls=[one])
        assert (status, out.split()[1]) == (DENY, "chain_invalid"), out


def test_registered_ca_above_needs_a_crl_too(check, world):
    both = [world.root.crl(), world.inter.crl()]
    assert check.chain(world.leaf, [world.root, world.inter], crls=both)[0] == ALLOW
    assert check.chain(world.leaf, [world.root, world.inter], crls=both[1:])[0] == DENY


def test_revoked_intermediate_denies_registered_or_not(check, world):
    lists = [world.root.crl(world.inter), world.inter.crl()]
    for cas in [world.root], [world.root, world.inter]:
        status, out = check.chain(world.leaf, cas, beside=[world.inter], crls=lists)
        assert (status, out.split()[1]) == (DENY, "certificate_revoked")


def test_crl_that_is_not_valid_denies(check, world):
    other = pki.root("Other")
    stale = world.root.crl(next_update=-60, last_update=-3600)
    early = world.root.crl(last_update=3600)
    forged = world.root.crl(signer=other)
    for crl in stale, early, forged, other.crl():
        status, out = check.chain(world.root_leaf, [world.root], crls=[crl])
        assert (status, out.split()[1]) == (DENY, "chain_invalid"), out
    assert check.chain(world.root_leaf, [world.root], crls=[stale, world.root.crl()])[0] == ALLOW


def test_crl_of_a_ca_that_may_not_sign_lists_denies(check):
    root = pki.root("No lists", usage=("key_cert_sign",))
    assert check.chain(root.issue("dev-1"), [root])[0] == ALLOW
    assert check.chain(root.issue("dev-1"), [root], crls=[root.crl()])[0] == DENY


# Usage.

@pytest.mark.parametrize("arguments", [
    [],
    ["--ca"],
    ["--bogus", "{root}", "{leaf}"],
    ["{leaf}"],
    ["--ca", "{root}"],
    ["--ca", "/nonexistent", "{leaf}"],
    ["--ca", "{root}", "/nonexistent"],
    ["--ca", "{root}", "{empty}"],
    ["--ca", "{root}", "{nul}"],
    ["--ca", "{root}", "{key}"],
    ["--ca", "{root}", "{broken}"],
    ["--ca", "{crl}", "{leaf}"],
    ["--ca", "{root}", "--crl", "{root}", "{leaf}"],
    ["--ca", "{root}", "--at", "yesterday", "{leaf}"],
    ["--ca", "{root}", "--at", "2026-02-30T00:00:00Z", "{leaf}"],
    ["--ca", "{root}", "--at", "2026-01-01T00:00:00", "{leaf}"],
    ["--ca", "{root}", "--at", "2026-01-01T24:00:00Z", "{leaf}"],
    ["--ca", "{root}", "--at", "2026-01-01T00:00:00Zx", "{leaf}"],
], ids=" ".join)
def test_bad_usage_and_unreadable_input_exit_2_with_a_message(check, world, arguments):
    files = {
        "{root}": world.root.pem,
        "{leaf}": world.root_leaf.pem,
        "{crl}": world.root.crl(),
        "{key}": world.root_leaf.key_pem,
        "{empty}": "",
        "{nul}": world.root_leaf.pem.encode() + b"\0",
        "{broken}": world.root_leaf.pem.replace("MII", "AAA", 1),
    }
    status, out, complaint = check.run(*[check.file(files[a]) if a in files else a for a in arguments])
    assert (status, out) == (USAGE, "")
    assert complaint.startswith("iot-auth-check")


def test_unknown_command_exits_2_and_help_0():
    assert subprocess.run([PROGRAM, "bogus"], capture_output=True, timeout=30).returncode == USAGE
    assert subprocess.run([PROGRAM], capture_output=True, timeout=30).returncode == USAGE
    shown = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, timeout=30)
    assert shown.returncode == ALLOW and "chain --ca" in shown.stdout


def test_decision_that_cannot_be_written_is_no_allow(check, world):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([PROGRAM, "chain", "--ca", check.file(world.root.pem), check.file(world.root_leaf.pem)],
                              stdout=full, stderr=subprocess.DEVNULL, timeout=30)
    assert done.returncode == USAGE
