# SPDX-License-Identifier: ISC
"""Which certificate chains are admitted, and with which reason the others are refused."""

import pytest

import pki
from broker import wait_until
from client import CLOSED, V5

DAY = 86400


@pytest.fixture
def fleet(site):
    """'acme': a registered intermediate; its root is not registered."""
    return site.fleet()


# Accepted


def test_a_leaf_of_the_registered_authority_is_admitted(site, fleet):
    broker = site.broker()
    site.connect(broker, fleet.issue("sensor-1"))
    site.connect(broker, fleet.issue("sensor-2"), protocol=V5)
    assert site.registry.devices() == ["sensor-1", "sensor-2"]


def test_a_leaf_alone_is_enough(site, fleet):
    site.connect(site.broker(), fleet.issue("sensor-1", beside=[]))


def test_needless_certificates_beside_the_leaf_do_no_harm(site, fleet):
    others = [pki.root("other %d" % i) for i in range(5)]
    site.connect(site.broker(), fleet.issue("sensor-1", beside=[*others, fleet, site.root]))


def test_a_registered_root_admits_the_devices_of_its_intermediates(site):
    site.register(site.root, "root")
    intermediate = site.root.intermediate("one").intermediate("two")
    site.connect(site.broker(), intermediate.issue("sensor-1"))


def test_an_unregistered_intermediate_below_a_registered_one_is_admitted(site, fleet):
    site.connect(site.broker(), fleet.intermediate("line 7").issue("sensor-1"))


@pytest.mark.parametrize(
    "options",
    [
        {"eku": None},
        {"eku": (pki.CLIENT_AUTH, pki.SERVER_AUTH)},
        {"usage": ()},
        {"usage": ("digital_signature", "key_agreement")},
        {"key": pki.rsa_key(2048)},
        {"digest": pki.hashes.SHA384()},
        {"key_identifiers": False},
    ],
    ids=["no-eku", "both-ekus", "no-key-usage", "more-key-usage", "rsa-2048", "sha-384", "no-key-identifiers"],
)
def test_a_fit_leaf_is_admitted(site, fleet, options):
    site.connect(site.broker(), fleet.issue("sensor-1", **options))


# Refused: the connection ends in the handshake

UNFIT_LEAFS = [
    # (what, options of the leaf, reason)
    ("expired", {"not_before": -2 * DAY, "not_after": -60}, "certificate_expired"),
    ("not yet valid", {"not_before": 3600, "not_after": DAY}, "certificate_expired"),
    ("for servers only", {"eku": (pki.SERVER_AUTH,)}, "certificate_unfit"),
    ("for signing certificates only", {"usage": ("key_cert_sign",)}, "certificate_unfit"),
    ("signed with SHA-1", {"digest": pki.hashes.SHA1()}, "certificate_unfit"),
    ("of an RSA key of 1024 bits", {"key": pki.rsa_key(1024)}, "certificate_unfit"),
    ("of an unknown critical extension", {"critical_unknown": True}, "certificate_unfit"),
]


def assert_refused_in_handshake(site, broker, credential, reason):
    since = site.registry.last_event()
    mark = broker.mark()
    assert site.try_connect(broker, credential) == CLOSED, broker.log(mark)
    event = site.registry.wait_for_event(kind="device/refused", since=since)
    assert event["reason"] == reason, event


@pytest.mark.parametrize("what,options,reason", UNFIT_LEAFS, ids=[row[0] for row in UNFIT_LEAFS])
def test_an_unfit_leaf_is_refused(site, fleet, what, options, reason):
    broker = site.broker()
    assert_refused_in_handshake(site, broker, fleet.issue("sensor-1", **options), reason)
    assert site.registry.devices() == []
    site.connect(broker, fleet.issue("sensor-2"))


def test_a_device_of_an_unregistered_authority_is_refused(site, fleet):
    broker = site.broker()
    for unknown in (pki.root("x"), pki.root("x").intermediate("acme"), site.root.intermediate("other")):
        assert_refused_in_handshake(site, broker, unknown.issue("sensor-1"), "ca_unknown")
    assert fleet.certificate and site.registry.devices() == []


def test_a_self_signed_leaf_is_refused(site, fleet):
    broker = site.broker()
    key = pki.ec_key()
    subject = pki.name("sensor-1")
    selfmade = pki.root(subject=subject, key=key)
    credential = pki.Credential(key, selfmade.certificate, fleet.chain())
    assert_refused_in_handshake(site, broker, credential, "certificate_unfit")


def test_a_leaf_that_only_names_the_registered_authority_is_refused(site, fleet):
    """Same issuer name, another key, the real authority's certificate sent along."""
    forger = fleet.same_name()
    broker = site.broker()
    for beside in ([fleet], [forger], [forger, fleet], []):
        forged = forger.issue("sensor-1", beside=beside)
        assert_refused_in_handshake(site, broker, forged, "ca_unknown")


