# SPDX-License-Identifier: ISC
"""Certificates for the tests, made in memory: authorities, others of the same name, valid and invalid devices,
revocation lists.

Nothing is checked here: an authority signs whatever a test asks for, so that hostile certificates are as easy to make
as valid ones.  Keys are EC P-256 unless a test says otherwise, because they are fast to generate.
"""

import datetime
import ipaddress
import itertools
import pathlib
import warnings

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
SLOW_CURVE = pathlib.Path(__file__).parent.parent / "unit/x509/slow-curve.pem"  # its key takes OpenSSL 200 ms to parse

_names = itertools.count(1)


def ec_key():
    return ec.generate_private_key(ec.SECP256R1())


def rsa_key(bits=2048):
    return rsa.generate_private_key(65537, bits)


def _utc(moment):
    """A time as the builders want it: naive UTC.  Accepts a datetime or a distance from now in seconds."""
    if isinstance(moment, (int, float)):
        moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=moment)
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return moment.replace(microsecond=0)


def name(cn=None, o=None, ou=None, serial_number=None, extra=()):
    """A subject; each argument is a text or a list of texts.  No value at all gives an empty subject."""
    attributes = []
    for oid, values in (
        (NameOID.ORGANIZATION_NAME, o),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, ou),
        (NameOID.SERIAL_NUMBER, serial_number),
        (NameOID.COMMON_NAME, cn),
    ):
        for value in [values] if isinstance(values, str) else values or ():
            attributes.append(x509.NameAttribute(oid, value))
    return x509.Name(attributes + list(extra))


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate):
    return certificate.fingerprint(hashes.SHA256())


class Credential:
    """A key, its certificate and the certificates sent with it; files are written on first use."""

    def __init__(self, key, certificate, beside=()):
        self.key = key
        self.certificate = certificate
        self.beside = list(beside)
        self._files = {}

    @property
    def pem(self):
        return pem(self.certificate)

    @property
    def fingerprint(self):
        return fingerprint(self.certificate)

    @property
    def chain_pem(self):
        return self.pem + "".join(pem(c) for c in self.beside)

    @property
    def key_pem(self):
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def beside_with(self, *authorities):
        """The same leaf, sent with these authorities' certificates instead."""
        return Credential(self.key, self.certificate, [a.certificate for a in authorities])

    def files(self, folder):
        """(certificate chain, key) as paths of PEM files in folder."""
        folder = pathlib.Path(folder)
        if folder not in self._files:
            stem = "cert-%d" % next(_names)
            chain, key = folder / (stem + ".pem"), folder / (stem + ".key")
            chain.write_text(self.chain_pem)
            key.write_text(self.key_pem)
            self._files[folder] = (str(chain), str(key))
        return self._files[folder]


