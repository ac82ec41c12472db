# SPDX-License-Identifier: ISC
"""What the outage tests share: a PostgreSQL of their own behind a fault proxy, a broker that uses it, and a live
session that measures how long the broker keeps it waiting.
"""

import contextlib
import re
import time

import psycopg2

import pg
from fault_proxy import FaultProxy
from site_kit import Registry, Site
from swarm import Bystander

AUTH_WAIT = 0.5  # auth_wait_ms of these tests: an unknown device is parked that long, and nobody else waits
OPTIONS = {"auth_wait_ms": 500}
UNDISTURBED = 0.1  # the longest that a live session's PINGRESP takes, whatever the database does
AT_ONCE = 0.3  # a TLS handshake on a busy machine, and no wait for anything
LOST = r"iot-auth: .*(?:lost the database|no database)"
BACK = r"iot-auth: .*the database is back"
# Detected by the heartbeat (5 s) or a look-up, each with its time-out of 10 s.
NOTICED_WITHIN = 20.0
# An attempt to connect that has just begun (3 s), then the longest pause.
BACK_WITHIN = 10.0


class OutageSite(Site):
    """A site whose registry can be hidden (proxy) or broken (server) while administrators still work on it."""

    def __init__(self, kind, folder, listeners_pki, server):
        self.server = server
        self.database = server.create_database()
        self.proxy = FaultProxy(server.host, server.port)
        super().__init__(kind, folder, listeners_pki, Registry(self.database))
        self.registry.broker_conninfo = self.proxied()
        self._idle = None

    def proxied(self, **options):
        return self.database.conninfo(**{"port": self.proxy.port, **options})

    def reconnect_admin(self):
        """The administrator's own connection ended with the server."""
        conninfo = self.registry.broker_conninfo
        with contextlib.suppress(psycopg2.Error):
            self.registry.close()
        self.registry = Registry(self.database)
        self.registry.broker_conninfo = conninfo

    def close(self):
        self.server.resume()
        self.proxy.heal()
        try:
            super().close()
        finally:
            self.proxy.close()
            self.server.start()
            self.database.drop()

    def end_broker_connections(self):
        """As an administrator with pg_terminate_backend would."""
        self.database.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (pg.BROKER,))

    def bystander(self, broker, authority):
        """A live session of `broker`, compared with one of an idle broker without plugin."""
        device = authority.issue("bystander")
        self.connect(broker, device).disconnect()
        if self._idle is None:
            trust = self.folder / "idle-trust.pem"
            trust.write_text(self.root.pem)
            self._idle = self.new_broker(
                plugin=False, trust=trust, listeners=("device",), global_anonymous=False, lines=("allow_anonymous true",)
            ).start()
        idle = self.root.intermediate("idle").issue("control")
        return Bystander(
            self.folder, broker.ports["device"], device, "bystander", self._idle.ports["device"], idle
        )

    def timed_refusal(self, broker, credential, **options):
        """How long one attempt took that was refused."""
        begun = time.monotonic()
        result = self.try_connect(broker, credential, **options)
        assert result != 0, "was let in"
        return time.monotonic() - begun

    def wait_for_outage(self, broker, since):
        """Waits until the broker has noticed.  An unknown device's attempt speeds that up, as it would in operation."""
        unknown = self.root.intermediate("unknown").issue("unknown")
        self.try_connect(broker, unknown)
        return broker.wait_for_log(LOST, timeout=NOTICED_WITHIN, since=since)


def lines_of(broker, pattern, since):
    return [line for line in broker.log(since).splitlines() if re.search(pattern, line)]


def logged_once(broker, since):
    """Asserts that no error was logged twice; returns the texts."""
    texts = [re.sub(r"^[^ ]*?: ", "", line) for line in lines_of(broker, LOST, since)]
    causes = [re.sub(r"(lost the database|no database): ", "", text) for text in texts]
    assert len(causes) == len(set(causes)), "logged more than once:\n" + "\n".join(texts)
    return texts
