# SPDX-License-Identifier: ISC
"""docs/troubleshooting.md quotes what clients show: each quotation is provoked here with the clients at hand.

An alert may be overtaken by the reset of the connection (the page says why), so mosquitto_pub's words for a refused
certificate are one of three; `openssl s_client` writes its flight at once and then reads."""

import os
import shutil
import subprocess

import pki
import pytest
from broker import PATIENCE, SOURCE, wait_until

PAGE = (SOURCE / "docs/troubleshooting.md").read_text()
TOPIC = "devices/sensor-1/temperature"
LOST = ("The connection was lost.", "Protocol error", "A TLS error occurred.")
ALERTS = {
    40: "sslv3 alert handshake failure",
    42: "sslv3 alert bad certificate",
    43: "sslv3 alert unsupported certificate",
    44: "sslv3 alert certificate revoked",
    45: "sslv3 alert certificate expired",
    48: "tlsv1 alert unknown ca",
    49: "tlsv1 alert access denied",
    80: "tlsv1 alert internal error",
    116: "tlsv13 alert certificate required",
}


# What GnuTLS writes beside the number of the alert.
GNUTLS = {45: "Certificate is expired", 44: "Certificate was revoked", 48: "CA is unknown"}
MBEDTLS = os.environ.get("IOT_AUTH_MBEDTLS_CERT", str(SOURCE / "build/release/tests/integration/mbedtls_cert"))


def run(*command):
    """(exit status, output) of a client that ends by itself."""
    ended = subprocess.run(
        command, input="", capture_output=True, text=True, check=False, timeout=20 * PATIENCE
    )
    return ended.returncode, ended.stdout + ended.stderr


def files(site, credential):
    return credential.files(site.folder) if credential else None


def mosquitto(program, site, broker, credential, *options, port="device", trust=None, version="311"):
    pair = files(site, credential)
    keys = ("--cert", pair[0], "--key", pair[1]) if pair else ()
    trust = ("--cafile", str(trust or site.listeners_pki.trust))
    return run(program, "-V", version, "-h", "127.0.0.1", "-p", str(broker.ports[port]), *trust, *keys, *options)


def publish(site, broker, credential, client_id, version="311", topic=TOPIC, **where):
    options = ("-i", client_id, "-t", topic, "-m", "21", "-q", "1")
    return mosquitto("mosquitto_pub", site, broker, credential, *options, version=version, **where)


def s_client(site, broker, credential, *options):
    """What OpenSSL shows of a handshake that is refused."""
    pair = files(site, credential)
    keys = ("-cert", pair[0], "-key", pair[1], "-cert_chain", pair[0]) if pair else ()
    trust = ("-CAfile", str(site.listeners_pki.trust))
    return run("openssl", "s_client", "-quiet", "-connect", "127.0.0.1:%d" % broker.ports["device"], *trust, *keys,
               *options)[1]


def assert_on_page(*texts):
    for text in texts:
        assert text in PAGE, "the page does not quote %r" % text


def assert_alert(site, broker, credential, alert, reason, tls=("-tls1_2", "-tls1_3")):
    """The alert, its words on the page, and the reason in the table of alerts."""
    assert_on_page(ALERTS[alert])
    rows = [row for row in PAGE.splitlines() if row.startswith("|") and " %d " % alert in row.split("|")[1] + " "]
    assert any("`%s`" % reason in row for row in rows), "no row for alert %d has %s" % (alert, reason)
    for version in tls:
        mark = broker.mark()
        words = "%s:" % ALERTS[alert], "SSL alert number %d" % alert
        wait_until(  # repeated, because a reset may overtake the alert
            lambda: all(text in s_client(site, broker, credential, version) for text in words), 10, "alert %d" % alert
        )
        broker.wait_for_log("refused reason=" + reason, since=mark)


