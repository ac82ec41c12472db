# SPDX-License-Identifier: ISC
"""MQTT clients for the tests: Paho's, and a bare one for packets that Paho cannot send.

Both return the outcome of a CONNECT as one value: 0, the return code (3.1.1) or reason code (5) of a refusal, or CLOSED
when the broker closed the connection without an answer (also with a TLS alert).
"""

import contextlib
import os
import queue
import socket
import ssl
import struct
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker import PATIENCE, wait_until

CLOSED = "closed"
V311, V5 = 4, 5
NOT_AUTHORIZED = (5, 0x87)  # return code of 3.1.1, reason code of 5
# What a 2.1 broker may say to an MQTT 5 client instead: bad user, banned, client id not valid.
REFUSED = NOT_AUTHORIZED + (0x85, 0x86, 0x8A)
TRY_AGAIN = (CLOSED, 3, 0x88)  # a refusal after which a retry may succeed: closed, or server unavailable
DISCONNECT_BY_ADMIN = 0x98


def tls_context(trust, credential=None, folder=None, tls13=True):
    """A client's context that checks the broker against the PEM file `trust` and shows `credential`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(trust)
    if not tls13:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if credential is not None:
        with contextlib.suppress(AttributeError):
            context.set_ciphers("DEFAULT:@SECLEVEL=0")  # a hostile client may send anything
        chain, key = credential.files(folder)
        context.load_cert_chain(chain, key)
    return context


def v5_properties(packet, **values):
    properties = Properties(packet)
    for key, value in values.items():
        setattr(properties, key, value)
    return properties


class Client:
    """Paho's client with a thread of its own that never reconnects by itself."""

    def __init__(self, port, client_id="", context=None, protocol=V311, clean=True, username=None, password=None,
                 will=None, session_expiry=None, websockets=False, keepalive=60, host="127.0.0.1"):
        """`will`: a dict of topic, payload, qos, retain and, for MQTT 5, delay."""
        options = {} if protocol == V5 else {"clean_session": clean}
        self.client_id = client_id
        self.protocol = protocol
        self.result = None
        self.session_present = None
        self.messages = queue.Queue()
        self._host = host
        self._port = port
        self._clean = clean
        self._keepalive = keepalive
        self._session_expiry = session_expiry
        self._answers = {}
        self._ended = threading.Event()
        self._known = threading.Event()
        self._thread = None
        transport = "websockets" if websockets else "tcp"
        self.paho = paho.Client(client_id, protocol=protocol, transport=transport, **options)
        if context is not None:
            self.paho.tls_set_context(context)
        if username is not None or password is not None:
            self.paho.username_pw_set(username or "", password)
        if will:
            self._set_will(**will)
        self.paho.on_connect = self._on_connect
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.on_subscribe = lambda _client, _data, mid, codes, *_: self._answer(mid, codes)
        self.paho.on_unsubscribe = lambda _client, _data, mid, *codes: self._answer(mid, codes)
        self.paho.on_publish = lambda _client, _data, mid: self._answer(mid, True)

    def _set_will(self, topic, payload="lost", qos=1, retain=False, delay=None):
        properties = v5_properties(PacketTypes.WILLMESSAGE, WillDelayInterval=delay) if delay else None
        self.paho.will_set(topic, payload, qos, retain, properties=properties)

    # Callbacks, on the client's thread

    def _on_connect(self, _client, _data, flags, code, *_):
        self.result = code if isinstance(code, int) else code.value
        self.session_present = bool(flags["session present"])
        self._known.set()

    def _answer(self, mid, value):
        self._answers[mid] = value

    def _loop(self):
        with contextlib.suppress(OSError, ValueError):
            while self.paho.loop(0.5) == paho.MQTT_ERR_SUCCESS and not self._ended.is_set():
                pass
        if self.result is None:
            self.result = CLOSED
        self._ended.set()
        self._known.set()

    # Connecting

    def connect(self, timeout=10.0):
        """The outcome: 0, a refusal's code, or CLOSED."""
        options = {}
        if self.protocol == V5:
            options["clean_start"] = self._clean
            if self._session_expiry is not None:
                options["properties"] = v5_properties(PacketTypes.CONNECT, SessionExpiryInterval=self._session_expiry)
        self.result = None
        self._known.clear()
        self._ended.clear()
        try:
            self.paho.connect(self._host, self._port, self._keepalive, **options)
        except OSError:
            self.result = CLOSED
            self._ended.set()
            return CLOSED
        self._thread = threading.Thread(target=self._loop, daemon=True)
        # With this, paho writes from that thread only: two threads would corrupt one TLS connection.
        self.paho._thread = self._thread
        self._thread.start()
        assert self._known.wait(timeout * PATIENCE), "no answer to CONNECT of %s" % self.client_id
        return self.result

    @property
    def connected(self):
        return self.result == 0 and not self._ended.is_set()

    def wait_closed(self, timeout=5.0):
        """Waits until the broker has closed the connection."""
        assert self._ended.wait(timeout * PATIENCE), "%s is still connected" % self.client_id

    def disconnect(self):
        """Disconnects with DISCONNECT."""
        if self.connected:
            self.paho.disconnect()
            self._ended.wait(5)
        self._join()

    def drop(self):
        """Loses the connection without DISCONNECT, so that a will is due."""
        sock = self.paho.socket()
        if sock is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as beside_tls:
                beside_tls.shutdown(socket.SHUT_RDWR)
        self._join()

    def _join(self):
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)
        self.paho._reset_sockets()  # otherwise they stay open until garbage collection: select() is limited to 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.disconnect()

    # Messages

    def _wait_answer(self, mid, timeout, what):
        def answered():
            return mid in self._answers or self._ended.is_set()

        wait_until(answered, timeout, "answer to %s" % what)
        assert mid in self._answers, "connection ended before the answer to %s" % what
        return self._answers.pop(mid)

    def subscribe(self, topic, qos=1, timeout=5.0):
        """The granted QoS, or the failure code (128 and above)."""
        if self.protocol == V5:
            result, mid = self.paho.subscribe(topic, options=paho.SubscribeOptions(qos=qos))
        else:
            result, mid = self.paho.subscribe(topic, qos)
        assert result == paho.MQTT_ERR_SUCCESS
        code = self._wait_answer(mid, timeout, "SUBSCRIBE %s" % topic)[0]
        return code if isinstance(code, int) else code.value

    def unsubscribe(self, topic, timeout=5.0):
        """None (3.1.1), or the reason code."""
        result, mid = self.paho.unsubscribe(topic)
        assert result == paho.MQTT_ERR_SUCCESS
        answer = self._wait_answer(mid, timeout, "UNSUBSCRIBE %s" % topic)
        if self.protocol != V5:
            return None
        code = answer[-1][0] if isinstance(answer[-1], list) else answer[-1]
        return code if isinstance(code, int) else code.value

    def publish(self, topic, payload="x", qos=1, retain=False, timeout=5.0):
        """Returns once the broker has acknowledged (QoS 1 and 2); an acknowledgement does not mean delivery."""
        info = self.paho.publish(topic, payload, qos, retain)
        assert info.rc == paho.MQTT_ERR_SUCCESS
        if qos:
            self._wait_answer(info.mid, timeout, "PUBLISH %s" % topic)

    def receive(self, timeout=5.0):
        """The next message as (topic, payload)."""
        try:
            message = self.messages.get(timeout=timeout * PATIENCE)
        except queue.Empty:
            raise AssertionError("%s received nothing within %g s" % (self.client_id, timeout * PATIENCE)) from None
        return message.topic, message.payload.decode()

    def received_nothing_before(self, marker_topic, send_marker, timeout=5.0):
        """Sends a marker that arrives on the same path and asserts that nothing arrived before it."""
        send_marker()
        topic, payload = self.receive(timeout)
        assert topic == marker_topic, "received %s: %s" % (topic, payload)


