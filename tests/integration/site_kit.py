# SPDX-License-Identifier: ISC
"""One test's world: a registry, brokers that use it, the devices' PKI and the clients that connect."""

import json
import pathlib
import re
import threading

import psycopg2.extras

import client as clients
import pki
from broker import Broker, plugin_path, wait_until

RETRYABLE = r"reason=registry_unavailable|\"reason\":\"registry_unavailable\""


class TestPki:
    """The listeners' side of TLS, the same for all tests: the broker's certificate and its authority."""

    __test__ = False  # not a test case

    def __init__(self, folder):
        authority = pki.root("listeners")
        self.server = pki.server(authority)
        self.trust = folder / "listeners.pem"
        self.trust.write_text(authority.pem)
        # A listener needs a `cafile`; the plugin's gate never uses this one.
        self.throw_away = folder / "throw-away.pem"
        self.throw_away.write_text(pki.root("throw-away").pem)


class Registry:
    """An administrator's view of the database.

    Any SQL function of the schema is a method with named arguments: registry.set_device_status(device_id='a', ...).
    """

    def __init__(self, database):
        self.database = database
        self.broker_conninfo = database.conninfo()
        self._connection = database.admin()

    def close(self):
        self._connection.close()

    def query(self, statement, *arguments):
        with self._connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else None

    def value(self, statement, *arguments):
        """The first column of the first row, None if there is no row."""
        rows = self.query(statement, *arguments)
        return rows[0][0] if rows else None

    def __getattr__(self, function):
        if function.startswith("_"):
            raise AttributeError(function)

        def call(**arguments):
            named = ", ".join("%s => %%s" % name for name in arguments)
            values = [json.dumps(v) if isinstance(v, dict) else v for v in arguments.values()]
            return self.value("SELECT iot_auth.%s(%s)" % (function, named), *values)

        return call

    def device_status(self, device_id):
        return self.value("SELECT status FROM iot_auth.device WHERE device_id = %s", device_id)

    def devices(self):
        return sorted(row[0] for row in self.query("SELECT device_id FROM iot_auth.device"))

    def certificates(self, device_id):
        """The fingerprints of a device's certificates."""
        rows = self.query("SELECT fingerprint FROM iot_auth.device_certificate WHERE device_id = %s", device_id)
        return {bytes(row[0]) for row in rows}

    def ca_problem(self, name):
        return self.value("SELECT problem FROM iot_auth.ca WHERE name = %s", name)

    # Events

    def last_event(self):
        return self.value("SELECT coalesce(max(event_id), 0) FROM iot_auth.event")

    def events(self, since=0, kind=None):
        """Rows after `since` as dicts, oldest first."""
        with self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(
                "SELECT event_id, node, kind, principal, ca_id, address, reason, detail FROM iot_auth.event"
                " WHERE event_id > %s AND (%s IS NULL OR kind = %s) ORDER BY event_id",
                (since, kind, kind),
            )
            return cursor.fetchall()

    def wait_for_event(self, reason=None, kind=None, principal=None, since=0, timeout=5.0, refusal=False):
        """The first matching event after `since`; `refusal`: one whose kind is …/refused."""

        def found():
            for event in self.events(since, kind):
                if refusal and not event["kind"].endswith("/refused"):
                    continue
                if reason is not None and event["reason"] != reason:
                    continue
                if principal is not None and event["principal"] != principal:
                    continue
                return event
            return None

        try:
            return wait_until(found, timeout, "event")
        except AssertionError:
            seen = [(e["kind"], e["principal"], e["reason"], e["detail"]) for e in self.events(since)]
            raise AssertionError("no event %s %s; there are: %s" % (kind, reason, seen)) from None


