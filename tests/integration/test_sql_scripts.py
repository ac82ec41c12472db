# SPDX-License-Identifier: ISC
"""sql/admin/*.sql: each does what its header says, prints a table, and answers bad input with one line and a failure."""

import re
import subprocess

import pg
import pki
import pytest
from sql_kit import cursor

SCRIPTS = ("register_ca set_ca_status add_crl register_device set_device_status revoke_certificate list_devices list_cas add_rule"
           " grant_role register_issuer map_scope allow_ip deny_ip why_refused list_refusals expiring_certificates status").split()


@pytest.fixture(scope="module")
def registry(postgres):
    """One database for all tests here; their names differ."""
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture(scope="module")
def authority():
    return pki.root("scripts")


@pytest.fixture
def run(registry):
    """Runs a script as iot_auth_admin; must succeed with a table."""

    def call(script, /, **variables):
        done = registry.script(script, user=pg.ADMIN, **variables)
        assert (done.returncode, done.stderr) == (0, "")
        assert "-+-" in done.stdout or "---" in done.stdout
        return done.stdout

    return call


@pytest.fixture
def bad(registry):
    """Runs a script that must fail with one line on stderr and no table; returns the line."""

    def call(script, /, **variables):
        done = registry.script(script, user=pg.ADMIN, **variables)
        assert done.returncode != 0
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1 and "ERROR:" in done.stderr
        return done.stderr

    return call


@pytest.fixture(scope="module")
def acme(registry, authority, tmp_path_factory):
    """A CA `acme` with devices d1 and d2, registered with the scripts."""
    folder = tmp_path_factory.mktemp("acme")
    (folder / "ca.pem").write_text(authority.pem)
    assert registry.script("register_ca", user=pg.ADMIN, name="acme", pem_file=folder / "ca.pem", auto_registration="true").returncode == 0
    for device in ("d1", "d2"):
        (folder / f"{device}.pem").write_text(authority.issue(device).pem)
        assert registry.script("register_device", user=pg.ADMIN, device_id=device, pem_file=folder / f"{device}.pem", ca_name="acme").returncode == 0
    return folder


def rows(table):
    """The rows of the last table of psql's output, as lists of texts."""
    lines = table.rstrip("\n").split("\n\n")[-1].split("\n")
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


def test_there_is_a_script_for_each_task_and_its_header_shows_its_call():
    assert {path.stem for path in pg.ADMIN_SCRIPTS.glob("*.sql")} == set(SCRIPTS)
    for name in SCRIPTS:
        header = (pg.ADMIN_SCRIPTS / f"{name}.sql").read_text(encoding="ascii").split("\n\n")[0]
        assert all(line.startswith("--") for line in header.split("\n"))
        assert re.search(rf"^--   psql .*-f sql/admin/{name}\.sql$", header, re.M), name


def test_scripts_stop_at_the_first_error():
    for name in SCRIPTS:
        assert r"\set ON_ERROR_STOP on" in (pg.ADMIN_SCRIPTS / f"{name}.sql").read_text(encoding="ascii"), name


def taken(name):
    """The names of the variables that a script says that it takes."""
    (names,) = re.findall(r"^\\set takes '(.*)'$", (pg.ADMIN_SCRIPTS / f"{name}.sql").read_text(encoding="ascii"), re.M)
    return names.split()


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_variable_that_a_script_reads_is_one_that_it_takes_and_describes(name):
    text = (pg.ADMIN_SCRIPTS / f"{name}.sql").read_text(encoding="ascii")
    assert sorted(re.findall(r":\{\?(\w+)\}", text)) == sorted(taken(name))
    assert f"\\set script {name}\n" in text and "\\ir script.psql\n" in text
    header = text.split("\n\n")[0]
    assert [variable for variable in taken(name) if not re.search(rf"\b{variable}\b", header)] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_misspelt_variable_stops_a_script_before_it_does_anything(registry, bad, name):
    """psql takes every name: with -v auto_registraton=true a CA was registered without auto-registration."""
    for variable in taken(name):
        wrong = variable[:-2] + variable[-1] if len(variable) > 3 else variable + variable[-1]
        assert f'{name}.sql takes no variable "{wrong}"; the nearest is {variable}' in bad(name, **{wrong: "1"})
    assert f'{name}.sql takes no variable "zzz"' in bad(name, zzz="1")