# The bare client

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 5, 8, 9
UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 10, 11, 12, 13, 14, 15


def mqtt_string(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(value)) + value


def _variable_integer(value):
    coded = bytearray()
    while True:
        value, digit = divmod(value, 128)
        coded.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(coded)


def packet(kind, body=b"", flags=0):
    return bytes([kind << 4 | flags]) + _variable_integer(len(body)) + body


def properties(*coded):
    joined = b"".join(coded)
    return _variable_integer(len(joined)) + joined


def authentication(method, data=None):
    """The MQTT 5 properties Authentication Method and Data."""
    coded = b"\x15" + mqtt_string(method)
    return coded if data is None else coded + b"\x16" + mqtt_string(data)


def connect_packet(client_id="", protocol=V311, clean=True, username=None, password=None, keepalive=60, props=b"",
                   will=None):
    """`props`: coded properties (MQTT 5); `will`: (topic, payload)."""
    flags = (0x02 if clean else 0) | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    flags |= 0x0C if will else 0
    body = mqtt_string("MQTT") + bytes([protocol, flags]) + struct.pack("!H", keepalive)
    body += properties(props) if protocol == V5 else b""
    body += mqtt_string(client_id)
    if will:
        body += (properties() if protocol == V5 else b"") + mqtt_string(will[0]) + mqtt_string(will[1])
    body += mqtt_string(username) if username is not None else b""
    body += mqtt_string(password) if password is not None else b""
    return packet(CONNECT, body)


