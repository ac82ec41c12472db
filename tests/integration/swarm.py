# SPDX-License-Identifier: ISC
"""Many clients in one process (tests/swarm/main.c): sessions by the thousand, and how long the broker keeps one waiting.

    swarm = Swarm(folder)
    ids = swarm.mint(0, "sensor-", 2000, authority)     # {device id: fingerprint}
    swarm.open(0, port, parallel=50)                     # how many are open
"""

import contextlib
import os
import pathlib
import resource
import subprocess
import tempfile

import pki
from broker import wait_until

SOURCE = pathlib.Path(__file__).resolve().parents[2]
FILES_BESIDE = 200  # file descriptors that a process needs beside its connections


def raise_file_limit(wanted):
    """Raises the limit for this process and its children; a test that needs more than the machine allows fails here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= wanted, "needs %d file descriptors, may have %d" % (wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), hard))


def program():
    """The built program; if the build has none, it is compiled now."""
    built = os.environ.get("IOT_AUTH_SWARM")
    if built:
        return built
    sources = sorted(SOURCE.glob("tests/swarm/*.[ch]"))
    newest = max(source.stat().st_mtime_ns for source in sources)
    path = pathlib.Path(tempfile.gettempdir()) / ("iot-auth-swarm-%d-%d" % (os.getuid(), newest))
    if not path.exists():
        fresh = "%s.%d" % (path, os.getpid())
        subprocess.run(["cc", "-D_GNU_SOURCE", "-std=gnu17", "-O2", "-I", SOURCE, "-o", fresh,
                        *(source for source in sources if source.suffix == ".c"), "-lssl", "-lcrypto"], check=True)
        os.replace(fresh, path)
    return str(path)


def measure_undisturbed(*processes):
    """Gives these processes the highest priority, where that is allowed: the measurement is about them, not about other
    processes of the machine."""
    for process in processes:
        with contextlib.suppress(PermissionError):
            for thread in os.listdir("/proc/%d/task" % process.pid):
                os.sched_setscheduler(int(thread), os.SCHED_RR, os.sched_param(1))


class Report:
    """What happened to a group.  Times are time.monotonic(), durations seconds."""

    def __init__(self, words):
        self.open, self.refused, self.broken, self.pings = map(int, words[:4])
        self.opened, self.first_end, self.last_end, self.waiting = (int(word) / 1e6 for word in words[4:8])
        pairs = (word.split(":") for word in words[8:])
        self.slow = [(int(sent) / 1e6, int(took) / 1e6) for sent, took in pairs]


class Swarm:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self._lists = 0
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen([program()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def begin(self, *words):
        """Sends a command; its answer is for finish()."""
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def finish(self):
        answer = self.process.stdout.readline().split()
        assert answer and answer[0] == "ok", "swarm: %s" % " ".join(answer)
        return answer[1:]

    def do(self, *words):
        self.begin(*words)
        return self.finish()

    def _list(self, *words):
        """A command that writes a list of devices to a file."""
        self._lists += 1
        path = self.folder / ("swarm-%d-%d" % (self.process.pid, self._lists))
        self.do(*words, path)
        return dict(line.split() for line in path.read_text().splitlines())

    def mint(self, group, prefix, count, authority):
        """Makes devices below an authority of pki.py.  Returns {id: fingerprint in hex}."""
        chain = self.folder / ("swarm-ca-%d.pem" % group)
        key = self.folder / ("swarm-ca-%d.key" % group)
        above = authority.chain()[1:] if authority.parent else []
        chain.write_text(authority.pem + "".join(pki.pem(certificate) for certificate in above))
        key.write_text(pki.Credential(authority.key, None).key_pem)
        return self._list("mint", group, prefix, count, chain, key)

    def load(self, group, device_id, credential):
        self.do("load", group, device_id, *credential.files(self.folder))

    def open(self, group, port, parallel=50):
        """Connects the devices that are not connected; returns how many are connected then."""
        return int(self.do("open", group, port, parallel)[0])

    def ping(self, group, every_ms):
        self.do("ping", group, every_ms)

    def wait(self, group, most, seconds):
        """Waits until at most so many are open; returns how many are."""
        return int(self.do("wait", group, most, int(seconds * 1000))[0])

    def report(self, group):
        return Report(self.do("report", group))

    def admitted(self, group):
        """{id: fingerprint in hex} of the devices that ever received CONNACK 0."""
        return self._list("admitted", group)

    def close_all(self, group):
        self.do("close", group)


class Bystander:
    """A live session's view of the broker: how long does it wait for its PINGRESP?

    The same process measures a session of an idle broker just as often.  A delay of both at the same time is caused by
    the machine, and is subtracted.
    """

    EVERY_MS = 5

    def __init__(self, folder, port, credential, device_id, idle_port, idle_credential):
        self._swarm = Swarm(folder)
        self.process = self._swarm.process
        self._swarm.load(0, device_id, credential)
        self._swarm.load(1, "control", idle_credential)
        assert self._swarm.open(0, port) == 1, "the bystander was not let in"
        assert self._swarm.open(1, idle_port) == 1, "the control was not let in"
        self._swarm.ping(1, self.EVERY_MS)
        self._swarm.ping(0, self.EVERY_MS)
        self.longest()

    def close(self):
        self._swarm.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _reports(self):
        """Of this session and of the idle broker's; None: neither has sent a ping, because its process did not run."""
        mine, control = self._swarm.report(0), self._swarm.report(1)
        assert mine.open == 1, "the bystander's connection ended"
        return (mine, control) if mine.pings > 0 or mine.waiting > 0 else None

    def longest(self):
        """The longest wait since the last call, in seconds, minus the wait of the idle broker's client at that time."""
        mine, control = wait_until(self._reports, what="a ping of the bystander")
        waits = [took - _machine(control.slow, sent, sent + took) for sent, took in mine.slow]
        return max(waits + [mine.waiting], default=0.0)


def _machine(control, begin, end):
    """The part of that time in which the control session waited, too."""
    return sum(max(0.0, min(end, sent + took) - max(begin, sent)) for sent, took in control)