def test_a_refused_certificate_is_shown_as_the_alert_that_the_page_says(site):
    fleet = site.fleet()
    closed, revoked_ca = (site.register(site.root.intermediate(name), name) for name in ("closed", "revoked"))
    broker = site.broker()
    revoked = fleet.issue("sensor-3")
    site.registry.add_crl(ca_name="acme", crl=fleet.crl(revoked))
    site.registry.set_ca_status(name="closed", status="INACTIVE")
    site.registry.set_ca_status(name="revoked", status="REVOKED")
    site.assert_refused_soon("certificate_revoked", broker, revoked, seconds=5)
    for credential, alert, reason in (
        (pki.root("elsewhere").issue("sensor-1"), 48, "ca_unknown"),
        (fleet.issue("sensor-1", not_before=-7200, not_after=-3600), 45, "certificate_expired"),
        (fleet.issue("sensor-1", not_before=3600, not_after=7200), 45, "certificate_expired"),
        (revoked, 44, "certificate_revoked"),
        (revoked_ca.issue("sensor-5"), 44, "ca_inactive"),
        (closed.issue("sensor-4"), 42, "ca_inactive"),
        (fleet.issue("sensor-6", eku=[pki.SERVER_AUTH]), 43, "certificate_unfit"),
    ):
        assert_alert(site, broker, credential, alert, reason)
        _, shown = publish(site, broker, credential, "sensor-1")
        assert any(text in shown for text in LOST), shown
    assert_alert(site, broker, None, 116, "no_credential", tls=("-tls1_3",))
    assert_alert(site, broker, None, 40, "no_credential", tls=("-tls1_2",))
    assert_on_page(*LOST)


def test_a_denied_address_and_a_broker_without_a_registry(site):
    fleet = site.fleet()
    broker = site.broker()
    site.registry.deny_ip(network="127.0.0.0/8")
    device = fleet.issue("sensor-1")
    site.assert_refused_soon("address_denied", broker, device, seconds=5)
    assert_alert(site, broker, device, 49, "address_denied")
    nowhere = {"db_conninfo": "host=127.0.0.1 port=1 dbname=x user=y", "startup_wait_ms": "0"}
    assert_alert(site, site.broker(options=nowhere), device, 80, "registry_unavailable")
    status, shown = publish(site, site.brokers[-1], None, "x", port="app")
    assert status == 7 and "The connection was lost." in shown  # closed without a CONNACK


