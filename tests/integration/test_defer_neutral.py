# SPDX-License-Identifier: ISC
"""`other_clients defer` is neutral: a client that is left to others meets exactly what it would meet without the plugin.

One script of CONNECT, take-over, SUBSCRIBE, UNSUBSCRIBE, PUBLISH, delivery, retained messages, wills, extended
authentication, SIGHUP and a restart runs against a broker without the plugin and against a broker with it.  Every packet
that the broker sends is recorded, and the two transcripts must be equal.  The script runs for each way in which Mosquitto
can check such clients: password_file with acl_file, dynamic-security, and another plugin that authenticates
(auth_plugin.c).
"""

import base64
import hashlib
import json
import os
import re
import socket
import struct
import subprocess

import pytest

import client as mqtt
from broker import ROOTS, SOURCE, DidNotStart, wait_until
from client import V311, V5, mqtt_string, packet

USERS = {"ops": "secret", "reader": "letmein"}

# How others check the clients


class PasswordFile:
    """password_file and acl_file."""

    ACL = """user ops
topic readwrite ops/#
topic write up/#
topic write last/#
user reader
topic read ops/#
topic read up/#
topic read last/#
pattern readwrite own/%u/%c/#
"""

    def __init__(self, folder):
        self.folder = folder
        for user, password in USERS.items():
            create = [] if (folder / "passwords").exists() else ["-c"]
            subprocess.run(["mosquitto_passwd", "-b", *create, folder / "passwords", user, password],
                           check=True, capture_output=True)
        (folder / "acl").write_text(self.ACL)

    def options(self):
        return {"lines": ["password_file %s" % (self.folder / "passwords"), "acl_file %s" % (self.folder / "acl")]}

    def revoke(self, script):
        """ops may not write below last/ any more, and reader may not read below ops/."""
        (self.folder / "acl").write_text(self.ACL.replace("topic write last/#\n", "").replace("topic read ops/#\n", ""))
        script.broker.sighup()


class DynamicSecurity:
    """Mosquitto's dynamic-security plugin, in front of ours or behind it."""

    def __init__(self, folder, first):
        self.first = first
        self.file = folder / "dynamic-security.json"
        write_all = [self.rule("publishClientSend", "ops/#"), self.rule("publishClientSend", "up/#"),
                     self.rule("publishClientSend", "last/#"), self.rule("subscribePattern", "ops/#"),
                     self.rule("unsubscribePattern", "ops/#"),
                     self.rule("unsubscribeLiteral", "ops/keep", allow=False, priority=5)]
        read_all = [self.rule("subscribePattern", "ops/#"), self.rule("subscribePattern", "up/#"),
                    self.rule("subscribePattern", "last/#")]
        control = [self.rule(kind, "$CONTROL/dynamic-security/#")
                   for kind in ("publishClientSend", "publishClientReceive", "subscribePattern")]
        self.file.write_text(json.dumps({
            "defaultACLAccess": {"publishClientSend": False, "publishClientReceive": True, "subscribe": False,
                                 "unsubscribe": True},
            "clients": [self.user("ops", "secret"), self.user("reader", "letmein"), self.user("admin", "admin")],
            "groups": [],
            "roles": [{"rolename": "ops", "acls": write_all}, {"rolename": "reader", "acls": read_all},
                      {"rolename": "admin", "acls": control}],
        }))

    @staticmethod
    def rule(kind, topic, allow=True, priority=0):
        return {"acltype": kind, "topic": topic, "priority": priority, "allow": allow}

    @staticmethod
    def user(name, password):
        salt = hashlib.sha256(name.encode()).digest()[:12]
        digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101, 64)
        return {"username": name, "password": base64.b64encode(digest).decode(), "iterations": 101,
                "salt": base64.b64encode(salt).decode(), "roles": [{"rolename": name}]}

    @staticmethod
    def library(kind):
        root = "" if kind == "host" else ROOTS / kind
        return "%s/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so" % root

    def options(self):
        lines = ["plugin {library}", "plugin_opt_config_file %s" % self.file]
        return {"head_lines" if self.first else "lines": lines}

    def revoke(self, script):
        commands = [{"command": "removeRoleACL", "rolename": "ops", "acltype": "publishClientSend", "topic": "last/#"},
                    {"command": "addRoleACL", "rolename": "reader", "acltype": "publishClientReceive",
                     "topic": "ops/#", "priority": 5, "allow": False}]
        with script.own_peer("admin", user="admin", password="admin") as admin:
            script.note("admin subscribes", admin.ask(subscribe("$CONTROL/dynamic-security/v1/#")))
            script.note("admin revokes", admin.ask(publish("$CONTROL/dynamic-security/v1",
                                                           json.dumps({"commands": commands}))))


