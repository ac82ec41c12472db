# SPDX-License-Identifier: ISC
"""Certificates with ML-DSA keys (FIPS 204, RFC 9881), which take OpenSSL 3.5: the brokers of trixie and sid, with the plugin as it
is built on Debian 12.  Keys, certificates and lists are made by the release's own openssl, and its own client connects."""

import pathlib
import re
import subprocess

import pytest

import broker as brokers
import pki

SETS = ("ML-DSA-44", "ML-DSA-65", "ML-DSA-87")
CA = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
LEAF = "basicConstraints=CA:false\nextendedKeyUsage=clientAuth\n"


class Tools:
    """openssl and mosquitto_pub of a release in one folder."""

    def __init__(self, kind, folder):
        self.folder = folder
        self._words = brokers.command(kind)[:-1]
        self._root = brokers.ROOTS / kind

    def run(self, program, *words, **options):
        return subprocess.run([*self._words, str(self._root / "usr/bin" / program), *words], cwd=self.folder, capture_output=True,
                              text=True, check=False, timeout=30 * brokers.PATIENCE, **options)

    def openssl(self, *words, **options):
        done = self.run("openssl", *words, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def file(self, name):
        return str(self.folder / name)

    def text(self, name):
        return (self.folder / name).read_text(encoding="ascii")

    def key(self, name, algorithm):
        curve = ["-pkeyopt", "ec_paramgen_curve:P-256"] if algorithm == "EC" else []
        self.openssl("genpkey", "-algorithm", algorithm, *curve, "-out", name + ".key")

    def root(self, name, algorithm):
        self.key(name, algorithm)
        self.openssl("req", "-x509", "-new", "-key", name + ".key", "-subj", "/CN=" + name, "-days", "30", "-out", name + ".pem",
                     "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, algorithm, authority, extensions):
        self.key(name, algorithm)
        self.openssl("req", "-new", "-key", name + ".key", "-subj", "/CN=" + name, "-out", name + ".csr")
        (self.folder / "extensions").write_text(extensions, encoding="ascii")
        self.openssl("x509", "-req", "-in", name + ".csr", "-CA", authority + ".pem", "-CAkey", authority + ".key", "-days", "30",
                     "-extfile", "extensions", "-out", name + ".pem")

    def chain(self, *names):
        """What the first of them sends: its certificate and those after it."""
        (self.folder / (names[0] + ".chain")).write_text("".join(self.text(name + ".pem") for name in names), encoding="ascii")

    def revoke(self, authority, name):
        """The authority's list, with that certificate on it."""
        (self.folder / "index").write_text("", encoding="ascii")
        (self.folder / "ca.cnf").write_text("[ca]\ndatabase=%s\ndefault_md=default\n" % self.file("index"), encoding="ascii")
        words = ["-config", "ca.cnf", "-name", "ca", "-cert", authority + ".pem", "-keyfile", authority + ".key"]
        self.openssl("ca", *words, "-revoke", name + ".pem")
        return self.openssl("ca", *words, "-gencrl", "-crldays", "10")


class Fleet:
    def __init__(self, site, tools, server_ca):
        self.site, self.tools, self._server_ca = site, tools, server_ca
        self.broker = site.broker()

    def register(self, name):
        self.site.registry.register_ca(pem=self.tools.text(name + ".pem"), name=name.lower(), auto_registration=True)

    def publishes(self, name):
        return self.tools.run("mosquitto_pub", "-h", "localhost", "-p", str(self.broker.ports["device"]), "--cafile", self._server_ca,
                              "--cert", name + ".chain", "--key", name + ".key", "-i", name, "-q", "1", "-V", "5", "-t",
                              "devices/%s/data" % name, "-m", "1").returncode == 0

    def admits(self, name):
        """It is admitted as soon as its CA has reached the broker, and registers itself."""
        brokers.wait_until(lambda: self.publishes(name), 10, "the connect of " + name)
        return self.site.registry.device_status(name) == "ACTIVE"


@pytest.fixture
def fleet(broker_kind, site, tmp_path, pki_of_listeners):
    if broker_kind == "host" or not (brokers.ROOTS / broker_kind / "usr/bin/openssl").exists():
        pytest.skip("takes OpenSSL 3.5: scripts/get-brokers")
    folder = tmp_path / "post-quantum"
    folder.mkdir()
    return Fleet(site, Tools(broker_kind, folder), str(pki_of_listeners.trust))


def test_devices_of_every_parameter_set_register_themselves_and_connect(fleet):
    for algorithm in SETS:
        fleet.tools.root("Root" + algorithm, algorithm)
        fleet.tools.issue("Factory" + algorithm, algorithm, "Root" + algorithm, CA)
        fleet.tools.issue("device" + algorithm, algorithm, "Factory" + algorithm, LEAF)
        fleet.tools.chain("device" + algorithm, "Factory" + algorithm)
        fleet.register("Root" + algorithm)
        assert fleet.admits("device" + algorithm)
        assert fleet.site.registry.ca_problem("root" + algorithm.lower()) is None


@pytest.mark.parametrize("root,factory,leaf", [("EC", "ML-DSA-65", "EC"), ("ML-DSA-65", "EC", "ML-DSA-44")])
def test_a_chain_may_mix_algorithms(fleet, root, factory, leaf):
    fleet.tools.root("Root", root)
    fleet.tools.issue("Factory", factory, "Root", CA)
    fleet.tools.issue("device", leaf, "Factory", LEAF)
    fleet.tools.chain("device", "Factory")
    fleet.register("Root")
    assert fleet.admits("device")


def test_a_signature_of_another_key_is_refused(fleet):
    for name in ("Root", "Other"):
        fleet.tools.root(name, "ML-DSA-44")
    fleet.tools.issue("device", "ML-DSA-44", "Root", LEAF)
    fleet.tools.issue("foreign", "ML-DSA-44", "Other", LEAF)
    for name in ("device", "foreign"):
        fleet.tools.chain(name)
    fleet.register("Root")
    assert fleet.admits("device")
    assert not fleet.publishes("foreign")
    fleet.site.registry.wait_for_event("ca_unknown")


def test_a_list_that_such_a_ca_signs_revokes(fleet):
    fleet.tools.root("Root", "ML-DSA-44")
    for name in ("stolen", "kept"):
        fleet.tools.issue(name, "ML-DSA-44", "Root", LEAF)
        fleet.tools.chain(name)
    fleet.register("Root")
    assert fleet.admits("stolen") and fleet.admits("kept")
    fleet.site.registry.add_crl(ca_name="root", crl=fleet.tools.revoke("Root", "stolen"))
    brokers.wait_until(lambda: not fleet.publishes("stolen"), 5, "the revocation")
    fleet.site.registry.wait_for_event("certificate_revoked")
    assert fleet.publishes("kept")


def test_the_hybrid_key_exchange_is_negotiated(fleet):
    shown = fleet.tools.run("openssl", "s_client", "-connect", "localhost:%d" % fleet.broker.ports["app"], "-tls1_3", "-groups",
                            "X25519MLKEM768:X25519", input="")
    assert re.search(r"(group|Key): X25519MLKEM768", shown.stdout), shown.stdout[-2000:]


def test_a_broker_with_an_older_openssl_says_what_it_takes(broker_kind, site):
    """The certificate is made once, by OpenSSL 3.5, and kept in this folder: no tool of Debian 12 can make it."""
    pem = (pathlib.Path(__file__).parent / "ml-dsa-44-ca.pem").read_text(encoding="ascii")
    site.broker()
    site.registry.register_ca(pem=pem, name="new", auto_registration=True)
    site.registry.register_ca(pem=pki.root("Last").pem, name="last")
    brokers.wait_until(lambda: site.registry.value("SELECT subject FROM iot_auth.ca WHERE name = 'last'"), 10, "the CAs' being read")
    problem = site.registry.ca_problem("new")
    can = "SELECT versions ->> 'ml_dsa' FROM iot_auth.node"
    brokers.wait_until(lambda: site.registry.value(can) == ("no" if broker_kind == "host" else "yes"), 10, "the node's word")
    if broker_kind == "host":
        assert re.fullmatch(r"an ML-DSA-44 key takes OpenSSL 3\.5 or newer, and this broker has OpenSSL 3\.\d+\.\d+", problem)
    else:
        assert problem is None
