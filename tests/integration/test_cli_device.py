# SPDX-License-Identifier: ISC
"""iot-auth-check device: the rights of a registered device, asked of the database alone."""

import hashlib
import os
import subprocess

import pg
import pytest
from sql_kit import ca_pem, cursor, register


@pytest.fixture
def device(database, admin):
    """Device d-1 of CA acme, tenant t1, with attribute site=north."""
    ca_id = admin.call("register_ca", ca_pem(), "acme", auto_registration=True, tenant="t1",
                       client_id_templates=["${device_id}", "${device_id}:*"])
    with cursor(database, pg.BROKER) as broker:
        register(broker, hashlib.sha256(b"1").digest(), "d-1", ca_id)
    admin.all("UPDATE iot_auth.device SET attributes = '{\"site\": \"north\"}' WHERE device_id = 'd-1'")
    return "d-1"


@pytest.fixture
def check(database):
    """Run the command; returns (exit status, standard output, standard error)."""
    program = os.environ.get("IOT_AUTH_CHECK", os.path.join(os.environ.get("IOT_AUTH_BUILD", "build"), "cli",
                                                            "iot-auth-check"))

    def run(*arguments, user=pg.BROKER, **environment):
        done = subprocess.run([program, "device", *arguments], env={**database.environment(user), **environment},
                              capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_device_of_an_issuer_is_decided_without_its_token(check, admin):
    admin.call("register_issuer", "maker", "https://maker.example/", ["mqtt"], principals="device", roles=["device"])
    admin.call("create_device", "lamp-1", issuer_name="maker", roles=[])
    assert check("lamp-1", "publish", "devices/lamp-1/x")[0] == 0
    assert check("lamp-1", "publish", "devices/lamp-2/x")[0] == 1
    admin.call("set_issuer_status", "maker", "INACTIVE")
    status, out, _err = check("lamp-1", "publish", "devices/lamp-1/x")
    assert status == 1 and "issuer_inactive" in out
    admin.call("create_device", "key-1")
    assert check("key-1", "publish", "devices/key-1/x")[0] == 1


@pytest.mark.parametrize("action", ["publish", "subscribe", "receive"])
def test_rule_that_allows_is_named(device, check, admin, action):
    rule = admin.one("SELECT rule_id FROM iot_auth.role_rule")
    status, out, _ = check(device, action, "devices/d-1/x")
    assert (status, out) == (0, "allow rule %d of role device: ALLOW devices/${device_id}/#\n" % rule)
    assert check(device, action, "devices/d-2/x")[:2] == (1, "deny: topic_denied no rule allows it\n")


def test_too_many_roles_deny_as_in_the_broker(device, check, admin, database):
    admin.all("INSERT INTO iot_auth.role SELECT 'r' || n FROM generate_series(1, 255) n RETURNING role")
    admin.all("INSERT INTO iot_auth.device_role (device_id, role) SELECT 'd-1', role FROM iot_auth.role"
              " WHERE role <> 'monitor' RETURNING role")
    assert check(device, "publish", "devices/d-1/x")[0] == 0  # 256, of which the CA grants one too
    admin.call("create_role", "r256")
    database.plant("INSERT INTO iot_auth.device_role (device_id, role) VALUES ('d-1', 'r256')")  # as an older version took it
    status, out, _ = check(device, "publish", "devices/d-1/x")
    assert status == 1 and "more than 256 roles" in out


def test_a_device_of_pre_shared_keys_is_decided_by_its_key(check, admin):
    """It has neither a CA nor a certificate; client id and status count as for others."""
    admin.call("create_device", "meter-1")
    assert check("meter-1", "publish", "devices/meter-1/x")[:2] == (
        1, "deny: device_unknown no certificate and no pre-shared key of a device of that id is registered\n")
    insert = "INSERT INTO iot_auth.device_psk (identity, device_id, key_id, sealed) VALUES (%s, 'meter-1', 1, decode(repeat('5a', 60), 'hex'))"
    admin.all(insert + " RETURNING identity", ("meter-1",))
    status, out, _ = check("meter-1", "publish", "devices/meter-1/x")
    assert status == 0 and out.startswith("allow rule ")
    assert check("meter-1", "publish", "devices/meter-2/x")[:2] == (1, "deny: topic_denied no rule allows it\n")
    assert check("meter-1", "publish", "devices/meter-1/x", "--client-id", "meter-1")[0] == 0
    assert check("meter-1", "publish", "devices/meter-1/x", "--client-id", "other")[1].startswith("deny: client_id_mismatch")
    admin.call("set_psk_status", "meter-1", "REVOKED")
    assert check("meter-1", "publish", "devices/meter-1/x")[1].startswith("deny: psk_unknown")
    admin.all(insert + " RETURNING identity", ("meter-1b",))
    assert check("meter-1", "publish", "devices/meter-1/x")[0] == 0  # by its other key
    admin.call("set_device_status", "meter-1", "INACTIVE")
    assert check("meter-1", "publish", "devices/meter-1/x")[1].startswith("deny: device_inactive")


def test_administrator_may_ask_too(device, check):
    assert check(device, "publish", "devices/d-1/x", user=pg.ADMIN)[0] == 0


def test_rule_that_denies_is_named(device, check, admin):
    rule = admin.call("add_rule", "device", "DENY", ["PUBLISH"], "devices/${device_id}/secret")
    status, out, _ = check(device, "publish", "devices/d-1/secret")
    assert (status, out.split(":")[0]) == (1, "deny")
    assert "topic_denied rule %d of role device: DENY" % rule in out


@pytest.mark.parametrize("topic, value", [("t/${tenant}", "t1"), ("c/${ca}", "acme"), ("a/${attr.site}", "north"),
                                          ("i/${client_id}", "d-1"), ("d/${device_id}", "d-1")])
def test_variables_have_their_values(device, check, admin, topic, value):
    admin.call("add_rule", "device", "ALLOW", ["PUBLISH"], topic)
    assert check(device, "publish", topic.split("$")[0] + value)[0] == 0
    assert check(device, "publish", topic.split("$")[0] + "other")[0] == 1


def test_unset_attribute_allows_nothing(device, check, admin):
    admin.call("add_rule", "device", "ALLOW", ["PUBLISH"], "a/${attr.none}")
    assert check(device, "publish", "a/x")[0] == 1


def test_roles_of_the_device_count(device, check, admin):
    admin.call("create_role", "meter")
    admin.call("add_rule", "meter", "ALLOW", ["SUBSCRIBE"], "meters/#")
    assert check(device, "subscribe", "meters/1")[0] == 1
    admin.call("grant_device_role", device, "meter")
    assert check(device, "subscribe", "meters/1")[0] == 0


def test_client_id_is_bound_to_the_templates(device, check, admin):
    admin.call("add_rule", "device", "ALLOW", ["PUBLISH"], "i/${client_id}")
    assert check("--client-id", "d-1:tablet", device, "publish", "i/d-1:tablet")[0] == 0
    status, out, _ = check("--client-id", "d-2", device, "publish", "i/d-2")
    assert status == 1 and out.startswith("deny: client_id_mismatch ")


def test_limits_of_publishing_count(device, check, admin):
    admin.all("UPDATE iot_auth.role_rule SET max_qos = 1, allow_retain = false")
    assert check("--qos", "1", device, "publish", "devices/d-1/x")[0] == 0
    assert check("--qos", "2", device, "publish", "devices/d-1/x")[0] == 1
    assert check("--retain", device, "publish", "devices/d-1/x")[0] == 1


def test_events_are_the_brokers_alone(device, check, admin):
    admin.call("add_rule", "device", "ALLOW", ["PUBLISH", "SUBSCRIBE"], "$iot-auth/#")
    assert check(device, "publish", "$iot-auth/events/x")[0] == 1
    assert check(device, "subscribe", "$iot-auth/events/x")[0] == 0


@pytest.mark.parametrize("statement, reason", [
    ("SELECT iot_auth.set_device_status('d-1', 'INACTIVE')", "device_inactive"),
    ("SELECT iot_auth.set_device_status('d-1', 'REVOKED')", "device_revoked"),
    ("UPDATE iot_auth.device SET status = 'PENDING'", "device_pending"),
    ("UPDATE iot_auth.device_certificate SET status = 'INACTIVE'", "certificate_inactive"),
    ("UPDATE iot_auth.device_certificate SET status = 'REVOKED'", "certificate_revoked"),
    ("UPDATE iot_auth.device_certificate SET not_after = now() - interval '1 day'", "certificate_expired"),
    ("SELECT iot_auth.set_ca_status('acme', 'INACTIVE')", "ca_inactive"),
    ("SELECT iot_auth.set_ca_status('acme', 'REVOKED')", "ca_inactive"),
    ("DELETE FROM iot_auth.device", "device_unknown"),
])
def test_device_that_may_not_connect_has_no_rights(device, check, admin, statement, reason):
    admin.all(statement)
    status, out, _ = check(device, "publish", "devices/d-1/x")
    assert status == 1 and out.startswith("deny: %s " % reason)


def test_any_good_certificate_will_do(database, device, check, admin):
    with cursor(database, pg.BROKER) as broker:
        ca_id = admin.one("SELECT ca_id FROM iot_auth.ca")
        register(broker, hashlib.sha256(b"2").digest(), device, ca_id)
    admin.all("UPDATE iot_auth.device_certificate SET status = 'REVOKED' WHERE fingerprint = sha256('1')")
    assert check(device, "publish", "devices/d-1/x")[0] == 0


def test_invalid_rule_denies_its_role_and_is_reported(database, device, check):
    database.plant("INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)"
                   " VALUES ('device', 'ALLOW', '{PUBLISH}', 'a/#/b')")
    status, out, err = check(device, "publish", "devices/d-1/x")
    assert status == 1 and out.startswith("deny: topic_denied ")
    assert "its role denies everything" in err


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "x" * 70000])
def test_topic_that_is_none_is_denied(device, check, topic):
    status, out, _ = check(device, "publish", topic)
    assert status == 1 and out.startswith("deny: topic_denied ")


@pytest.mark.parametrize("arguments", [[], ["d-1"], ["d-1", "publish"], ["d-1", "delete", "a"], ["--bogus", "d-1", "publish", "a"],
                                       ["--qos", "3", "d-1", "publish", "a"], ["d-1", "publish", "a", "b"]])
def test_wrong_usage_is_exit_2(check, arguments):
    status, out, err = check(*arguments)
    assert (status, out) == (2, "") and err.startswith("iot-auth-check device: ")


def test_database_that_cannot_be_asked_is_exit_2(device, check):
    status, out, err = check(device, "publish", "a", PGHOST="/nonexistent")
    assert (status, out) == (2, "") and "cannot be reached" in err
    status, out, err = check(device, "publish", "a", PGDATABASE="postgres")
    assert (status, out) == (2, "") and "apply sql/migrations" in err