class OtherPlugin:
    """A plugin that authenticates, with passwords and by a method of its own, in front of ours or behind it."""

    def __init__(self, folder, first):
        self.state = folder / "revoked"
        self.first = first

    def options(self):
        library = os.environ.get("IOT_AUTH_OTHER_PLUGIN", SOURCE / "build/release/tests/integration/auth_plugin.so")
        lines = ["plugin %s" % library, "plugin_opt_state %s" % self.state]
        return {"head_lines" if self.first else "lines": lines}

    def revoke(self, _script):
        self.state.write_text("")


CHECKERS = {
    "password-file": PasswordFile,
    "dynamic-security-behind": lambda folder: DynamicSecurity(folder, first=False),
    "dynamic-security-in-front": lambda folder: DynamicSecurity(folder, first=True),
    "plugin-behind": lambda folder: OtherPlugin(folder, first=False),
    "plugin-in-front": lambda folder: OtherPlugin(folder, first=True),
}


# Packets


def props(protocol, coded=b""):
    return bytes([len(coded)]) + coded if protocol == V5 else b""


def connect(client_id, protocol=V311, user=None, password=None, clean=True, will=None, expiry=None, method=None,
            keepalive=60):
    """`will`: topic, payload, qos, retain, delay; `method`: an authentication method and its data."""
    topic, payload, qos, retain, delay = (*will, 0, False, None)[:5] if will else (None,) * 5
    flags = (2 if clean else 0) | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    flags |= 4 | qos << 3 | (0x20 if retain else 0) if will else 0
    coded = b"" if expiry is None else b"\x11" + struct.pack("!I", expiry)
    coded += mqtt.authentication(*method) if method else b""
    body = mqtt_string("MQTT") + bytes([protocol, flags]) + struct.pack("!H", keepalive)
    body += props(protocol, coded) + mqtt_string(client_id)
    if will:
        body += props(protocol, b"" if delay is None else b"\x18" + struct.pack("!I", delay))
        body += mqtt_string(topic) + mqtt_string(payload)
    body += mqtt_string(user) if user is not None else b""
    body += mqtt_string(password) if password is not None else b""
    return packet(mqtt.CONNECT, body)


def subscribe(*filters, qos=1, protocol=V311, options=0):
    body = b"\x00\x07" + props(protocol)
    return packet(mqtt.SUBSCRIBE, body + b"".join(mqtt_string(f) + bytes([qos | options]) for f in filters), 2)


def unsubscribe(*filters, protocol=V311):
    return packet(mqtt.UNSUBSCRIBE, b"\x00\x08" + props(protocol) + b"".join(mqtt_string(f) for f in filters), 2)


def publish(topic, payload="x", qos=1, retain=False, protocol=V311):
    return mqtt.publish_packet(topic, payload.encode(), qos, 9, retain, protocol)


def disconnect(protocol=V311, code=0):
    return packet(mqtt.DISCONNECT, bytes([code]) if protocol == V5 and code else b"")


NAMES = {2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 6: "PUBREL", 7: "PUBCOMP", 9: "SUBACK", 11: "UNSUBACK",
         14: "DISCONNECT", 15: "AUTH"}


