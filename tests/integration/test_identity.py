# SPDX-License-Identifier: ISC
"""Who a device is: what its certificate says, and which client ids it may use."""

import pytest

import pki
from client import V5, NOT_AUTHORIZED, Raw, connect_packet

HOSTILE_NAMES = [
    # (what, common names)
    ("with a NUL", ["sensor-1\0.evil"]),
    ("with a plus", ["+"]),
    ("with a hash", ["#"]),
    ("with a slash", ["sensor-1/x"]),
    ("with a star", ["sensor*"]),
    ("with a leading dollar", ["$SYS"]),
    ("with a control character", ["sensor\n1"]),
    ("with DEL", ["sensor\x7f"]),
    ("empty", [""]),
    ("too long", ["s" * 129]),
    ("given twice", ["sensor-1", "sensor-2"]),
    ("not given", []),
    ("of an app", ["app:corp:dashboard"]),
]


@pytest.mark.parametrize("what,names", HOSTILE_NAMES, ids=[row[0] for row in HOSTILE_NAMES])
def test_a_hostile_common_name_is_refused(site, what, names):
    fleet = site.fleet(client_id_templates=["*"])
    broker = site.broker()
    device = fleet.issue(subject=pki.name(names, o="Acme"))
    site.assert_refused("identity_invalid", broker, device, client_id="x")
    assert site.registry.devices() == []


@pytest.mark.parametrize("cn", ["s" * 128, "Gerät-7", "a.b:c_d-e@f", "s${device_id}", "センサー", "app"])
def test_an_unusual_common_name_is_admitted(site, cn):
    fleet = site.fleet()
    client = site.connect(site.broker(), fleet.issue(cn))
    assert site.registry.devices() == [cn]
    assert client.connected


TEMPLATES = [
    # (device_id_template, options of the leaf, device id)
    ("${cert.cn}", {"cn": "s1"}, "s1"),
    ("${cert.serial}", {"cn": "s1", "serial": 0x00ABCDEF0123}, None),
    ("${cert.fingerprint}", {"cn": "s1"}, None),
    ("${cert.subject.O}-${cert.cn}", {"subject": pki.name("s1", o="Acme")}, "Acme-s1"),
    ("${cert.subject.OU}", {"subject": pki.name("s1", ou="Line 7")}, "Line 7"),
    ("${cert.subject.serialNumber}", {"subject": pki.name("s1", serial_number="4711")}, "4711"),
    ("${cert.san.dns}", {"cn": "s1", "san_dns": ["s1.acme.example"]}, "s1.acme.example"),
    ("dev:${cert.san.uri}", {"cn": "s1", "san_uri": ["urn:dev:4711"]}, "dev:urn:dev:4711"),
    ("${ca}:${cert.cn}", {"cn": "s1"}, "acme:s1"),
    ("${tenant}:${cert.cn}", {"cn": "s1"}, "north:s1"),
]


@pytest.mark.parametrize("template,leaf,device_id", TEMPLATES, ids=[row[0] for row in TEMPLATES])
def test_a_device_id_comes_from_its_template(site, template, leaf, device_id):
    fleet = site.fleet(device_id_template=template, client_id_templates=["*"], tenant="north")
    credential = fleet.issue(**leaf)
    site.connect(site.broker(), credential, client_id="any")
    [registered] = site.registry.devices()
    if device_id is None:
        made = {"${cert.serial}": "%x" % credential.certificate.serial_number,
                "${cert.fingerprint}": credential.fingerprint.hex()}[template]
        registered, device_id = registered.lower().lstrip("0"), made.lstrip("0")
    assert registered == device_id


UNSET = [
    ("${cert.subject.O}", {"cn": "s1"}),
    ("${cert.subject.OU}", {"subject": pki.name("s1", ou=["a", "b"])}),
    ("${cert.san.dns}", {"cn": "s1", "san_dns": ["a.example", "b.example"]}),
    ("${cert.san.uri}", {"cn": "s1", "san_uri": ["https://a.example/x"]}),
    ("${tenant}-${cert.cn}", {"cn": "s1"}),
]


@pytest.mark.parametrize("template,leaf", UNSET, ids=[row[0] for row in UNSET])
def test_a_template_variable_without_one_fit_value_is_a_refusal(site, template, leaf):
    fleet = site.fleet(device_id_template=template, client_id_templates=["*"])
    site.assert_refused("identity_invalid", site.broker(), fleet.issue(**leaf), client_id="s1")


