# SPDX-License-Identifier: ISC
"""iot-auth export and import: the configuration of a registry as data that makes another registry the same."""

import json

import pki
import pytest
from app_kit import Issuer
from iot_auth_kit import Command


@pytest.fixture(scope="module")
def test_site(postgres, tmp_path_factory):
    """A registry with everything that a configuration can hold, and a device, which it cannot."""
    database = postgres.create_database()
    iot_auth = Command(database, tmp_path_factory.mktemp("source"))
    old, new = pki.root("old"), pki.root("new")
    iot_auth.done("role", "create", "meter")
    iot_auth.done("rule", "add", "meter", "DENY", "PUBLISH", "secret/#")
    iot_auth.done("rule", "add", "meter", "ALLOW", "PUBLISH,RECEIVE", "m/${device_id}/#", "--max-qos", 1)
    iot_auth.done("ca", "add", "z-old", "--pem", "-", "--auto-registration", "--tenant", "t1", stdin=old.pem)
    iot_auth.done("ca", "crl", "add", "z-old", "--crl", "-", stdin=old.crl())
    iot_auth.done("ca", "add", "new", "--pem", "-", "--roles", "device,meter", "--tenant", "t1", "--replaces", "z-old",
                  "--max-devices", 9, stdin=new.pem)
    iot_auth.done("ca", "disable", "z-old")
    issuer = Issuer()
    iot_auth.done("issuer", "add", "corp", "--issuer", issuer.issuer, "--audience", "mqtt", "--leeway-s", 5, "--jwks",
                  iot_auth.file("keys.json", json.dumps(issuer.jwks())))
    iot_auth.done("issuer", "map", "corp", "telemetry:read", "meter")
    iot_auth.done("ip", "deny", "203.0.113.0/24", "--ca", "new", "--expires-at", "2099-01-01T00:00:00Z")
    iot_auth.done("device", "add", "d-1", "--pem", "-", "--ca", "new", stdin=new.issue("d-1").pem)
    iot_auth.done("ip", "deny", "198.51.100.1", "--device", "d-1")
    yield iot_auth
    database.drop()


@pytest.fixture
def production(database, tmp_path):
    return Command(database, tmp_path)


def test_import_makes_the_registries_equal(test_site, production, database):
    exported = test_site.done("export").out
    assert "d-1" not in exported and "198.51.100.1" not in exported
    done = production("import", "-", "--diff", stdin=exported)
    assert done.status == 1 and production.done("ca", "list", "--json").out == ""  # it changed nothing
    changes = production.json("import", "-", stdin=exported)
    assert {(row["kind"], row["name"], row["change"]) for row in changes} >= {
        ("ca", "new", "add"), ("ca", "z-old", "add"), ("role", "meter", "add"), ("issuer", "corp", "add")}
    assert production.done("export").out == exported
    assert production("import", "-", "--diff", stdin=exported).status == 0
    before = database.value("SELECT count(*) FROM iot_auth.audit")
    production.done("import", "-", stdin=exported)
    assert database.value("SELECT count(*) FROM iot_auth.audit") == before  # again, it changes nothing


def test_diff_names_the_settings_that_differ_and_import_restores_them(test_site, production):
    exported = test_site.done("export").out
    production.done("import", "-", stdin=exported)
    production.done("ca", "set", "new", "--max-devices", "none", "--auto-registration", "true")
    production.done("rule", "add", "meter", "ALLOW", "SUBSCRIBE", "#")
    production.done("issuer", "set", "corp", "--tenant", "t9")
    production.done("role", "create", "own")
    rows = [json.loads(line) for line in production("import", "-", "--diff", "--json", stdin=exported).out.splitlines()]
    assert rows == [
        {"kind": "ca", "name": "new", "change": "change", "settings": ["auto_registration", "max_devices"]},
        {"kind": "issuer", "name": "corp", "change": "change", "settings": ["tenant"]},
        {"kind": "role", "name": "meter", "change": "change", "settings": ["rules"]},
        {"kind": "role", "name": "own", "change": "keep", "settings": []}]
    production.done("import", "-", stdin=exported)
    rows = [json.loads(line) for line in production("import", "-", "--diff", "--json", stdin=exported).out.splitlines()]
    assert [(row["name"], row["change"]) for row in rows] == [("own", "keep")]


@pytest.mark.parametrize("change, complaint, status", [
    (lambda c: c.update(devices={}), "'devices' is no part of a configuration", 3),
    (lambda c: c["ca"]["new"].update(pem=c["ca"]["z-old"]["pem"]), "already registered", 3),
    (lambda c: c["ca"]["new"].update(max_device=9), "CA 'new' has no setting 'max_device'", 3),
    (lambda c: c["ca"]["new"].update(replaces="nobody"), "'nobody'", 3),
    (lambda c: c["issuer"]["corp"].update(requierd_claims={}), "issuer 'corp' has no setting 'requierd_claims'", 3),
    (lambda c: c["role"]["meter"]["rules"][0].update(max_qoss=0), "a rule of role 'meter' has no setting 'max_qoss'", 3),
    (lambda c: next(iter(c["ip_rule"].values())).update(expire_at="2099-01-01"), "has no setting 'expire_at'", 3),
    (lambda c: c["ca"]["new"].update(device_id_template="${nothing}"), "device_id_template", 3),
    (lambda c: c["role"]["meter"]["rules"][0].update(topic_filter="a/#/b"), "topic filter 'a/#/b'", 3),
])
def test_bad_configuration_changes_nothing(test_site, production, change, complaint, status):
    configuration = json.loads(test_site.done("export").out)
    change(configuration)
    before = production.done("export").out
    done = production("import", "-", stdin=json.dumps(configuration))
    assert done.status == status and complaint in done.err, done
    assert production.done("export").out == before


def test_a_list_that_only_this_registry_has_is_no_difference(test_site, production):
    exported = test_site.done("export").out
    production.done("import", "-", stdin=exported)
    crl = pki.root("other")  # of another signer: it is kept all the same
    production.done("ca", "crl", "add", "z-old", "--crl", "-", stdin=crl.crl())
    assert production("import", "-", "--diff", stdin=exported).status == 0


def test_text_that_is_no_configuration_is_exit_2(production):
    for text in ("", "[]", "{", '{"ca": {}, "ca": {}}'):
        assert production("import", "-", stdin=text).status == 2, text


def status_of_new(registry):
    return next(row["status"] for row in registry.json("ca", "list") if row["name"] == "new")


def test_a_status_that_the_file_does_not_have_stays_and_one_that_it_has_is_said(test_site, production):
    exported = test_site.done("export").out
    production.done("import", "-", stdin=exported)
    production.done("ca", "disable", "new")
    production.done("issuer", "disable", "corp")
    silent = json.loads(exported)
    del silent["ca"]["new"]["status"], silent["issuer"]["corp"]["status"]
    assert production("import", "-", "--diff", stdin=json.dumps(silent)).status == 0
    assert "note" not in production.done("import", "-", stdin=json.dumps(silent)).err
    assert status_of_new(production) == "INACTIVE"
    said = production.done("import", "-", stdin=exported).err
    assert "CA 'new' was INACTIVE; the configuration makes it ACTIVE" in said and "issuer 'corp' was INACTIVE" in said
    assert status_of_new(production) == "ACTIVE"
