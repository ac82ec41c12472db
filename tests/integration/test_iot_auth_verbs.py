# SPDX-License-Identifier: ISC
"""iot-auth: every verb does what its row says, and no typing error becomes a change.  The tests of a module share a
registry, in which each makes objects of its own names."""

import base64
import json
import pathlib
import re
import signal
import subprocess

import pg
import pki
import psycopg2
import pytest
from iot_auth_kit import BUILD, PROGRAM, Command, Done


@pytest.fixture(scope="module")
def registry(postgres):
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("iot-auth")


@pytest.fixture(scope="module")
def iot_auth(registry, folder):
    return Command(registry, folder)


@pytest.fixture(scope="module")
def acme(iot_auth):
    """CA acme with auto-registration, and its certificate authority."""
    ca = pki.root()
    iot_auth.done("ca", "add", "acme", "--pem", iot_auth.file("acme.pem", ca.pem), "--auto-registration")
    return ca


@pytest.fixture(scope="module")
def device(iot_auth, acme):
    """Device d-1 of CA acme."""
    iot_auth.done("device", "add", "d-1", "--pem", iot_auth.file("d-1.pem", acme.issue("d-1").pem), "--ca", "acme")
    return "d-1"


# Usage


@pytest.mark.parametrize("words, complaint", [
    ((), "usage:"),
    (("ca",), "not a whole command"),
    (("cs", "list"), "did you mean 'ca'?"),
    (("ca", "lits"), "did you mean 'list'?"),
    (("ca", "crl"), "not a whole command"),
    (("ca", "list", "extra"), "one argument too many"),
    (("ca", "add", "x", "--pme", "f"), "did you mean --pem?"),
    (("ca", "add", "x", "--pem"), "--pem needs a value"),
    (("ca", "add", "x", "--pem", "--auto-registration"), "--pem needs a value"),
    (("ca", "add", "x", "--pem", "a", "--pem", "b"), "--pem is given twice"),
    (("ca", "add", "x"), "--pem is missing"),
    (("ca", "add", "--pem", "f"), "NAME is missing"),
    (("ca", "add", "x", "--pem", "/nonexistent"), "/nonexistent: No such file"),
    (("ca", "add", "x", "--pem", "f", "--auto-registration=false"), "--auto-registration takes no value"),
    (("ca", "add", "x", "--pem", "f", "--auto-reg"), "did you mean --auto-registration?"),
    (("ca", "list", "-j"), "options begin with --"),
    (("ca", "list", "--jsn"), "did you mean --json?"),
    (("device", "set-status", "d-1", "ACTVE"), "did you mean ACTIVE?"),
    (("rule", "add", "device", "ALLOW", "PUBLISH,SUBSCRIB", "a"), "did you mean SUBSCRIBE?"),
    (("grant", "device"), "exactly one of --ca, --device"),
    (("grant", "device", "--ca", "a", "--device", "b"), "exactly one of --ca, --device"),
    (("ip", "deny", "10.0.0.0/8", "--ca", "a", "--device", "b"), "at most one of --ca, --device, --issuer"),
    (("--conninfo", "host", "status"), "--conninfo is not a connection string"),
    (("device", "add", "d", "--pem", "f"), "--ca is missing, which --pem needs"),
    (("device", "add", "d", "--ca", "a"), "--pem is missing, which --ca needs"),
    (("device", "add", "d", "--pem", "f", "--ca", "a", "--roles", "r"), "--roles has no meaning beside --pem"),
])
def test_wrong_usage_is_exit_2_with_the_nearest_word(iot_auth, words, complaint):
    done = iot_auth(*words)
    assert (done.status, done.out) == (2, "") and complaint in done.err


def test_help_names_what_the_table_names(iot_auth):
    assert "ca add" in iot_auth.done("--help").out
    assert "iot-auth ca crl add NAME --crl FILE" in iot_auth.done("ca", "--help").out
    of_verb = iot_auth.done("ca", "add", "--help").out
    assert "--auto-registration" in of_verb and "--conninfo TEXT" in of_verb
    assert iot_auth.done("--version").out.startswith("iot-auth 0.")


# Connection


