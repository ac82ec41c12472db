# SPDX-License-Identifier: ISC
"""iot-auth-check topic: rules in a file, the decision, the deciding rule."""

import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.environ.get("IOT_AUTH_CHECK", os.path.join(ROOT, "build/release/cli/iot-auth-check"))

RULES = """\
# what a device may do
ALLOW PUBLISH,RECEIVE,SUBSCRIBE devices/${device_id}/#

   # also indented
DENY publish devices/+/internal
ALLOW PUBLISH cheap/+ max_qos=0 retain=no
ALLOW SUBSCRIBE,RECEIVE #
DENY RECEIVE tenants/${tenant}/private
ALLOW PUBLISH my house/lamp
"""


@pytest.fixture
def rules(tmp_path):
    def write(text=RULES):
        path = tmp_path / "rules"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)
    return write


def run(*arguments):
    return subprocess.run([TOOL, "topic", *arguments], capture_output=True, text=True, timeout=20, check=False)


DECISIONS = [
    (["--var", "device_id=pump-7"], "publish", "devices/pump-7/state", 0,
     "allow line 2: ALLOW PUBLISH,RECEIVE,SUBSCRIBE devices/${device_id}/#"),
    (["--var", "device_id=pump-7"], "publish", "devices/pump-7/internal", 1,
     "deny: topic_denied line 5: DENY publish devices/+/internal"),
    (["--var", "device_id=pump-7"], "publish", "devices/pump-8/state", 1, "deny: topic_denied no rule allows it"),
    ([], "publish", "devices/pump-7/state", 1, "deny: topic_denied no rule allows it"),
    ([], "publish", "cheap/x", 0, "allow line 6: ALLOW PUBLISH cheap/+ max_qos=0 retain=no"),
    (["--qos", "1"], "publish", "cheap/x", 1, "deny: topic_denied no rule allows it"),
    (["--retain"], "publish", "cheap/x", 1, "deny: topic_denied no rule allows it"),
    ([], "SUBSCRIBE", "#", 0, "allow line 7: ALLOW SUBSCRIBE,RECEIVE #"),
    ([], "subscribe", "$share/g/a/+", 0, "allow line 7: ALLOW SUBSCRIBE,RECEIVE #"),
    ([], "subscribe", "$SYS/#", 1, "deny: topic_denied no rule allows it"),
    ([], "subscribe", "$share//a", 1, "deny: topic_denied the topic is not valid"),
    ([], "publish", "a/#", 1, "deny: topic_denied the topic is not valid"),
    ([], "receive", "tenants/any/private", 1, "deny: topic_denied line 8: DENY RECEIVE tenants/${tenant}/private"),
    (["--var", "tenant=acme"], "receive", "tenants/any/private", 0, "allow line 7: ALLOW SUBSCRIBE,RECEIVE #"),
    ([], "publish", "my house/lamp", 0, "allow line 9: ALLOW PUBLISH my house/lamp"),
]


@pytest.mark.parametrize("options,action,topic,status,line", DECISIONS)
def test_decision_and_rule_are_printed(rules, options, action, topic, status, line):
    done = run("--rules", rules(), *options, action, topic)
    assert (done.returncode, done.stdout, done.stderr) == (status, line + "\n", "")


def test_rule_that_cannot_be_compiled_denies_everything_and_is_reported(rules):
    path = rules("ALLOW PUBLISH #\nDENY PUBLISH a/#/b\n")
    done = run("--rules", path, "publish", "x")
    assert done.returncode == 1
    assert done.stdout == "deny: topic_denied line 2: DENY PUBLISH a/#/b\n"
    assert "line 2: topic filter: '#' must be the last level" in done.stderr


