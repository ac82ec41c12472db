# SPDX-License-Identifier: ISC
"""Events as MQTT messages: what a console or a provisioning service receives, and when."""

import contextlib
import json

import pytest

from broker import wait_until
from client import V5

PREFIX = "$iot-auth/events"


def listener(site, fleet, broker, topic=PREFIX + "/#"):
    """A device that may receive events and has subscribed to them."""
    ear = site.connect(broker, site.device_with_role(fleet, "acme", "ear", "ALLOW SUBSCRIBE,RECEIVE %s/#" % PREFIX,
                                                     "ALLOW PUBLISH %s/#" % PREFIX))
    assert ear.subscribe(topic) < 128
    return ear


def test_the_event_of_a_registration_has_every_member_of_the_contract(site):
    acme = site.fleet(tenant="north")
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/device/registered")
    device = acme.issue("sensor-1")
    site.connect(broker, device)
    topic, text = ear.receive()
    event = json.loads(text)
    assert topic == PREFIX + "/device/registered"
    assert set(event) == {"device_id", "fingerprint", "ca", "ca_fingerprint", "status", "tenant", "node", "at", "attributes", "roles"}
    assert event["device_id"] == "sensor-1"
    assert event["fingerprint"] == device.fingerprint.hex()
    assert event["ca"] == "acme" and event["ca_fingerprint"] == acme.fingerprint.hex()
    assert event["status"] == "ACTIVE" and event["tenant"] == "north" and event["node"] == "node-1"


def test_a_status_change_is_published_on_every_broker(site):
    acme = site.fleet(client_id_templates=["*"])
    first, second = site.broker(), site.broker()
    ears = [listener(site, acme, first, PREFIX + "/device/status")]
    credential = acme.issue("ear-2")
    site.registry.register_device(device_id="ear-2", pem=credential.pem, ca_name="acme")
    site.registry.grant_device_role(device_id="ear-2", role="role of ear")
    ears.append(site.connect(second, credential))
    assert ears[1].subscribe(PREFIX + "/device/status") < 128
    site.connect(first, acme.issue("sensor-1"))
    site.registry.set_device_status(device_id="sensor-1", status="INACTIVE")
    for ear in ears:
        event = json.loads(ear.receive()[1])
        assert (event["device_id"], event["old"], event["new"]) == ("sensor-1", "ACTIVE", "INACTIVE")


def test_commits_out_of_order_lose_no_event_and_repeat_none(site):
    acme = site.fleet()
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/device/status")
    for name in ("slow", "quick", "last"):
        site.registry.register_device(device_id=name, pem=acme.issue(name).pem, ca_name="acme")
    with contextlib.closing(site.registry.database.superuser()) as slow:
        slow.autocommit = False
        with slow.cursor() as cursor:
            cursor.execute("SELECT iot_auth.set_device_status('slow', 'INACTIVE')")
            site.registry.set_device_status(device_id="quick", status="INACTIVE")
            assert json.loads(ear.receive()[1])["device_id"] == "quick"
            slow.commit()
    assert json.loads(ear.receive()[1])["device_id"] == "slow"
    site.registry.set_device_status(device_id="last", status="INACTIVE")
    assert json.loads(ear.receive()[1])["device_id"] == "last"