class Site:
    """Starts brokers and clients, and ends all of them: a broker must exit with status 0."""

    def __init__(self, kind, folder, listeners_pki, registry=None):
        self.kind = kind
        self.folder = pathlib.Path(folder)
        self.listeners_pki = listeners_pki
        self.registry = registry
        self.brokers = []
        self.clients = []
        self.plugin_path = plugin_path()
        self._root = None

    def close(self):
        for client in self.clients:
            client.disconnect()
        problems = []
        for broker in self.brokers:
            try:
                broker.stop()
            except AssertionError as error:
                problems.append(str(error))
        if self.registry is not None:
            self.registry.close()
        assert not problems, "\n".join(problems)

    # Authorities

    @property
    def root(self):
        """The root above the fleets; not registered unless a test registers it."""
        if self._root is None:
            self._root = pki.root("fleet root")
        return self._root

    def register(self, authority, name, **options):
        """Registers an authority under a name, with auto-registration unless the test says otherwise."""
        options.setdefault("auto_registration", True)
        self.registry.register_ca(pem=authority.pem, name=name, **options)
        return authority

    def fleet(self, name="acme", **options):
        """A registered intermediate whose devices register themselves."""
        return self.register(self.root.intermediate(name), name, **options)

    def role(self, role, *rules):
        """A role with rules of the form 'ALLOW SUBSCRIBE,RECEIVE devices/#'."""
        self.registry.create_role(role=role)
        for rule in rules:
            self.add_rule(role, rule)

    def add_rule(self, role, rule):
        """Returns the rule's id."""
        effect, actions, topic_filter = rule.split(" ", 2)
        return self.registry.add_rule(
            role=role, effect=effect, actions=actions.split(","), topic_filter=topic_filter
        )

    def device_with_role(self, authority, ca_name, device_id, *rules):
        """A device registered by hand that also has a role of its own with these rules."""
        credential = authority.issue(device_id)
        self.registry.register_device(device_id=device_id, pem=credential.pem, ca_name=ca_name)
        self.role("role of " + device_id, *rules)
        self.registry.grant_device_role(device_id=device_id, role="role of " + device_id)
        return credential

    def observer(self, authority, ca_name="acme"):
        """A device that may read and publish everything, for tests to observe with."""
        return self.device_with_role(
            authority,
            ca_name,
            "observer",
            "ALLOW SUBSCRIBE,RECEIVE #",
            "ALLOW SUBSCRIBE,RECEIVE $SYS/#",
            "ALLOW PUBLISH #",
        )

    # Brokers

    def new_broker(self, **options):
        """A broker, not yet started; see Broker for the options."""
        number = len(self.brokers) + 1
        options.setdefault("plugin", self.registry is not None)
        options.setdefault("trust", self.listeners_pki.throw_away)
        if options["plugin"]:
            given = options.get("options") or {}
            defaults = {"node_name": "node-%d" % number}
            if self.registry is not None:
                defaults["db_conninfo"] = self.registry.broker_conninfo
            options["options"] = {k: v for k, v in {**defaults, **given}.items() if v is not None}
        broker = Broker(self.kind, self.folder / ("broker-%d" % number), self.listeners_pki.server, **options)
        self.brokers.append(broker)
        return broker

    def broker(self, **options):
        return self.new_broker(**options).start()

    # Clients

    def context(self, credential=None, **options):
        return clients.tls_context(self.listeners_pki.trust, credential, self.folder, **options)

    def client(self, broker, credential=None, client_id=None, listener=None, **options):
        """A client, not yet connected.  By default its client id is the certificate's common name."""
        listener = listener or ("device" if credential else "app")
        context = None if listener.startswith("plain") else self.context(credential)
        if client_id is None:
            client_id = common_name(credential) if credential else ""
        websockets = "websockets" in listener
        client = clients.Client(broker.ports[listener], client_id, context, websockets=websockets, **options)
        self.clients.append(client)
        return client

    def raw(self, broker, credential=None, listener=None, context=None, **options):
        """A bare connection; raises where the handshake fails."""
        listener = listener or ("device" if credential else "app")
        if context is None and not listener.startswith("plain"):
            context = self.context(credential)
        return clients.Raw(broker.ports[listener], context, **options)

    def try_connect(self, broker, credential=None, client_id=None, **options):
        """The outcome of one attempt (see client.py); an admitted client is disconnected again."""
        client = self.client(broker, credential, client_id, **options)
        result = client.connect()
        client.disconnect()
        self.clients.remove(client)
        return result

    def connect(self, broker, credential=None, client_id=None, timeout=10.0, **options):
        """A connected client.  Retries, as a device would, only when the registry was too slow to answer."""
        client = self.client(broker, credential, client_id, **options)

        def admitted():
            mark = broker.mark()
            if client.connect() == 0:
                return True
            busy = client.result in clients.TRY_AGAIN and re.search(RETRYABLE, broker.log(mark))
            assert busy, "%s was refused (%s):\n%s" % (client.client_id, client.result, broker.log(mark))
            return False

        wait_until(admitted, timeout, "connection of %s" % client.client_id)
        return client

    def connect_within(self, seconds, broker, credential, **options):
        """A client that is admitted within `seconds`."""

        def admitted():
            client = self.client(broker, credential, **options)
            if client.connect() == 0:
                return client
            client.disconnect()  # hundreds of attempts would leave more sockets than select() can handle
            self.clients.remove(client)
            return None

        return wait_until(admitted, seconds, "admission of %s" % (credential and common_name(credential)))

    def connect_all(self, attempts):
        """Connects clients at the same time; the outcomes, in order."""
        threads = [threading.Thread(target=client.connect) for client in attempts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [client.result for client in attempts]

    def assert_refused(self, reason, broker, credential=None, client_id=None, codes=clients.REFUSED, **options):
        """One attempt is refused with one of the codes, and the registry has an event with the reason.  Returns the
        event."""
        codes = codes if isinstance(codes, tuple) else (codes,)
        since = self.registry.last_event()
        mark = broker.mark()
        result = self.try_connect(broker, credential, client_id, **options)
        assert result != 0, "was let in:\n" + broker.log(mark)
        event = self.registry.wait_for_event(reason=reason, since=since, refusal=True)
        assert result in codes, "refused with %s" % result
        return event

    def assert_refused_soon(self, reason, broker, credential, seconds=1.0, **options):
        """A device that could connect until now is refused within `seconds`, for the given reason."""
        since = self.registry.last_event()

        def refused():
            return self.try_connect(broker, credential, **options) != 0

        wait_until(refused, seconds, "refusal of %s" % common_name(credential))
        return self.registry.wait_for_event(reason=reason, since=since, refusal=True)


def common_name(credential):
    values = credential.certificate.subject.get_attributes_for_oid(pki.NameOID.COMMON_NAME)
    return values[0].value if values else ""
