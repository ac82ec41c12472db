# SPDX-License-Identifier: ISC
"""A real Mosquitto on loopback, with ports and files of its own.

Which Mosquitto: 'host' is the machine's, 'trixie' and 'sid' are those of newer Debian releases in the folders that
scripts/get-brokers makes.  The latter are run by their own loader with their own libraries, but on the host's file
system, so that one and the same plugin is loaded by all of them.

Environment: IOT_AUTH_PLUGIN (the plugin; default build/release), IOT_AUTH_BROKERS (comma list of kinds, or 'all';
default host), IOT_AUTH_VALGRIND=1 (run the host's broker under valgrind, where an error or a leak fails the test),
IOT_AUTH_PATIENCE (multiplies all time-outs; default 1, under valgrind 10).
"""

import contextlib
import functools
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
ROOTS = pathlib.Path(os.environ.get("IOT_AUTH_BROKER_ROOTS", "/var/cache/mosquitto-iot-auth"))
KINDS = ("host", "trixie", "sid")
VALGRIND = os.environ.get("IOT_AUTH_VALGRIND") == "1"
# All time-outs are multiplied by it: valgrind is slow, and so is a machine that runs other suites at the same time.
PATIENCE = float(os.environ.get("IOT_AUTH_PATIENCE", "10" if VALGRIND else "1"))

LISTENER_LINES = {
    "device": "cafile {ca}\nrequire_certificate true\n",
    "second_device": "cafile {ca}\nrequire_certificate true\n",
    "app": "",
    "plain": None,
    "identity": "cafile {ca}\nrequire_certificate true\nuse_identity_as_username true\n",
    "subject": "cafile {ca}\nrequire_certificate true\nuse_subject_as_username true\n",
    "internal": "cafile {internal_ca}\nrequire_certificate true\n",
    "websockets": "protocol websockets\ncafile {ca}\nrequire_certificate true\n",
    "app_websockets": "protocol websockets\n",
    "plain_websockets": "protocol websockets\n",
    "psk": "psk_hint iot\n",
    "second_psk": "psk_hint iot\n",
    "psk_mixed": "cafile {ca}\npsk_hint iot\n",
    "psk_identity": "psk_hint iot\nuse_identity_as_username true\n",
}
WITHOUT_CERTIFICATE = ("psk", "second_psk", "psk_identity")
WITHOUT_TLS = ("plain", "plain_websockets")


def plugin_path():
    return pathlib.Path(os.environ.get("IOT_AUTH_PLUGIN", SOURCE / "build/release/plugin/mosquitto_iot_auth.so"))


def command(kind):
    """The command line that runs the broker of the given kind."""
    if kind == "host":
        return [shutil.which("mosquitto") or "/usr/sbin/mosquitto"]
    root = ROOTS / kind
    libraries = "%s/lib/x86_64-linux-gnu:%s/usr/lib/x86_64-linux-gnu" % (root, root)
    return [str(root / "lib64/ld-linux-x86-64.so.2"), "--library-path", libraries, str(root / "usr/sbin/mosquitto")]