class Peer:
    """A client that acknowledges what it receives, and writes down each packet in a form that can be compared."""

    def __init__(self, port):
        self.raw = mqtt.Raw(port)
        self.open = True
        self.authenticating = False  # an AUTH packet was the last answer: anything else would be against the protocol

    def enter(self, data):
        """Sends CONNECT, or AUTH before CONNACK; returns the answer, and what follows it at once."""
        got = []
        self.raw.send(data)
        kind = self.receive(got)
        self.authenticating = kind == mqtt.AUTH
        return got if self.authenticating else got + self.ping()

    def ask(self, data, pings=2):
        """Sends; returns what comes before the answer to the last of some PINGREQs, or `closed`."""
        got = []
        if self.authenticating:
            return self.enter(data)
        if not self.open:
            return got
        self.raw.send(data)
        for _ in range(pings):
            got += self.ping()
        return got

    def ping(self):
        got = []
        if not self.open or self.authenticating:
            return got
        self.raw.send(packet(mqtt.PINGREQ))
        while self.open:
            answer = self.receive(got)
            if answer == mqtt.PINGRESP:
                break
        return got

    def receive(self, got):
        try:
            answer = self.raw.receive()
        except (socket.timeout, TimeoutError):
            raise AssertionError("no answer to PINGREQ; before it: %s" % got) from None
        if answer is None:
            self.open = False
            got.append("closed")
            self.raw.close()
            return None
        kind, flags, body = answer
        if kind == mqtt.PINGRESP:
            return kind
        got.append(self.plain(kind, flags, body))
        return kind

    def plain(self, kind, flags, body):
        """The packet as text; an identifier that the broker chooses is left out, and acknowledged."""
        if kind == mqtt.PUBLISH:
            length = struct.unpack("!H", body[:2])[0]
            topic, rest = body[2:2 + length], body[2 + length:]
            if flags & 6:
                self.raw.send(packet(mqtt.PUBREC if flags & 4 else mqtt.PUBACK, rest[:2]))
                rest = rest[2:]
            return "PUBLISH flags=%d %s %r" % (flags & 7, topic.decode(), rest)
        if kind == 6:
            self.raw.send(packet(7, body[:2]))
            body = body[2:]
        body = re.sub(rb"(auto-)?[0-9A-F]{8}-[0-9A-F-]{27}", b"(id)", body)
        return "%s flags=%d %s" % (NAMES.get(kind, kind), flags, body.hex())

    def end(self, data=b""):
        if self.open:
            self.raw.send(data)
            self.raw.close()
            self.open = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end(disconnect())


class Script:
    """Runs the steps against one broker; `transcript` holds (step, answers)."""

    def __init__(self, broker, checker):
        self.broker = broker
        self.checker = checker
        self.transcript = []
        self.section = ""  # client ids begin with it: what one section leaves behind does not change the next
        self.peers = {}

    def note(self, step, answers):
        self.transcript.append((step, answers))

    def peer(self):
        return Peer(self.broker.ports["plain"])

    def own_peer(self, client_id, **options):
        """A connected client that is no part of settle()."""
        peer = self.peer()
        self.note("connect %s" % client_id, peer.enter(connect(client_id, **options)))
        return peer

    def settle(self):
        """What every connected client receives, once the broker has done all that was asked of it."""
        answers = {}
        for _ in range(2):
            for name, peer in self.peers.items():
                got = peer.ping()
                if got:
                    answers.setdefault(name, []).extend(got)
        return answers

    def connect(self, name, client_id=None, step="", user="ops", **options):
        """One CONNECT; a client that is admitted stays, under that name."""
        options.setdefault("password", USERS.get(user))
        peer = self.peer()
        client_id = "%s-%s" % (self.section, name) if client_id is None else client_id
        answers = peer.enter(connect(client_id, user=user, **options))
        if peer.open:
            if name in self.peers:
                self.peers.pop(name).end()
            self.peers[name] = peer
        self.note("CONNECT %s %s %s" % (name, options.get("protocol", V311), step), (answers, self.settle()))

    def send(self, name, step, data):
        """One packet of a client, and all that comes of it; nothing where it was not admitted."""
        if name not in self.peers:
            self.note("%s: %s" % (name, step), "not connected")
            return
        self.note("%s: %s" % (name, step), (self.peers[name].ask(data, pings=1), self.settle()))

    def drop(self, name):
        """The connection is lost: a will is due."""
        self.close(name, "connection lost")

    def leave(self, name, protocol=V311, code=0):
        self.close(name, "DISCONNECT %d" % code, disconnect(protocol, code))

    def close(self, name, step, data=b""):
        mark = self.broker.mark()
        peer = self.peers.pop(name, None)
        if peer and peer.open:
            peer.end(data)
            self.broker.wait_for_log(r"Client \S+ .*(disconnected|closed)", since=mark)
        self.note("%s: %s" % (name, step), self.settle())

    def revoke(self):
        self.checker.revoke(self)
        self.note("rights are revoked", self.settle())

    def restart(self):
        for peer in self.peers.values():
            peer.end()
        self.peers.clear()
        self.broker.restart()

    def end_all_but(self, name):
        for other in [n for n in self.peers if n != name]:
            self.peers.pop(other).end()
        self.note("the others leave", self.settle())

    def end(self):
        for peer in self.peers.values():
            peer.end()
        self.peers.clear()


