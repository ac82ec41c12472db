# SPDX-License-Identifier: ISC
"""`log_format json`: every line of the plugin is one object, with the names of docs/monitoring.md."""

import json
import re

import pg

PAGE = pg.ROOT / "docs" / "monitoring.md"


def lines(broker):
    """What the plugin wrote, as objects, without Mosquitto's time stamp; fails where a line of it is text."""
    text = broker.log()
    assert "iot-auth:" not in text, text
    found = [line[line.index("{"):] for line in text.splitlines() if re.match(r"[-0-9T:]+: \{", line)]
    return [json.loads(line) for line in found]


def documented():
    table = PAGE.read_text(encoding="utf-8").split("## The log")[1]
    return set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| ([^|]+) \|", table, re.M))))


def test_every_line_is_json_with_documented_names(site, database):
    broker = site.broker(options={"log_format": "json"})
    acme = site.fleet()
    device = acme.issue("sensor-1")
    client = site.connect_within(5, broker, device)
    client.subscribe("other/#")
    site.assert_refused("ca_unknown", broker, site.root.intermediate("unknown").issue("x"), codes="closed")
    site.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    client.wait_closed()
    database.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (pg.BROKER,))
    broker.wait_for_log("the database is back", timeout=15)
    rows = lines(broker)
    assert {row.get("verdict") for row in rows} >= {"accepted", "registered", "refused", "ended", None}
    assert any("ready: " in row.get("message", "") for row in rows)
    for row in rows:
        assert ("verdict" in row) != ("message" in row) and row["level"] in ("error", "warning", "notice", "info"), row
        assert {"node", "at"} <= set(row), row
        unknown = {name for name in row if name not in documented() and not name.startswith("claimed_")}
        assert not unknown, row
    registered = next(row for row in rows if row.get("verdict") == "registered")
    assert registered["device"] == "sensor-1" and registered["ca"] == "acme" and registered["status"] == "ACTIVE"


def test_text_and_json_name_things_alike(site):
    """One word for one thing: what is `device=` in text is "device" in JSON."""
    site.fleet()
    text, objects = site.broker(), site.broker(options={"log_format": "json"})
    for broker in (text, objects):
        site.assert_refused("ca_unknown", broker, site.root.intermediate("unknown").issue("x"), codes="closed")
    line = text.wait_for_log("iot-auth: refused .*")[0]
    names = set(re.findall(r' (\w+)=', line))
    refused = next(row for row in lines(objects) if row.get("verdict") == "refused")
    assert names <= set(refused) | {"client"}, (line, refused)


def test_a_bad_option_is_json_too(site):
    log = site.new_broker(options={"log_format": "json", "auth_wait_ms": "x"}).expect_no_start()
    assert re.search(r'\{"level":"error","message":"cannot start: option auth_wait_ms', log), log


def test_without_time_stamps_the_lines_parse_as_they_are(site):
    broker = site.broker(options={"log_format": "json"}, lines=("log_timestamp false",))
    site.fleet()
    assert any(line.startswith("{") and json.loads(line) for line in broker.log().splitlines())
    assert not [line for line in broker.log().splitlines() if "{" in line and not line.startswith("{")]
