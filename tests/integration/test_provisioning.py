# SPDX-License-Identifier: ISC
"""Provisioning with brokers: attributes, roles and tenant of a device are right before its first PUBLISH."""

import json
import re
import threading

import client as clients
import pki
import pytest
from broker import wait_until
from client import connect_packet, publish_packet, subscribe_packet
from cryptography.x509 import NameAttribute
from cryptography.x509.oid import NameOID
from iot_auth_kit import Command

SUBACK, PUBLISH, PUBACK = 9, 3, 4


@pytest.fixture(scope="module")
def world(site_of_module):
    """A broker, and a role whose rules need attributes and tenant."""
    site = site_of_module
    site.role("meter", "ALLOW PUBLISH,SUBSCRIBE,RECEIVE plants/${tenant}/${attr.site}/${device_id}/#")
    site.role("gateway", "ALLOW PUBLISH,SUBSCRIBE,RECEIVE gateways/${device_id}/#")
    # These tests are about what hooks do: on a loaded machine a hook may take longer than 100 ms for nothing.
    site.main = site.broker(options={"hook_timeout_ms": "1000"})
    site.count = 0
    return site


@pytest.fixture
def fleet(world, request):
    """An authority of the test's own: fleet(provisioning=…) registers it."""
    world.count += 1
    name = "ca-%d" % world.count

    def make(name=name, **options):
        options.setdefault("roles", [])
        if isinstance(options.get("provisioning"), dict):
            options["provisioning"] = json.dumps(options["provisioning"])
        authority = world.fleet(name, **options)
        authority.name = name
        known(world, name)
        return authority

    return make


def known(world, name):
    """Brokers fill a CA's columns after they have sent it to their broker thread."""
    wait_until(lambda: world.registry.value("SELECT not_after FROM iot_auth.ca WHERE name = %s", name), 5.0, name)


def subject(cn, ou=None, o=None, extra=()):
    return pki.name(cn, o=o, ou=ou, extra=extra)


def device(site, device_id):
    rows = site.registry.query(
        "SELECT d.attributes, d.tenant, ARRAY(SELECT role FROM iot_auth.device_role r WHERE r.device_id = d.device_id ORDER BY 1)"
        " FROM iot_auth.device d WHERE device_id = %s", device_id)
    return rows[0] if rows else None


def refused(site, reason, credential):
    """One attempt is refused; returns the detail of its line in the log, where no refusal is left out (events of unregistered
    devices are sampled)."""
    mark = site.main.mark()
    assert site.try_connect(site.main, credential) in clients.REFUSED + clients.TRY_AGAIN
    line = re.compile(r'reason=%s .*detail="([^"]*)"' % reason)
    return wait_until(lambda: line.search(site.main.log(mark)), 10.0, reason).group(1)


def first_packets(site, broker, credential, client_id, topic):
    """CONNECT, SUBSCRIBE and PUBLISH (QoS 1) in one write; the code of CONNACK, and whether the message came back."""
    with site.raw(broker, credential) as raw:
        raw.send(connect_packet(client_id) + subscribe_packet(topic, 1) + publish_packet(topic, b"first", 1, 7))
        answers = {}
        while PUBLISH not in answers:
            packet = raw.receive()
            if packet is None:
                return answers
            answers[packet[0]] = packet
        return answers


TEMPLATE = {"attributes": {"site": "${cert.subject.OU}", "line": "7"}, "roles": ["meter"], "tenant": "${cert.subject.O}"}


def test_rights_hold_at_the_first_packet(world, fleet):
    authority = fleet(provisioning=TEMPLATE)
    credential = authority.issue(subject=subject("first-1", ou="berlin", o="north"))
    answers = first_packets(world, world.main, credential, "first-1", "plants/north/berlin/first-1/x")
    assert answers[clients.CONNACK][2][1] == 0
    assert answers[SUBACK][2][2] == 1
    assert answers[PUBLISH][2].endswith(b"first")
    assert device(world, "first-1") == ({"site": "berlin", "line": "7"}, "north", ["meter"])