def test_what_never_reaches_the_plugin(site):
    """The rows about attempts of which the log has no line `refused`."""
    fleet = site.fleet()
    broker = site.broker()
    device = fleet.issue("sensor-1")
    other = site.folder / "other.pem"
    other.write_text(pki.root("other").pem)
    mark = broker.mark()
    assert "A TLS error occurred" in publish(site, broker, device, "sensor-1", trust=other)[1]
    broker.wait_for_log("alert unknown ca", since=mark)
    plain = run("mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.ports["device"]), "-t", TOPIC, "-m", "21")
    assert "The connection was lost" in plain[1]
    broker.wait_for_log("wrong (version )?number", since=mark)
    old = s_client(site, broker, device, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert "alert protocol version" in old or "alert internal error" in old, old
    broker.wait_for_log("no suitable signature algorithm|unsupported protocol", since=mark)
    assert "alert handshake failure" in s_client(site, broker, device, "-tls1_2", "-groups", "secp256k1")
    broker.wait_for_log("no suitable key share|no shared cipher", since=mark)
    long = device.beside_with(*[fleet] * 60)
    s_client(site, broker, long, "-tls1_2")  # shows alert 47 or, while it is still writing, a broken pipe
    broker.wait_for_log("excessive message size", since=mark)
    assert "refused" not in broker.log(mark)
    assert_on_page("`wrong version number`", "`unsupported protocol`", "`no suitable key share`", "`excessive message size`")


def test_a_refused_connect_is_shown_as_the_page_says(site):
    fleet = site.fleet()
    broker = site.broker()
    device = fleet.issue("sensor-1")
    for version, status, text in (
        ("311", 5, "Connection Refused: not authorised."),
        ("5", 135 if site.kind == "host" else None, "Not authorized" if site.kind != "sid" else ""),
    ):
        code, shown = publish(site, broker, device, "another-id", version=version)
        assert text in shown and (status is None or code == status), (version, code, shown)
        assert_on_page(text)
    assert "client_id_mismatch" in broker.log()
    assert_on_page("exit 5", "exit 135")


def test_a_denied_topic_is_shown_as_the_page_says(site):
    broker = site.broker()
    device = site.fleet().issue("sensor-1")
    status, shown = publish(site, broker, device, "sensor-1", topic="elsewhere")
    assert (status, shown) == (0, "")  # MQTT 3.1.1 has no answer for that
    assert "Publish 1 failed: Not authorized" in publish(site, broker, device, "sensor-1", "5", topic="elsewhere")[1]
    for version in ("311", "5"):
        options = ("-i", "sensor-1", "-t", "devices/#", "-W", "5")
        shown = mosquitto("mosquitto_sub", site, broker, device, *options, version=version)[1]
        assert "All subscription requests were denied." in shown
    assert_on_page("Publish 1 failed: Not authorized", "All subscription requests were denied.")


def test_an_ended_session_is_shown_as_the_page_says(site):
    broker = site.broker()
    device = site.fleet().issue("sensor-1")
    pair = files(site, device)
    command = ["mosquitto_sub", "-V", "5", "-h", "127.0.0.1", "-p", str(broker.ports["device"]), "-d", "-i", "sensor-1"]
    command += ["--cafile", str(site.listeners_pki.trust), "--cert", pair[0], "--key", pair[1], "-t", TOPIC]
    shown = site.folder / "mosquitto_sub.txt"
    with open(shown, "w") as output, subprocess.Popen(["stdbuf", "-oL", *command], stdout=output) as client:
        try:
            wait_until(lambda: "Subscribed" in shown.read_text(), 10, "subscription")
            site.registry.set_device_status(device_id="sensor-1", status="INACTIVE")
            wait_until(lambda: "Received DISCONNECT (152)" in shown.read_text(), 10, "DISCONNECT")
        finally:
            client.kill()
    assert_on_page("Received DISCONNECT (152)")


def test_paho_shows_what_the_page_says(site):
    fleet = site.fleet()
    broker = site.broker()
    refused = site.client(broker, fleet.issue("sensor-1"), "another-id")
    assert refused.connect() == 5
    assert_on_page("`on_connect` with 5")


def refusals(site, fleet):
    """Alerts that clients meet most, each with a credential that is refused with it."""
    revoked = fleet.issue("sensor-3")
    site.registry.add_crl(ca_name="acme", crl=fleet.crl(revoked))
    yield 48, "ca_unknown", pki.root("elsewhere").issue("sensor-1")
    yield 45, "certificate_expired", fleet.issue("sensor-1", not_before=-7200, not_after=-3600)
    yield 44, "certificate_revoked", revoked


@pytest.mark.skipif(not shutil.which("gnutls-cli"), reason="gnutls-cli is not installed")
def test_gnutls_shows_what_the_page_says(site):
    fleet, broker = site.fleet(), site.broker()
    for alert, _, credential in refusals(site, fleet):
        certificate, key = files(site, credential)
        command = ("gnutls-cli", "--x509cafile", str(site.listeners_pki.trust), "--x509certfile", certificate, "--x509keyfile", key,
                   "--no-ca-verification", "--priority", "NORMAL:-VERS-TLS1.3", "-p", str(broker.ports["device"]), "127.0.0.1")
        words = "Received alert [%d]: %s" % (alert, GNUTLS[alert])
        wait_until(lambda command=command, words=words: words in run(*command)[1], 10, words)  # a reset may overtake the alert
        assert_on_page("`%s`" % GNUTLS[alert])


@pytest.mark.skipif(not os.path.exists(MBEDTLS), reason="there was no mbedTLS to build the client with")
def test_mbedtls_shows_what_the_page_says(site):
    fleet, broker = site.fleet(), site.broker()
    trust = str(site.listeners_pki.trust)

    def shown(credential, client_id="sensor-1", trusted=trust):
        return run(MBEDTLS, str(broker.ports["device"]), trusted, *files(site, credential), client_id)[1].strip()

    assert shown(fleet.issue("sensor-1")) == "connack 0"
    assert shown(fleet.issue("sensor-1"), "another-id") == "connack 5"
    other = site.folder / "other.pem"
    other.write_text(pki.root("other").pem)
    assert shown(fleet.issue("sensor-1"), trusted=str(other)) == "handshake -0x2700"
    for _, reason, credential in refusals(site, fleet):
        seen = set()

        def is_alert_seen(credential=credential, seen=seen):
            seen.add(shown(credential))
            return "handshake -0x7780" in seen

        wait_until(is_alert_seen, 20, "the alert")
        early = {"connack 5"} if reason == "certificate_revoked" else set()  # the broker had not read the list yet
        assert seen <= early | {"handshake -0x7780", "handshake -0x0050", "handshake -0x7280"}, seen
    assert_on_page("`-0x2700`", "`-0x7780`", "`-0x50`", "`-0x7280`")
