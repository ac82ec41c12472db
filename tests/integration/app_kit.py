# SPDX-License-Identifier: ISC
"""Apps for the tests: issuers with keys of any kind, tokens as crooked as a test wants, MQTT 5's enhanced
authentication, and a server for key sets.

Tokens are made by python3-jwt; `mint_with_libjwt` makes them with a second library that is not ours either.
"""

import base64
import ctypes
import http.server
import itertools
import json
import ssl
import struct
import threading
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import client as clients
import pki
from broker import PATIENCE, free_port, wait_until

METHOD = "OAUTHBEARER"
DAY = 86400
_kids = itertools.count(1)


# Tokens

def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value, size=None):
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(key, kid, **more):
    """The public half of a key as a provider publishes it (RFC 7517)."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "kid": kid, "n": _number(numbers.n), "e": _number(numbers.e), **more}
    if isinstance(public, ec.EllipticCurvePublicKey):
        numbers, size = public.public_numbers(), (public.key_size + 7) // 8
        return {"kty": "EC", "kid": kid, "crv": "P-%d" % public.key_size, "x": _number(numbers.x, size),
                "y": _number(numbers.y, size), **more}
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": base64url(raw), **more}


def new_key(algorithm):
    if algorithm.startswith("ES"):
        curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[algorithm]
        return ec.generate_private_key(curve())
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else pki.rsa_key()


def private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def public_pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def thumbprint(credential):
    """`cnf` of a token that is bound to that certificate (RFC 8705)."""
    return {"x5t#S256": base64url(credential.fingerprint)}


class Issuer:
    """An identity provider: its keys, its row in the registry and its tokens."""

    def __init__(self, name="corp", issuer=None, audience="mqtt", algorithm="ES256"):
        self.name = name
        self.issuer = issuer or "https://idp.example/" + name
        self.audience = audience
        self.algorithm = algorithm
        self.keys = {}
        self.kid = None
        self.rotate(algorithm)

    # Keys

    def rotate(self, algorithm=None, keep=True):
        """Signs with a new key from now on; the old ones stay published if `keep`.  Returns the new kid."""
        self.algorithm = algorithm or self.algorithm
        if not keep:
            self.keys.clear()
        self.kid = "key-%d" % next(_kids)
        self.keys[self.kid] = new_key(self.algorithm)
        return self.kid

    @property
    def key(self):
        return self.keys[self.kid]

    def jwks(self):
        return {"keys": [jwk(key, kid, use="sig") for kid, key in self.keys.items()]}

    # Registry

    def register(self, site, scopes=None, **options):
        """Registers the issuer, by default with its keys; `scopes`: rules by scope, each a role of its own."""
        if not {"jwks", "jwks_url"} & set(options):
            options["jwks"] = self.jwks()
        options.setdefault("algorithms", [self.algorithm])
        options.setdefault("leeway_s", 1)
        site.registry.register_issuer(name=self.name, issuer=self.issuer, audience=[self.audience],
                                      **{k: v for k, v in options.items() if v is not None})
        for scope, rules in (scopes or {}).items():
            self.grant(site, scope, *rules)
        return self

    def grant(self, site, scope, *rules):
        """Maps a scope to a new role with these rules; returns the role's name."""
        role = "%s of %s" % (scope, self.name)
        site.role(role, *rules)
        site.registry.map_scope(issuer_name=self.name, scope=scope, role=role)
        return role

    def publish_keys(self, site):
        """The key set in the registry as it is now."""
        site.registry.query("UPDATE iot_auth.oauth_issuer SET jwks = %s WHERE name = %s", json.dumps(self.jwks()),
                            self.name)

    def set(self, site, **columns):
        """Changes columns of the issuer's row."""
        assignments = ", ".join("%s = %%s" % column for column in columns)
        site.registry.query("UPDATE iot_auth.oauth_issuer SET %s WHERE name = %%s" % assignments, *columns.values(),
                            self.name)

    def problem(self, site):
        return site.registry.value("SELECT problem FROM iot_auth.oauth_issuer WHERE name = %s", self.name)

    # Tokens

    def claims(self, lifetime=600, **changes):
        """A good payload with these changes; a claim that is None is left out."""
        now = int(time.time())
        good = {"iss": self.issuer, "aud": self.audience, "client_id": "dashboard", "sub": "dashboard", "iat": now,
                "exp": now + lifetime, "scope": "use"}
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def header(self, **changes):
        good = {"alg": self.algorithm, "kid": self.kid, "typ": "at+jwt"}
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def token(self, lifetime=600, headers=None, key=None, **changes):
        header = self.header(**(headers or {}))
        return self.sign(json.dumps(header), json.dumps(self.claims(lifetime, **changes)), key)

    def sign(self, header, payload, key=None):
        """A token of exactly these texts, signed by python3-jwt with the issuer's algorithm."""
        payload = payload if isinstance(payload, bytes) else payload.encode()
        signed = base64url(header.encode()) + "." + base64url(payload)
        signature = jwt.get_algorithm_by_name(self.algorithm).sign(signed.encode(), key or self.key)
        return signed + "." + base64url(signature)


