# SPDX-License-Identifier: ISC
"""docs/scaling.md: every block of the page is run, with names and ports replaced."""

import contextlib
import re
import threading

import pg
import pytest
from broker import free_port, kinds, wait_until
from scaling_kit import Program, Standby, ask_haproxy, block, blocks, haproxy_status, replaced, used
from site_kit import Registry, Site

PASSWORD = "bridge-secret-1"


@pytest.fixture(scope="module")
def scaled(plugin, pki_of_listeners, own_postgres, tmp_path_factory):
    """A site of the newest Mosquitto at hand, whose PostgreSQL the tests may kill."""
    database = own_postgres.create_database()
    site = Site(kinds()[0], tmp_path_factory.mktemp("scaled"), pki_of_listeners, Registry(database))
    site.database = database
    yield site
    site.close()


# Several brokers, one registry


def test_a_balancer_serves_the_brokers_that_answer_mqtt_and_drains_one_in_good_order(scaled):
    acme = scaled.fleet("acme")
    brokers = [scaled.broker() for _ in range(2)]
    front, admin = free_port(), scaled.folder / "admin.sock"
    config = replaced(block("haproxy.cfg"), {
        "/run/haproxy/admin.sock mode 660": "%s mode 600" % admin, "0.0.0.0:8883": "127.0.0.1:%d" % front,
        **{"broker-%d.example:8883" % n: "127.0.0.1:%d" % broker.ports["device"] for n, broker in enumerate(brokers, 1)},
        **{"broker-%d.example port 8884" % n: "127.0.0.1 port %d" % broker.ports["app"] for n, broker in enumerate(brokers, 1)}})
    (scaled.folder / "haproxy.cfg").write_text(config)
    since = scaled.registry.last_event()
    balancer = Program(scaled.folder, "haproxy", ["haproxy", "-db", "-f", scaled.folder / "haproxy.cfg"])
    try:
        wait_until(lambda: haproxy_status(admin).get("broker-1") == haproxy_status(admin).get("broker-2") == "UP", 15, "both brokers")
        for broker in brokers:
            broker.ports["balanced"] = front
        devices = [acme.issue("balanced-%d" % n) for n in range(6)]
        sessions = [scaled.connect_within(5, brokers[0], device, listener="balanced") for device in devices]
        counts = [broker.log().count("iot-auth: accepted") for broker in brokers]
        assert min(counts) == 3, counts
        ask_haproxy(admin, *block("drain, to the admin socket").splitlines())
        wait_until(lambda: sum(session.connected for session in sessions) == 3, 10, "the end of the sessions of broker-1")
        assert haproxy_status(admin)["broker-1"].startswith("DRAIN")
        again = [scaled.connect_within(5, brokers[0], device, listener="balanced")
                 for device, session in zip(devices, sessions) if not session.connected]
        assert len(again) == 3 and brokers[1].log().count("iot-auth: accepted") == 6
        for broker in brokers:
            del broker.ports["balanced"]  # it is no listener of the broker
        brokers[0].stop()
        assert scaled.registry.value("SELECT stopped_at IS NOT NULL FROM iot_auth.node WHERE node_name = 'node-1'")
        brokers[0].start()
        ask_haproxy(admin, *block("back again, to the admin socket").splitlines())
        wait_until(lambda: haproxy_status(admin)["broker-1"] == "UP", 15, "broker-1")
        brokers[1].kill()
        wait_until(lambda: haproxy_status(admin)["broker-2"] == "DOWN", 15, "the loss of broker-2")
        brokers[0].ports["balanced"] = front
        assert scaled.connect_within(5, brokers[0], devices[0], listener="balanced").connected
        assert [event for event in scaled.registry.events(since) if event["kind"].endswith("/refused")] == [], "the health check is no refusal"
    finally:
        balancer.stop()


# PostgreSQL on two machines


