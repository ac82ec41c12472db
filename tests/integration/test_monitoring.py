# SPDX-License-Identifier: ISC
"""contrib/prometheus and contrib/grafana on a running stack: one of everything happens, and each panel and alert shows it.

The tests run in the order of the file, on one stack: each alert is made to fire by what it is for.
"""

import contextlib
import json
import re
import socket
import subprocess
import threading

import pg
import pytest
import yaml
from broker import kinds, wait_until
from monitoring_kit import CONTRIB, Monitoring, panels
from outage_kit import OutageSite

ALERTS = [rule["alert"] for group in yaml.safe_load((CONTRIB / "prometheus/rules.yml").read_text())["groups"] for rule in group["rules"]]
BALANCER = "127.0.0.77"
fired = set()


@pytest.fixture(scope="module")
def stack(plugin, pki_of_listeners, own_postgres, tmp_path_factory):
    """Two brokers; the second one has room for one device only."""
    site = OutageSite(kinds()[0], tmp_path_factory.mktemp("stack"), pki_of_listeners, own_postgres)
    monitoring = Monitoring(site.database, tmp_path_factory.mktemp("monitoring"))
    site.fleet("acme")
    site.first = site.broker(options={"auth_wait_ms": 5000, "resync_s": 3600})
    site.second = site.broker(options={"device_cache_size": 1, "proxy_from": BALANCER + "/32"})
    site.monitoring = monitoring.start()
    yield site
    monitoring.stop()
    site.close()


def seen(stack, alert, **labels):
    stack.monitoring.wait_for_alert(alert, **labels)
    fired.add(alert)


def unregistered(stack, n):
    """Connects with certificates of a CA that nobody has registered."""
    credential = stack.root.intermediate("unknown").issue("unregistered")
    context = stack.context(credential)
    for _ in range(n):
        with contextlib.suppress(OSError), stack.raw(stack.first, context=context, listener="device") as raw:
            raw.connect("unregistered")


# The files by themselves


