# SPDX-License-Identifier: ISC
"""Plugin options: an invalid one stops the broker with a message that names it."""

import pytest

from broker import wait_until
from client import CLOSED, NOT_AUTHORIZED, TRY_AGAIN

BAD = [
    # (option, value)
    ("db_conninfo", None),
    ("db_conninfo", "nonsense"),
    ("db_conninfo", "no_such_keyword=1"),
    ("db_conninfo", "port=five"),
    ("db_conninfo", "sslmode=please"),
    ("node_name", "a/b"),
    ("node_name", "a" * 129),
    ("startup_wait_ms", "soon"),
    ("startup_wait_ms", "-1"),
    ("auth_wait_ms", "0.5"),
    ("auth_wait_ms", "99999999999999999999"),
    ("device_cache_size", "0"),
    ("device_cache_size", "10k"),
    ("stale_max_s", "-5"),
    ("resync_s", "0"),
    ("resync_s", "1h"),
    ("insecure_db_conninfo", "yes"),
    ("db_conninfo", "host=db.example.com sslmode=require"),
    ("db_conninfo", "host=localhost,db.example.com sslmode=disable"),
    ("db_conninfo", "host=localhost hostaddr=192.0.2.1 sslmode=prefer"),
    ("tls_gate", "maybe"),
    ("tls_gate", "70000"),
    ("tls_gate", "8883,"),
    ("tls_gate", "8883;8884"),
    ("other_clients", "allow"),
    ("jwks_ca_file", "/nonexistent/ca.pem"),
    ("insecure_http_jwks", "true"),
    ("jwks_stale_max_s", "a week"),
    ("jwks_stale_max_s", "-1"),
    ("state_dir", "/nonexistent"),
    ("state_dir", "/etc/passwd"),
    ("event_prefix", "events/#"),
    ("event_prefix", "events/+/x"),
    ("log_format", "xml"),
    ("colour", "red"),
]


@pytest.mark.parametrize("option,value", BAD, ids=["%s=%.12s" % row for row in BAD])
def test_a_bad_option_stops_the_broker_and_is_named(site, option, value):
    log = site.new_broker(options={option: value}).expect_no_start()
    assert any(option in line for line in log.splitlines() if "iot-auth" in line), log


def test_the_connection_string_is_not_logged_with_its_password(site):
    broker = site.new_broker(options={"db_conninfo": "host=127.0.0.1 password=s3cret-word no_such_keyword=1"})
    assert "s3cret-word" not in broker.expect_no_start()


def test_good_values_are_taken(site):
    fleet = site.fleet()
    broker = site.broker(
        options={
            "node_name": "berlin-1",
            "startup_wait_ms": 8000,
            "auth_wait_ms": 5000,
            "device_cache_size": 100,
            "stale_max_s": 0,
            "jwks_stale_max_s": 0,
            "resync_s": 60,
            "tls_gate": "{device},{app}",
            "other_clients": "deny",
            "jwks_ca_file": site.listeners_pki.trust,
            "insecure_http_jwks": "off",
            "insecure_db_conninfo": "off",
            "event_prefix": "$events",
            "log_format": "json",
        }
    )
    site.connect(broker, fleet.issue("sensor-1"))
    event = site.registry.wait_for_event(kind="device/registered")
    assert event["node"] == "berlin-1"


def test_without_a_database_the_broker_starts_and_admits_nobody(site):
    broker = site.broker(options={"db_conninfo": "host=%s/none dbname=x" % site.folder, "startup_wait_ms": 300})
    unknown = site.root.intermediate("acme").issue("sensor-1")
    assert site.try_connect(broker, unknown) in TRY_AGAIN + NOT_AUTHORIZED + (CLOSED,)
    assert site.try_connect(broker, client_id="x", listener="plain") in TRY_AGAIN + NOT_AUTHORIZED
    assert broker.running()


def test_a_second_instance_fails_with_a_clear_message(site):
    """per_listener_settings loads the plugin once for each listener that names it."""
    lines = "allow_anonymous false\nplugin %s\nplugin_opt_db_conninfo %s\n"
    lines %= (site.plugin_path, site.registry.broker_conninfo)
    broker = site.new_broker(
        plugin=False,
        head_lines=["per_listener_settings true"],
        listener_lines={"device": lines, "app": lines},
        listeners=("device", "app"),
        global_anonymous=False,
    )
    log = broker.expect_no_start()
    assert any("per_listener_settings" in line for line in log.splitlines() if "iot-auth" in line), log


@pytest.fixture
def tickless(site):
    """2.0.11 with per_listener_settings, two seconds after its first client: the plugin knows that no TICK comes.  One
    client was parked before that."""
    fleet = site.fleet()
    device = fleet.issue("registered")
    site.registry.register_device(device_id="registered", pem=device.pem, ca_name="acme")
    lines = "allow_anonymous false\nplugin %s\nplugin_opt_db_conninfo %s\n"
    lines %= (site.plugin_path, site.registry.broker_conninfo)
    broker = site.new_broker(
        plugin=False,
        head_lines=["per_listener_settings true"],
        listener_lines={"device": lines},
        listeners=("device",),
        global_anonymous=False,
    )
    if broker.version >= (2, 0, 12):
        pytest.skip("this broker gives ticks")
    broker.start()
    broker.fleet = fleet
    broker.parked = site.raw(broker, fleet.issue("unregistered"))

    def logged():
        assert broker.running()
        site.try_connect(broker, device)
        return "sends no TICK" in broker.log()

    wait_until(logged, 10, "log line")
    assert site.try_connect(broker, device) != 0
    return broker


def test_without_ticks_everything_is_denied_and_the_log_says_so(site, tickless):
    """Changes and disconnects would not work, so no client may be admitted."""
    assert "per_listener_settings" in tickless.log()
    assert site.try_connect(tickless, tickless.fleet.issue("sensor-1")) != 0
    assert tickless.parked.connect("unregistered") != 0


def test_where_the_broker_gives_no_tick_sighup_lets_nobody_in(site, tickless):
    """The period in which 2.0 re-authenticates all clients ends with TICK; without TICK it never ended, and every
    client was admitted without a check."""
    for _ in range(2):
        tickless.sighup()
        for clean in (True, False):
            assert site.try_connect(tickless, tickless.fleet.issue("sensor-1"), client_id="victim", clean=clean) != 0
    assert tickless.running()