def test_connection_error_says_which_settings_counted(iot_auth, registry, folder):
    done = iot_auth("ca", "list", PGPORT="1")
    assert done.status == 4 and done.out == ""
    assert "by the environment: host 127.0.0.1, database %s, role iot_auth_admin" % registry.name in done.err
    assert "Connection refused" in done.err
    done = iot_auth("ca", "list", "--conninfo", "host=127.0.0.1 port=1 password=very-secret")
    assert done.status == 4 and "by --conninfo" in done.err and "very-secret" not in done.err


def test_service_iot_auth_counts_without_an_environment(iot_auth, registry, folder):
    none = {key: None for key in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER")}
    service = iot_auth.file("service.conf", "[iot-auth]\n" + registry.conninfo(pg.ADMIN).replace(" ", "\n") + "\n")
    assert iot_auth("role", "list", PGSERVICEFILE=str(service), **none).status == 0
    service.write_text("[iot-auth]\nhost=127.0.0.1\nport=1\n")
    done = iot_auth("role", "list", PGSERVICEFILE=str(service), **none)
    assert done.status == 4 and "by service iot-auth" in done.err
    done = iot_auth("role", "list", PGSERVICEFILE="/nonexistent", PGSYSCONFDIR=str(folder), **none)
    assert done.status in (0, 4) and "service" not in done.err


def test_role_without_rights_is_refused_by_the_registry(registry, folder):
    done = Command(registry, folder, user=pg.BROKER)("role", "create", "r")
    assert done.status == 3 and "permission denied" in done.err


# Certificate authorities and devices


def test_ca_is_added_shown_set_disabled_and_enabled(iot_auth, acme):
    shown, = iot_auth.json("ca", "show", "acme")
    assert (shown["name"], shown["auto_registration"], shown["roles"]) == ("acme", True, ["device"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", shown["created_at"])
    changed, = iot_auth.json("ca", "set", "acme", "--max-devices", 7)
    assert (changed["max_devices"], changed["auto_registration"]) == (7, True)
    changed, = iot_auth.json("ca", "set", "acme", "--max-devices", "none", "--client-id-templates", "a:*,${device_id}")
    assert (changed["max_devices"], changed["client_id_templates"]) == (None, ["a:*", "${device_id}"])
    template = iot_auth.file("provisioning.json", json.dumps({"roles": ["device"]}))
    changed, = iot_auth.json("ca", "set", "acme", "--registration", "expected", "--provisioning", template)
    assert (changed["registration"], changed["provisioning"]) == ("expected", {"roles": ["device"]})
    changed, = iot_auth.json("ca", "set", "acme", "--reset", "registration,provisioning", "--max-registrations-per-minute", "none")
    assert (changed["registration"], changed["provisioning"], changed["max_registrations_per_minute"]) == ("any", None, None)
    assert iot_auth("ca", "set", "acme", "--reset", "pem").status == 3
    assert iot_auth("ca", "set", "acme", "--registration", "expectd").status == 2
    assert iot_auth.json("ca", "disable", "acme")[0]["status"] == "INACTIVE"
    assert iot_auth.json("ca", "enable", "acme")[0]["status"] == "ACTIVE"
    assert "acme" in [row["name"] for row in iot_auth.json("ca", "list")]


def test_ca_is_read_from_der_and_from_standard_input(iot_auth):
    for name, words, stdin in (("of-der", None, ""), ("of-stdin", "-", pki.root().pem)):
        ca = pki.root()
        der = base64.b64decode("".join(ca.pem.splitlines()[1:-1]))
        iot_auth.done("ca", "add", name, "--pem", words or iot_auth.file("ca.der", der), stdin=stdin)
        assert len(iot_auth.json("ca", "show", name)[0]["fingerprint"]) == 64


def test_roles_of_a_ca_may_be_none(iot_auth):
    iot_auth.done("ca", "add", "no-roles", "--pem", "-", "--roles", "", stdin=pki.root().pem)
    assert iot_auth.json("ca", "show", "no-roles")[0]["roles"] == []


def test_what_cannot_be_taken_back_is_confirmed(iot_auth, device):
    iot_auth.done("ca", "add", "doomed", "--pem", "-", stdin=pki.root().pem)
    done = iot_auth("ca", "revoke", "doomed")
    assert done.status == 5 and "give --yes" in done.err
    assert iot_auth.json("ca", "show", "doomed")[0]["status"] == "ACTIVE"
    assert iot_auth.json("ca", "revoke", "doomed", "--yes")[0]["status"] == "REVOKED"
    assert iot_auth("ca", "enable", "doomed").status == 3
    assert iot_auth("device", "set-status", device, "REVOKED").status == 5
    assert iot_auth("device", "set-status", device, "inactive").status == 0
    assert iot_auth.json("device", "set-status", device, "ACTIVE")[0]["status"] == "ACTIVE"


def test_crl_is_added_and_listed(iot_auth, acme):
    iot_auth.done("ca", "crl", "add", "acme", "--crl", iot_auth.file("crl.pem", acme.crl()))
    assert len(iot_auth.json("ca", "crl", "list", "acme")) == 1
    assert iot_auth("ca", "crl", "add", "acme", "--crl", "crl.pem").status == 3


def test_unknown_name_is_an_error_and_no_empty_list(iot_auth, device):
    for words in (("ca", "show", "no"), ("ca", "set", "no", "--max-devices", 1), ("ca", "crl", "list", "no"),
                  ("device", "show", "no"), ("device", "roles", "no"), ("device", "list", "--ca", "no"),
                  ("device", "delete", device, "no", "--yes"), ("device", "approve", "no"), ("role", "show", "no"),
                  ("rule", "list", "--role", "no"), ("issuer", "show", "no"), ("refusals", "--ca", "no"),
                  ("cert", "list", "--ca", "no"), ("cert", "revoke", "00" * 32, "--yes")):
        done = iot_auth(*words)
        assert done.status == 3 and done.out == "" and re.search("is not registered|does not exist", done.err), words
    assert iot_auth("device", "show", device).status == 0  # a list with a bad id deletes nothing


def test_device_is_listed_and_shown_with_its_certificates(iot_auth, device):
    shown, = iot_auth.json("device", "show", device)
    assert shown["device"][0]["device_id"] == device and len(shown["certificates"]) == 1
    assert [row["device_id"] for row in iot_auth.json("device", "list", "--ca", "acme", "--like", "d-%")] == [device]
    assert iot_auth.json("device", "list", "--status", "REVOKED", "--ca", "acme") == []
    assert iot_auth.json("cert", "list", "--device", device)[0]["status"] == "ACTIVE"
    assert {"role": "device", "granted_to": "CA acme"} in iot_auth.json("device", "roles", device)


def test_device_without_a_certificate_is_added(iot_auth):
    shown, = iot_auth.json("device", "add", "bare", "--tenant", "t", "--roles", "", "--attributes", '{"site": "x"}', "--status", "PENDING")
    device, = shown["device"]
    assert (device["device_id"], device["ca"], device["tenant"], device["status"]) == ("bare", None, "t", "PENDING")
    assert (device["roles"], device["attributes"], shown["certificates"]) == ([], {"site": "x"}, [])
    assert iot_auth.json("device", "add", "bare-2")[0]["device"][0]["roles"] == ["device"]
    assert iot_auth("device", "add", "bare").status == 3
    assert iot_auth("device", "add", "bare-3", "--roles", "no").status == 3
    iot_auth.done("device", "delete", "bare", "bare-2", "--yes")


def test_pending_devices_are_approved(iot_auth, acme):
    for name in ("p-1", "p-2", "p-3"):
        iot_auth.done("device", "add", name, "--pem", "-", "--ca", "acme", "--status", "PENDING",
                      stdin=acme.issue(name).pem)
    assert iot_auth.json("device", "approve", "p-1") == [{"device_id": "p-1"}]
    assert iot_auth("device", "approve").status == 2
    iot_auth.done("device", "set-status", "p-1", "INACTIVE")
    refused = iot_auth("device", "approve", "p-1")
    assert refused.status == 3 and "device 'p-1' is INACTIVE, not PENDING" in refused.err
    assert iot_auth("device", "approve", "--all-pending", "--ca", "no").status == 3
    iot_auth.done("ca", "add", "other", "--pem", "-", stdin=pki.root("other").pem)
    refused = iot_auth("device", "approve", "p-2", "--ca", "other")
    assert refused.status == 3 and "device 'p-2' is not one of CA 'other'" in refused.err
    iot_auth.done("device", "set-status", "p-2", "PENDING")  # it is, still
    approved = iot_auth.json("device", "approve", "--all-pending", "--ca", "acme")
    assert [row["device_id"] for row in approved] == ["p-2", "p-3"]
    iot_auth.done("device", "delete", "p-1", "p-2", "p-3", "--yes")
    assert iot_auth.json("device", "list", "--like", "p-%") == []


def test_certificate_is_revoked_by_fingerprint(iot_auth, acme):
    iot_auth.done("device", "add", "c-1", "--pem", "-", "--ca", "acme", stdin=acme.issue("c-1").pem)
    fingerprint = iot_auth.json("cert", "list", "--device", "c-1")[0]["fingerprint"]
    with_colons = ":".join(re.findall("..", fingerprint)).upper()
    assert iot_auth.json("cert", "revoke", with_colons, "--yes")[0]["status"] == "REVOKED"
    assert iot_auth.json("cert", "list", "--status", "REVOKED")[0]["device_id"] == "c-1"
    assert iot_auth.json("cert", "expiring", "--days", 1) == []


# Rights, issuers, addresses


def test_roles_rules_and_grants(iot_auth, device):
    iot_auth.done("role", "create", "meter")
    rule, = iot_auth.json("rule", "add", "meter", "allow", "publish,receive", "m/${device_id}/#", "--max-qos", 1)
    assert (rule["effect"], rule["actions"], rule["max_qos"]) == ("ALLOW", ["PUBLISH", "RECEIVE"], 1)
    assert iot_auth.json("grant", "meter", "--device", device) == [
        {"role": "meter", "holder": "device", "name": device}]
    assert iot_auth("grant", "meter", "--device", device).status == 3
    role, = iot_auth.json("role", "show", "meter")
    assert role["role"][0]["devices"] == 1 and role["rules"][0]["rule_id"] == rule["rule_id"]
    assert iot_auth.json("revoke-grant", "meter", "--device", device) == []
    iot_auth.done("rule", "remove", rule["rule_id"])
    assert iot_auth.json("rule", "list", "--role", "meter") == []
    assert iot_auth("role", "drop", "meter").status == 5
    iot_auth.done("role", "drop", "meter", "--yes")
    assert "meter" not in [row["role"] for row in iot_auth.json("role", "list")]


def test_issuers_and_scopes(iot_auth):
    iot_auth.done("role", "create", "reader")
    jwks = iot_auth.file("keys.json", json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": "a", "y": "b"}]}))
    added, = iot_auth.json("issuer", "add", "corp", "--issuer", "https://id.example", "--audience", "mqtt,other",
                           "--jwks", jwks)
    assert added["issuer"][0]["audience"] == ["mqtt", "other"] and added["issuer"][0]["keys"] == "1 in the registry"
    assert iot_auth.json("issuer", "map", "corp", "telemetry:read", "reader")[0]["role"] == "reader"
    assert iot_auth.json("issuer", "unmap", "corp", "telemetry:read", "reader") == []
    changed, = iot_auth.json("issuer", "set", "corp", "--leeway-s", 5, "--scope-claims", "/roles")
    assert (changed["issuer"][0]["leeway_s"], changed["issuer"][0]["scope_claims"]) == (5, ["/roles"])
    assert iot_auth.json("issuer", "set", "corp", "--reset", "leeway_s")[0]["issuer"][0]["leeway_s"] == 30
    assert iot_auth.json("issuer", "disable", "corp")[0]["issuer"][0]["status"] == "INACTIVE"
    assert iot_auth.json("issuer", "enable", "corp")[0]["issuer"][0]["status"] == "ACTIVE"
    assert [row["name"] for row in iot_auth.json("issuer", "list")] == ["corp"]


def test_an_issuer_of_devices_has_its_settings(iot_auth):
    iot_auth.done("role", "create", "meter-of-plant")
    added, = iot_auth.json("issuer", "add", "plant", "--issuer", "https://plant.example", "--audience", "mqtt", "--principals", "device",
                           "--device-id-claim", "/device/id", "--auto-registration", "--registered-status", "PENDING", "--max-devices", 9,
                           "--max-registrations-per-minute", 7, "--roles", "meter-of-plant")
    wanted = {"principals": "device", "device_id_claim": "/device/id", "auto_registration": True, "registered_status": "PENDING",
              "max_devices": 9, "max_registrations_per_minute": 7, "roles": ["meter-of-plant"]}
    assert {k: added["issuer"][0][k] for k in wanted} == wanted
    changed, = iot_auth.json("issuer", "set", "plant", "--auto-registration", "false", "--reset", "max_devices,registered_status")
    wanted.update(auto_registration=False, max_devices=None, registered_status="ACTIVE")
    assert {k: changed["issuer"][0].get(k) for k in wanted} == wanted
    assert iot_auth("issuer", "set", "plant", "--principals", "human").status == 2


def test_every_argument_of_an_issuers_functions_is_an_option(iot_auth, registry):
    for verb, function in (("add", "register_issuer"), ("set", "set_issuer")):
        arguments = registry.query("SELECT proargnames FROM pg_proc WHERE pronamespace = 'iot_auth'::regnamespace AND proname = %s",
                                   [function])[0][0]
        shown = iot_auth.done("issuer", verb, "--help").out
        assert [a for a in arguments if a != "name" and "--" + a.replace("_", "-") not in shown] == [], verb


def test_tokens_are_revoked_and_listed(iot_auth):
    iot_auth.done("issuer", "add", "revoker", "--issuer", "https://revoker.example", "--audience", "mqtt")
    (made,) = iot_auth.json("token", "revoke", "revoker", "/sub", "user-1", "--until", "2099-01-01T00:00:00Z")
    assert (made["issuer_name"], made["claim"], made["value"]) == ("revoker", "/sub", "user-1")
    assert [row["id"] for row in iot_auth.json("token", "revocations", "--issuer", "revoker")] == [made["id"]]
    assert iot_auth("token", "revocations", "--issuer", "revokr").status == 3
    assert iot_auth("token", "revoke", "revoker", "sub", "user-1").status == 3  # no JSON pointer
    iot_auth.done("token", "unrevoke", made["id"])
    assert iot_auth.done("token", "revocations", "--json").out == ""
    assert iot_auth("token", "unrevoke", made["id"]).status == 3


def test_addresses(iot_auth, acme):
    rule, = iot_auth.json("ip", "deny", "198.51.100.0/24", "--ca", "acme", "--expires-at", "2099-01-01T00:00:00Z")
    assert (rule["effect"], rule["scope"], rule["scope_key"]) == ("DENY", "CA", "acme")
    assert iot_auth.json("ip", "list", "--holding", "198.51.100.7") == [rule]
    assert iot_auth.json("ip", "list", "--holding", "198.51.101.7") == []
    iot_auth.done("ip", "remove", rule["rule_id"])
    assert iot_auth.json("ip", "list", "--ca", "acme") == []
    assert iot_auth("ip", "deny", "198.51.100.300").status == 3


# What happens


def refuse(registry, at="now()", who="x-1", **detail):
    registry.query("INSERT INTO iot_auth.event (at, node, kind, principal, address, reason, detail) VALUES "
                   f"({at}, 'n1', 'device/refused', %s, '192.0.2.9', 'device_inactive', %s)",
                   (who, json.dumps({"device_id": who, **detail})))


def test_refusals_are_grouped_and_explained(iot_auth, registry):
    for _ in range(3):
        refuse(registry)
    row, = [row for row in iot_auth.json("refusals", "--reason", "device_inactive") if row["who"] == "x-1"]
    assert (row["count"], row["address"]) == (3, "192.0.2.9")
    assert iot_auth.json("refusals", "--network", "192.0.3.0/24") == []
    assert iot_auth.json("refusals", "--network", "192.0.2.0/24", "--since", "1 hour") != []
    why, = iot_auth.json("why", "x-1")
    assert len(why["refusals"]) == 3 and why["registered"] == []
    assert "refusals:" in iot_auth.done("why", "192.0.2.9").out


def test_text_of_clients_cannot_disturb_a_terminal(iot_auth, registry):
    registry.query("INSERT INTO iot_auth.event (node, kind, principal, address, reason, detail) VALUES "
                   "('n1', 'device/refused', E'\\u001b[2J\\u202eevil', '192.0.2.10', 'device_unknown', '{}')")
    for words in (("refusals",), ("events",), ("why", "192.0.2.10")):
        out = iot_auth.done(*words).out
        assert "\\u001b[2J\\u202eevil" in out and "\x1b" not in out and "\u202e" not in out


def test_events_are_followed(iot_auth, registry):
    follower = subprocess.Popen([PROGRAM, "events", "--follow", "--json", "--kind", "device/refused"],
                                env=iot_auth.environment, stdout=subprocess.PIPE, text=True)
    try:
        refuse(registry, who="early")
        line = ""
        while '"early"' not in line:  # shown by the list or by the first round
            line = follower.stdout.readline()
        refuse(registry, at="now() - interval '20 s'", who="late")  # as a transaction that commits after others
        assert '"late"' in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
    finally:
        follower.kill()
        follower.wait()


def test_times_are_local_unless_utc_is_wanted(iot_auth, registry):
    refuse(registry, at="now() - interval '1 s'", who="timed")
    at = registry.value("SELECT to_char(max(at) AT TIME ZONE 'Europe/Athens', 'YYYY-MM-DD HH24:MI:SS') "
                        "FROM iot_auth.event WHERE principal = 'timed'")
    assert re.search(re.escape(at) + r"\+0[23]:00", iot_auth.done("events").out)
    assert re.search(r"\d\d:\d\d:\d\dZ", iot_auth.done("events", "--utc").out)


def test_status_names_the_next_step_and_what_is_wrong(iot_auth, registry, postgres, folder):
    fresh = postgres.create_database()
    status, = Command(fresh, folder).json("status")
    assert "iot-auth ca add" in status["next_step"][0]["next_step"]
    assert [row["warning"] for row in status["warnings"]] == ["no broker has connected to this registry yet"]
    fresh.query("SELECT iot_auth.broker_heartbeat('n1', '{}', NULL, 'clear', NULL)")
    fresh.query("UPDATE iot_auth.node SET last_seen = now() - interval '1 hour'")
    out = Command(fresh, folder).done("status").out
    assert "warning: broker n1 has not been seen since" in out and "n1 reaches the database in clear text" in out
    fresh.query("SELECT iot_auth.broker_stopped('n1')")
    assert "has not been seen" not in Command(fresh, folder).done("status").out
    assert [row["alive"] for row in Command(fresh, folder).json("nodes")] == [False]
    fresh.drop()


def test_audit_says_who_did_what(iot_auth, acme):
    rows = iot_auth.json("audit", "--table", "ca", "--key", "acme")
    assert rows[-1]["operation"] == "INSERT" and rows[-1]["who"] == pg.ADMIN and rows[-1]["application"] == "iot-auth"


def test_quiet_prints_nothing(iot_auth, device):
    assert iot_auth.done("device", "list", "--quiet").out == ""
    assert iot_auth.done("device", "set-status", device, "ACTIVE", "--quiet", "--json").out == ""


def test_client_id_is_released(iot_auth, registry):
    iot_auth.done("client-id", "release", "d-1")
    assert registry.value("SELECT client_id FROM iot_auth.client_id_release") == "d-1"


# Migrations


def test_migrate_creates_the_schema_and_is_harmless_again(postgres, folder):
    empty = postgres.create_database(migrated=False)
    command = Command(empty, folder, user=pg.SUPERUSER)
    done = command("role", "list")
    assert done.status == 3 and "iot-auth migrate" in done.err
    missing = command.done("migrate", "--dry-run").out.split()
    assert missing == [path.name for path in pg.migrations()]
    assert command("role", "list").status == 3
    applied, = command.json("migrate")
    assert applied == {"schema_version": len(missing), "applied": len(missing)}
    assert command.json("migrate")[0]["applied"] == 0 and command.done("migrate", "--dry-run").out == ""
    assert empty.value("SELECT max(version) FROM iot_auth.schema_version") == len(missing)
    empty.query("INSERT INTO iot_auth.schema_version (version) VALUES (9999)")
    assert command("migrate").status == 3
    empty.drop()


def test_migrate_creates_the_database_in_utf_8_once(postgres, folder):
    command = Command(postgres.create_database(), folder, user=pg.SUPERUSER)
    name = 'a "new" one'
    command.environment["PGDATABASE"] = name
    assert command("migrate").status == 4, "without --create-database"
    assert command.json("migrate", "--create-database")[0]["applied"] == len(pg.migrations())
    assert command.json("migrate", "--create-database")[0]["applied"] == 0
    with psycopg2.connect(host=postgres.host, port=postgres.port, dbname=name, user=pg.SUPERUSER) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_encoding")
            assert cursor.fetchone()[0] == "UTF8"
    connection.close()
    conninfo = command("migrate", "--create-database", "--conninfo", "dbname=other user=iot_auth_broker", PGDATABASE=None)
    assert conninfo.status == 3 and "other cannot be created: ERROR:  permission denied" in conninfo.err
    assert command("migrate", "--create-database", PGPORT="1").status == 4
    wrong = command("migrate", "--create-database", "--conninfo", "no_conninfo", PGDATABASE=None)
    assert wrong.status == 2 and "is not a connection string" in wrong.err
    wrong = command("migrate", "--create-database", "--broker-password-file", folder / "nowhere", PGDATABASE="no_conninfo")
    assert wrong.status == 2
    assert not postgres.run("SELECT 1 FROM pg_database WHERE datname = 'no_conninfo'")
    postgres.run('DROP DATABASE "a ""new"" one"')


def test_migrate_sets_passwords_by_their_verifiers(database, folder):
    command = Command(database, folder, user=pg.SUPERUSER)
    verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'iot_auth_%s'"
    for role in ("broker", "monitor"):
        file = command.file("password", "o'hara \\ $1\n")
        done = command.done("migrate", f"--{role}-password-file", file)
        first = database.value(verifier % role)
        assert first.startswith("SCRAM-SHA-256$") and "hara" not in done.out + done.err
        for wrong in ("", "\n", "a\nb\n", "x" * 2000, "a\0b"):
            refused = command("migrate", f"--{role}-password-file", command.file("password", wrong))
            assert refused.status == 2 and "password" in refused.err
        assert command("migrate", f"--{role}-password-file", folder / "nowhere").status == 2
        assert database.value(verifier % role) == first
        assert Command(database, folder, user=pg.ADMIN)("migrate", f"--{role}-password-file", file).status != 0
        assert command("migrate", "--dry-run", f"--{role}-password-file", file).status == 2
        database.query("ALTER ROLE iot_auth_%s PASSWORD NULL" % role)


# The table, the documentation and the other name


def test_reference_is_what_the_table_says(iot_auth):
    page = pg.ROOT / "docs" / "reference" / "iot-auth.md"
    assert page.read_text(encoding="utf-8") == iot_auth.done("documentation", "markdown").out, \
        "run: iot-auth documentation markdown > docs/reference/iot-auth.md"


def verbs(iot_auth):
    """The commands of the reference."""
    return re.findall(r"^### (.*)$", iot_auth.done("documentation", "markdown").out, re.MULTILINE)


def synopses(iot_auth):
    """Each command of the reference with the values that it cannot do without."""
    text = iot_auth.done("documentation", "markdown").out
    pem = iot_auth.file("any.pem", pki.root().pem)
    values = {"FILE": pem, "LEAF.pem": pem, "CA.pem": pem, "FILE.csv": iot_auth.file("any.csv", "device_id,ca_name\nd,acme\n"),
              "FILE.json": iot_auth.file("any.json", "{}"), "DIR": iot_auth.folder, "NETWORK": "10.0.0.0/8", "ID": "1", "RULE_ID": "1",
              "FINGERPRINT": "00" * 32}
    for synopsis in re.findall(r"^### .*\n\n```\niot-auth (.*)\n```", text, re.MULTILINE):
        words = re.sub(r"\{([^|}]*)\|[^}]*\}", r"\1", re.sub(r"\[[^]]*\]", "", synopsis)).split()
        name = next(verb for verb in verbs(iot_auth) if synopsis == verb or synopsis.startswith(verb + " "))
        rest = [re.sub(r",?…$", "", word).split("|")[0] for word in words[len(name.split()):]]
        yield name, name.split() + [values.get(word, word) for word in rest]


# Commands that need no registry, or make it.
WITHOUT_REGISTRY = {"setup", "documentation", "token make", "check chain", "check topic"}
TRY_OUT = {"issuer add": ["--issuer", "https://i.example", "--audience", "a"], "check token": ["--issuer", "x"]}


@pytest.mark.parametrize("status, why", [
    (2, "did you mean --quiet?"), (3, "migrat"), (4, "Connection refused")])
def test_every_command_says_by_its_exit_status_what_went_wrong(iot_auth, postgres, folder, status, why):
    """2: a misspelt option; 3: a database without the schema; 4: no database.  Nothing is printed to standard output."""
    empty = postgres.create_database(migrated=False)
    command = Command(empty, folder)
    n = 0
    for name, words in synopses(iot_auth):
        if status > 2 and name in WITHOUT_REGISTRY or status == 3 and name == "migrate":
            continue
        more = ["--quite"] if status == 2 else ["--yes", *TRY_OUT.get(name, [])]
        done = command(*words, *more, stdin="x.y.z", **({"PGPORT": "1"} if status == 4 else {}))
        assert (done.status, done.out) == (status, "") and why in done.err, (name, words, done)
        n += 1
    assert n > 45
    empty.drop()


def test_every_command_that_asks_does_nothing_without_an_answer(iot_auth):
    """Exit 5, before the registry is asked: there is none here."""
    text = iot_auth.done("documentation", "markdown").out
    asking = re.findall(r"^### (.*)\n(?:(?!###).*\n)*?Asks before it does so(?: with (\w+))?,", text, re.MULTILINE)
    assert len(asking) >= 5
    known = dict(synopses(iot_auth))
    for name, value in asking:
        words = known[name][:-1] + [value] if value else known[name]
        done = iot_auth(*words, PGPORT="1")
        assert (done.status, done.out) == (5, "") and "give --yes" in done.err, (words, done)
        assert iot_auth(*words, "--yes", PGPORT="1").status == 4


def test_no_command_is_the_beginning_of_another(iot_auth):
    names = verbs(iot_auth)
    assert len(names) > 40
    assert [(a, b) for a in names for b in names if b.startswith(a + " ")] == []


def test_documentation_names_only_commands_that_exist(iot_auth):
    """Every `iot-auth WORDS …` of README and docs is a command of the table, with options that it has."""
    known, wrong = verbs(iot_auth), []
    options = set(re.findall(r"--[a-z-]+", iot_auth.done("documentation", "markdown").out))
    pages = [pg.ROOT / "README.md", *pathlib.Path(pg.ROOT / "docs").glob("*.md")]
    for page in pages:
        for call in re.findall(r"(?:^|[`$ ])iot-auth ((?!verbs)[a-z][^`\n#|]*)", page.read_text(encoding="utf-8"), re.MULTILINE):
            words = call.split()
            verb = next((" ".join(words[:n]) for n in (3, 2, 1) if " ".join(words[:n]) in known), None)
            group = any(name.startswith(words[0] + " ") for name in known) and len(words) == 1
            given = [word.split("=")[0] for word in words if word.startswith("--")]
            if not (verb or group) or [option for option in given if option not in options]:
                wrong.append((page.name, call))
    assert wrong == []


def test_manual_pages_have_no_warnings(iot_auth):
    for form in ("man", "man-check"):
        text = iot_auth.done("documentation", form).out
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-Kutf8", "-z"], input=text, capture_output=True,
                              text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert "iot-auth-check" in text and ".SS chain" in text


@pytest.mark.parametrize("typed, offered", [
    ("iot-auth ca ", {"add", "crl", "list", "show"}),
    ("iot-auth ca add --auto", {"--auto-registration"}),
    ("iot-auth device set-status d-1 RE", {"REVOKED"}),
    ("iot-auth device list --status P", {"PENDING"}),
    ("iot-auth-check ch", {"chain"}),
    ("iot-auth ", {"ca", "device", "status"}),
])
def test_bash_completes_words_and_options(iot_auth, typed, offered):
    words = typed.split(" ")
    script = iot_auth.done("documentation", "bash").out + \
        '\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _iot_auth; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=False)
    assert done.stderr == "" and offered <= set(done.stdout.split()), done


def test_other_name_has_the_checks_alone(iot_auth):
    program = str(BUILD / "cli" / "iot-auth-check")

    def run(*words):
        return Done(subprocess.run([program, *words], env=iot_auth.environment, capture_output=True, text=True,
                                   check=False))

    done = run("chian")
    assert (done.status, done.out) == (2, "") and "did you mean 'chain'?" in done.err
    assert run("ca", "list").status == 2
    assert run("topic", "--help").out.startswith("usage:\n  iot-auth-check topic ")


def test_output_that_cannot_be_written_is_an_error(iot_auth):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([PROGRAM, "role", "list"], env=iot_auth.environment, stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and "cannot write" in done.stderr


def test_table_fits_the_terminal(iot_auth, device):
    script = "stty cols 60; exec %s device list --max 3" % PROGRAM
    done = subprocess.run(["script", "-qec", script, "/dev/null"], env=iot_auth.environment, capture_output=True,
                          text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    lines = done.stdout.splitlines()
    assert device in done.stdout and max(len(line) for line in lines) <= 150
