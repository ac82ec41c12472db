# SPDX-License-Identifier: ISC
"""scripts/demo: every step of it does what it says, and nothing is left behind."""

import os
import pathlib
import re
import signal
import subprocess

DEMO = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "demo"


def demo(plugin, folder, *arguments):
    environment = {**os.environ, "IOT_AUTH_PLUGIN": str(plugin), "TMPDIR": str(folder)}
    return subprocess.run(
        [DEMO, *arguments], capture_output=True, text=True, timeout=120, check=False, env=environment,
        stdin=subprocess.DEVNULL,
    )


def without_chance(text):
    """Its lines; times, and the words for a connection that is lost, differ from run to run."""
    return [re.sub(r"Error: .*", "Error", re.sub(r"\d+ ms", "N ms", line.rstrip())) for line in text.splitlines()]


def transcript():
    """What the README shows of the demo."""
    page = (DEMO.parents[1] / "README.md").read_text(encoding="utf-8")
    lines = without_chance(page.split("From the demo (shortened):\n\n```\n")[1].split("\n```")[0])
    assert len(lines) > 10
    return lines


def test_the_demo_does_what_it_says_and_cleans_up(plugin, tmp_path):
    before = set(pathlib.Path("/tmp").glob("iot-auth-demo.*"))
    run = demo(plugin, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Done: every step did what it said." in run.stdout
    ended = re.search(r"disconnected after (\d+) ms", run.stdout)
    assert ended and int(ended.group(1)) < 1000, run.stdout
    expired = re.search(r"disconnected (\d+) ms after the token expired", run.stdout)
    assert expired and int(expired.group(1)) < 1000, run.stdout
    assert set(pathlib.Path("/tmp").glob("iot-auth-demo.*")) <= before
    shown = without_chance(run.stdout)
    assert [line for line in transcript() if not any(one.startswith(line) for one in shown)] == []  # tables lose columns


def test_the_demo_fails_where_a_step_does(tmp_path):
    """A plugin that is none: the broker does not start."""
    nothing = tmp_path / "nothing.so"
    nothing.write_bytes(b"no library")
    run = demo(nothing, tmp_path)
    assert run.returncode != 0
    assert "FAILED: Mosquitto did not start" in run.stderr


def test_the_kept_demo_says_how_to_connect_and_how_to_end_it(plugin, tmp_path):
    run = demo(plugin, tmp_path, "--keep")
    assert run.returncode == 0, run.stdout + run.stderr
    broker, home = re.search(r"kill (\d+) .*; rm -r (/tmp/iot-auth-demo\.\w+)$", run.stdout, re.M).groups()
    try:
        commands = re.search(r"   cd .*?mosquitto_sub[^\n]*", run.stdout, re.S).group()
        script = commands + " -E -W 10"
        connected = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, timeout=30, check=False)
        assert "received CONNACK (0)" in connected.stdout, connected.stdout + connected.stderr
        app = re.search(r"   mosquitto_sub [^\n]*app:demo:dashboard.*?\n[^\n]*", run.stdout, re.S).group()
        connected = subprocess.run(["bash", "-ec", app + " -d -E -W 10"], capture_output=True, text=True, timeout=30, check=False)
        assert re.search(r"^Subscribed \(mid: 1\): 0", connected.stdout, re.M), connected.stdout + connected.stderr
        registry = re.search(r"psql (.*)$", run.stdout, re.M).group(1).split()
        rows = subprocess.run(
            ["psql", "-A", "-t", "-c", "SELECT device_id FROM iot_auth.device ORDER BY 1", *registry],
            capture_output=True, text=True, timeout=30, check=True,
        )
        assert rows.stdout.split() == ["my-device", "sensor-1"]
    finally:
        postgres = pathlib.Path(home, "postgres/data/postmaster.pid").read_text(encoding="utf-8").split()[0]
        os.kill(int(broker), signal.SIGTERM)
        os.kill(int(postgres), signal.SIGQUIT)
        subprocess.run(["rm", "-rf", "--one-file-system", home], check=True)
