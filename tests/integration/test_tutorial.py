# SPDX-License-Identifier: ISC
"""docs/tutorial.md does what it says: every command on the page is executed, and what it shows is what is printed.

The page is run as it stands, by an ordinary user in an empty folder.  Only the settings are this machine's (paths of
the build, free ports), and `sudo apt install` is a stand-in that demands that the packages are there.
"""

import os
import pathlib
import pwd
import re
import shlex
import shutil
import subprocess
import tempfile

import pytest

import pg
from iot_auth_kit import PROGRAM

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PAGE = SOURCE / "docs/tutorial.md"
MARK = "@@@ block %d"

SUDO = """#!/bin/bash
[ "$1 $2" = "apt install" ] || exit 1
for package in "${@:3}"; do
    case "$package" in
    ./mosquitto-iot-auth_*.deb) ;;
    postgresql) ls /usr/lib/postgresql/*/bin/initdb >/dev/null || exit 1 ;; # of any version, with or without the metapackage
    *) dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
        { echo "not installed: $package"; exit 1; } ;;
    esac
done
"""


def blocks(text):
    """(commands, what they print) of each fenced sh block and the text block that may follow it."""
    pattern = r"^```sh\n(.*?)^```\n(?:^```text\n(.*?)^```\n)?"
    return [(commands, shown or "") for commands, shown in re.findall(pattern, text, re.M | re.S)]


def with_settings(text, **settings):
    """The page with other values in its `export NAME=…` lines."""
    for name, value in settings.items():
        text, replaced = re.subn(r"^export %s=.*$" % name, "export %s=%s" % (name, shlex.quote(str(value))), text, flags=re.M)
        assert replaced == 1, name
    return text


def as_pattern(line):
    """A line as the page shows it: any spaces for spaces, anything for …"""
    words = [".*".join(re.escape(part) for part in word.split("…")) for word in line.split()]
    return r"\s*".join(words)


def missing(shown, printed):
    """Lines of the page that were not printed."""
    return [line for line in shown.splitlines() if not re.search(as_pattern(line), printed)]


@pytest.fixture
def scratch(tmp_path):
    """A folder of an ordinary user, and the words that run a command as that user."""
    if os.geteuid() != 0:
        yield tmp_path, []
        return
    account = pwd.getpwnam("postgres")  # initdb refuses root
    with tempfile.TemporaryDirectory(prefix="ia-tutorial-") as name:  # pytest's own folders are root's alone
        os.chown(name, account.pw_uid, account.pw_gid)
        yield pathlib.Path(name), ["/usr/sbin/runuser", "-u", "postgres", "--"]


@pytest.fixture
def page(plugin, scratch):
    """The page with this machine's settings, in the user's folder with all that it names."""
    folder, _ = scratch
    subprocess.run(["cp", "-r", str(SOURCE / "sql"), str(plugin), str(folder)], check=True)
    (folder / "bin").mkdir()
    for name in ("iot-auth", "iot-auth-psk"):
        shutil.copy(pathlib.Path(PROGRAM).parent / name, folder / "bin" / name)
    sudo = folder / "bin/sudo"
    sudo.write_text(SUDO, encoding="utf-8")
    sudo.chmod(0o755)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return with_settings(
        PAGE.read_text(encoding="utf-8"), PLUGIN=folder / plugin.name, SQL=folder / "sql",
        DEVICE_PORT=pg.free_port(), APP_PORT=pg.free_port(), PSK_PORT=pg.free_port(),
    )


def execute(commands, folder, words):
    """Runs all of them in one shell that stops at the first failure; no process is left running."""
    script = "set -euo pipefail\n" + "\n".join("echo '%s'\n%s" % (MARK % i, text) for i, text in enumerate(commands))
    environment = {"PATH": "%s/bin:/usr/bin:/bin" % folder, "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    output = folder / "output"
    with output.open("w", encoding="utf-8") as file:  # a pipe would stay open as long as a server that was left
        process = subprocess.Popen(
            [*words, "bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )
    try:
        code = process.wait(timeout=240)
    except subprocess.TimeoutExpired:
        code = "took too long"
    end_servers(process, folder)
    return code, output.read_text(encoding="utf-8")


def end_servers(process, folder):
    """Ends what a page that stopped half-way has left running."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass
    process.wait()
    left = folder / "iot-auth-tutorial/postgres/data/postmaster.pid"
    if left.exists():
        os.kill(int(left.read_text(encoding="ascii").split()[0]), 3)


def test_every_command_does_what_the_page_shows(page, scratch):
    folder, words = scratch
    steps = blocks(page)
    code, printed = execute([commands for commands, _ in steps], folder, words)
    parts = re.split(r"^@@@ block \d+\n", printed, flags=re.M)[1:]
    assert len(steps) > 15 and (code, len(parts)) == (0, len(steps)), printed
    wrong = ["%s\nprinted: %s" % (line, part) for (_, shown), part in zip(steps, parts) for line in missing(shown, part)]
    assert not wrong, "\n".join(wrong)
    assert not (folder / "iot-auth-tutorial").exists()


def test_a_line_that_is_not_printed_is_found():
    assert missing("a | …z\nb\n", "a|xyz\n") == ["b"]