def mint_with_libjwt(issuer, **changes):
    """A token made by libjwt, a library in C."""
    library = ctypes.CDLL("libjwt.so.0")
    library.jwt_encode_str.restype = ctypes.c_void_p
    library.jwt_str_alg.restype = ctypes.c_int
    token, key = ctypes.c_void_p(), private_pem(issuer.key)
    assert library.jwt_new(ctypes.byref(token)) == 0
    try:
        assert library.jwt_add_grants_json(token, json.dumps(issuer.claims(**changes)).encode()) == 0
        header = issuer.header(alg=None)
        assert library.jwt_add_headers_json(token, json.dumps(header).encode()) == 0
        assert library.jwt_set_alg(token, library.jwt_str_alg(issuer.algorithm.encode()), key, len(key)) == 0
        text = library.jwt_encode_str(token)
        assert text, "libjwt made no token"
        return ctypes.string_at(text).decode()
    finally:
        library.jwt_free(token)


# Enhanced authentication

def bearer(token):
    """The client's response of RFC 7628."""
    return "n,,\x01auth=Bearer %s\x01\x01" % token


class AuthClient:
    """An app that authenticates with AUTH packets, which Paho cannot; packets are read when asked for."""

    def __init__(self, site, broker, client_id, credential=None, listener=None):
        self.client_id = client_id
        self.raw = site.raw(broker, credential, listener)
        self._messages = []
        self._identifiers = itertools.count(1)
        site.clients.append(self)

    def connect(self, data, method=METHOD, session_expiry=None, clean=True, **options):
        """The outcome: 0, a refusal's code, or CLOSED."""
        props = clients.authentication(method, data)
        if session_expiry is not None:
            props += b"\x11" + struct.pack("!I", session_expiry)
        return self.raw.connect(self.client_id, protocol=clients.V5, props=props, clean=clean, **options)

    def reauthenticate(self, data, method=METHOD):
        """Sends AUTH; does not wait for the answer."""
        self.raw.send(clients.auth_packet(0x19, method, data))
        return self

    def answer(self, kind):
        """The body of the next packet of that kind; messages that come before it are kept."""
        while True:
            got = self.raw.receive()
            assert got is not None, "%s: the connection ended" % self.client_id
            if got[0] == kind:
                return got[2]
            assert got[0] == clients.PUBLISH, "packet type %d instead of %d: %r" % (got[0], kind, got[2])
            self._messages.append(_message(got[1], got[2]))

    def assert_reauthenticated(self, data):
        """Re-authenticates with success."""
        body = self.reauthenticate(data).answer(clients.AUTH)
        assert not body or body[0] == 0, body

    def subscribe(self, topic, qos=0):
        """The granted QoS, or the failure code (128 and above)."""
        identifier = next(self._identifiers)
        self.raw.send(clients.subscribe_packet(topic, qos, identifier, clients.V5))
        return self.answer(clients.SUBACK)[-1]

    def publish(self, topic, payload="x"):
        """The reason code of PUBACK: 0, 16 for 'no subscriber', or a failure."""
        identifier = next(self._identifiers)
        self.raw.send(clients.publish_packet(topic, payload.encode(), 1, identifier, protocol=clients.V5))
        body = self.answer(clients.PUBACK)
        return body[2] if len(body) > 2 else 0

    def receive(self):
        """The next message as (topic, payload); it is not acknowledged."""
        while not self._messages:
            got = self.raw.receive()
            assert got is not None and got[0] == clients.PUBLISH, "no message but %r" % (got,)
            self._messages.append(_message(got[1], got[2]))
        return self._messages.pop(0)

    def ping(self):
        """Fails unless the session is alive."""
        self.raw.send(clients.packet(clients.PINGREQ))
        self.answer(clients.PINGRESP)

    def wait_kicked(self, timeout=5.0, before=()):
        """The broker ends the session: packets of the types `before`, then one DISCONNECT by the administrator."""
        packets = self.raw.wait_closed(timeout)
        kinds = [kind for kind, _flags, _body in packets]
        assert kinds == [*before, clients.DISCONNECT], packets
        assert packets[-1][2][0] == clients.DISCONNECT_BY_ADMIN
        return packets

    def drop(self):
        """Loses the connection, so that a will is due."""
        self.raw.close()

    def disconnect(self):
        self.raw.send(clients.packet(clients.DISCONNECT))
        self.raw.close()