class Authority:
    """A certificate authority: signs leafs, intermediates and revocation lists."""

    def __init__(self, subject, key, certificate, parent=None):
        self.subject = subject
        self.key = key
        self.certificate = certificate
        self.parent = parent
        self._crl_number = itertools.count(1)

    @property
    def pem(self):
        return pem(self.certificate)

    @property
    def fingerprint(self):
        return fingerprint(self.certificate)

    def chain(self):
        """What a client sends beside its leaf: this authority and those above it, without the root."""
        return [self.certificate] + self.parent.chain() if self.parent else []

    def intermediate(self, cn=None, key=None, subject=None, **options):
        subject = subject or name(cn or "intermediate %d" % next(_names), o="Tests")
        key = key or ec_key()
        certificate = _sign(self, subject, key.public_key(), ca=True, **options)
        return Authority(subject, key, certificate, self)

    def same_name(self, **options):
        """Another authority of the same subject with a key of its own, signed by the same parent."""
        key = ec_key()
        if self.parent is None:
            return root(subject=self.subject, key=key, **options)
        return self.parent.intermediate(subject=self.subject, key=key, **options)

    def recertified_by(self, other, **options):
        """The same subject and key, signed by another authority."""
        return other.intermediate(subject=self.subject, key=self.key, **options)

    def issue(self, cn=None, key=None, subject=None, beside=None, **options):
        """A leaf.  Options: see _sign.  `beside`: authorities to send along (default: the whole chain)."""
        key = key or ec_key()
        subject = subject if subject is not None else name(cn)
        certificate = _sign(self, subject, key.public_key(), ca=False, **options)
        sent = self.chain() if beside is None else [a.certificate for a in beside]
        return Credential(key, certificate, sent)

    def crl(self, *revoked, number=None, next_update=86400, last_update=-3600, signer=None):
        """A revocation list in PEM; `revoked` are certificates, credentials, authorities or serial numbers."""
        number = next(self._crl_number) if number is None else number
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.subject)
        builder = builder.last_update(_utc(last_update)).next_update(_utc(next_update))
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for entry in revoked:
            entry = getattr(entry, "certificate", entry)
            serial = getattr(entry, "serial_number", entry)
            row = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_utc(last_update)).build()
            builder = builder.add_revoked_certificate(row)
        signed = builder.sign((signer or self).key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()


def root(cn=None, key=None, subject=None, **options):
    subject = subject or name(cn or "root %d" % next(_names), o="Tests")
    key = key or ec_key()
    return Authority(subject, key, _sign(None, subject, key.public_key(), ca=True, own_key=key, **options))


def server(authority):
    """A broker's certificate for loopback."""
    return authority.issue("localhost", eku=[SERVER_AUTH], san_dns=["localhost"], san_ip=["127.0.0.1", "::1"])


CA_USAGE = ("key_cert_sign", "crl_sign")
LEAF_USAGE = ("digital_signature",)
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _key_usage(wanted):
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})


def _alternative_names(san_dns, san_uri, san_ip):
    names = [x509.DNSName(n) for n in san_dns]
    names += [x509.UniformResourceIdentifier(u) for u in san_uri]
    return names + [x509.IPAddress(ipaddress.ip_address(a)) for a in san_ip]


def _sign(
    issuer,
    subject,
    public_key,
    ca,
    own_key=None,
    eku=(CLIENT_AUTH,),
    usage=None,
    basic_constraints=True,
    path_length=None,
    name_constraints=None,
    key_identifiers=True,
    san_dns=(),
    san_uri=(),
    san_ip=(),
    not_before=-3600,
    not_after=86400,
    serial=None,
    digest=None,
    critical_unknown=False,
):
    """One certificate.  `eku=None`, `usage=()`: without that extension; issuer None: signed with own_key."""
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
    builder = builder.public_key(public_key).serial_number(serial or x509.random_serial_number())
    builder = builder.not_valid_before(_utc(not_before)).not_valid_after(_utc(not_after))
    if ca or basic_constraints is not True:
        is_ca = ca if basic_constraints is True else basic_constraints
        if is_ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(is_ca, path_length if is_ca else None), critical=True)
    usage = (CA_USAGE if ca else LEAF_USAGE) if usage is None else usage
    if usage:
        builder = builder.add_extension(_key_usage(usage), critical=True)
    if eku and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(eku)), critical=False)
    if name_constraints:
        permitted, excluded = name_constraints
        builder = builder.add_extension(x509.NameConstraints(permitted or None, excluded or None), critical=True)
    if san_dns or san_uri or san_ip:
        names = _alternative_names(san_dns, san_uri, san_ip)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if key_identifiers:
        builder = _add_key_identifiers(builder, issuer, public_key)
    if critical_unknown:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # SHA-1 is what some tests are about
        return builder.sign(issuer.key if issuer else own_key, digest or hashes.SHA256())


def _add_key_identifiers(builder, issuer, public_key):
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    if issuer is None:
        return builder
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return builder.add_extension(identifier, critical=False)
