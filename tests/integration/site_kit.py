"""One test's world: a registry, brokers that use it, the devices' PKI and the clients that connect."""

import pathlib

import client as clients
import pki
from broker import Broker


class TestPki:
    """The listeners' side of TLS, the same for all tests: the broker's certificate and who signed it."""

    __test__ = False  # not a test case

    def __init__(self, folder):
        authority = pki.root("listeners")
        self.server = pki.server(authority)
        self.trust = folder / "listeners.pem"
        self.trust.write_text(authority.pem)
        # A listener needs some `cafile`; the plugin's gate never looks at this one.
        self.throw_away = folder / "throw-away.pem"
        self.throw_away.write_text(pki.root("throw-away").pem)


class Site:
    """Starts brokers and clients, and ends them all: a broker must end in good order."""

    def __init__(self, kind, folder, listeners_pki):
        self.kind = kind
        self.folder = pathlib.Path(folder)
        self.listeners_pki = listeners_pki
        self.brokers = []
        self.clients = []

    def close(self):
        for client in self.clients:
            client.disconnect()
        problems = []
        for broker in self.brokers:
            try:
                broker.stop()
            except AssertionError as error:
                problems.append(str(error))
        assert not problems, "\n".join(problems)

    # Brokers

    def new_broker(self, **options):
        """A broker, not yet started; see Broker for the options."""
        folder = self.folder / ("broker-%d" % (len(self.brokers) + 1))
        options.setdefault("plugin", False)
        options.setdefault("trust", self.listeners_pki.throw_away)
        broker = Broker(self.kind, folder, self.listeners_pki.server, **options)
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

    def raw(self, broker, credential=None, listener=None, **options):
        """A bare connection; raises where the handshake fails."""
        listener = listener or ("device" if credential else "app")
        context = None if listener.startswith("plain") else self.context(credential)
        return clients.Raw(broker.ports[listener], context, **options)


def common_name(credential):
    values = credential.certificate.subject.get_attributes_for_oid(pki.NameOID.COMMON_NAME)
    return values[0].value if values else ""
