"""Events as MQTT messages: what a console or a provisioning service hears, and when."""

import contextlib
import json

PREFIX = "$iot-auth/events"


def listener(site, fleet, broker, topic=PREFIX + "/#"):
    """A device that may hear events, and does."""
    ear = site.connect(broker, site.device_with_role(fleet, "acme", "ear", "ALLOW SUBSCRIBE,RECEIVE %s/#" % PREFIX,
                                                     "ALLOW PUBLISH %s/#" % PREFIX))
    assert ear.subscribe(topic) < 128
    return ear


def test_a_registration_is_told_with_all_that_the_contract_names(site):
    acme = site.fleet(tenant="north")
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/device/registered")
    device = acme.issue("sensor-1")
    site.connect(broker, device)
    topic, text = ear.receive()
    event = json.loads(text)
    assert topic == PREFIX + "/device/registered"
    assert set(event) == {"device_id", "fingerprint", "ca", "ca_fingerprint", "status", "tenant", "node", "at"}
    assert event["device_id"] == "sensor-1"
    assert event["fingerprint"] == device.fingerprint.hex()
    assert event["ca"] == "acme" and event["ca_fingerprint"] == acme.fingerprint.hex()
    assert event["status"] == "ACTIVE" and event["tenant"] == "north" and event["node"] == "node-1"


def test_a_status_that_an_administrator_changes_is_told_on_every_broker(site):
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


def test_transactions_that_commit_out_of_order_lose_no_event_and_repeat_none(site):
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


def test_a_disabled_authority_is_told(site):
    acme = site.fleet()
    site.fleet("other")
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/ca/status")
    site.registry.set_ca_status(name="other", status="INACTIVE")
    event = json.loads(ear.receive()[1])
    assert (event["old"], event["new"]) == ("ACTIVE", "INACTIVE")


def test_an_ended_session_is_told_with_its_reason(site):
    acme = site.fleet()
    broker = site.broker()
    ear = listener(site, acme, broker, PREFIX + "/session/ended")
    client = site.connect(broker, acme.issue("sensor-1"))
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    client.wait_closed(5)
    event = json.loads(ear.receive()[1])
    assert (event["device_id"], event["reason"]) == ("sensor-1", "device_revoked")


def test_a_refusal_is_told(site):
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
