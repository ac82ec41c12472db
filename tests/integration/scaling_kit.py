# SPDX-License-Identifier: ISC
"""The blocks of docs/scaling.md, with names and ports replaced, and the programs that they configure."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pg
from broker import wait_until

PAGE = pg.ROOT / "docs" / "scaling.md"
used = set()


def blocks():
    """{first line of the block, without '# ': the whole block}; pictures have no such line."""
    found = re.findall(r"^```\n# (.*?)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return dict(found)


def block(title, **_):
    used.add(title)
    return blocks()[title]


def replaced(text, replacements):
    """Each name must be in the block: a page that changes must not leave the test behind."""
    for name, value in replacements.items():
        assert name in text, "'%s' is not in:\n%s" % (name, text)
        text = text.replace(name, str(value))
    return text


class Program:
    """A server in the foreground, with a log."""

    def __init__(self, folder, name, words, **environment):
        self.log_file = pathlib.Path(folder) / (name + ".log")
        with open(self.log_file, "ab") as log:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen([shutil.which(words[0]) or words[0], *map(str, words[1:])], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env={**os.environ, **environment})

    def log(self):
        return self.log_file.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        if self.process.poll() is None:
            self.kill()


def ask_haproxy(path, *commands):
    answers = []
    for command in commands:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5)
            admin.connect(str(path))
            admin.sendall((command + "\n").encode())
            answers.append(admin.makefile().read())
    return answers


def haproxy_status(path):
    """{server: UP, DOWN, DRAIN …}"""
    try:
        shown = ask_haproxy(path, "show stat")[0]
    except OSError:
        return {}  # it has not begun to listen
    rows = [line.split(",") for line in shown.splitlines() if line.startswith("devices,")]
    return {row[1]: row[17].split()[0] for row in rows}


class Standby:
    """A second PostgreSQL, copied from the first one with the page's command."""

    def __init__(self, primary, folder):
        self.primary, self.port, self.folder = primary, pg.free_port(), folder
        self.data = primary.base / "standby"
        self.program = None

    def start(self):
        script = replaced(block("standby.sh"), {"db-1.example": self.primary.host, "5432": self.primary.port, "replicator": pg.SUPERUSER,
                                                "/var/lib/postgresql/standby": self.data})
        path = "%s:%s" % (self.primary.bin, os.environ["PATH"])
        subprocess.run(["bash", "-e", "-c", script], check=True, capture_output=True, env={**os.environ, "PATH": path}, cwd=self.primary.base,
                       **self.primary._user)
        words = [self.primary.bin / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.data]
        with open(self.folder / "standby.log", "ab") as log:
            # pylint: disable-next=consider-using-with
            self.program = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.primary.base, **self.primary._user)
        wait_until(lambda: self._answers(), 20, "the standby")
        return self

    def _answers(self):
        with contextlib.suppress(Exception):
            return self.query("SELECT pg_is_in_recovery()")[0][0]
        return False

    def query(self, statement, dbname="postgres"):
        connection = pg.psycopg2.connect(host=self.primary.host, port=self.port, dbname=dbname, user=pg.SUPERUSER, connect_timeout=5)
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def close(self):
        if self.program:
            self.program.kill()
            self.program.wait()
