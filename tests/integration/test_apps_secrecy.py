# SPDX-License-Identifier: ISC
"""A token is a password: neither it nor a part of it is written anywhere."""

import json

import pytest

from app_kit import AuthClient, Issuer, app, auth_app, bearer, new_key
from broker import wait_until
from client import AUTH

RULES = {"use": ["ALLOW PUBLISH,SUBSCRIBE,RECEIVE devices/#"], "audit": ["ALLOW SUBSCRIBE,RECEIVE $iot-auth/#"]}


def every_way(site, broker, corp):
    """Presents valid and invalid tokens in every possible way; returns them."""
    good = corp.token(scope="use secret-scope", secret="Zaphod Beeblebrox")
    bad = [
        corp.token(-60),
        corp.token(key=new_key("ES256")),
        corp.token(headers={"kid": "unknown"}),
        corp.token(headers={"typ": "strange"}),
        corp.token(iss="https://elsewhere.example"),
        corp.token(aud="elsewhere"),
        corp.token(client_id="a/b"),
        corp.token(client_id="other"),
        corp.token() + "=",
        corp.sign(json.dumps(corp.header()), "{not json}"),
        corp.token(cnf={"jkt": "A" * 43}),
    ]
    for token in bad:
        assert site.try_connect(broker, client_id="app:corp:dashboard", password=token) != 0
        assert AuthClient(site, broker, "app:corp:dashboard").connect(bearer(token)) != 0
        client = auth_app(site, broker, good)
        client.reauthenticate(bearer(token)).wait_kicked(before=[AUTH])
    client = app(site, broker, good)
    assert client.subscribe("devices/#") == 1
    assert client.subscribe("forbidden/#") == 128
    broker.sighup()
    client.publish("devices/x", "hello")
    site.registry.set_issuer_status(name="corp", status="INACTIVE")
    client.wait_closed(1.0)
    return [good, *bad]


def secrets(tokens):
    """What must not appear anywhere: each token, its payload and its signature, and values that only the payload has.
    """
    parts = {"Zaphod", "secret-scope"}
    for token in tokens:
        parts.update([token, *token.rstrip("=").split(".")[1:]])
    return parts


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_token_is_written_anywhere(site, log_format):
    corp = Issuer().register(site, RULES)
    partner = Issuer("partner").register(site, RULES)
    broker = site.broker(options={"log_format": log_format}, persistence=True)
    auditor = auth_app(site, broker, partner.token(scope="audit"), "app:partner:dashboard")
    assert auditor.subscribe("$iot-auth/#") < 128
    assert "log_type all" in broker.config()
    tokens = every_way(site, broker, corp)
    wait_until(lambda: "issuer_inactive" in broker.log(), what="end of the story")
    site.registry.wait_for_event("issuer_inactive", "session/ended")
    broker.stop()

    header = tokens[0].split(".", maxsplit=1)[0]
    log = broker.log()
    assert log.count("reason=token_" if log_format == "text" else '"reason":"token_') > 20, "they are logged"
    found = [secret for secret in secrets(tokens) | {header} if secret in log]
    assert not found
    database = site.registry.database
    tables = [row[0] for row in database.query("SELECT tablename FROM pg_tables WHERE schemaname = 'iot_auth'")]
    rows = "".join(str(database.query("SELECT t::text FROM iot_auth.%s t" % table)) for table in tables)
    assert "token_signature" in rows
    assert not [secret for secret in secrets(tokens) if secret in rows]
    database = b"".join(file.read_bytes() for file in broker.folder.glob("mosquitto.db*"))
    assert not [secret for secret in secrets(tokens) if secret.encode() in database]


def test_a_token_as_username_or_client_id_is_no_credential(site):
    """The username is public, so a token in it admits nobody."""
    corp = Issuer().register(site, {}, client_id_templates=["*"])
    broker = site.broker()
    site.assert_refused("no_credential", broker, client_id="x", username=corp.token())
    site.assert_refused("no_credential", broker, client_id=corp.token(), username=corp.token(), password="x")