# The steps


def connecting(script):
    """Admitted and refused, with and without user name, password and client id."""
    for protocol in (V311, V5):
        script.connect("c1", step="right password", protocol=protocol)
        script.connect("c2", step="wrong password", protocol=protocol, password="wrong")
        script.connect("c3", step="unknown user", user="nobody", password="x", protocol=protocol)
        script.connect("c4", step="anonymous", user=None, protocol=protocol)
        script.connect("c5", step="user without password", protocol=protocol, password=None)
        script.connect("c6", step="empty password", protocol=protocol, password="")
        script.connect("c7", "", step="no client id", protocol=protocol)
        script.connect("c8", "", step="no client id, kept session", protocol=protocol, clean=False)
        script.connect("c9", "a/b + # ä", step="client id of odd characters", protocol=protocol)
        script.connect("c10", "x" * 300, step="long client id", protocol=protocol)
        script.connect("c11", step="second user", user="reader", protocol=protocol)
        script.send("c1", "second CONNECT", connect("c1", protocol, "ops", "secret"))
    script.end()


def taking_over(script):
    """A client id is whoever's last, as Mosquitto has it."""
    for protocol in (V311, V5):
        script.connect("first", "taken", protocol=protocol)
        script.connect("second", "taken", step="takes over", protocol=protocol)
        script.connect("third", "taken", step="another user takes over", user="reader", protocol=protocol)
        script.connect("fourth", "taken", step="refused, so nothing is taken over", password="wrong", protocol=protocol)
        script.send("third", "is still there", subscribe("ops/here", protocol=protocol))
        script.connect("kept", "kept", clean=False, expiry=60 if protocol == V5 else None, protocol=protocol)
        script.send("kept", "subscribes", subscribe("ops/kept", protocol=protocol))
        script.drop("kept")
        script.connect("thief", "kept", step="another user takes the session", user="reader", clean=False,
                       expiry=60 if protocol == V5 else None, protocol=protocol)
        script.connect("owner", "kept", step="and the first one comes back", clean=False,
                       expiry=60 if protocol == V5 else None, protocol=protocol)
        script.connect("owner", "kept", step="clean", protocol=protocol)
        script.end()


def subscribing(script):
    for protocol in (V311, V5):
        script.connect("s", protocol=protocol)
        for topic in ("ops/a", "ops/#", "other/a", "#", "+/a", "$SYS/#", "$share/g/ops/a", "$share/g/other/a", "own/ops/s/x",
                      "up/a", "ops/keep"):
            script.send("s", "SUBSCRIBE " + topic, subscribe(topic, protocol=protocol))
        script.send("s", "SUBSCRIBE several", subscribe("ops/x", "other/x", "ops/y", qos=2, protocol=protocol))
        for topic in ("ops/a", "ops/never", "other/a", "ops/keep", "$share/g/ops/a", "#"):
            script.send("s", "UNSUBSCRIBE " + topic, unsubscribe(topic, protocol=protocol))
        script.send("s", "UNSUBSCRIBE several", unsubscribe("ops/x", "other/x", "ops/keep", protocol=protocol))
        for wrong in ("ops/#/b", "ops/a+", "", "$share/g", "$share//a"):
            script.connect("s2", protocol=protocol)
            script.send("s2", "SUBSCRIBE '%s'" % wrong, subscribe(wrong, protocol=protocol))
        script.end()