def test_the_rules_pass_promtool():
    subprocess.run(["promtool", "check", "rules", CONTRIB / "prometheus/rules.yml"], check=True, capture_output=True)
    run = subprocess.run(["promtool", "test", "rules", "rules.test.yml"], cwd=CONTRIB / "prometheus", capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_each_alert_has_a_unit_test_and_a_place_on_the_page():
    tests = (CONTRIB / "prometheus/rules.test.yml").read_text()
    page = (pg.ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    assert [alert for alert in ALERTS if alert not in tests] == []
    assert [alert for alert in ALERTS if "`%s`" % alert not in page] == []


# A running stack


def test_every_query_gives_metrics_and_none_fails(stack):
    metrics = stack.monitoring.metrics()
    namespaces = yaml.safe_load((CONTRIB / "prometheus/queries.yml").read_text())
    assert not [name for name, value in metrics.items() if "user_queries_load_error" in name and value]
    assert metrics.get("pg_exporter_last_scrape_error") == 0
    later = {"iot_auth_problem", "iot_auth_certificates", "iot_auth_devices", "iot_auth_psks"}  # rows come with what happens below
    assert [name for name in namespaces if name not in later and not any(metric.startswith(name + "_") for metric in metrics)] == []
    refusals = {re.search(r'reason="(\w+)"', name).group(1) for name in metrics if name.startswith("iot_auth_connects_refused_total")}
    header = (pg.ROOT / "common/reason.h").read_text()
    assert refusals == set(re.findall(r'X\(\w+, "(\w+)"\)', header))


def test_nothing_secret_is_exported(stack):
    text = " ".join(stack.monitoring.metrics())
    assert "BEGIN" not in text and "127.0.0.1" not in text.replace('server="127.0.0.1:%d"' % stack.server.port, "")


def test_one_of_everything_happens_and_is_counted(stack):
    authority = stack.fleet("plant")
    device = authority.issue("sensor-1")
    client = stack.connect_within(5, stack.first, device)
    client.subscribe("devices/sensor-1/#")
    client.publish("devices/sensor-1/up")
    client.receive()
    assert client.subscribe("other/#") >= 128
    stack.registry.set_device_status(device_id="sensor-1", status="REVOKED")
    client.wait_closed()
    stack.registry.add_crl(ca_name="acme", crl=stack.root.crl())
    for n in (2, 3):
        stack.connect_within(5, stack.second, authority.issue("sensor-%d" % n)).disconnect()
    rows = stack.monitoring.wait_for_rows('iot_auth_sessions_ended_total{reason="device_revoked"} == 1')
    assert rows[0][0]["node"] == "node-1"
    stack.monitoring.wait_for_rows('sum(iot_auth_broker_registrations_total) == 3')
    stack.monitoring.wait_for_rows('iot_auth_duration_seconds_count{step="applied",node="node-1"} > 0')


def test_a_certificate_a_ca_and_a_list_near_their_end(stack):
    """The tests' certificates last a day."""
    authority = stack.register(stack.root.intermediate("listed"), "listed")
    stack.registry.add_crl(ca_name="listed", crl=authority.crl(next_update=3600))
    seen(stack, "IotAuthCaExpires")
    seen(stack, "IotAuthListExpires", ca="listed")
    seen(stack, "IotAuthCertificatesExpire", ca="plant")


def test_a_cache_that_is_too_small(stack):
    seen(stack, "IotAuthCacheTooSmall", node="node-2")


def test_a_row_with_a_problem(stack):
    no_point = {"kty": "EC", "kid": "k", "crv": "P-256", "x": "AA", "y": "AA"}
    stack.registry.register_issuer(name="corp", issuer="https://id.example/", audience=["mqtt"], jwks={"keys": [no_point]})
    seen(stack, "IotAuthProblem", of="issuer", name="corp")


def test_refusals_that_rise_and_events_that_are_dropped(stack):
    unregistered(stack, 70)
    seen(stack, "IotAuthRefusals", reason="ca_unknown")
    seen(stack, "IotAuthEventsDropped", node="node-1")


def test_a_link_to_the_database_without_tls(stack):
    """As a broker on another machine would report it."""
    stack.database.query("SELECT iot_auth.broker_heartbeat('remote', '{}', NULL, 'clear', '{}')", user=pg.BROKER)
    seen(stack, "IotAuthDatabaseClearText", node="remote")
    stack.database.query("SELECT iot_auth.broker_stopped('remote')", user=pg.BROKER)
    wait_until(lambda: not stack.monitoring.firing("IotAuthDatabaseClearText"), 15, "the end of the alert")


def test_a_connection_that_waits_for_the_registry(stack):
    """The database is stopped for two seconds; the connection waits for it."""
    waiting = stack.client(stack.first, stack.fleet("slow").issue("slow-1"))
    wait_until(lambda: stack.registry.value("SELECT not_after IS NOT NULL FROM iot_auth.ca WHERE name = 'slow'"), 5, "the new CA")
    connecting = threading.Thread(target=waiting.connect)
    stack.server.pause()
    try:
        connecting.start()
        connecting.join(2.2)
    finally:
        stack.server.resume()
    connecting.join()
    assert waiting.result == 0
    seen(stack, "IotAuthConnectsWait", node="node-1")


def test_a_balancer_without_a_header(stack):
    def connect():
        with socket.create_connection(("127.0.0.1", stack.second.ports["device"]), 5, (BALANCER, 0)) as balancer:
            balancer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert balancer.recv(1) == b""

    def fires():
        with contextlib.suppress(ConnectionError):
            connect()
        return stack.monitoring.firing("IotAuthBalancerHeader", node="node-2")

    wait_until(fires, 30, "IotAuthBalancerHeader")  # the rate needs two different values
    fired.add("IotAuthBalancerHeader")


def test_a_lost_connection_to_the_database(stack):
    stack.end_broker_connections()
    seen(stack, "IotAuthDatabaseLost")


@pytest.mark.parametrize("title, expression", panels(), ids=lambda text: re.sub(r"[^a-z]+", "-", text.lower())[:40])
def test_each_panel_has_rows(stack, title, expression):
    stack.monitoring.wait_for_rows(expression)


def test_a_broker_that_ended_in_good_order_is_no_alarm_and_one_that_was_killed_is(stack):
    third = stack.broker(options={"node_name": "leaves"})
    stack.monitoring.wait_for_rows('iot_auth_node_running{node="leaves"} == 1')
    third.stop()
    stack.monitoring.wait_for_rows('iot_auth_node_running{node="leaves"} == 0')
    stack.second.kill()
    stack.database.query("UPDATE iot_auth.node SET last_seen = now() - interval '2 min' WHERE node_name IN ('node-2', 'leaves')")
    seen(stack, "IotAuthBrokerLost", node="node-2")
    assert len(stack.monitoring.query('ALERTS{alertname="IotAuthBrokerLost"}')) == 1


def test_a_database_that_is_down(stack):
    stack.server.stop()
    seen(stack, "IotAuthDatabaseUnreachable")
    stack.server.start()


def test_each_alert_has_fired():
    assert fired == set(ALERTS)


def test_the_dashboard_can_be_imported():
    dashboard = json.loads((CONTRIB / "grafana/dashboard.json").read_text())
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identifiers)) == len(identifiers) and dashboard["uid"] and "id" not in dashboard
    boxes = [tuple(panel["gridPos"][key] for key in "xywh") for panel in dashboard["panels"]]
    assert all(x + w <= 24 for x, y, w, h in boxes)
    for i, (x, y, w, h) in enumerate(boxes):
        assert not [b for b in boxes[i + 1:] if x < b[0] + b[2] and b[0] < x + w and y < b[1] + b[3] and b[1] < y + h]