def test_a_missing_link_is_refused(site, fleet):
    leaf = fleet.intermediate("line 7").issue("sensor-1", beside=[fleet])
    assert_refused_in_handshake(site, site.broker(), leaf, "ca_unknown")


def test_a_device_cannot_act_as_an_authority(site, fleet):
    """A leaf signs another leaf, which its basic constraints forbid."""
    device = fleet.issue("sensor-1")
    pretender = pki.Authority(device.certificate.subject, device.key, device.certificate, fleet)
    broker = site.broker()
    site.connect(broker, device)
    assert_refused_in_handshake(site, broker, pretender.issue("sensor-2"), "chain_invalid")


UNFIT_INTERMEDIATES = [
    ("expired", {"not_before": -2 * DAY, "not_after": -60}, "certificate_expired"),
    ("not an authority", {"basic_constraints": False}, "chain_invalid"),
    ("without certificate signing", {"usage": ("crl_sign",)}, "chain_invalid"),
    ("signed with SHA-1", {"digest": pki.hashes.SHA1()}, "chain_invalid"),
    ("constrained to other names", {"name_constraints": ([pki.x509.DNSName("only.example")], None)}, "chain_invalid"),
]


@pytest.mark.parametrize("what,options,reason", UNFIT_INTERMEDIATES, ids=[row[0] for row in UNFIT_INTERMEDIATES])
def test_an_unfit_intermediate_is_refused(site, fleet, what, options, reason):
    line = fleet.intermediate("line 7", **options)
    leaf = line.issue("sensor-1", san_dns=["sensor-1.acme.example"])
    assert_refused_in_handshake(site, site.broker(), leaf, reason)


def test_a_path_length_is_kept(site):
    short = site.register(site.root.intermediate("short", path_length=0), "short")
    broker = site.broker()
    site.connect(broker, short.issue("sensor-1"))
    below = short.intermediate("line 7").issue("sensor-2")
    assert_refused_in_handshake(site, broker, below, "chain_invalid")


def test_no_certificate_at_all_is_refused_on_the_device_listener(site, fleet):
    broker = site.broker()
    assert site.try_connect(broker, client_id="sensor-1", listener="device") == CLOSED
    site.connect(broker, fleet.issue("sensor-1"))


@pytest.mark.parametrize("listener", ["app", "plain"])
def test_neither_certificate_nor_token_is_refused(site, fleet, listener):
    broker = site.broker()
    site.connect(broker, fleet.issue("sensor-1"))
    site.assert_refused("no_credential", broker, client_id="sensor-1", listener=listener)
    site.assert_refused("no_credential", broker, client_id="sensor-1", listener=listener, username="sensor-1",
                        password="sensor-1")


# Statuses of authorities


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
def test_a_disabled_authority_admits_nobody(site, fleet, status):
    site.registry.set_ca_status(name="acme", status=status)
    assert_refused_in_handshake(site, site.broker(), fleet.issue("sensor-1"), "ca_inactive")


def test_a_disabled_root_takes_its_registered_intermediates_with_it(site, fleet):
    site.register(site.root, "root")
    site.registry.set_ca_status(name="root", status="INACTIVE")
    assert_refused_in_handshake(site, site.broker(), fleet.issue("sensor-1"), "ca_inactive")


def test_a_disabled_intermediate_is_not_opened_by_its_registered_root(site, fleet):
    site.register(site.root, "root")
    site.registry.set_ca_status(name="acme", status="INACTIVE")
    broker = site.broker()
    assert_refused_in_handshake(site, broker, fleet.issue("sensor-1"), "ca_inactive")
    site.connect(broker, site.root.intermediate("other").issue("sensor-2"))


def test_a_new_certificate_for_its_key_does_not_enable_an_authority(site, fleet):
    """Cross-certified by another registered authority, it is recognised by subject and key."""
    other = site.register(pki.root("other"), "other")
    site.registry.set_ca_status(name="acme", status="INACTIVE")
    again = fleet.recertified_by(other)
    leaf = fleet.issue("sensor-1").beside_with(again)
    assert_refused_in_handshake(site, site.broker(), leaf, "ca_inactive")


@pytest.mark.parametrize("key_identifiers", [True, False])
def test_authorities_of_one_name_are_distinguished_by_their_keys(site, key_identifiers):
    """Roll-over: two registered authorities share a subject, with and without key identifiers."""
    options = {"key_identifiers": key_identifiers}
    old = site.register(site.root.intermediate("acme", **options), "old")
    new = site.register(old.same_name(**options), "new")
    broker = site.broker()
    site.connect(broker, old.issue("sensor-1", **options))
    site.connect(broker, new.issue("sensor-2", **options))
    site.connect(broker, new.issue("sensor-3", beside=[], **options))
    site.connect(broker, old.issue("sensor-4", beside=[new], **options))