def test_a_standby_is_promoted_under_load_and_nothing_is_lost(plugin, pki_of_listeners, tmp_path):
    settings = dict(re.findall(r"^(\w+) = (.*)$", block("postgresql.conf"), re.M))
    with pg.Server(fsync=True, settings={**settings, "synchronous_standby_names": "''", "hot_standby": "on"}) as primary:
        database = primary.create_database()
        standby = Standby(primary, tmp_path)
        site = Site(kinds()[0], tmp_path, pki_of_listeners, Registry(database))
        try:
            standby.start()
            primary.run("ALTER SYSTEM SET synchronous_standby_names = %s" % settings["synchronous_standby_names"])
            primary.run("SELECT pg_reload_conf()")
            wait_until(lambda: primary.run("SELECT sync_state FROM pg_stat_replication") == [("sync",)], 10, "synchronous replication")
            line = replaced(block("mosquitto.conf of each broker: the registry"), {
                "db-1.example,db-2.example": "%s,%s" % (primary.host, primary.host), "5432,5432": "%d,%d" % (primary.port, standby.port),
                "dbname=registry": "dbname=%s" % database.name})
            promote_and_compare(site, primary, standby, database, line.strip().removeprefix("plugin_opt_db_conninfo "))
        finally:
            with contextlib.suppress(AssertionError):
                site.close()
            standby.close()


def promote_and_compare(site, primary, standby, database, conninfo):
    acme = site.fleet("acme")
    broker = site.broker(options={"db_conninfo": conninfo})
    known, revoked = acme.issue("known"), acme.issue("revoked")
    for device in (known, revoked):
        site.connect_within(5, broker, device).disconnect()
    site.registry.set_device_status(device_id="revoked", status="REVOKED")
    admitted, stop = ["known"], threading.Event()

    def register_devices():
        n = 0
        while not stop.is_set():
            n += 1
            device = acme.issue("load-%d" % n)
            if site.try_connect(broker, device) == 0:
                admitted.append("load-%d" % n)

    load = threading.Thread(target=register_devices)
    load.start()
    try:
        wait_until(lambda: len(admitted) > 20, 20, "load")
        primary.kill()
        before = len(admitted)
        broker.wait_for_log("lost the database|no database", timeout=20)
        assert site.try_connect(broker, known) == 0, "it is in memory"
        for statement in filter(None, (s.strip() for s in block("promote.sql, on the standby").split(";"))):
            standby.query(statement)
        broker.wait_for_log("the database is back", timeout=20)
        wait_until(lambda: len(admitted) > before + 5, 20, "registrations on the new primary")
    finally:
        stop.set()
        load.join()
    assert site.try_connect(broker, revoked) != 0, "a revocation was forgotten"
    there = {row[0] for row in standby.query("SELECT device_id FROM iot_auth.device", database.name)}
    assert set(admitted) <= there, set(admitted) - there


# One message space


class Nats:
    """Three servers, each with its own name and ports."""

    def __init__(self, folder, credential):
        self.ports = [free_port() for _ in range(3)]
        self.routes = [free_port() for _ in range(3)]
        self.programs = []
        self.folder = folder
        chain, key = credential.files(folder)
        for n in range(1, 4):
            text = block("nats.conf of each server: its own name and addresses")
            text = text.replace("server_name: nats-1", "server_name: nats-%d" % n)
            text = text.replace('mqtt {\n  listen: "nats-1.example:1883"', 'mqtt {\n  listen: "127.0.0.1:%d"' % self.ports[n - 1])
            text = text.replace('listen: "nats-1.example:6222"', 'listen: "127.0.0.1:%d"' % self.routes[n - 1])
            text = replaced(text, {"/var/lib/nats": folder / ("nats-%d" % n), "/etc/nats/server.pem": chain, "/etc/nats/server.key": key,
                                   **{"nats-%d.example:6222" % m: "127.0.0.1:%d" % self.routes[m - 1] for m in (1, 2, 3)}})
            (folder / ("nats-%d.conf" % n)).write_text("listen: 127.0.0.1:%d\n" % free_port() + text)

    def start(self):
        for n in range(1, 4):
            self.programs.append(Program(self.folder, "nats-%d" % n, ["nats-server", "-c", self.folder / ("nats-%d.conf" % n)],
                                         BRIDGE_PASSWORD=PASSWORD))
        wait_until(lambda: any("JetStream cluster new metadata leader" in program.log() for program in self.programs), 20,
                   "a leader; the logs:\n" + self.programs[0].log())
        return self

    def bridge(self, title, common, name, trust):
        text = block(title) if title == common else block(common).split("topic ")[0] + block(title)
        text = replaced(text, {"/etc/mosquitto/nats-ca.pem": trust, "BRIDGE_PASSWORD": PASSWORD,
                               "remote_clientid broker-1": "remote_clientid " + name,
                               **{"nats-%d.example:1883" % n: "localhost:%d" % self.ports[n - 1] for n in (1, 2, 3)}})
        return tuple(text.splitlines())

    def stop(self):
        for program in self.programs:
            program.stop()


