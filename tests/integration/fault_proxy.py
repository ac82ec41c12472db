# SPDX-License-Identifier: ISC
"""A TCP proxy between a broker and PostgreSQL that can fail as networks do.

    proxy = FaultProxy(server.host, server.port)
    proxy.port                   # where to connect to
    proxy.delay(0.5)             # each packet of a client arrives half a second later (a slow server, a far one)
    proxy.black_hole()           # black hole: everything is accepted, nothing arrives, in both directions
    proxy.drop_answers()         # half-open: requests arrive, answers do not
    proxy.reset()                # RST to both sides of every connection
    proxy.refuse()               # as reset(), and no socket listens any more
    proxy.hang_up()              # new connections are accepted and reset at once
    proxy.heal()                 # no fault any more; connections that lost bytes are reset

One thread serves all connections.
"""

import collections
import selectors
import socket
import struct
import threading
import time

CHUNK = 65536
NO_LINGER = struct.pack("ii", 1, 0)  # close() sends RST


class _Side:
    """One socket of a pair, and the data to be sent to it: (due, bytes)."""

    def __init__(self, sock, is_client):
        self.socket = sock
        self.is_client = is_client
        self.peer = None
        self.queue = collections.deque()
        self.watched = True
        self.broken = False  # bytes from it were lost


class FaultProxy:
    def __init__(self, host, port):
        self._target = (host, port)
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._sides = []
        self._delay = 0.0
        self._lose_requests = self._lose_answers = False
        self._hang_up = False
        self._stop = False
        self._listener = None
        self.port = 0
        self.accepted = []  # when: time.monotonic() of each connection
        self._listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # Faults

    def delay(self, seconds):
        with self._lock:
            self._delay = seconds

    def black_hole(self):
        with self._lock:
            self._lose_requests = self._lose_answers = True

    def drop_answers(self):
        with self._lock:
            self._lose_answers = True

    def reset(self):
        with self._lock:
            for side in list(self._sides):
                self._drop(side, linger=True)

    def refuse(self):
        with self._lock:
            self.reset()
            if self._listener:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None

    def hang_up(self):
        with self._lock:
            self.reset()
            self._hang_up = True

    def heal(self):
        with self._lock:
            self._delay = 0.0
            self._hang_up = False
            self._lose_requests = self._lose_answers = False
            for side in [side for side in self._sides if side.broken]:
                self._drop(side, linger=True)
            if self._listener is None:
                self._listen()

    def close(self):
        with self._lock:
            self.refuse()
            self._stop = True
        self._thread.join(5)
        self._selector.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Works

    def _listen(self):
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def _accept(self):
        client, _ = self._listener.accept()
        self.accepted.append(time.monotonic())
        if self._hang_up:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            client.close()
            return
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            client.close()
            return
        pair = _Side(client, True), _Side(server, False)
        pair[0].peer, pair[1].peer = pair[1], pair[0]
        for side in pair:
            side.socket.setblocking(True)
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sides.append(side)
            self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _drop(self, side, linger=False):
        """Ends both connections of a pair."""
        for one in (side, side.peer):
            if one not in self._sides:
                continue
            self._sides.remove(one)
            if one.watched:
                self._selector.unregister(one.socket)
            if linger:
                one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            one.socket.close()

    def _read(self, side):
        try:
            data = side.socket.recv(CHUNK)
        except OSError:
            data = b""
        lost = self._lose_requests if side.is_client else self._lose_answers
        if lost:
            side.broken = True
            if not data:  # the close is not passed on to the other side
                self._selector.unregister(side.socket)
                side.watched = False
            return
        if not data:
            self._drop(side)
            return
        due = time.monotonic() + (self._delay if side.is_client else 0.0)
        side.peer.queue.append((due, data))

    def _deliver(self):
        """Sends what is due; seconds until more is."""
        now, wait = time.monotonic(), 0.05
        for side in list(self._sides):
            while side.queue and side.queue[0][0] <= now and side in self._sides:
                data = side.queue.popleft()[1]
                try:
                    side.socket.sendall(data)
                except OSError:
                    self._drop(side)
            if side.queue:
                wait = min(wait, max(0.0, side.queue[0][0] - now))
        return wait

    def _run(self):
        wait = 0.0
        while not self._stop:
            events = self._selector.select(wait)
            with self._lock:
                for key, _ in events:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.data in self._sides:
                        self._read(key.data)
                wait = self._deliver()