@pytest.mark.parametrize("devices", [1, 60])
def test_a_long_transaction_loses_no_event_and_repeats_none(site, devices):
    """All kinds of events share one sequence of ids: hundreds may be assigned before a transaction commits.  A
    notification contains at most 50 ids; beyond that it says 'many'."""
    acme = site.fleet()
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/device/status")
    database = site.registry.database
    names = ["slow-%d" % number for number in range(devices)]
    database.query("INSERT INTO iot_auth.device (device_id, ca_id, status, registered_by)"
                   " SELECT unnest(%s), ca_id, 'ACTIVE', 'admin' FROM iot_auth.ca", (names + ["quick", "busy", "last"],))

    def hear(number):
        return [json.loads(ear.receive()[1])["device_id"] for _ in range(number)]

    with contextlib.closing(database.superuser()) as slow:
        slow.autocommit = False
        with slow.cursor() as cursor:
            cursor.execute("UPDATE iot_auth.device SET status = 'INACTIVE' WHERE device_id LIKE 'slow-%'")
            database.query("INSERT INTO iot_auth.event (kind) SELECT 'app/refused' FROM generate_series(1, 300)")
            site.registry.set_device_status(device_id="quick", status="INACTIVE")
            assert hear(1) == ["quick"]
        slow.commit()
    assert sorted(hear(devices)) == sorted(names)
    # Many small transactions: events that the first notifications brought are not published again for the later ones.
    database.query("DO $$ BEGIN FOR i IN 1..600 LOOP UPDATE iot_auth.device SET status = CASE status WHEN 'ACTIVE'"
                   " THEN 'INACTIVE' ELSE 'ACTIVE' END WHERE device_id = 'busy'; COMMIT; END LOOP; END $$")
    assert set(hear(600)) == {"busy"}
    site.registry.set_device_status(device_id="last", status="INACTIVE")
    assert hear(1) == ["last"]


def test_a_disabled_authority_is_published(site):
    acme = site.fleet()
    site.fleet("other")
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/ca/status")
    site.registry.set_ca_status(name="other", status="INACTIVE")
    event = json.loads(ear.receive()[1])
    assert (event["old"], event["new"]) == ("ACTIVE", "INACTIVE")


def test_an_ended_session_is_published_with_its_reason(site):
    acme = site.fleet()
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/session/ended")
    client = site.connect(broker, acme.issue("sensor-1"))
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    client.wait_closed(5)
    event = json.loads(ear.receive()[1])
    assert (event["device_id"], event["reason"]) == ("sensor-1", "device_revoked")


def test_a_refusal_is_published(site):
    acme = site.fleet()
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/device/refused")
    assert site.try_connect(broker, acme.issue("sensor-1"), client_id="sensor-2") != 0
    event = json.loads(ear.receive()[1])
    assert event["reason"] == "client_id_mismatch" and event["client_id"] == "sensor-2" and event["ca"] == "acme"


def test_nobody_publishes_events_whatever_the_rules_say(site):
    acme = site.fleet()
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/device/registered")
    ear.publish(PREFIX + "/device/registered", "{}", qos=0)
    site.connect(broker, acme.issue("real"))
    assert json.loads(ear.receive()[1])["device_id"] == "real"


def test_events_go_under_the_prefix_of_the_option(site):
    acme = site.fleet()
    broker = site.broker(options={"event_prefix": "ops/iot"})
    ear = site.connect(broker, site.device_with_role(acme, "acme", "ear", "ALLOW SUBSCRIBE,RECEIVE ops/#"))
    assert ear.subscribe("ops/#") < 128
    site.connect(broker, acme.issue("sensor-1"))
    assert ear.receive()[0] == "ops/iot/device/registered"


# Refusals


def no_change(_site):
    pass


BEFORE_THE_RECORD = [
    # (reason, what an administrator does, how it is undone, the client id of the attempts)
    ("client_id_mismatch", no_change, no_change, "another"),
    ("address_denied",
     lambda site: site.registry.deny_ip(network="127.0.0.0/8", scope="CA", scope_key="acme"),
     lambda site: site.registry.query("DELETE FROM iot_auth.ip_rule"), "sensor-1"),
    ("ca_inactive",
     lambda site: site.registry.database.plant("UPDATE iot_auth.ca SET device_id_template = '${x' WHERE name = 'acme'"),
     lambda site: site.registry.database.plant(
         "UPDATE iot_auth.ca SET device_id_template = '${cert.cn}' WHERE name = 'acme'"), "sensor-1"),
]