def publishing(script):
    script.connect("r", user="reader")
    script.send("r", "SUBSCRIBE", subscribe("ops/#", "up/#", qos=2))
    for protocol in (V311, V5):
        script.connect("p", protocol=protocol)
        for qos in (0, 1, 2):
            script.send("p", "PUBLISH qos %d" % qos, publish("ops/a", qos=qos, protocol=protocol))
            if qos == 2:
                script.send("p", "PUBREL", packet(6, b"\x00\x09", 2))
            script.send("p", "PUBLISH where it may not, qos %d" % qos, publish("other/a", qos=qos, protocol=protocol))
        script.send("p", "PUBLISH without subscriber", publish("up", protocol=protocol))
        script.send("p", "PUBLISH to write-only", publish("up/a", protocol=protocol))
        script.send("p", "PUBLISH own", publish("own/ops/p/x", protocol=protocol))
        script.send("p", "PUBLISH $SYS", publish("$SYS/a", protocol=protocol))
        script.send("p", "PUBLISH $CONTROL", publish("$CONTROL/x", protocol=protocol))
        script.send("p", "PUBLISH $iot-auth", publish("$iot-auth/other", protocol=protocol))
        for wrong in ("ops/#", "ops/+", ""):
            script.connect("p2", protocol=protocol)
            script.send("p2", "PUBLISH '%s'" % wrong, publish(wrong, protocol=protocol))
    script.end()


def delivering(script):
    """Live, queued, shared, and to who may not read."""
    script.connect("w")
    script.connect("r", user="reader")
    script.connect("kept", user="reader", clean=False)
    script.connect("kept5", user="reader", protocol=V5, clean=False, expiry=60)
    for name, protocol in (("r", V311), ("kept", V311), ("kept5", V5)):
        script.send(name, "SUBSCRIBE", subscribe("ops/#", protocol=protocol))
    script.drop("kept")
    script.drop("kept5")
    script.send("w", "PUBLISH to one here and two queues", publish("ops/a", "1"))
    script.send("w", "PUBLISH again", publish("ops/b", "2", qos=0))
    script.connect("kept", user="reader", clean=False, step="comes back")
    script.connect("kept5", user="reader", protocol=V5, clean=False, expiry=60, step="comes back")
    script.send("w", "SUBSCRIBE to itself", subscribe("ops/#"))
    script.send("w", "PUBLISH to itself too", publish("ops/c", "3"))
    script.connect("n", protocol=V5)
    script.send("n", "SUBSCRIBE no local", subscribe("ops/#", protocol=V5, options=4))
    script.send("n", "PUBLISH no local", publish("ops/d", "4", protocol=V5))
    for name in ("g1", "g2"):
        script.connect(name)
        script.send(name, "SUBSCRIBE shared", subscribe("$share/g/ops/shared"))
    for number in range(4):
        script.send("w", "PUBLISH to the group", publish("ops/shared", str(number)))
    script.end()


def keeping(script):
    """Retained messages; check_retain_source asks for the publisher's right again."""
    script.connect("w")
    script.connect("w5", protocol=V5)
    script.connect("r", user="reader")
    script.send("w", "PUBLISH retained", publish("ops/kept/1", "a", retain=True))
    script.send("w5", "PUBLISH retained", publish("ops/kept/2", "b", retain=True, protocol=V5))
    script.send("w", "PUBLISH retained where it may not", publish("other/kept", "c", retain=True))
    script.send("r", "SUBSCRIBE", subscribe("ops/kept/#"))
    script.leave("w")
    script.connect("r5", user="reader", protocol=V5)
    for handling in (0, 1, 2):
        script.send("r5", "SUBSCRIBE retain handling %d" % handling,
                    subscribe("ops/kept/#", protocol=V5, options=handling << 4))
    script.connect("w", step="is back")
    script.send("w", "PUBLISH clears", publish("ops/kept/1", "", retain=True))
    script.send("w", "PUBLISH retained again", publish("ops/kept/1", "d", retain=True))
    script.send("r", "SUBSCRIBE again", subscribe("ops/kept/#"))
    script.end()


