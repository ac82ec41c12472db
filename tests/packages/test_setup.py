# SPDX-License-Identifier: ISC
"""iot-auth setup on each release, with the PostgreSQL cluster that Debian makes: peer authentication on the socket, a
password on TCP."""

import pg
import pytest
import roots


@pytest.fixture(scope="module")
def machine(release, package):
    """The release with the package and a cluster of Debian's as installed, on a port of its own."""
    with roots.scratch(release, "run") as root:
        root.install(package)
        (version,) = [path.name for path in (root.path / "usr/lib/postgresql").iterdir()]
        port = str(pg.free_port())
        root.must("pg_createcluster", "-p", port, version, "main", "--", "--no-sync")
        root.must("install", "-d", "-o", "postgres", "-g", "postgres", "/var/run/postgresql")
        root.must("install", "-d", "-o", "mosquitto", "/run/mosquitto")  # made by the service's manager otherwise
        root.must("pg_ctlcluster", version, "main", "start")
        try:
            root.port = port
            yield root
        finally:
            root.run("pg_ctlcluster", version, "main", "stop", "-m", "immediate")


def run_setup(machine, *words):
    ports = ["--device-port", str(pg.free_port()), "--app-port", str(pg.free_port())]
    return machine.run("env", "PGPORT=" + machine.port, "iot-auth", "setup", *words, *([] if words else ports))


def test_setup_leads_to_a_broker_that_knows_the_registry_and_an_administrator(machine):
    dry = run_setup(machine, "--dry-run")
    assert dry.returncode == 0 and not (machine.path / "etc/mosquitto/conf.d/iot-auth.conf").exists(), dry.stderr
    done = run_setup(machine)
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.must("stat", "-c", "%U %a", "/etc/mosquitto/iot-auth.pgpass") == "mosquitto 600\n"
    again = run_setup(machine, "--yes")
    assert again.returncode == 0 and "made:" not in again.stdout and "nothing to do" in again.stdout, again.stdout
    with machine.process("broker.log", "/usr/sbin/mosquitto", "-c", "/etc/mosquitto/mosquitto.conf"):
        log = machine.path / "var/log/mosquitto/mosquitto.log"
        roots.wait_for_log(lambda: log.read_text() if log.exists() else "", "iot-auth: ready: 0 CAs", roots.RUNNING)
        assert machine.must("iot-auth", "nodes", "--json").count("node_name") == 1  # root, by the service iot-auth
