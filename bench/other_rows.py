# SPDX-License-Identifier: ISC
"""Rows of scripts/bench about other brokers and other access control, as far as Debian has them."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
from types import SimpleNamespace

from broker import free_port, wait_until
from kit import BROKER_CORE, Bench, Variants, cpu_us, pin
from rows import DEVICES, admit_all, connect_cost, flood_cost, row, scaled, with_rules

DYNAMIC_SECURITY = pathlib.Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")


def absent(name, what):
    print("%s: %s is not installed" % (name, what), flush=True)
    return []


# dynamic-security


def dynamic_security_file(path, names):
    """One role with the same rights as the plugin's role of 20 rules."""
    kinds = ("publishClientSend", "publishClientReceive", "subscribePattern")
    rights = [{"acltype": kind, "topic": topic, "allow": True} for kind in kinds for topic in ("plants/#", "one/topic")]
    rights += [{"acltype": "publishClientSend", "topic": "plants/%d/lines/%d/#" % (n, n), "allow": True} for n in range(20)]
    path.write_text(json.dumps({
        "defaultACLAccess": {"publishClientSend": False, "publishClientReceive": False, "subscribe": False, "unsubscribe": True},
        "roles": [{"rolename": "device", "acls": rights}],
        "clients": [{"username": name, "roles": [{"rolename": "device"}]} for name in names]}))


@row
def dynamic_security(server, folder, scale):
    """QoS 0 messages under Mosquitto's dynamic-security, against the plugin"""
    if not DYNAMIC_SECURITY.exists():
        return absent("dynamic_security", DYNAMIC_SECURITY)
    messages = scaled(40000, scale, 2000)
    with with_rules(server, folder, 20) as bench:
        rights = bench.folder / "dynamic-security.json"
        dynamic_security_file(rights, ["sender-0", "reader-0"])
        other = bench.without_plugin(("plugin %s" % DYNAMIC_SECURITY, "plugin_opt_config_file %s" % rights), ("identity",))
        other.ports["device"] = other.ports["identity"]
        bare, broker = bench.without_plugin(), bench.with_plugin()
        variants = Variants("dynamic-security, QoS 0 flood", "µs CPU", scaled(9, scale, 3))
        for what, one in (("Mosquitto alone", bare), ("dynamic-security, 20 rules", other), ("the plugin, 20 rules", broker)):
            variants.add(what, flood_cost(bench, one, "plants/1/lines", 200, messages))
        return variants.results()


# Other brokers, with the same TLS and the same devices


class OtherBroker:
    """A program that speaks MQTT over TLS and checks certificates against one CA."""

    def __init__(self, words, port, environment=None, at_end=None):
        self.ports = {"device": port}
        self.process = self._started = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                                        stderr=subprocess.DEVNULL, env=environment, start_new_session=True)
        self._at_end = at_end

    def find_process(self):
        """The program may be a script: of the processes of its session, the one that has worked most."""
        pids = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*") if session_of(path) == self._started.pid]
        self.process = max((SimpleNamespace(pid=pid) for pid in pids), key=cpu_us)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._started.pid, signal.SIGKILL)
        self._started.wait()
        if self._at_end:
            wait_until(self._at_end, 10, "the end of what the program has left running")


def session_of(path):
    with contextlib.suppress(OSError, ValueError):
        return os.getsid(int(path.name))
    return None


def compare(bench, name, other, scale):
    """A connect of a known device, with Mosquitto alone and with the plugin beside it."""
    load, bare, broker = bench.load(), bench.without_plugin(), bench.with_plugin()
    bench.mint(load, 0, DEVICES)
    count = scaled(200, scale, DEVICES)
    try:
        for one in (broker, other):
            admit_all(load, 0, one, DEVICES)
        other.find_process()
        pin(other.process, BROKER_CORE)
        variants = Variants(name + ", connect", "µs CPU", scaled(7, scale, 3))
        for what, one in (("Mosquitto alone (cafile)", bare), (name, other), ("Mosquitto with the plugin", broker)):
            variants.add(what, connect_cost(load, 0, one, count))
        return variants.results()
    finally:
        other.kill()


def files(bench):
    """Certificate, key and trust anchor of a listener."""
    chain, key = bench.site.listeners_pki.server.files(bench.folder)
    trust = bench.folder / "fleet-root.pem"
    trust.write_text(bench.site.root.pem)
    return chain, key, trust


@row
def nats(server, folder, scale):
    """an mTLS connect to a NATS server that speaks MQTT"""
    program = shutil.which("nats-server", path="/usr/bin:/usr/sbin:/usr/local/bin")
    if not program:
        return absent("nats", "nats-server")
    with Bench(server, folder) as bench:
        chain, key, trust = files(bench)
        port, config = free_port(), bench.folder / "nats.conf"
        config.write_text(
            'server_name: bench\nlisten: "127.0.0.1:%d"\njetstream { store_dir: "%s" }\n'
            'mqtt {\n listen: "127.0.0.1:%d"\n tls { cert_file: "%s", key_file: "%s", ca_file: "%s", verify: true, timeout: 10 }\n}\n'
            % (free_port(), bench.folder / "jetstream", port, chain, key, trust))
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
        return compare(bench, "NATS server " + version, OtherBroker([program, "-c", str(config)], port), scale)


RABBITMQ = """listeners.tcp = none
mqtt.listeners.tcp = none
mqtt.listeners.ssl.default = 127.0.0.1:{port}
mqtt.allow_anonymous = true
ssl_cert_login_from = common_name
ssl_options.cacertfile = {trust}
ssl_options.certfile = {chain}
ssl_options.keyfile = {key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
"""


@row
def rabbitmq(server, folder, scale):
    """an mTLS connect to RabbitMQ with its MQTT plugin"""
    program = pathlib.Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if not program.exists():
        return absent("rabbitmq", "rabbitmq-server")
    with Bench(server, folder) as bench:
        chain, key, trust = files(bench)
        port, names, home = free_port(), str(free_port()), bench.folder
        (home / "rabbitmq.conf").write_text(RABBITMQ.format(port=port, trust=trust, chain=chain, key=key))
        (home / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
                       "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"), "RABBITMQ_MNESIA_BASE": str(home),
                       "RABBITMQ_LOG_BASE": str(home), "RABBITMQ_NODENAME": "bench-%d@localhost" % port,
                       "RABBITMQ_DIST_PORT": str(free_port()), "ERL_EPMD_PORT": names, "ERL_EPMD_ADDRESS": "127.0.0.1"}

        def end_names():
            """Erlang's name server outlives the node, and ends only when it has noticed the end of the node."""
            answer = subprocess.run(["epmd", "-port", names, "-kill"], check=False, capture_output=True, text=True)
            return "Killed" in answer.stdout or "Cannot connect" in answer.stdout + answer.stderr

        version = program.resolve().parent.parent.name.rpartition("-")[2]
        return compare(bench, "RabbitMQ " + version, OtherBroker([str(program)], port, environment, at_end=end_names), scale)