@pytest.mark.parametrize("words, refused", [
    (["-v", "statu=PENDING"], True), (["-vstatu=PENDING"], True), (["-Xqv", "statu=PENDING"], True), (["-Xqvstatu=PENDING"], True),
    (["--set", "statu=PENDING"], True), (["--set=statu=PENDING"], True), (["--variable=statu=1"], True), (["--va", "statu=1"], True),
    (["-v", "statu"], True), (["-v", "STATUS=PENDING"], True), (["-v", "max=1", "-v", "like=a\n-v\nstatu=1", "-v", "statu=1"], True),
    (["-v", "status=PENDING"], False), (["-v", "ON_ERROR_STOP=1", "--set", "VERBOSITY=verbose"], False), (["-v", "like=a\n-v\nstatu=1"], False),
    (["-P", "null=-vstatu=1"], False), (["--pset", "null=--set=statu=1"], False), (["-v", "like=--set=x=y"], False),
])
def test_names_of_variables_are_read_as_psql_reads_them(registry, words, refused):
    done = subprocess.run([registry.server.bin / "psql", "-X", *words, "-f", pg.ADMIN_SCRIPTS / "list_devices.sql"],
                          env=registry.environment(pg.ADMIN), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode != 0) == refused and ("the nearest is status" in done.stderr) == refused, done
    assert refused or done.stderr == ""


