# SPDX-License-Identifier: ISC
"""Debian's prometheus-postgres-exporter and prometheus, as docker-compose.yml's profile `monitoring` runs them and with its files,
against a registry of the tests."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import pg
import yaml
from broker import free_port, wait_until

CONTRIB = pg.ROOT / "contrib"
SERVICES = yaml.safe_load((pg.ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


def mounted(service, path):
    """The file of this repository that the profile mounts there."""
    (source,) = [words[0] for words in (volume.split(":") for volume in SERVICES[service]["volumes"]) if words[1] == path]
    return pg.ROOT / source


def changed(text, *changes):
    """With every (pattern, replacement), each of which has to match something."""
    for pattern, replacement in changes:
        text, n = re.subn(pattern, lambda match, new=replacement: match.expand(new), text, flags=re.M)
        assert n, pattern
    return text


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


class Monitoring:
    """An exporter that reads the registry as iot_auth_monitor, and a Prometheus that scrapes it every second."""

    def __init__(self, database, folder):
        self.folder = folder
        self.database = database
        self.exporter_port, self.port = free_port(), free_port()
        self._processes = []
        # A test has no time: everything is read each second, the counts of whole tables too, and no alert has to be true for a minute.
        configuration = mounted("prometheus", "/etc/prometheus/prometheus.yml").read_text()
        (rule_file,) = yaml.safe_load(configuration)["rule_files"]
        (query_option,) = [word for word in SERVICES["exporter"]["command"] if word.startswith("--extend.query-path=")]
        self._exporter_options = [word for word in SERVICES["exporter"]["command"] if word != query_option]
        queries = mounted("exporter", query_option.partition("=")[2]).read_text()
        (folder / "queries.yml").write_text(changed(queries, (r"cache_seconds: 60$", "cache_seconds: 0")))
        (folder / "rules.yml").write_text(changed(mounted("prometheus", rule_file).read_text(), (r"^( +for:) .*", r"\1 0s")))
        (folder / "prometheus.yml").write_text(changed(
            configuration, (r"_interval: \w+", "_interval: 1s"), (re.escape(rule_file), str(folder / "rules.yml")),
            ("exporter:9187", "127.0.0.1:%d" % self.exporter_port)))

    def _start(self, name, *words, **environment):
        with open(self.folder / (name + ".log"), "ab") as log:
            self._processes.append(subprocess.Popen([shutil.which(name), *map(str, words)], stdout=log, stderr=log,
                                                    stdin=subprocess.DEVNULL, env={**os.environ, **environment}))

    def start(self):
        self._start("prometheus-postgres-exporter", "--web.listen-address", "127.0.0.1:%d" % self.exporter_port, *self._exporter_options,
                    "--extend.query-path", self.folder / "queries.yml",
                    DATA_SOURCE_NAME=self.database.conninfo("iot_auth_monitor", sslmode="disable"))
        self._start("prometheus", "--config.file", self.folder / "prometheus.yml", "--storage.tsdb.path", self.folder / "tsdb",
                    "--web.listen-address", "127.0.0.1:%d" % self.port, GOMAXPROCS="1")
        wait_until(lambda: self.query("up == 1"), 30, "Prometheus's first scrape")
        return self

    def stop(self):
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(20)

    def metrics(self):
        """What the exporter says now: {metric with its labels: value}."""
        lines = [line for line in get("http://127.0.0.1:%d/metrics" % self.exporter_port).splitlines() if line and line[0] != "#"]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def query(self, expression):
        """The rows of an instant query, as (labels, value); none while Prometheus does not answer."""
        with contextlib.suppress(OSError):
            answer = json.loads(get("http://127.0.0.1:%d/api/v1/query?%s" % (self.port, urllib.parse.urlencode({"query": expression}))))
            assert answer["status"] == "success", answer
            return [(row["metric"], row["value"][1]) for row in answer["data"]["result"]]
        return []

    def firing(self, alert, **labels):
        """Does the alert fire, with these labels?"""
        matchers = ['alertname="%s"' % alert, 'alertstate="firing"', *('%s="%s"' % label for label in labels.items())]
        return bool(self.query("ALERTS{%s}" % ",".join(matchers)))

    def wait_for_alert(self, alert, timeout=15.0, **labels):
        try:
            wait_until(lambda: self.firing(alert, **labels), timeout, alert)
        except AssertionError as error:
            raise AssertionError("%s; there are %s" % (error, self.query("ALERTS"))) from None

    def wait_for_rows(self, expression, timeout=15.0):
        return wait_until(lambda: self.query(expression), timeout, "rows of %s" % expression)


def panels():
    """(title of the panel, its query) for each query of the dashboard, with the variables filled in."""
    dashboard = json.loads((CONTRIB / "grafana/dashboard.json").read_text())
    return [(panel["title"], target["expr"].replace("$node", ".*").replace("$__rate_interval", "1m"))
            for panel in dashboard["panels"] for target in panel.get("targets", ())]