def willing(script):
    """Wills, as the rights of their sender say."""
    script.connect("r", user="reader")
    script.send("r", "SUBSCRIBE", subscribe("ops/#", "up/#"))
    for protocol in (V311, V5):
        for topic in ("ops/will", "other/will", "up/will"):
            script.connect("x", protocol=protocol, will=(topic, "lost", 1), step="will " + topic)
            script.drop("x")
        script.connect("x", protocol=protocol, will=("ops/will", "kept", 1, True), step="retained will")
        script.drop("x")
        script.connect("x", protocol=protocol, will=("ops/will", "lost", 1), step="will")
        script.leave("x", protocol)
        script.connect("x", "same", protocol=protocol, will=("ops/will", "taken over", 1), step="will")
        script.connect("y", "same", protocol=protocol, step="takes over")
        script.connect("x", protocol=protocol, clean=False, expiry=60 if protocol == V5 else None,
                       will=("ops/will", "of a kept session", 1), step="will")
        script.drop("x")
        script.end_all_but("r")
    script.connect("x", protocol=V5, will=("ops/will", "with will", 1), step="will")
    script.leave("x", V5, 4)
    script.connect("x", protocol=V5, expiry=60, will=("ops/will", "delayed", 1, False, 1), step="delayed will")
    script.drop("x")
    script.note("delayed will", wait_until(lambda: script.settle(), 5, "will"))
    script.end()


def methods(script):
    """Extended authentication by another plugin, or by nobody."""
    script.connect("m", user=None, protocol=V5, method=("TEST", b"method"), step="method")
    script.connect("m2", user=None, protocol=V5, method=("TEST", b"wrong"), step="method, refused")
    script.connect("m3", user=None, protocol=V5, method=("OTHER", b"x"), step="unknown method")
    script.connect("m4", user=None, protocol=V5, method=("TEST", b"ask"), step="method with a question")
    script.send("m4", "answers", mqtt.auth_packet(0x18, "TEST", b"method"))
    script.connect("m5", user=None, protocol=V5, method=("TEST", b"ask"), step="method with a question")
    script.send("m5", "answers wrongly", mqtt.auth_packet(0x18, "TEST", b"wrong"))
    for name in ("m", "m4"):
        script.send(name, "SUBSCRIBE", subscribe("ops/#", "other/#", protocol=V5))
        script.send(name, "PUBLISH", publish("ops/a", protocol=V5))
        script.send(name, "PUBLISH where it may not", publish("other/a", protocol=V5))
        script.send(name, "UNSUBSCRIBE", unsubscribe("ops/#", "ops/keep", protocol=V5))
    script.send("m", "AUTH again", mqtt.auth_packet(0x19, "TEST", b"method"))
    script.send("m", "SUBSCRIBE", subscribe("ops/#", protocol=V5))
    script.connect("n", protocol=V5)
    script.send("n", "AUTH without a method", mqtt.auth_packet(0x19, "TEST", b"method"))
    script.end()


def hanging_up(script):
    """SIGHUP asks for every client again."""
    script.connect("w")
    script.connect("r", user="reader")
    script.connect("m", user=None, protocol=V5, method=("TEST", b"method"))
    script.connect("kept", user="reader", clean=False)
    script.send("kept", "SUBSCRIBE", subscribe("ops/#"))
    script.drop("kept")
    script.send("r", "SUBSCRIBE", subscribe("ops/#"))
    script.broker.sighup()
    script.note("SIGHUP", script.settle())
    script.send("w", "PUBLISH", publish("ops/a", "after"))
    script.connect("kept", user="reader", clean=False, step="comes back")
    script.end()