def test_call_of_several_scripts_says_which_variables_each_takes(registry):
    scripts = [word for name in ("list_cas", "list_devices") for word in ("-f", pg.ADMIN_SCRIPTS / f"{name}.sql")]
    done = subprocess.run([registry.server.bin / "psql", "-X", "-v", "other=1", *scripts], env=registry.environment(pg.ADMIN),
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "list_devices.sql takes the variables: ca_name status tenant like max (others are ignored)" in done.stderr


def test_values_of_variables_and_connection_strings_are_not_sent_with_the_names(registry, tmp_path):
    """Statements may be logged by the server."""
    conninfo = f"dbname={registry.name} application_name=secret-1"
    done = subprocess.run([registry.server.bin / "psql", "-X", "-e", "-v", "zzz=secret-2", "-d", conninfo, "-f", pg.ADMIN_SCRIPTS / "status.sql"],
                          env=registry.environment(pg.ADMIN), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and "zzz" in done.stderr and "secret" not in done.stdout + done.stderr


def test_register_ca(run, tmp_path):
    folder = tmp_path / "it's a \"folder\" $HOME"
    folder.mkdir()
    (folder / "-ca.pem").write_text(pki.root().pem)
    ((ca_id, name, status, auto, registered, template, tenant, roles, fingerprint),) = rows(run(
        "register_ca", name="scripted", pem_file=folder / "-ca.pem", auto_registration="true", registered_status="PENDING",
        device_id_template="${cert.serial}", client_id_templates="${device_id},${device_id}/*", tenant="t", max_devices="5",
        max_registrations_per_minute="6"))
    assert int(ca_id) > 0 and len(fingerprint) == 64
    assert (name, status, auto, registered, template, tenant, roles) == ("scripted", "ACTIVE", "t", "PENDING", "${cert.serial}", "t", "device")


def test_register_ca_that_replaces_another(run, registry, acme, tmp_path):
    (tmp_path / "ca.pem").write_text(pki.root().pem)
    run("register_ca", name="acme-next", pem_file=tmp_path / "ca.pem", replaces="acme", roles="")
    assert registry.query("SELECT p.name FROM iot_auth.ca c JOIN iot_auth.ca p ON p.ca_id = c.replaces WHERE c.name = 'acme-next'") == [("acme",)]
    assert registry.value("SELECT count(*) FROM iot_auth.ca_role JOIN iot_auth.ca USING (ca_id) WHERE name = 'acme-next'") == 0


def test_register_ca_bad_input(bad, acme, tmp_path):
    der = tmp_path / "ca.der"
    der.write_bytes(b"\x30\x82\x00\xff\xfe" * 20)
    ca = str(acme / "ca.pem")
    good = tmp_path / "good.pem"
    good.write_text(pki.root().pem)
    assert "usage: psql -v name=NAME -v pem_file=FILE" in bad("register_ca")
    assert "usage:" in bad("register_ca", name="x")
    assert "usage:" in bad("register_ca", name="", pem_file=ca)
    assert "file '/nonexistent; rm -rf x' cannot be read" in bad("register_ca", name="x", pem_file="/nonexistent; rm -rf x")
    assert "cannot be read or is empty" in bad("register_ca", name="x", pem_file=tmp_path)
    assert "is it DER, or another file?" in bad("register_ca", name="x", pem_file=der)
    assert "already registered as CA 'acme'" in bad("register_ca", name="x", pem_file=ca)
    assert "CA 'acme' already exists" in bad("register_ca", name="acme", pem_file=good)
    assert "one of + # / *" in bad("register_ca", name="a/b", pem_file=good)
    assert "boolean" in bad("register_ca", name="x", pem_file=good, auto_registration="perhaps")
    assert "bigint" in bad("register_ca", name="x", pem_file=good, max_devices="many")
    assert "does not exist" in bad("register_ca", name="x", pem_file=good, roles="device,nobody")
    assert "is not registered" in bad("register_ca", name="x", pem_file=good, replaces="nobody")
    assert "control character" in bad("register_ca", name="two\nlines", pem_file=good)


def test_no_variable_is_taken_for_sql_or_shell(bad, registry, tmp_path):
    sentinel = tmp_path / "sentinel"
    evil = f"x'; DROP SCHEMA iot_auth CASCADE; --`touch {sentinel}`$(touch {sentinel})"
    bad("register_ca", name=evil, pem_file=f"'; touch {sentinel}; '")
    bad("set_ca_status", name=evil, status=evil)
    bad("set_device_status", device_id=evil, status="ACTIVE")
    bad("deny_ip", network=evil)
    bad("grant_role", role=evil, ca_name=evil, revoke="true")
    registry.script("why_refused", who=evil)
    registry.script("list_devices", like=evil)
    assert not sentinel.exists()
    assert registry.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'iot_auth'") == 1


def test_set_ca_status(run, bad, acme):
    assert rows(run("set_ca_status", name="acme", status="INACTIVE"))[0][1:] == ["acme", "INACTIVE", "2"]
    run("set_ca_status", name="acme", status="ACTIVE")
    assert "must be one of" in bad("set_ca_status", name="acme", status="OFF")
    assert "is not registered" in bad("set_ca_status", name="nobody", status="ACTIVE")
    assert "usage:" in bad("set_ca_status", name="acme")


def test_add_crl(run, bad, acme, authority, tmp_path):
    crl = tmp_path / "crl.pem"
    crl.write_text(authority.crl())
    assert rows(run("add_crl", ca_name="acme", crl_file=crl))[0][:2] == ["acme", "1"]
    assert "already has this CRL" in bad("add_crl", ca_name="acme", crl_file=crl)
    assert "contains no X509 CRL" in bad("add_crl", ca_name="acme", crl_file=acme / "ca.pem")
    assert "cannot be read or is empty" in bad("add_crl", ca_name="acme", crl_file="nowhere.pem")
    assert "usage:" in bad("add_crl")


def test_register_device(run, bad, acme, authority, tmp_path):
    pem = tmp_path / "d.pem"
    pem.write_text(authority.issue("byhand").pem)
    ((device, ca, status, attributes, fingerprint, certificate),) = rows(run(
        "register_device", device_id="byhand", pem_file=pem, ca_name="acme", status="PENDING", attributes='{"site": "x"}'))
    assert (device, ca, status, attributes, certificate) == ("byhand", "acme", "PENDING", '{"site": "x"}', "ACTIVE") and len(fingerprint) == 64
    assert "already registered" in bad("register_device", device_id="byhand", pem_file=pem, ca_name="acme")
    pem.write_text(authority.issue("byhand").pem)
    assert len(rows(run("register_device", device_id="byhand", pem_file=pem, ca_name="acme"))) == 2
    assert "json" in bad("register_device", device_id="new", pem_file=acme / "ca.pem", ca_name="acme", attributes="{")
    assert "itself" in bad("register_device", device_id="new", pem_file=acme / "ca.pem", ca_name="acme")
    assert "usage:" in bad("register_device", device_id="new")


def test_set_device_status(run, bad, acme):
    assert rows(run("set_device_status", device_id="d1", status="INACTIVE"))[0][:3] == ["d1", "acme", "INACTIVE"]
    run("set_device_status", device_id="d1", status="ACTIVE")
    assert "is not registered" in bad("set_device_status", device_id="nobody", status="ACTIVE")
    assert "must be one of" in bad("set_device_status", device_id="d1", status="active")


def test_revoke_certificate(run, bad, acme, authority, tmp_path):
    leaf = authority.issue("torevoke")
    (tmp_path / "d.pem").write_text(leaf.pem)
    run("register_device", device_id="torevoke", pem_file=tmp_path / "d.pem", ca_name="acme")
    assert rows(run("revoke_certificate", fingerprint=leaf.fingerprint.hex(":").upper()))[0][-1] == "REVOKED"
    assert "64 hexadecimal digits" in bad("revoke_certificate", fingerprint="12")
    assert "is not registered" in bad("revoke_certificate", fingerprint="0" * 64)


def test_list_devices(run, bad, acme):
    assert {"d1", "d2"} <= {row[0] for row in rows(run("list_devices"))}
    assert [row[0] for row in rows(run("list_devices", ca_name="acme", status="ACTIVE", like="d_"))] == ["d2", "d1"]  # the newest first
    assert rows(run("list_devices", status="REVOKED")) == []
    assert len(rows(run("list_devices", max="1"))) == 1
    assert "is not registered" in bad("list_devices", ca_name="nobody")
    assert "must be one of" in bad("list_devices", status="DELETED")


def test_list_cas_and_status(run, acme):
    assert "acme" in {row[0] for row in rows(run("list_cas"))}
    assert "schema_version" in run("status")


def test_add_rule_creates_the_role_or_nothing(run, bad, registry):
    assert rows(run("add_rule", role="meter", effect="ALLOW", actions="PUBLISH,RECEIVE", topic_filter="m/${device_id}/#", max_qos="1"))[0][1:] == [
        "meter", "ALLOW", "PUBLISH,RECEIVE", "m/${device_id}/#", "1", "t"]
    assert len(rows(run("add_rule", role="meter", effect="DENY", actions="PUBLISH", topic_filter="x"))) == 2
    assert "does not exist" in bad("add_rule", role="ghost", effect="ALLOW", actions="PUBLISH", topic_filter="${nope}")
    assert "'READ' is unknown" in bad("add_rule", role="ghost", effect="ALLOW", actions="READ", topic_filter="a")
    assert "usage:" in bad("add_rule", role="ghost")
    assert registry.query("SELECT * FROM iot_auth.role WHERE role = 'ghost'") == []


def test_grant_role(run, bad, registry, acme):
    registry.query("INSERT INTO iot_auth.role (role) VALUES ('granted')")
    assert ["CA", "acme", "granted"] in rows(run("grant_role", ca_name="acme", role="granted"))
    assert ["device", "d1", "granted"] in rows(run("grant_role", device_id="d1", role="granted"))
    assert "already" in bad("grant_role", device_id="d1", role="granted")
    assert ["device", "d1", "granted"] not in rows(run("grant_role", device_id="d1", role="granted", revoke="true"))
    run("grant_role", ca_name="acme", role="granted", revoke="true")
    assert "does not have role" in bad("grant_role", ca_name="acme", role="granted", revoke="true")
    assert "usage:" in bad("grant_role", role="granted")
    assert "usage:" in bad("grant_role", role="granted", ca_name="acme", device_id="d1")


def test_register_issuer_and_map_scope(run, bad, tmp_path):
    keys = tmp_path / "jwks.json"
    keys.write_text('{"keys": [{"kty": "EC", "crv": "P-256", "x": "a", "y": "b"}]}')
    assert rows(run("register_issuer", name="corp", issuer="https://id/", audience="a,b"))[0][2:] == ["a, b", "RS256, ES256", "by discovery", "ACTIVE"]
    assert rows(run("register_issuer", name="local", issuer="x", audience="a", jwks_file=keys))[0][4] == "1 in the registry"
    assert rows(run("map_scope", issuer_name="corp", scope="read:it", role="device")) == [["corp", "read:it", "device"]]
    assert rows(run("map_scope", issuer_name="corp", scope="read:it", role="device", unmap="true")) == []
    assert "issuer 'corp' already exists" in bad("register_issuer", name="corp", issuer="https://id2/", audience="a")
    assert "cannot be read or is empty" in bad("register_issuer", name="n", issuer="x", audience="a", jwks_file="nowhere")
    keys.write_text("{")
    assert "json" in bad("register_issuer", name="n", issuer="x", audience="a", jwks_file=keys)
    assert "is not registered" in bad("map_scope", issuer_name="nobody", scope="s", role="device")
    assert "usage:" in bad("map_scope", issuer_name="corp")
    assert "usage:" in bad("register_issuer")


@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_ip_rules(run, bad, acme, effect):
    script = f"{effect}_ip"
    assert ["10.9.0.0/16", "GLOBAL", "", ""] in [row[2:] for row in rows(run(script, network="10.9.0.0/16"))]
    table = rows(run(script, network="2001:db8::/32", scope="CA", scope_key="acme", expires_at="2100-01-01 00:00 UTC"))
    assert [effect.upper(), "2001:db8::/32", "CA", "acme", "2100-01-01 00:00:00+00"] in [row[1:] for row in table]
    assert "already" in bad(script, network="10.9.0.0/16")
    assert "cidr" in bad(script, network="10.9.0.1/16")
    assert "is not registered" in bad(script, network="10.0.0.0/8", scope="CA", scope_key="nobody")
    assert "timestamp" in bad(script, network="10.0.0.0/8", expires_at="soon")
    assert "usage:" in bad(script)


def test_why_refused_finds_refusals_by_id_fingerprint_and_address(run, bad, registry, acme):
    with cursor(registry, pg.BROKER) as broker:
        broker.all("SELECT iot_auth.broker_write_events('n1', ARRAY[now(), now()], ARRAY['device/refused', 'device/refused'], ARRAY['d1', NULL],"
                   " ARRAY[NULL::bigint, NULL], ARRAY['192.0.2.9', '192.0.2.9'], ARRAY['device_inactive', 'ca_unknown'],"
                   " ARRAY['{\"detail\": \"set by hand\", \"fingerprint\": \"aa\"}', '{\"device_id\": \"ghost\"}'])")
    assert [row[3] for row in rows(run("why_refused", who="d1"))] == ["device_inactive"]
    assert "set by hand" in run("why_refused", who="AA")
    assert [row[3] for row in rows(run("why_refused", who="ghost"))] == ["ca_unknown"]
    assert len(rows(run("why_refused", who="192.0.2.9"))) == 2
    assert len(rows(run("why_refused", who="192.0.2.9", max="1"))) == 1
    assert "acme" in run("why_refused", who="d2")
    assert "usage:" in bad("why_refused")


def test_list_refusals_shows_them_grouped(run, bad, registry, acme):
    with cursor(registry, pg.BROKER) as broker:
        for _ in range(3):
            broker.all("SELECT iot_auth.broker_write_events('n1', ARRAY[now()], ARRAY['device/refused'], ARRAY[NULL], (SELECT array_agg(ca_id)"
                       " FROM iot_auth.broker_ca WHERE name = 'acme'), ARRAY['198.51.100.9'], ARRAY['device_unknown'], ARRAY['{\"cn\": \"listed\"}'])")
    assert ["device_unknown", "listed", "198.51.100.9", "acme", "3"] in [row[:5] for row in rows(run("list_refusals"))]
    for variables in ({"reason": "device_unknown"}, {"ca": "acme"}, {"network": "198.51.100.0/24"}):
        assert [row[1] for row in rows(run("list_refusals", **variables))] == ["listed"]
    assert rows(run("list_refusals", hours="0")) == []
    assert "is not registered" in bad("list_refusals", ca="nobody")
    assert "cidr" in bad("list_refusals", network="everywhere")


def test_expiring_certificates_omits_devices_with_a_newer_certificate(run, bad, registry, acme):
    registry.query("UPDATE iot_auth.device_certificate SET not_after = now() + interval '5 days' WHERE device_id IN ('d1', 'd2')")
    registry.query("INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, not_after)"
                   " SELECT sha256('newer'), device_id, ca_id, now() + interval '1 year' FROM iot_auth.device WHERE device_id = 'd2'")
    names = [row[1] for row in rows(run("expiring_certificates"))]
    assert "d1" in names and "d2" not in names
    assert "d1" not in [row[1] for row in rows(run("expiring_certificates", days="4"))]
    assert "double precision" in bad("expiring_certificates", days="many")


# Sessions


SHADOWS = """CREATE FUNCTION public.trap() RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'a function of schema public ran'; END $$;
             CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz WHERE public.trap()';
             CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1 WHERE public.trap()';
             CREATE FUNCTION public.equal(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT public.trap()';
             CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.equal);
             CREATE FUNCTION public.like_(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT public.trap()';
             CREATE OPERATOR public.~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = public.like_);
             CREATE FUNCTION public.string_to_array(text, text) RETURNS text[] LANGUAGE sql AS 'SELECT NULL::text[] WHERE public.trap()';
             CREATE FUNCTION public.array_to_string(text[], text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text WHERE public.trap()'"""
SESSIONS = {
    "functions of public first": "-c search_path=public,pg_catalog",
    "no standard_conforming_strings": "-c standard_conforming_strings=off -c escape_string_warning=on",
    "bytea as escapes": "-c bytea_output=escape",
    "other styles of dates": "-c datestyle=SQL,DMY -c intervalstyle=iso_8601 -c timezone=Asia/Kathmandu",
    "serializable": "-c default_transaction_isolation=serializable",
    "no array nulls": "-c array_nulls=off -c quote_all_identifiers=on -c xmloption=document",
}


@pytest.fixture(scope="module")
def shadowed(postgres):
    """A registry beside a schema public where any role may have created whatever it likes."""
    database = postgres.create_database()
    database.query(SHADOWS)
    yield database
    database.drop()


@pytest.mark.parametrize("options", SESSIONS.values(), ids=SESSIONS)
def test_no_setting_of_the_session_changes_what_a_script_does(shadowed, authority, tmp_path, monkeypatch, options):
    """Functions of public that outrank those of pg_catalog ran with the administrator's rights."""
    monkeypatch.setenv("PGOPTIONS", options)
    root = pki.root()
    name = "ca-" + str(abs(hash(options)))
    leaf = root.issue(f"d of {name}")
    (tmp_path / "ca.pem").write_text(root.pem)
    (tmp_path / "leaf.pem").write_text(leaf.pem)
    (tmp_path / "crl.pem").write_text(root.crl())
    for script, variables in (
            ("register_ca", dict(name=name, pem_file=tmp_path / "ca.pem", auto_registration="true")),
            ("register_device", dict(device_id=f"d of {name}", pem_file=tmp_path / "leaf.pem", ca_name=name, attributes='{"a\\\\b": "it\'s"}')),
            ("add_crl", dict(ca_name=name, crl_file=tmp_path / "crl.pem")), ("set_device_status", dict(device_id=f"d of {name}", status="INACTIVE")),
            ("add_rule", dict(role=f"r {name}", effect="ALLOW", actions="PUBLISH", topic_filter="a\\b/${device_id}")),
            ("grant_role", dict(ca_name=name, role=f"r {name}")), ("list_devices", dict(like="d%")), ("list_cas", {}), ("status", {}),
            ("register_issuer", dict(name=name, issuer=f"https://{name}/", audience="a")), ("map_scope", dict(issuer_name=name, scope="s", role="device")),
            ("deny_ip", dict(network="10.0.0.0/8", scope="CA", scope_key=name)), ("allow_ip", dict(network="11.0.0.0/8", scope="CA", scope_key=name)),
            ("why_refused", dict(who=f"d of {name}")), ("list_refusals", dict(network="10.0.0.0/8")), ("expiring_certificates", {}), ("revoke_certificate", dict(fingerprint=leaf.fingerprint.hex())),
            ("set_ca_status", dict(name=name, status="INACTIVE"))):
        done = shadowed.script(script, user=pg.ADMIN, **variables)
        assert (done.returncode, done.stderr) == (0, ""), script
    monkeypatch.delenv("PGOPTIONS")
    assert shadowed.value("SELECT topic_filter FROM iot_auth.role_rule WHERE role = %s", (f"r {name}",)) == "a\\b/${device_id}"


def test_every_script_pins_the_session_before_its_first_statement():
    for name in SCRIPTS:
        body = (pg.ADMIN_SCRIPTS / f"{name}.sql").read_text(encoding="ascii")
        assert re.search(r"^(SELECT|SET|BEGIN|WITH|\\ir)\b.*", body, re.M).group() == r"\ir script.psql", name
    first = re.search(r"^(SELECT|SET|BEGIN)\b.*", (pg.ADMIN_SCRIPTS / "script.psql").read_text(encoding="ascii"), re.M).group()
    assert first.startswith("SET search_path = pg_catalog, pg_temp; SET standard_conforming_strings = on;")


def test_no_function_depends_on_the_meaning_of_a_backslash(registry):
    """A PL/pgSQL body is parsed under the caller's standard_conforming_strings: '\\u0001' meant something else there."""
    bodies = registry.query("SELECT p.proname, regexp_replace(p.prosrc, 'E''[^'']*''', '', 'g') FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang"
                            " WHERE p.pronamespace = 'iot_auth'::regnamespace AND l.lanname = 'plpgsql'")
    assert [name for name, body in bodies if "\\" in re.sub(r"\$re\$.*?\$re\$", "", body)] == []
