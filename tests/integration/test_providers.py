# SPDX-License-Identifier: ISC
"""The pages of docs/providers: their settings admit their token, with its rights, and refuse what they say is refused.

Each page's SQL is run as it stands.  Its token is signed with a key of the provider's kind, which a server serves as that
provider does; only the URL of the keys is another.
"""

import functools
import json
import re
import time

import pytest

import pki
from app_kit import Issuer, KeyServer, base64url, jwk
from broker import SOURCE, wait_until
from client import REFUSED, V5

PAGES = sorted(path for path in (SOURCE / "docs/providers").glob("*.md") if path.name != "README.md")
DENIED = 0x80

# What a provider's key set has beside kty, kid, n and e; `enc`: a key for encryption among the others; `more`: further keys for signatures.
CERTIFICATE = {"x5c": ["MIIC"], "x5t": base64url(b"x" * 20), "x5t#S256": base64url(b"x" * 32)}
KEY_SETS = {
    "keycloak": {"members": {"use": "sig", "alg": "RS256", **CERTIFICATE}, "enc": {"use": "enc", "alg": "RSA-OAEP", **CERTIFICATE}},
    "auth0": {"members": {"use": "sig", "alg": "RS256", "x5t": CERTIFICATE["x5t"], "x5c": CERTIFICATE["x5c"]}, "more": 1},
    "entra-id": {"members": {"use": "sig", "x5t": CERTIFICATE["x5t"], "x5c": CERTIFICATE["x5c"], "cloud_instance_name": "microsoftonline.com",
                             "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}, "more": 2},
    "cognito": {"members": {"alg": "RS256", "use": "sig"}, "more": 1},
    "okta": {"members": {"alg": "RS256", "use": "sig"}},
    "zitadel": {"members": {"alg": "RS256", "use": "sig"}, "more": 1},
    "authentik": {"members": {"alg": "RS256", "use": "sig", **CERTIFICATE}},
    "google": {"members": {"alg": "RS256", "use": "sig"}, "more": 1},
    "hydra": {"members": {"alg": "RS256", "use": "sig"}, "more": 1},
}


@functools.lru_cache
def rsa_keys():
    """The key that signs, and another: each provider has its own set, and making a key takes a second."""
    return pki.rsa_key(), pki.rsa_key()


class Page:
    """What a page says."""

    def __init__(self, path):
        text = path.read_text(encoding="utf-8")
        self.name = path.stem
        self.statements = re.findall(r"^SELECT .*?;$", re.search(r"```sql\n(.*?)```", text, re.S).group(1), re.S | re.M)
        self.token, self.refused = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.S))
        self.client_id = re.search(r" -i (\S+)", text).group(1)
        self.issuer = re.search(r"register_issuer\('([^']+)'", self.statements[0]).group(1)
        self.key, self.spare = rsa_keys()

    def keys(self):
        kind = KEY_SETS[self.name]
        keys = [jwk(self.key, self.token["header"]["kid"], **kind["members"])]
        keys += [jwk(self.spare, "other-%d" % n, **kind["members"]) for n in range(kind.get("more", 0))]
        if "enc" in kind:
            keys.append(jwk(self.spare, "encryption", **kind["enc"]))
        return {"keys": keys}

    def sign(self, changes=None):
        """The page's token, as of now, with these claims instead; None: without."""
        now = int(time.time())
        times = {"exp": now + 600, "iat": now, "nbf": now, "auth_time": now}
        payload = {**self.token["payload"], **{k: v for k, v in times.items() if k in self.token["payload"]}, **(changes or {})}
        signer = Issuer(algorithm="RS256")
        payload = {k: v for k, v in payload.items() if v is not None}
        return signer.sign(json.dumps(self.token["header"]), json.dumps(payload), self.key)

    def without_rights(self):
        """The token without the claims that roles come from."""
        pointers = re.search(r"scope_claims => '\{(.*?)\}'", self.statements[0]).group(1).split(",")
        first = [p.split("/")[1].replace("~1", "/").replace("~0", "~") for p in pointers]
        return self.sign({name: None for name in first})


def test_each_provider_has_its_page_and_its_kind_of_keys():
    assert {path.stem for path in PAGES} == set(KEY_SETS)
    index = (SOURCE / "docs/providers/README.md").read_text(encoding="utf-8")
    assert all("(%s)" % path.name in index for path in PAGES)


def test_the_settings_of_each_page_admit_its_token_with_its_rights(site):
    """One broker for all pages: nine providers in one registry is what a large site has."""
    pages = [Page(path) for path in PAGES]
    site.role("operator", "ALLOW SUBSCRIBE,RECEIVE plant/#")
    with KeyServer() as server:
        for page in pages:
            server.answer(page.keys(), "/" + page.name)
            for statement in page.statements:
                site.registry.query(statement.replace("%", "%%"))
            site.registry.query("SELECT iot_auth.set_issuer(%s, jwks_url => %s)", page.issuer, server.url("/" + page.name))
        broker = site.broker()
        for page in pages:
            options = dict(client_id=page.client_id, protocol=V5)
            wait_until(lambda: site.try_connect(broker, password=page.sign(), **options) == 0, 10, "admission of %s" % page.name)
            client = site.connect(broker, password=page.sign(), **options)
            assert client.subscribe("plant/boiler") < DENIED, page.name
            assert client.subscribe("other") >= DENIED, page.name
            client.disconnect()
            plain = site.connect(broker, password=page.without_rights(), **options)
            assert plain.subscribe("plant/boiler") >= DENIED, page.name
            plain.disconnect()
            before = max([e["event_id"] for e in site.registry.events()] or [0])
            assert site.try_connect(broker, password=page.sign(page.refused["payload"]), **options) in REFUSED, page.name
            wait_until(lambda: page.refused["reason"] in {e["reason"] for e in site.registry.events(before, "app/refused")},
                       what="event of %s" % page.name)
        assert site.registry.value("SELECT count(*) FROM iot_auth.oauth_issuer WHERE problem IS NOT NULL") == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_page_says_the_exact_calls(path):
    page = Page(path)
    assert page.statements[0].startswith("SELECT iot_auth.register_issuer(") and len(page.statements) >= 2
    assert page.client_id.startswith("app:%s:" % page.issuer)