def revoking(script):
    """Rights that others take away: of publishers, receivers, offline sessions and retained messages."""
    script.connect("w")
    script.connect("left")
    script.connect("w5", protocol=V5, expiry=60)
    script.connect("r", user="reader")
    script.connect("kept", user="reader", clean=False)
    for name in ("r", "kept"):
        script.send(name, "SUBSCRIBE", subscribe("ops/#", "up/#"))
    script.send("w", "PUBLISH retained", publish("last/connected", "1", retain=True))
    script.send("left", "PUBLISH retained", publish("last/left", "2", retain=True))
    script.send("w5", "PUBLISH retained", publish("last/offline", "3", retain=True, protocol=V5))
    script.send("w", "PUBLISH retained", publish("up/kept", "4", retain=True))
    script.connect("x", protocol=V5, step="will", will=("last/will", "lost", 1))
    script.connect("y", protocol=V5, step="will", will=("up/will", "lost", 1))
    script.leave("left")
    script.drop("w5")
    script.drop("kept")
    script.send("r", "SUBSCRIBE before", subscribe("last/#"))
    script.revoke()
    for name in ("w", "x", "y", "r"):
        if name not in script.peers or not script.peers[name].open:
            script.connect(name, user="reader" if name == "r" else "ops", step="comes back")
    script.send("w", "PUBLISH", publish("ops/a", "after"))
    script.send("w", "PUBLISH", publish("last/a", "after"))
    script.send("w", "PUBLISH", publish("up/a", "after"))
    for topic in ("last/#", "up/#", "ops/#"):
        script.send("r", "SUBSCRIBE again " + topic, subscribe(topic))
    script.drop("x")
    script.drop("y")
    script.send("r", "UNSUBSCRIBE", unsubscribe("ops/#", "up/#"))
    script.connect("kept", user="reader", clean=False, step="comes back")
    script.drop("kept")
    script.send("w", "PUBLISH to a queue", publish("up/a", "queued"))
    script.end()


def restarting(script):
    """Retained messages and kept sessions of clients that this process has never seen."""
    script.section = "revoking"
    script.restart()
    script.connect("r", user="reader")
    for topic in ("last/#", "up/#", "ops/#"):
        script.send("r", "SUBSCRIBE " + topic, subscribe(topic))
    script.connect("kept", user="reader", clean=False, step="comes back")
    script.connect("w")
    script.send("w", "PUBLISH", publish("up/a", "after"))
    script.end()


STEPS = (connecting, taking_over, subscribing, publishing, delivering, keeping, willing, methods, hanging_up, revoking,
         restarting)


def transcript(site, checker_name, with_plugin):
    folder = site.folder / ("with" if with_plugin else "without")
    folder.mkdir()
    checker = CHECKERS[checker_name](folder)
    options = checker.options()
    for key in options:
        options[key] = [line.replace("{library}", DynamicSecurity.library(site.kind)) for line in options[key]]
    options.setdefault("lines", []).append("check_retain_source true")
    broker = site.new_broker(plugin=with_plugin, listeners=("device", "plain"), persistence=True,
                             options={"other_clients": "defer"} if with_plugin else None, **options)
    script = Script(broker.start(), checker)
    for steps in STEPS:
        script.section = steps.__name__
        steps(script)
    broker.stop()
    return script.transcript


def differences(without, with_plugin):
    assert len(without) > 70 and len(without) == len(with_plugin), "%d and %d steps" % (len(without), len(with_plugin))
    return ["%d. %s\n   without: %s\n   with:    %s" % (number, step, one, other)
            for number, ((step, one), (_, other)) in enumerate(zip(without, with_plugin), 1) if one != other]


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_deferred_client_meets_what_it_would_meet_without_the_plugin(site, checker):
    """A broker that refuses to start with a plugin in front of ours is right, too: there it may decide about devices."""
    without = transcript(site, checker, False)
    try:
        with_plugin = transcript(site, checker, True)
    except DidNotStart as refusal:
        assert checker.endswith("in-front") and "iot-auth: " in str(refusal)
        return
    found = differences(without, with_plugin)
    assert not found, "\n".join(["%d steps differ:" % len(found), *found])