DEVICES, APPS = "bridge of a broker for devices, mosquitto.conf", "bridge of a broker for apps, mosquitto.conf: the same, but"
BRIDGED = ("ALLOW PUBLISH,SUBSCRIBE,RECEIVE devices/#",)


def subscribe_both(app, device, device_id):
    """Once the new roles are in force on both brokers."""
    wait_until(lambda: app.subscribe("devices/+/up/#") == 1, 5, "the app's role")
    wait_until(lambda: device.subscribe("devices/%s/down/#" % device_id) == 1, 5, "the device's role")


def test_messages_cross_a_cluster_of_nats_servers_one_of_which_is_killed(scaled, tmp_path):
    acme = scaled.fleet("bridged")
    nats = Nats(tmp_path, scaled.listeners_pki.server).start()
    try:
        trust = scaled.listeners_pki.trust
        edge = scaled.broker(options={"node_name": "edge"}, lines=nats.bridge(DEVICES, DEVICES, "edge-1", trust))
        center = scaled.broker(options={"node_name": "center"}, lines=nats.bridge(APPS, DEVICES, "center-1", trust))
        for broker in (edge, center):
            wait_until(lambda b=broker: b.log().count("Received SUBACK from"), 30, "the bridge")
        device = scaled.connect_within(5, edge, scaled.device_with_role(acme, "bridged", "sensor-1", *BRIDGED))
        app = scaled.connect_within(5, center, scaled.device_with_role(acme, "bridged", "operator", *BRIDGED))
        subscribe_both(app, device, "sensor-1")
        device.publish("devices/sensor-1/up/first", "hello")
        assert app.receive(20) == ("devices/sensor-1/up/first", "hello")
        got = set()
        for n in range(200):
            device.publish("devices/sensor-1/up/n", str(n))
            if n == 100:
                nats.programs[0].kill()
        wait_until(lambda: collect(app, got) == 200, 60, "200 messages")
        app.publish("devices/sensor-1/down/set", "on")
        assert device.receive(30) == ("devices/sensor-1/down/set", "on")
        assert device.messages.empty(), "nothing loops"
    finally:
        for broker in scaled.brokers[-2:]:
            broker.stop()
        nats.stop()


def collect(client, got):
    while not client.messages.empty():
        got.add(client.receive()[1])
    return len(got)


def test_two_brokers_are_bridged_by_a_device_with_a_role_of_its_own(scaled, tmp_path):
    acme = scaled.fleet("pair")
    bridge = acme.issue("broker-1")
    scaled.registry.register_device(device_id="broker-1", pem=bridge.pem, ca_name="pair")
    for statement in block("bridge-role.sql").strip().split("\n"):
        scaled.registry.query(statement)
    second = scaled.broker(options={"node_name": "second"})
    chain, key = bridge.files(tmp_path)
    text = replaced(block("bridge of broker-1 to broker-2, mosquitto.conf"), {
        "broker-2.example:8883": "localhost:%d" % second.ports["device"], "/etc/mosquitto/server-ca.pem": scaled.listeners_pki.trust,
        "/etc/mosquitto/broker-1.pem": chain, "/etc/mosquitto/broker-1.key": key})
    first = scaled.broker(options={"node_name": "first"}, lines=tuple(text.splitlines()))
    second.wait_for_log("iot-auth: accepted device=broker-1", timeout=20)
    device = scaled.connect_within(5, first, scaled.device_with_role(acme, "pair", "sensor-2", *BRIDGED))
    app = scaled.connect_within(5, second, scaled.device_with_role(acme, "pair", "operator-2", *BRIDGED))
    subscribe_both(app, device, "sensor-2")
    device.publish("devices/sensor-2/up/x", "1")
    assert app.receive(20) == ("devices/sensor-2/up/x", "1")
    wait_until(lambda: second.log().count("Sending SUBACK to broker-1"), 10, "the bridge's subscription")
    app.publish("devices/sensor-2/down/x", "2")
    assert device.receive(20) == ("devices/sensor-2/down/x", "2")
    assert "topic_denied device=broker-1" not in second.log()


def test_every_block_of_the_page_was_run():
    assert used == set(blocks())