@functools.lru_cache(None)
def version(kind):
    """The version as (2, 0, 11), or None if the broker is not installed."""
    if not os.path.exists(command(kind)[-1]):
        return None
    shown = subprocess.run(command(kind) + ["-h"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"mosquitto version (\d+)\.(\d+)\.(\d+)", shown)
    return tuple(int(part) for part in found.groups()) if found else None


def usable(kind):
    """Is the broker installed, of a supported release, and linked with the plugin's libraries?  Debian's sid changes
    over time."""
    openssl = ROOTS / kind / "usr/lib/x86_64-linux-gnu/libssl.so.3"
    return version(kind) and version(kind) < (2, 2) and (kind == "host" or openssl.exists())


def kinds():
    """The kinds to test with.  Always the same objects, by which pytest knows that a fixture can be used again."""
    wanted = os.environ.get("IOT_AUTH_BROKERS", "host").split(",")
    return [kind for kind in KINDS if (kind in wanted or "all" in wanted) and usable(kind)]


_used_ports = set()


def free_port():
    """An unused port, below the range that the kernel uses for outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _used_ports:
            _used_ports.add(port)
            return port


def has_ipv6():
    """Can a socket be bound to ::1 here?"""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def wait_until(condition, timeout=5.0, what="condition"):
    """Calls condition() until its value is true, and returns the value; AssertionError after the time-out."""
    end = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("%s: not within %g s" % (what, timeout * PATIENCE))
        time.sleep(0.01)


class DidNotStart(Exception):
    """The broker ended before it accepted connections; str() is its log."""

    def __init__(self, exit_code, log):
        super().__init__("exit code %s\n%s" % (exit_code, log))
        self.exit_code = exit_code
        self.log = log


class Broker:
    """One broker; start() it, stop() it, start() it again: ports, files and persistence stay."""

    def __init__(
        self,
        kind,
        folder,
        server,
        trust,
        options=None,
        listeners=("device", "app", "plain"),
        plugin=True,
        internal_ca=None,
        persistence=False,
        lines=(),
        listener_lines=None,
        head_lines=(),
        global_anonymous=True,
        addresses=None,
    ):
        """`server`: the listeners' credential, `trust`: the PEM file of the CA that the listeners' `cafile` names.

        `options`: plugin options; a value may hold {device} and the like for a listener's port.
        `listener_lines`: more lines for a listener, by its name.  `lines`: more lines at the end.
        `head_lines`: lines before all others.  `global_anonymous`: whether to say `allow_anonymous false` for all.
        `addresses`: what a listener is bound to, by its name; '' is all of IPv4 and IPv6.
        """
        self.kind = kind
        self.version = version(kind)
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ports = {listener: free_port() for listener in listeners}
        self.options = dict(options or {})
        self.log_file = self.folder / "broker.log"
        self.process = None
        self._server = server
        self._trust = trust
        self._plugin = plugin
        self._internal_ca = internal_ca
        self._persistence = persistence
        self._lines = lines
        self._head_lines = head_lines
        self._global_anonymous = global_anonymous
        self._listener_lines = listener_lines or {}
        self._addresses = addresses or {}

    # Configuration

    def _listener(self, listener, port):
        lines = LISTENER_LINES[listener]
        text = "listener %d %s\n" % (port, self._addresses.get(listener, "127.0.0.1"))
        if listener not in WITHOUT_TLS and listener not in WITHOUT_CERTIFICATE:
            chain, key = self._server.files(self.folder)
            text += "certfile %s\nkeyfile %s\n" % (chain, key)
        text += (lines or "").format(ca=self._trust, internal_ca=self._internal_ca)
        return text + self._listener_lines.get(listener, "")

    def _plugin_lines(self):
        if not self._plugin:
            return ""
        text = "plugin %s\n" % (plugin_path() if self._plugin is True else self._plugin)
        for option, value in self.options.items():
            text += "plugin_opt_%s %s\n" % (option, str(value).format(**self.ports))
        return text

    def config(self):
        text = "".join(line + "\n" for line in self._head_lines)
        text += "user root\nset_tcp_nodelay true\nsys_interval 1\n"
        text += "allow_anonymous false\n" if self._global_anonymous else ""
        text += "log_dest stderr\nlog_type all\nlog_timestamp_format %Y-%m-%dT%H:%M:%S\n"
        if self._persistence:
            text += "persistence true\npersistence_location %s/\n" % self.folder
        text += self._plugin_lines()
        text += "".join(self._listener(listener, port) for listener, port in self.ports.items())
        return text + "".join(line + "\n" for line in self._lines)

    # Life

    def start(self, wait=True):
        (self.folder / "mosquitto.conf").write_text(self.config())
        words = command(self.kind) + ["-c", str(self.folder / "mosquitto.conf")]
        if VALGRIND and self.kind == "host":
            leaks = ["--leak-check=full", "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"]
            words = ["valgrind", "-q", "--error-exitcode=99", *leaks] + words
        mark = self.mark()
        with open(self.log_file, "ab") as log:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_for_log(r"mosquitto version \S+ running", timeout=15, since=mark)
        return self

    def expect_no_start(self, timeout=15):
        """Starts it and returns the log of its refusal; fails if it keeps running."""
        self.start(wait=False)
        try:
            exit_code = self.process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the broker started:\n" + self.log()) from None
        self.process = None
        assert exit_code > 0, "ended by signal or with success (%d):\n%s" % (exit_code, self.log())
        return self.log()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def cpu_seconds(self):
        """What all threads of the broker have used."""
        total = 0
        for thread in os.listdir("/proc/%d/task" % self.process.pid):
            stat = pathlib.Path("/proc/%d/task/%s/schedstat" % (self.process.pid, thread))
            total += int(stat.read_text(encoding="ascii").split()[0])
        return total / 1e9

    def stop(self, timeout=10):
        """Ends it as an administrator would; it must exit with status 0."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            exit_code = process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("did not stop within %d s:\n%s" % (timeout, self.log())) from None
        assert exit_code == 0, "broker ended with %d:\n%s" % (exit_code, self.log()[-6000:])

    def restart(self):
        self.stop()
        return self.start()

    def kill(self):
        """Ends it as a power cut would."""
        if self.process is not None:
            process, self.process = self.process, None
            process.kill()
            process.wait()

    def sighup(self):
        """Reloads the configuration; returns when the broker has begun to.  The broker loses a SIGHUP that arrives
        during a reload."""
        mark = self.mark()

        def heard():
            self.process.send_signal(signal.SIGHUP)
            with contextlib.suppress(AssertionError):
                return self.wait_for_log("Reloading config", timeout=0.5, since=mark)

        wait_until(heard, what="reload")

    # Log

    def mark(self):
        """A position in the log, for `since`."""
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def log(self, since=0):
        with open(self.log_file, "rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def wait_for_log(self, pattern, timeout=5.0, since=0):
        """The match of `pattern` in the log; DidNotStart if the broker ends before it."""
        expression = re.compile(pattern)

        def found():
            ended = self.process is not None and self.process.poll() is not None
            match = expression.search(self.log(since))
            if match is None and ended:
                process, self.process = self.process, None
                raise DidNotStart(process.returncode, self.log(since))
            return match

        try:
            return wait_until(found, timeout, "log line '%s'" % pattern)
        except AssertionError as error:
            raise AssertionError("%s; the log:\n%s" % (error, self.log(since)[-6000:])) from None