def test_a_registered_device_of_a_disabled_authority_is_one_event(site):
    """It is refused in the handshake, before the client has proved possession of the key: the event names no device."""
    acme, other = site.fleet(), site.fleet("other")
    broker = site.broker()
    devices = [acme.issue("sensor-%d" % number) for number in range(3)]
    for device in devices:
        site.connect(broker, device).disconnect()
    since = site.registry.last_event()
    for turn in (1, 2):
        site.registry.set_ca_status(name="acme", status="INACTIVE")
        for device in devices * 3:
            wait_until(lambda device=device: site.try_connect(broker, device) != 0, 1.0, "refusal")
        site.registry.set_ca_status(name="acme", status="ACTIVE")
        for device in devices:
            site.connect_within(1.0, broker, device).disconnect()
        site.connect_within(1.0, broker, other.issue("after-%d" % turn))  # all before it has been written by now
        refused = site.registry.events(since, "device/refused")
        assert [event["reason"] for event in refused] == ["ca_inactive"] * len(devices) * turn
        assert {event["detail"]["fingerprint"] for event in refused} == {device.fingerprint.hex() for device in devices}


@pytest.mark.parametrize("reason,change,undo,client_id", BEFORE_THE_RECORD, ids=[row[0] for row in BEFORE_THE_RECORD])
def test_a_device_refused_before_its_record_is_read_is_one_event(site, reason, change, undo, client_id):
    """What needs no database is checked first, and a refusal there counted as one of an unregistered device: one row
    per retry."""
    acme, other = site.fleet(), site.fleet("other")
    broker = site.broker()
    device = acme.issue("sensor-1")
    site.connect(broker, device).disconnect()
    since = site.registry.last_event()
    for turn in (1, 2):
        change(site)
        wait_until(lambda: site.try_connect(broker, device, client_id=client_id) != 0, 1.0, "refusal")
        for _ in range(4):
            assert site.try_connect(broker, device, client_id=client_id) != 0
        undo(site)
        site.connect_within(1.0, broker, device).disconnect()
        site.connect_within(1.0, broker, other.issue("after-%d" % turn))
        wait_until(lambda turn=turn: len(site.registry.events(since, "device/refused")) >= turn, 1.0, "the event")
        refused = [(event["reason"], event["principal"]) for event in site.registry.events(since, "device/refused")]
        assert refused == [(reason, "sensor-1")] * turn


LONG_IDS = {"ascii": "a" * 60000, "split-character": "a" + "\u00e9" * 30000, "quotes": '"' * 60000}


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("client_id", LONG_IDS.values(), ids=LONG_IDS)
def test_a_client_id_of_any_length_hides_no_refusal(site, client_id, log_format):
    """It was written in full and did not fit: there was no row, no message and no log line about the attempt."""
    acme = site.fleet()
    broker = site.broker(options={"log_format": log_format})
    mark = broker.mark()
    event = site.assert_refused("client_id_mismatch", broker, acme.issue("sensor-1"), client_id=client_id, protocol=V5)
    assert 100 <= len(event["detail"]["client_id"].encode()) <= 130
    assert client_id.startswith(event["detail"]["client_id"][:60])
    assert_one_line(broker, mark, log_format, "refused", "client_id_mismatch")


def test_a_long_client_id_that_is_admitted_is_logged(site):
    acme = site.fleet(client_id_templates=["*"])
    broker = site.broker(options={"log_format": "json"})
    mark = broker.mark()
    site.connect(broker, acme.issue("sensor-1"), client_id="a" * 900)
    assert_one_line(broker, mark, "json", "accepted", None)


def assert_one_line(broker, mark, log_format, verdict, reason):
    """The log has one line about it, and as JSON the line parses."""
    pattern = r'(\{"verdict":"%s".*)' % verdict if log_format == "json" else r"(iot-auth: %s .*)" % verdict
    line = broker.wait_for_log(pattern, since=mark)[1]
    if log_format == "json":
        line = json.loads(line).get("reason")
    assert reason is None or reason in line