def publish_packet(topic, payload=b"x", qos=0, identifier=1, retain=False, protocol=V311):
    body = mqtt_string(topic) + (struct.pack("!H", identifier) if qos else b"")
    body += properties() if protocol == V5 else b""
    return packet(PUBLISH, body + payload, qos << 1 | retain)


def subscribe_packet(topic, qos=0, identifier=1, protocol=V311):
    body = struct.pack("!H", identifier) + (properties() if protocol == V5 else b"")
    return packet(SUBSCRIBE, body + mqtt_string(topic) + bytes([qos]), 2)


def auth_packet(reason, method, data=None):
    return packet(AUTH, bytes([reason]) + properties(authentication(method, data)))


class Raw:
    """A socket, with or without TLS, that sends any bytes and reads MQTT packets."""

    def __init__(self, port, context=None, timeout=5.0, session=None):
        """Raises ssl.SSLError or OSError if the handshake fails."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout * PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.alert = None
        if context is not None:
            try:
                self.socket = context.wrap_socket(self.socket, server_hostname="localhost", session=session)
            except OSError:
                self.socket.close()
                raise

    def send(self, data):
        """Sends.  When the peer has closed the connection, receive() reports it."""
        try:
            self.socket.sendall(data)
        except ssl.SSLError as error:
            self.alert = error.reason
        except OSError:
            pass
        return self

    def _read(self, length):
        data = b""
        while len(data) < length:
            try:
                part = self.socket.recv(length - len(data))
            except ssl.SSLError as error:
                self.alert = error.reason
                return None
            except ConnectionError:
                return None
            if not part:
                return None
            data += part
        return data

    def receive(self):
        """(type, flags, body) of the next packet, None when the connection ended; socket.timeout if neither."""
        first = self._read(1)
        if first is None:
            return None
        length = shift = 0
        while True:
            digit = self._read(1)
            if digit is None:
                return None
            length |= (digit[0] & 0x7F) << shift
            shift += 7
            if not digit[0] & 0x80:
                break
        body = self._read(length) if length else b""
        return None if body is None else (first[0] >> 4, first[0] & 15, body)

    def connect(self, *arguments, **options):
        """Sends CONNECT; the outcome: 0, a refusal's code, or CLOSED."""
        answer = self.send(connect_packet(*arguments, **options)).receive()
        if answer is None:
            return CLOSED
        assert answer[0] == CONNACK, "answer to CONNECT is packet type %d" % answer[0]
        return answer[2][1]

    def wait_closed(self, timeout=5.0):
        """Reads until the end of the connection; returns the packets read."""
        packets = []
        end = time.monotonic() + timeout * PATIENCE
        while True:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                got = self.receive()
            except (socket.timeout, TimeoutError):
                raise AssertionError("the connection is still open") from None
            if got is None:
                return packets
            packets.append(got)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