def test_filled_in_text_is_not_expanded_again(site):
    """A common name `s-${cert.serial}` is taken literally, it is not expanded to the serial number."""
    fleet = site.fleet(client_id_templates=["${device_id}"])
    client = site.connect(site.broker(), fleet.issue("s-${cert.serial}"))
    assert site.registry.devices() == ["s-${cert.serial}"]
    client.subscribe("devices/s-${cert.serial}/x")
    client.publish("devices/s-${cert.serial}/x", "own")
    assert client.receive() == ("devices/s-${cert.serial}/x", "own")


# Client ids


@pytest.mark.parametrize("protocol", [4, V5])
@pytest.mark.parametrize("client_id", ["sensor-2", "", "sensor-1x", "Sensor-1"])
def test_another_client_id_is_refused(site, client_id, protocol):
    fleet = site.fleet()
    broker = site.broker()
    site.assert_refused("client_id_mismatch", broker, fleet.issue("sensor-1"), client_id=client_id, protocol=protocol)
    assert site.registry.devices() == ["sensor-1"], "its certificate registers it, whatever its CONNECT says"


def test_a_refused_client_id_gets_the_code_of_its_protocol(site):
    fleet = site.fleet()
    broker = site.broker()
    assert site.try_connect(broker, fleet.issue("sensor-1"), client_id="other") in NOT_AUTHORIZED
    code = site.try_connect(broker, fleet.issue("sensor-1"), client_id="other", protocol=V5)
    assert code in ((0x85,) + NOT_AUTHORIZED if broker.version >= (2, 1) else NOT_AUTHORIZED)


@pytest.mark.parametrize(
    "template,client_id,admitted",
    [
        ("${device_id}-*", "sensor-1-app", True),
        ("${device_id}-*", "sensor-1-", True),
        ("${device_id}-*", "sensor-1", False),
        ("${device_id}-*", "sensor-2-app", False),
        ("gw-${ca}-${device_id}", "gw-acme-sensor-1", True),
        ("gw-${ca}-${device_id}", "gw-acme-sensor-11", False),
        ("*", "whatever", True),
    ],
)
def test_client_id_templates(site, template, client_id, admitted):
    fleet = site.fleet(client_id_templates=[template])
    broker = site.broker()
    if admitted:
        site.connect(broker, fleet.issue("sensor-1"), client_id=client_id)
    else:
        site.assert_refused("client_id_mismatch", broker, fleet.issue("sensor-1"), client_id=client_id)


def test_any_of_several_templates_admits(site):
    fleet = site.fleet(client_id_templates=["${device_id}", "${device_id}/*"])
    broker = site.broker()
    device = fleet.issue("sensor-1")
    site.connect(broker, device)
    site.connect(broker, device, client_id="sensor-1/second")


def test_a_username_and_password_are_ignored_beside_a_certificate(site):
    fleet = site.fleet()
    broker = site.broker()
    other = site.connect(broker, fleet.issue("sensor-2"))
    liar = site.connect(broker, fleet.issue("sensor-1"), username="sensor-2", password="secret")
    assert other.connected
    assert liar.subscribe("devices/sensor-1/x") == 1
    assert liar.subscribe("devices/sensor-2/x") == 128


@pytest.mark.parametrize("client_id", ["+", "#", "a/+/b", "$SYS", "a/b"])
def test_a_client_id_of_wildcards_opens_nothing(site, client_id):
    """The template `*` admits any client id, but as a variable in a filter it must not act as a wildcard."""
    fleet = site.fleet(client_id_templates=["*"])
    site.add_rule("device", "ALLOW SUBSCRIBE,RECEIVE,PUBLISH clients/${client_id}/#")
    broker = site.broker()
    client = site.client(broker, fleet.issue("sensor-1"), client_id=client_id)
    if client.connect() != 0:
        return  # a refusal of such an id is right, too
    for topic in ("clients/other/x", "clients/#", "clients/+/x", "clients/%s/x" % client_id):
        assert client.subscribe(topic) == 128, topic


def test_a_client_id_that_is_not_utf8_is_refused(site):
    fleet = site.fleet(client_id_templates=["*"])
    broker = site.broker()
    with Raw(broker.ports["device"], site.context(fleet.issue("sensor-1"))) as raw:
        answer = raw.send(connect_packet(b"\xff\xfe\x00")).receive()
        assert answer is None or answer[2][1] != 0
    site.connect(broker, fleet.issue("sensor-2"))