@pytest.mark.parametrize("disabled", ["old", "new"])
def test_another_authority_of_a_disabled_ones_name_goes_on(site, disabled):
    old = site.register(site.root.intermediate("acme"), "old")
    new = site.register(old.same_name(), "new")
    site.registry.set_ca_status(name=disabled, status="INACTIVE")
    broker = site.broker()
    good, bad = (new, old) if disabled == "old" else (old, new)
    site.connect(broker, good.issue("sensor-1"))
    assert_refused_in_handshake(site, broker, bad.issue("sensor-2"), "ca_inactive")
    assert_refused_in_handshake(site, broker, bad.issue("sensor-3", beside=[good]), "ca_inactive")


# An authority that is renewed, or registered after its devices


def test_a_fleet_outlives_the_renewal_of_its_authority_with_the_same_key(site):
    """The registry has known certificates under the old authority, and their chain ends in the new one."""
    old = site.root.intermediate("acme", not_after=6)
    site.register(old, "acme")
    device = old.issue("sensor-1")
    broker = site.broker()
    client = site.connect(broker, device)
    renewed = site.root.intermediate(subject=old.subject, key=old.key)
    site.register(renewed, "acme-2", replaces="acme")
    site.connect_within(1.0, broker, renewed.issue("sensor-2"))
    client.wait_closed(10)  # when its chain expires
    site.connect(broker, device.beside_with(renewed))
    site.connect(broker, renewed.issue("sensor-3"))


def test_a_fleet_outlives_the_registration_of_its_intermediate(site):
    site.register(site.root, "root")
    acme = site.root.intermediate("acme")
    device = acme.issue("sensor-1")
    broker = site.broker()
    site.connect(broker, device).disconnect()
    site.register(acme, "acme")
    site.connect_within(1.0, broker, acme.issue("sensor-2"))
    site.connect(broker, device)


def test_a_fleet_outlives_the_renewal_of_its_root(site):
    """The root has a new key; the intermediate, and all that it has issued, goes on below it, under a new certificate.
    """
    old, new = pki.root("acme"), pki.root("acme 2")
    site.register(old, "acme")
    site.register(new, "acme-2", replaces="acme")
    line = old.intermediate("line 7")
    moved = line.recertified_by(new)
    before, after = line.issue("sensor-1"), moved.issue("sensor-2")
    broker = site.broker()
    site.connect(broker, before).disconnect()
    site.connect(broker, after).disconnect()
    broker.restart()  # the broker caches verified chains
    site.connect(broker, before.beside_with(moved))
    site.connect(broker, after.beside_with(line))  # a device without the new certificate


def test_an_intermediate_below_an_unrelated_root_is_a_conflict(site):
    old, other = pki.root("acme"), pki.root("other")
    site.register(old, "acme")
    site.register(other, "other")
    line = old.intermediate("line 7")
    device = line.issue("sensor-1")
    broker = site.broker()
    site.connect(broker, device).disconnect()
    broker.restart()
    site.assert_refused("device_conflict", broker, device.beside_with(line.recertified_by(other)))


# Revocation lists


def test_a_revoked_serial_is_refused_and_others_go_on(site, fleet):
    stolen = fleet.issue("sensor-1")
    site.registry.add_crl(ca_name="acme", crl=fleet.crl(stolen))
    broker = site.broker()
    assert_refused_in_handshake(site, broker, stolen, "certificate_revoked")
    site.connect(broker, fleet.issue("sensor-2"))


def test_a_revoked_intermediate_is_refused(site, fleet):
    line = fleet.intermediate("line 7")
    site.registry.add_crl(ca_name="acme", crl=fleet.crl(line))
    broker = site.broker()
    assert_refused_in_handshake(site, broker, line.issue("sensor-1"), "certificate_revoked")
    site.connect(broker, fleet.intermediate("line 8").issue("sensor-2"))


def test_a_stale_list_goes_on_being_used_and_is_reported(site, fleet):
    stolen = fleet.issue("sensor-1")
    stale = fleet.crl(stolen, last_update=-10 * DAY, next_update=-DAY)
    site.registry.add_crl(ca_name="acme", crl=stale)
    broker = site.broker()
    assert_refused_in_handshake(site, broker, stolen, "certificate_revoked")
    site.connect(broker, fleet.issue("sensor-2"))
    assert wait_until(lambda: site.registry.ca_problem("acme"), what="report in ca.problem")


def test_a_forged_list_revokes_nobody(site, fleet):
    device = fleet.issue("sensor-1")
    site.registry.add_crl(ca_name="acme", crl=fleet.crl(device, signer=fleet.same_name()))
    broker = site.broker()
    site.connect(broker, device)
    assert wait_until(lambda: site.registry.ca_problem("acme"), what="report in ca.problem")