def _message(flags, body):
    """Topic and payload of a PUBLISH of MQTT 5."""
    length = struct.unpack("!H", body[:2])[0]
    topic, rest = body[2:2 + length].decode(), body[2 + length + (2 if flags & 0x06 else 0):]
    properties = shift = 0
    for used, digit in enumerate(rest, 1):
        properties |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return topic, rest[used + properties:].decode()
    raise AssertionError("not a PUBLISH: %r" % body)


# Apps

def app(site, broker, token, client_id="app:corp:dashboard", **options):
    """A connected app with the token as its password."""
    return site.connect(broker, client_id=client_id, password=token, **options)


def app_within(seconds, site, broker, token, client_id="app:corp:dashboard", **options):
    """The same, admitted at the latest `seconds` from now."""
    def admitted():
        return site.try_connect(broker, client_id=client_id, password=token, **options) == 0

    wait_until(admitted, seconds, "admission of %s" % client_id)
    return app(site, broker, token, client_id, **options)


def auth_app(site, broker, token, client_id="app:corp:dashboard", credential=None, listener=None, **options):
    """The same by enhanced authentication."""
    client = AuthClient(site, broker, client_id, credential, listener)
    outcome = client.connect(bearer(token), **options)
    assert outcome == 0, "%s was refused (%s):\n%s" % (client_id, outcome, broker.log()[-3000:])
    return client


def may_subscribe(site, broker, token, topic, client_id="app:corp:dashboard"):
    """Whether an app with the token may subscribe to the topic.

    For wait_until, after a change of the issuer: a session that the change ends in the middle counts as no.
    """
    client = site.client(broker, None, client_id, password=token, protocol=clients.V5)
    try:
        return client.connect() == 0 and client.subscribe(topic) < 0x80
    except AssertionError:
        if client.connected:
            raise
        return False
    finally:
        client.disconnect()
        site.clients.remove(client)


# Key sets by URL

class KeyServer:
    """Serves texts on loopback over HTTPS, or plain HTTP without `credential`, and remembers who asked when."""

    def __init__(self, credential=None, folder=None, host="127.0.0.1"):
        self.host = host
        self.port = free_port()
        self.scheme = "http"
        self.requests = []
        self._answers = {}
        self._context = None
        self._server = None
        self._released = threading.Event()
        if credential is not None:
            self.scheme = "https"
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*credential.files(folder))
        self.start()

    def url(self, path="/jwks", host=None):
        return "%s://%s:%d%s" % (self.scheme, host or self.host, self.port, path)

    def answer(self, body, path="/jwks", status=200, headers=None, slow=False):
        """From now on `path` is answered with this text, bytes, or JSON; a slow answer is never sent."""
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        self._answers[path] = (status, headers or {}, text.encode() if isinstance(text, str) else text, slow)

    def times(self, path="/jwks"):
        """The times of the requests for the path, in seconds of the monotonic clock."""
        return [when for asked, when in self.requests if asked == path]

    def start(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 20

            def do_GET(self):  # pylint: disable=invalid-name
                outer.requests.append((self.path, time.monotonic()))
                status, headers, body, slow = outer._answers.get(self.path, (404, {}, b"", False))
                if slow:
                    outer._released.wait(60)
                    return
                self.send_response(status)
                for header, value in headers.items():
                    self.send_header(header, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        self._server = _Server((self.host, self.port), Handler, self._context)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """As if the provider were down: nobody listens."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def close(self):
        self._released.set()
        self.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address, handler, context):
        self._context = context
        super().__init__(address, handler)

    def finish_request(self, request, client_address):
        if self._context is not None:
            try:
                request.settimeout(10 * PATIENCE)
                request = self._context.wrap_socket(request, server_side=True)
            except OSError:
                return  # the broker does not trust this server
        super().finish_request(request, client_address)
        if self._context is not None:
            request.close()

    def handle_error(self, request, client_address):
        pass
