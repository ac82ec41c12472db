# SPDX-License-Identifier: ISC
"""The files of the local stack agree: every variable is explained, no password has a default."""

import os
import pathlib
import re
import subprocess

import pytest
import yaml

from iot_auth_kit import PROGRAM

SOURCE = pathlib.Path(__file__).resolve().parents[2]
COMPOSE = (SOURCE / "docker-compose.yml").read_text(encoding="utf-8")
PSK = (SOURCE / "docker/psk.yml").read_text(encoding="utf-8")
EXAMPLE = (SOURCE / ".env.example").read_text(encoding="utf-8")


def test_every_variable_of_the_stack_is_explained_in_the_example_and_no_other():
    used = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE + PSK))
    assert used and used == set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.M))


def test_the_examples_defaults_are_the_stacks():
    defaults = {name: value for name, value in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE + PSK) if value}
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.M))
    assert [name for name, value in defaults.items() if shown[name] not in (value, "latest")] == []


def test_no_variable_is_a_password():
    assert not [line for line in (COMPOSE + EXAMPLE).splitlines() if re.search(r"PASSWORD(?!__?FILE)\w*\s*[:=]", line)]


def test_every_services_log_is_rotated():
    services = re.findall(r"^  ([a-z]+):\n((?:    .*\n|\n)*)", COMPOSE.split("\nservices:\n")[1].split("\nvolumes:\n")[0], re.M)
    assert len(services) > 6
    assert not [name for name, text in services if "<<: *stack" not in text and "logging: *logging" not in text]


# Options by environment


def options_of_the_reference():
    table = (SOURCE / "docs/reference/options.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([a-z_]+)` \|", table, re.M)


@pytest.fixture
def stack_broker(tmp_path):
    """stack-broker with the paths of this test, a list of options as the Dockerfile makes it, and a Mosquitto that prints its
    configuration."""
    pattern = re.search(r"sed -nE '([^']*)' /src/plugin/options.c", (SOURCE / "Dockerfile").read_text())[1]
    options = subprocess.run(["sed", "-nE", pattern, SOURCE / "plugin/options.c"], check=True, capture_output=True, text=True).stdout
    text = (SOURCE / "docker/bin/stack-broker").read_text()
    for path, name in (("/usr/share/mosquitto-iot-auth", "share"), ("/etc/mosquitto-iot-auth", "etc"), ("/tmp/mosquitto.conf", "conf")):
        assert path in text
        text = text.replace(path, str(tmp_path / name))
    for folder in ("share", "etc"):
        (tmp_path / folder).mkdir()
    (tmp_path / "share/options").write_text(options)
    (tmp_path / "etc/mosquitto.conf").write_text("listener 8883\n")
    (tmp_path / "mosquitto").write_text('#!/bin/sh\nexec cat "$2"\n')
    (tmp_path / "stack-broker").write_text(text)
    for program in ("mosquitto", "stack-broker"):
        (tmp_path / program).chmod(0o755)

    def run(**variables):
        environment = {"PATH": "%s:/usr/bin:/bin" % tmp_path, "PGHOST": "db", **variables}
        return subprocess.run([tmp_path / "stack-broker"], env=environment, capture_output=True, text=True, timeout=30, check=False)

    return run


def test_every_option_of_the_reference_is_set_by_the_environment_and_by_a_file(stack_broker, tmp_path):
    options = options_of_the_reference()
    assert len(options) > 20 and {"tls_resumption", "proxy_from", "parked_max", "jwks_ca_file"} <= set(options)
    values = {option: "value  of %s $x `y` \"z\" #" % option for option in options}
    for option, value in values.items():
        (tmp_path / option).write_text(value + "\n")
    expected = sorted("plugin_opt_%s %s" % pair for pair in values.items())
    by_file = {"IOT_AUTH_%s_FILE" % option.upper(): str(tmp_path / option) for option in options}
    for variables in ({"IOT_AUTH_" + option.upper(): value for option, value in values.items()}, by_file):
        conf = stack_broker(**variables).stdout.splitlines()
        assert conf[0] == "plugin /usr/lib/mosquitto/mosquitto_iot_auth.so"
        assert sorted(line for line in conf if line.startswith("plugin_opt_")) == expected