def test_event_row_and_message_are_one_text(world, fleet):
    authority = fleet(provisioning=TEMPLATE)
    world.role("role of eyes", "ALLOW SUBSCRIBE,RECEIVE $iot-auth/#")
    eyes = authority.issue("eyes")
    world.registry.register_device(device_id="eyes", pem=eyes.pem, ca_name=authority.name)
    world.registry.grant_device_role(device_id="eyes", role="role of eyes")
    observer = world.connect(world.main, eyes)
    assert observer.subscribe("$iot-auth/events/device/registered") == 1
    world.connect(world.main, authority.issue(subject=subject("event-1", ou="berlin", o="north")))
    _, payload = observer.receive()
    row = world.registry.wait_for_event(kind="device/registered", principal="event-1")
    assert json.loads(payload) == row["detail"]
    assert (row["detail"]["attributes"], row["detail"]["roles"], row["detail"]["tenant"]) == (
        {"site": "berlin", "line": "7"}, ["meter"], "north")


@pytest.mark.parametrize("template,value", [
    ("${cert.cn}", "{id}"), ("${cert.serial}", "0a1b"), ("${cert.fingerprint}", "{fingerprint}"), ("${cert.subject.O}", "north"),
    ("${cert.subject.OU}", "berlin"), ("${cert.subject.serialNumber}", "SN-1"), ("${cert.subject.UID}", "user-1"),
    ("${cert.san.dns}", "a.example"), ("${cert.san.ip}", "192.0.2.7"), ("${ca}", "{ca}"), ("constant", "constant"),
    ("${cert.san.uri|prefix:urn:acme:}", "m1"), ("${cert.san.uri|path:2}", None), ("${cert.san.uri}", None),
    ("${cert.subject.serialNumber|field:-,2}", "1"), ("${cert.subject.serialNumber|field:-,3}", None),
    ("${cert.subject.O}-${cert.subject.OU}", "north-berlin"), ("${cert.san.email}", None), ("${tenant}", None),
])
def test_every_variable_can_be_an_attribute(world, fleet, template, value):
    authority = fleet(provisioning={"attributes": {"value": template, "other": "x"}})
    device_id = "var-%d" % world.count
    credential = authority.issue(
        subject=subject(device_id, ou="berlin", o="north", extra=[NameAttribute(NameOID.SERIAL_NUMBER, "SN-1"),
                                                                  NameAttribute(NameOID.USER_ID, "user-1")]),
        serial=0x0A1B, san_dns=["a.example"], san_uri=["urn:acme:m1", "https://x.example/a/b"], san_ip=["192.0.2.7"])
    world.connect(world.main, credential)
    expected = {"other": "x"}
    if value is not None:
        expected["value"] = value.format(id=device_id, fingerprint=credential.fingerprint.hex(), ca=authority.name)
    assert device(world, device_id)[0] == expected


@pytest.mark.parametrize("ou,why", [
    (None, "no value"), (["a", "b"], "more than one"), ("a/b", "contains"), ("a+b", "contains"), ("$x", "begins"),
    ("x" * 64 + "#", "contains"), ("a\u0001b", "control"),
])
def test_a_required_value_that_cannot_be_used_is_refused(world, fleet, ou, why):
    authority = fleet(provisioning={"attributes": {"site": "${cert.subject.OU}"}, "required": ["site"]})
    device_id = "req-%d" % world.count
    detail = refused(world, "identity_invalid", authority.issue(subject=subject(device_id, ou=ou)))
    assert detail.startswith("attribute 'site': ${cert.subject.OU}: ") and why in detail
    assert device(world, device_id) is None


@pytest.mark.parametrize("length,fits", [(128, True), (129, False)])
def test_a_value_of_128_bytes_fits(world, fleet, length, fits):
    authority = fleet(provisioning={"attributes": {"uri": "${cert.san.uri}", "joined": "x-${cert.san.uri|field:x,1}"}})
    device_id = "len-%d" % world.count
    world.connect(world.main, authority.issue(device_id, san_uri=["urn:" + "a" * (length - 4)]))
    attributes = device(world, device_id)[0]
    assert ("uri" in attributes) is fits and "joined" not in attributes