# Valid MQTT, but in the notation of other brokers, or with what Mosquitto refuses in topics.
NEVER_MATCHING = ["devices/%u/#", "%c", "a/dev-%u/x", "%m/%u", "{app_id}", "a/{device_id}/b", "x-{tenant}", "a/{{client_id}}",
                  "a/{username}", "a/$device_id", "$(tenant)/a", "<client_id>", "%app_id%", ":issuer", "a/[ca]", "$claim.sub/x",
                  "$queue/jobs", "$queue", "$exclusive/a", "$delayed/10/a", "$oshare/g/a", "$local/a", "$share/g/a", "$share",
                  "a/\x7f", "a\x01b", "a/\x85b", "a/\ufdd0", "a\uffff/b", "\U0001fffe", "a#", "#/a", "a/b+", "${nope}/a",
                  "x${device_id}", "${device_id", "/" * 201]
ORDINARY = ["50%capacity", "a/100%/b", "a/%c3%a9", "a/%user", "a{b}", "{", "a/{}/b", "a/{6F9619FF-8B86-D011-B42D-00CF4FC964FF}",
            "a/{1}", "device_id/ca/tenant", "a/$x/b", "a$b", "$SYS/broker/#", "$plant/x", "$share2/x", "x/$share/y", "x/$queue/y",
            "$queues/a", "a b/c d", "/a/b", "a//b", "(a)/<b>/[c]/:d", "a/\ufffd", "b\u00e2timent", "${device_id}/#", "+/+",
            "${claim.sub}/${attr.x y}", "/" * 200]


def test_the_registry_and_the_library_refuse_the_same_topic_filters(rules, database):
    """A rule that only the library refused would close its role when it reaches the brokers."""
    filters = NEVER_MATCHING + ORDINARY
    done = run("--rules", rules("".join("ALLOW PUBLISH %s\n" % text for text in filters)), "publish", "x")
    by_library = {filters[int(line) - 1] for line in re.findall(r"line (\d+): topic filter: ", done.stderr)}
    by_registry = {text for text in filters if database.value("SELECT iot_auth.topic_filter_problem(%s)", (text,))}
    assert by_library == by_registry == set(NEVER_MATCHING)


@pytest.mark.parametrize("text,complaint", [
    ("ALLOW PUBLISH a\nPERMIT PUBLISH b\n", "line 2: 'PERMIT' is neither ALLOW nor DENY"),
    ("ALLOW WRITE a\n", "line 1: 'WRITE' is not an action"),
    ("\n\nALLOW PUBLISH\n", "line 3: no topic filter"),
    ("ALLOW PUBLISH a max_qos=9\n", "line 1: 'max_qos=9'"),
    (b"ALLOW PUBLISH a\0b\n", ""),
])
def test_unreadable_rules_exit_2(rules, text, complaint):
    done = run("--rules", rules(text), "publish", "a")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("iot-auth-check topic: ") and complaint in done.stderr


@pytest.mark.parametrize("arguments", [
    [],
    ["publish", "a"],
    ["--rules", "RULES"],
    ["--rules", "RULES", "publish"],
    ["--rules", "RULES", "publish", "a", "b"],
    ["--rules", "RULES", "write", "a"],
    ["--rules", "/nonexistent", "publish", "a"],
    ["--rules", "RULES", "--var", "device_id", "publish", "a"],
    ["--rules", "RULES", "--var", "=x", "publish", "a"],
    ["--rules", "RULES", "--var", "device_id=a/b", "publish", "a"],
    ["--rules", "RULES", "--var", "device_id=", "publish", "a"],
    ["--rules", "RULES", "--qos", "3", "publish", "a"],
    ["--rules", "RULES", "--bogus", "publish", "a"],
])
def test_bad_usage_exits_2(rules, arguments):
    done = run(*[rules("ALLOW PUBLISH #\n") if a == "RULES" else a for a in arguments])
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.startswith("iot-auth-check topic: ")


def test_no_rules_at_all_deny(rules):
    done = run("--rules", rules("# nothing\n"), "publish", "a")
    assert (done.returncode, done.stdout) == (1, "deny: topic_denied no rule allows it\n")