def test_a_variable_that_is_no_option_starts_no_broker(stack_broker):
    for variables, why in (({"IOT_AUTH_PROXY": "x"}, "IOT_AUTH_PROXY is not an option"), ({"IOT_AUTH_FILE": "x"}, "not an option"),
                           ({"IOT_AUTH_PROXY_FROM": "a\nb"}, "more than one line"), ({"PGHOST": ""}, "where is the registry"),
                           ({"IOT_AUTH_PROXY_FROM": "a", "IOT_AUTH_PROXY_FROM_FILE": "/dev/null"}, "given twice")):
        done = stack_broker(**variables)
        assert done.returncode == 1 and why in done.stderr and done.stdout == ""


# Pre-shared keys


def test_the_addition_of_keys_fits_the_stack():
    """Volumes and services that it names are the stack's or its own, what it mounts is there, and the broker's option is one."""
    stack, added = yaml.safe_load(COMPOSE), yaml.safe_load(PSK)
    services, volumes = {**stack["services"], **added["services"]}, {**stack["volumes"], **added["volumes"]}
    for service in added["services"].values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (SOURCE / source).is_file() if source.startswith("./") else source in volumes, volume
    assert set(added["services"]["broker"]["environment"]) == {"IOT_AUTH_PSK_KEY_FILE"} and "psk_key_file" in options_of_the_reference()
    assert (SOURCE / "docker/psk.conf").read_text().endswith("listener 8885\npsk_hint iot\n")


def test_the_stacks_key_file_is_made_once_and_taken(tmp_path):
    script = (SOURCE / "docker/bin/stack-psk").read_text().replace("/psk/", str(tmp_path) + "/")
    made = []
    for _ in range(2):
        subprocess.run(["bash", "-c", script, "stack-psk", "keys"], check=True)
        made.append((tmp_path / "keys").read_text())
    assert made[0] == made[1]
    program = pathlib.Path(PROGRAM).parent / "iot-auth-psk"
    done = subprocess.run([program, "--key-file", tmp_path / "keys", "check"], capture_output=True, text=True, check=False,
                          env={"PGHOST": "127.0.0.1", "PGPORT": "1", "PGDATABASE": "x"})
    assert str(tmp_path) not in done.stderr and "127.0.0.1" in done.stderr, done.stderr  # the file is good; there is no database


# Monitoring


def monitoring_services():
    services = yaml.safe_load(COMPOSE)["services"]
    return {name: service for name, service in services.items() if service.get("profiles") == ["monitoring"]}


def test_what_the_monitoring_profile_mounts_is_there():
    mounted = [volume.split(":")[0] for service in monitoring_services().values() for volume in service["volumes"] if volume.startswith("./")]
    assert len(mounted) == 6 and [path for path in mounted if not (SOURCE / path).is_file()] == []
    rules = yaml.safe_load((SOURCE / "docker/monitoring/prometheus.yml").read_text())["rule_files"]
    assert any(volume.endswith(":%s:ro" % rules[0]) for volume in monitoring_services()["prometheus"]["volumes"])


def test_nobody_but_this_machine_reaches_the_monitoring_profile():
    ports = [port for service in monitoring_services().values() for port in service.get("ports", ())]
    assert len(ports) == 2 and all(port.startswith("127.0.0.1:") for port in ports)


def test_the_passwords_of_the_monitoring_profile_are_random_and_made_once(database, tmp_path):
    script = SOURCE / "docker/bin/stack-monitor"
    programs = "%s:%s" % (pathlib.Path(PROGRAM).parent, os.environ["PATH"])
    environment = {**database.environment(), "MONITORING_DIR": str(tmp_path), "PATH": programs}
    written = []
    try:
        for _ in range(2):
            subprocess.run([script], check=True, env=environment, capture_output=True, timeout=30)
            written.append({name: (tmp_path / name).read_text() for name in ("database", "grafana")})
            assert database.value("SELECT rolpassword LIKE 'SCRAM-SHA-256$%%' FROM pg_authid WHERE rolname = 'iot_auth_monitor'")
    finally:
        database.query("ALTER ROLE iot_auth_monitor PASSWORD NULL")
    assert written[0] == written[1] and len({*written[0].values()}) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}\n", text) for text in written[0].values())
