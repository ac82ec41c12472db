# SPDX-License-Identifier: ISC
"""The files of the local stack agree: every variable is explained, no password has a default."""

import pathlib
import re
import subprocess

import yaml

SOURCE = pathlib.Path(__file__).resolve().parents[2]
COMPOSE = (SOURCE / "docker-compose.yml").read_text(encoding="utf-8")
EXAMPLE = (SOURCE / ".env.example").read_text(encoding="utf-8")


def test_every_variable_of_the_stack_is_explained_in_the_example_and_no_other():
    used = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE))
    assert used and used == set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.M))


def test_the_examples_defaults_are_the_stacks():
    defaults = {name: value for name, value in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE) if value}
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.M))
    assert [name for name, value in defaults.items() if shown[name] not in (value, "latest")] == []


def test_no_variable_is_a_password():
    assert not [line for line in (COMPOSE + EXAMPLE).splitlines() if re.search(r"PASSWORD(?!__?FILE)\w*\s*[:=]", line)]


def test_every_services_log_is_rotated():
    services = re.findall(r"^  ([a-z]+):\n((?:    .*\n|\n)*)", COMPOSE.split("\nservices:\n")[1].split("\nvolumes:\n")[0], re.M)
    assert len(services) > 6
    assert not [name for name, text in services if "<<: *stack" not in text and "logging: *logging" not in text]


# Monitoring


def monitoring_services():
    services = yaml.safe_load(COMPOSE)["services"]
    return {name: service for name, service in services.items() if service.get("profiles") == ["monitoring"]}


def test_what_the_monitoring_profile_mounts_is_there():
    mounted = [volume.split(":")[0] for service in monitoring_services().values() for volume in service["volumes"] if volume.startswith("./")]
    assert len(mounted) == 6 and [path for path in mounted if not (SOURCE / path).is_file()] == []
    rules = yaml.safe_load((SOURCE / "docker/monitoring/prometheus.yml").read_text())["rule_files"]
    assert any(volume.endswith(":%s:ro" % rules[0]) for volume in monitoring_services()["prometheus"]["volumes"])


def test_the_exporter_runs_as_the_tests_run_it():
    """tests/integration/monitoring_kit.py runs Debian's program with the same options."""
    kit = (SOURCE / "tests/integration/monitoring_kit.py").read_text()
    options = [word.split("=")[0] for word in monitoring_services()["exporter"]["command"]]
    assert [option for option in options if '"%s"' % option not in kit] == []


def test_nobody_but_this_machine_reaches_the_monitoring_profile():
    ports = [port for service in monitoring_services().values() for port in service.get("ports", ())]
    assert len(ports) == 2 and all(port.startswith("127.0.0.1:") for port in ports)


def test_the_passwords_of_the_monitoring_profile_are_random_and_made_once(database, tmp_path):
    script = SOURCE / "docker/bin/stack-monitor"
    environment = {**database.environment(), "MONITORING_DIR": str(tmp_path)}
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