def test_forty_new_devices_at_once_have_rights_of_their_own(world, fleet):
    authority = fleet(provisioning=TEMPLATE)
    names = ["many-%d" % n for n in range(40)]
    credentials = {n: authority.issue(subject=subject(n, ou="site-" + n, o="north")) for n in names}
    results = {}

    def arrive(name):
        results[name] = first_packets(world, world.main, credentials[name], name, "plants/north/site-%s/%s/x" % (name, name))

    threads = [threading.Thread(target=arrive, args=(n,)) for n in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(PUBLISH in answers for answers in results.values())
    assert {n: device(world, n)[0]["site"] for n in names} == {n: "site-" + n for n in names}


def test_one_new_device_at_two_brokers_is_provisioned_once(world, fleet):
    authority = fleet(registration="expected", provisioning=TEMPLATE)
    other = world.broker()
    for n in range(5):
        name = "twice-%d" % n
        world.registry.expect_device(ca_name=authority.name, device_id=name, attributes={"batch": "9"})
        credential = authority.issue(subject=subject(name, ou="berlin", o="north"))
        attempts = [world.client(b, credential) for b in (world.main, other)]
        assert world.connect_all(attempts) == [0, 0]
        assert device(world, name) == ({"site": "berlin", "line": "7", "batch": "9"}, "north", ["meter"])
        assert len(world.registry.events(kind="device/registered")) == len(
            {e["principal"] for e in world.registry.events(kind="device/registered")})
    other.stop()


def test_the_template_at_commit_counts_whole(world, fleet):
    """set_ca alternates while new devices arrive: none is refused, none has parts of two templates, and who comes after
    set_ca has returned has the new one."""
    authority = fleet(provisioning={"attributes": {"a": "0", "b": "0-${cert.cn}"}})
    stop = threading.Event()
    wrong = []

    def arrive(thread):
        n = 0
        while not stop.is_set():
            name = "turn-%d-%d" % (thread, n)
            n += 1
            result = world.try_connect(world.main, authority.issue(name))
            found = device(world, name)
            if result != 0 or found[0]["b"] != "%s-%s" % (found[0]["a"], name):
                wrong.append((name, result, found))

    threads = [threading.Thread(target=arrive, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(1, 20):
        world.registry.set_ca(name=authority.name, provisioning={"attributes": {"a": str(turn), "b": "%d-${cert.cn}" % turn}})
        assert world.try_connect(world.main, authority.issue("after-%d" % turn)) == 0
        assert device(world, "after-%d" % turn)[0] == {"a": str(turn), "b": "%d-after-%d" % (turn, turn)}
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_value_that_is_too_long_and_a_tenant_that_is_missing_are_omitted(world, fleet):
    authority = fleet(provisioning={"attributes": {"long": "${cert.subject.O}" * 3, "line": "7"}, "tenant": "${cert.subject.OU}"})
    world.connect(world.main, authority.issue(subject=subject("omitted-1", o="o" * 64))).disconnect()
    assert device(world, "omitted-1") == ({"line": "7"}, None, [])


def test_the_device_id_template_at_commit_counts(world, fleet):
    """A registration that was sent before set_ca returned is made with the new template: its device id is never the old one."""
    authority = fleet(device_id_template="t0-${cert.cn}", client_id_templates=["*"])
    stop = threading.Event()

    def arrive(thread):
        n = 0
        while not stop.is_set():
            n += 1
            world.try_connect(world.main, authority.issue("id-%d-%d" % (thread, n)))

    threads = [threading.Thread(target=arrive, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(1, 12):
            world.registry.set_ca(name=authority.name, device_id_template="t%d-${cert.cn}" % turn)
            [[returned]] = world.registry.query("SELECT clock_timestamp()")
            mark = world.main.mark()
            assert world.try_connect(world.main, authority.issue("late-%d" % turn)) == 0, world.main.log(mark)
            late = world.registry.query("SELECT device_id FROM iot_auth.device WHERE created_at > %s AND ca_id ="
                                        " (SELECT ca_id FROM iot_auth.ca WHERE name = %s) AND device_id NOT LIKE %s",
                                        returned, authority.name, "t%d-%%" % turn)
            assert late == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_only_expected_devices_register(world, fleet):
    authority = fleet(registration="expected")
    credential = authority.issue("exp-1")
    refused(world, "device_unexpected", credential)
    world.registry.expect_device(ca_name=authority.name, device_id="exp-1",
                                 serial=str(credential.certificate.serial_number), roles=["gateway"])
    world.connect_within(5.0, world.main, credential)
    assert device(world, "exp-1") == ({}, None, ["gateway"])
    mark = world.main.mark()
    assert world.try_connect(world.main, authority.issue("exp-1")) != 0
    assert "reason=device_unexpected" in world.main.log(mark)


def test_a_further_certificate_gives_the_live_session_its_rights(world, fleet):
    authority = fleet(provisioning={**TEMPLATE, "on_existing": "merge"})
    first = world.connect(world.main, authority.issue(subject=subject("rot-1", ou="old", o="north")))
    assert first.subscribe("plants/north/new/rot-1/x") == 128
    authority2 = authority.issue(subject=subject("rot-1", ou="new", o="north"))
    first.disconnect()
    second = world.connect(world.main, authority2)
    assert second.subscribe("plants/north/new/rot-1/x") == 1
    assert device(world, "rot-1")[0]["site"] == "new"


def test_a_roll_over_provisions_by_the_successor(world, fleet):
    old = fleet(provisioning=TEMPLATE)
    credential = old.issue(subject=subject("heir-1", ou="old", o="north"))
    world.connect(world.main, credential)
    heir = world.fleet(old.name + "-heir", roles=[], replaces=old.name,
                       provisioning=json.dumps({**TEMPLATE, "roles": ["gateway"], "on_existing": "replace"}))
    known(world, old.name + "-heir")
    world.connect(world.main, heir.issue(subject=subject("heir-1", ou="new", o="north")))
    assert device(world, "heir-1") == ({"site": "new", "line": "7"}, "north", ["gateway"])


def test_a_pending_device_is_provisioned_and_waits(world, fleet):
    authority = fleet(registered_status="PENDING", provisioning=TEMPLATE)
    credential = authority.issue(subject=subject("pend-1", ou="berlin", o="north"))
    world.assert_refused("device_pending", world.main, credential, codes=clients.REFUSED + clients.TRY_AGAIN)
    assert device(world, "pend-1")[0]["site"] == "berlin"
    world.registry.set_device_status(device_id="pend-1", status="ACTIVE")
    connected = world.connect_within(5.0, world.main, credential)
    assert connected.subscribe("plants/north/berlin/pend-1/x") == 1


def test_a_deleted_device_is_provisioned_when_it_registers_again(world, fleet):
    authority = fleet(provisioning={**TEMPLATE, "on_existing": "keep"})
    credential = authority.issue(subject=subject("del-1", ou="berlin", o="north"))
    world.connect(world.main, credential).disconnect()
    world.registry.query("DELETE FROM iot_auth.device WHERE device_id = 'del-1'")
    world.registry.set_ca(name=authority.name, provisioning={"attributes": {"site": "new-${cert.subject.OU}"}})
    wait_until(lambda: world.try_connect(world.main, credential) == 0 and device(world, "del-1"), 5.0, "registration")
    assert device(world, "del-1") == ({"site": "new-berlin"}, None, [])


# Hooks


@pytest.fixture
def hook(world, fleet):
    """hook(body) registers an authority whose hook has that PL/pgSQL body; hooks are the schema owner's."""

    def make(body, **options):
        authority = fleet(**options)
        function = "public.hook_%s" % authority.name.replace("-", "_")
        world.registry.database.query("CREATE FUNCTION %s(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $h$ BEGIN %s END $h$"
                                      % (function, body))
        world.registry.set_registration_hook(ca_name=authority.name, hook=function + "(jsonb)")
        authority.hook = function
        return authority

    return make


def test_a_hook_allows_gives_and_refuses(world, hook):
    authority = hook("""
        RETURN CASE WHEN request #>> '{identity,cert.subject.OU}' = 'berlin'
                    THEN jsonb_build_object('allow', true, 'attributes', jsonb_build_object('site', 'erp'))
                    ELSE jsonb_build_object('allow', false, 'reason', 'not in the ERP') END;""", provisioning=TEMPLATE)
    allowed = authority.issue(subject=subject("hook-1", ou="berlin", o="north"))
    answers = first_packets(world, world.main, allowed, "hook-1", "plants/north/erp/hook-1/x")
    assert PUBLISH in answers
    assert world.registry.wait_for_event(kind="device/registered", principal="hook-1")["detail"]["attributes"] == {"site": "erp"}
    assert refused(world, "hook_refused", authority.issue(subject=subject("hook-2", ou="paris", o="north"))) == "not in the ERP"
    assert device(world, "hook-2") is None


def test_new_devices_of_a_hook_register_one_at_a_time(world, hook):
    world.registry.database.query("CREATE TABLE IF NOT EXISTS public.calls (began timestamptz, ended timestamptz)")
    authority = hook("INSERT INTO public.calls VALUES (clock_timestamp(), clock_timestamp() + interval '0 s');"
                     " PERFORM pg_sleep(0.01); UPDATE public.calls SET ended = clock_timestamp() WHERE xmin = pg_current_xact_id()::xid;"
                     " RETURN '{\"allow\": true}';")
    clients_ = [world.client(world.main, authority.issue("seq-%d" % n)) for n in range(8)]
    assert world.connect_all(clients_) == [0] * 8
    overlaps = world.registry.database.query("SELECT count(*) FROM public.calls a JOIN public.calls b ON a.ctid <> b.ctid"
                                             " AND a.began < b.ended AND b.began < a.ended")
    assert overlaps == [(0,)]


@pytest.mark.parametrize("body,words", [
    ("PERFORM pg_sleep(30); RETURN NULL;", "took longer than the time limit"),
    ("RAISE EXCEPTION 'no ERP today';", "failed: no ERP today"),
    ("RETURN '[]';", "did not answer with a JSON object"),
])
def test_a_failing_hook_registers_nobody_and_holds_up_no_other_ca(world, hook, fleet, body, words):
    authority = hook(body)
    other = fleet(name=authority.name + "-other")
    stop = threading.Event()

    def hammer():
        while not stop.is_set():
            world.try_connect(world.main, authority.issue("bad-%d" % world.count))

    thread = threading.Thread(target=hammer)
    thread.start()
    wait_until(lambda: words in (world.registry.ca_problem(authority.name) or ""), 10.0, "problem")
    for n in range(5):
        assert world.try_connect(world.main, other.issue("good-%d-%d" % (world.count, n))) == 0
    stop.set()
    thread.join()
    assert device(world, "bad-%d" % world.count) is None
    world.registry.database.query("CREATE OR REPLACE FUNCTION %s(request jsonb) RETURNS jsonb LANGUAGE sql"
                                  " AS $h$ SELECT '{\"allow\": true}'::jsonb $h$" % authority.hook)
    world.connect_within(5.0, world.main, authority.issue("repaired-%d" % world.count))
    assert world.registry.ca_problem(authority.name) is None


def test_the_transaction_of_a_hook_ends_where_its_broker_stops(world, hook):
    """Else a device stays locked, and cannot be revoked, for as long as a paused broker's connection lasts."""
    authority = hook("RETURN jsonb_build_object('allow', current_setting('idle_in_transaction_session_timeout') = '2s');")
    world.connect(world.main, authority.issue("paused-1"))


def test_the_event_of_a_hooks_registration_is_published_once(world, hook):
    authority = hook("RETURN '{\"allow\": true}';")
    watcher = world.fleet("watcher-" + authority.name)
    eyes = watcher.issue("eyes-2")
    world.registry.register_device(device_id="eyes-2", pem=eyes.pem, ca_name="watcher-" + authority.name)
    world.role("role of eyes-2", "ALLOW SUBSCRIBE,RECEIVE $iot-auth/#")
    world.registry.grant_device_role(device_id="eyes-2", role="role of eyes-2")
    observer = world.connect(world.main, eyes)
    wait_until(lambda: observer.subscribe("$iot-auth/events/device/registered") == 1, what="the granted role")
    names = ["once-1", "once-2", "once-3"]
    for name in names:
        world.connect(world.main, authority.issue(name))
    principals = []
    while names[-1] not in principals:
        principals += [name for name in [json.loads(observer.receive()[1])["device_id"]] if name in names]
    assert principals == names


def test_many_slow_hooks_hold_up_no_other_hook(world, fleet):
    """More slow hooks than threads: the ninth CA's hook is asked at once."""
    broker = world.broker(options={"hook_timeout_ms": "3000"})
    database = world.registry.database
    database.query("CREATE FUNCTION public.slow_hook(jsonb) RETURNS jsonb LANGUAGE plpgsql AS"
                   " $h$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $h$")
    database.query("CREATE FUNCTION public.fast_hook(jsonb) RETURNS jsonb LANGUAGE sql AS $h$ SELECT '{\"allow\": true}'::jsonb $h$")
    slow = [fleet(name="slow-%d" % n) for n in range(6)]
    fast = fleet(name="fast")
    for authority in slow:
        world.registry.set_registration_hook(ca_name=authority.name, hook="public.slow_hook(jsonb)")
    world.registry.set_registration_hook(ca_name="fast", hook="public.fast_hook(jsonb)")
    waiting = [threading.Thread(target=world.try_connect, args=(broker, a.issue("s-" + a.name))) for a in slow]
    for thread in waiting:
        thread.start()
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    wait_until(lambda: database.query(sleeping) == [(6,)], 10.0, "slow hooks")
    world.connect(broker, fast.issue("fast-1"))
    assert database.query(sleeping) == [(6,)]
    for thread in waiting:
        thread.join()
    broker.stop()


def test_a_hook_that_does_not_end_is_ended(world, hook):
    authority = hook("LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;")
    assert world.try_connect(world.main, authority.issue("loop-1")) != 0
    wait_until(lambda: "did not end" in (world.registry.ca_problem(authority.name) or ""), 15.0, "problem")
    running = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    wait_until(lambda: world.registry.database.query(running) == [(0,)], 15.0, "end of the hook")
    assert device(world, "loop-1") is None
    world.registry.set_registration_hook(ca_name=authority.name, hook=None)
    world.connect_within(5.0, world.main, authority.issue("loop-2"))


def test_check_cert_says_what_a_registration_would_give(world, fleet, tmp_path):
    authority = fleet(provisioning={**TEMPLATE, "required": ["site"]}, registration="expected")
    world.registry.expect_device(ca_name=authority.name, device_id="would-1", attributes={"batch": 12}, roles=["gateway"])
    world.registry.expect_device(ca_name=authority.name, device_id="would-3")
    credential = authority.issue(subject=subject("would-1", ou="berlin", o="north"))

    command = Command(world.registry.database, tmp_path)
    answer = command.done("check", "cert", credential.files(tmp_path)[0])
    lines = answer.out.splitlines()
    for line in ("allow device=would-1", "ca=" + authority.name, "expected=yes", "tenant=north",
                 'attributes={"batch": "12", "line": "7", "site": "berlin"}'):
        assert line in lines, answer
    assert "gateway" in answer.out and "meter" in answer.out
    assert device(world, "would-1") is None
    for other, reason in ((authority.issue(subject=subject("would-3", o="north")), "identity_invalid"),
                          (authority.issue(subject=subject("would-2", ou="berlin", o="north")), "device_unexpected")):
        answer = command("check", "cert", other.files(tmp_path)[0])
        assert (answer.status, reason in answer.out) == (1, True), answer
