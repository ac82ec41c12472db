# SPDX-License-Identifier: ISC
"""Identity providers that are not ours, on loopback: npm's oidc-provider, run by Node.js, and Debian's glewlwyd.

Both give an app a token by the client-credentials grant (RFC 6749 section 4.4), and a user's app one by the authorization
code flow (section 4.1) with PKCE (RFC 7636) and a resource (RFC 8707), in which the user logs in and consents.
"""

import base64
import hashlib
import http.cookiejar
import json
import os
import re
import secrets
import sqlite3
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pki
from app_kit import base64url, jwk, new_key
from broker import SOURCE, free_port, wait_until

APP, APP_SECRET = "dashboard", "the secret of the dashboard"
CALLBACK = "https://app.example/callback"  # nobody follows it: the code is read from the redirect
USER_PASSWORD = "the password of a user"


def decoded(token):
    """Header and payload of a token."""
    return [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in token.split(".")[:2]]


def private_jwk(key, kid):
    """The key as a provider keeps it."""
    numbers = key.private_numbers()
    if not hasattr(numbers, "p"):
        value = base64url(numbers.private_value.to_bytes((key.key_size + 7) // 8, "big"))
        return jwk(key, kid, use="sig", alg="ES256", d=value)
    parts = {"d": numbers.d, "p": numbers.p, "q": numbers.q, "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
    texts = {name: base64url(n.to_bytes((n.bit_length() + 7) // 8, "big")) for name, n in parts.items()}
    return jwk(key, kid, use="sig", alg="RS256", **texts)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):  # pylint: disable=signature-differs
        return None


class Browser:
    """A user's browser: it keeps cookies, and shows redirects instead of following them."""

    def __init__(self, base):
        self._base = base
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), _NoRedirect).open

    def ask(self, path, form=None, data=None, method=None, headers=None):
        """(status, Location, body) of a request with a form, with JSON data, or with neither."""
        url = urllib.parse.urljoin(self._base, path)
        request = urllib.request.Request(url, method=method, headers=headers or {})
        if form is not None:
            request.data = urllib.parse.urlencode(form).encode()
        if data is not None:
            request.data = json.dumps(data).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with self._open(request, timeout=20) as answer:
                return answer.status, None, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Location"], error.read()

    def done(self, path, **options):
        """The body of a request that must succeed."""
        status, _location, body = self.ask(path, **options)
        assert status == 200, (path, status, body)
        return body


class _Server:
    """A provider's process: url, and start() with the words of its command."""

    def __init__(self, name, folder):
        self.port = free_port()
        self.url = "http://127.0.0.1:%d" % self.port
        self._name = name
        self._log = folder / (name + ".log")
        self._process = None

    def run(self, words, ready):
        self.stop()
        with open(self._log, "ab") as log:
            # pylint: disable-next=consider-using-with
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: self._serves(ready), 60, self._name)

    def _serves(self, path):
        assert self._process.poll() is None, self._log.read_text()
        try:
            return Browser(self.url).ask(path)[0] == 200
        except OSError:
            return False

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    close = stop


def _pkce():
    """A verifier and its challenge."""
    verifier = secrets.token_urlsafe(48)
    return verifier, base64url(hashlib.sha256(verifier.encode()).digest())


def _code(location):
    """The code in a redirect back to the app; None: the redirect leads elsewhere."""
    if not location.startswith(CALLBACK + "?"):
        return None
    answer = urllib.parse.parse_qs(urllib.parse.urlsplit(location).query)
    assert answer["state"] == ["a state"] and "code" in answer, answer
    return answer["code"][0]


def _authorization(resource, scope, challenge):
    return {"response_type": "code", "client_id": APP, "redirect_uri": CALLBACK, "scope": "openid " + scope, "state": "a state",
            "nonce": "a nonce", "code_challenge": challenge, "code_challenge_method": "S256", "resource": resource}


class OidcProvider(_Server):
    """oidc-provider; start() it again to let it sign with other keys.  `installed`: its folder."""

    resource = "urn:mqtt"
    audience = "mqtt"
    roles = ["/realm_access/roles"]  # of the app, and of the user alice, as Keycloak writes them
    algorithm = "RS256"

    def __init__(self, installed, folder):
        super().__init__("oidc-provider", folder)
        self.issuer = self.url
        self.jwks_url = self.url + "/jwks"
        self.kid = None
        self._jwks_file = folder / "provider-keys.json"
        # Modules are looked for beside the program.
        self._program = installed / ("provider-%d.mjs" % os.getpid())
        self._program.write_bytes((SOURCE / "tests/integration/oidc-provider/provider.mjs").read_bytes())

    def start(self, kid="first", lifetime=600):
        """Starts it with one new key of that name."""
        self.kid = kid
        self._jwks_file.write_text(json.dumps({"keys": [private_jwk(pki.rsa_key(), kid)]}))
        words = ["node", self._program, str(self.port), self._jwks_file, self.audience, str(lifetime)]
        self.run(words, "/.well-known/openid-configuration")

    def close(self):
        self.stop()
        self._program.unlink()

    def token(self, scope):
        """An access token of the app alone."""
        return self._token(grant_type="client_credentials", resource=self.resource, scope=scope)

    def token_of(self, user, scope):
        """An access token of the app for a user."""
        browser = Browser(self.url)
        verifier, challenge = _pkce()
        status, location, body = browser.ask("/auth?" + urllib.parse.urlencode(_authorization(self.resource, scope, challenge)))
        for _ in range(10):
            code = location and _code(location)
            if code:
                return self._token(grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=verifier,
                                   resource=self.resource)
            if location:
                status, location, body = browser.ask(location)
                continue
            assert status == 200, (status, body)
            page = body.decode()
            form = {"prompt": re.search(r'name="prompt" value="(\w+)"', page).group(1), "login": user, "password": USER_PASSWORD}
            status, location, body = browser.ask(re.search(r'action="([^"]+)"', page).group(1), form=form)
        raise AssertionError("no code after ten pages")

    def _token(self, **form):
        body = Browser(self.url).done("/token", form={"client_id": APP, "client_secret": APP_SECRET, **form})
        return _access_token(body)


def _access_token(body):
    got = json.loads(body)
    assert got["token_type"].lower() == "bearer", got
    return got["access_token"]


GLEWLWYD_TABLES = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3"
GLEWLWYD_CONFIG = """\
port=%d
bind_address="127.0.0.1"
external_url="%s"
login_url="login.html"
api_prefix="api"
static_files_path="%s"
log_mode="console"
log_level="WARNING"
cookie_domain="127.0.0.1"
cookie_secure=0
session_key="SESSION"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
user_middleware_module_path="/usr/lib/glewlwyd/user_middleware"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database = { type = "sqlite3"; path = "%s"; };
"""


class Glewlwyd(_Server):
    """glewlwyd with an SQLite database of its own, set up by its HTTP API as its web pages do it.

    A user's roles stand where Rich Authorization Requests (RFC 9396) put them, in an object in an array.  An app alone has no
    such claim there: its role is a claim whose name is a URL.
    """

    resource = audience = "https://mqtt.example"
    roles = ["/authorization_details/0/access/roles", "/https:~1~1plant.example~1roles"]
    algorithm = "ES256"
    SCOPES = ["telemetry:read", "telemetry:write"]

    def __init__(self, folder):
        super().__init__("glewlwyd", folder)
        self.issuer = self.url + "/api/oidc"
        self.jwks_url = self.issuer + "/jwks"
        self._folder = folder

    def start(self):
        database = self._folder / "glewlwyd.db"
        self._make_database(database)
        config = self._folder / "glewlwyd.conf"
        config.write_text(GLEWLWYD_CONFIG % (self.port, self.url, self._folder, database))
        self.run(["glewlwyd", "--config-file=%s" % config], "/config")
        admin = Browser(self.url)
        admin.done("/api/auth/", data={"username": "admin", "password": "password"})
        for scope in self.SCOPES:
            admin.done("/api/scope/", data={"name": scope, "display_name": scope, "password_required": True, "scheme": {}})
        for user, roles in {"alice": ["operator", "offline_access"], "bob": ["guest"]}.items():
            admin.done("/api/user/", data={"username": user, "password": USER_PASSWORD, "name": user, "enabled": True, "roles": roles,
                                           "scope": ["openid", *self.SCOPES]})
        admin.done("/api/client/", data=self._app())
        admin.done("/api/mod/plugin/", data={"module": "oidc", "name": "oidc", "display_name": "oidc", "parameters": self._settings()})

    @staticmethod
    def _make_database(path):
        """glewlwyd's tables, with `roles` among the properties of users and apps."""
        database = sqlite3.connect(path)
        with open(GLEWLWYD_TABLES, encoding="utf-8") as tables:
            database.executescript(tables.read())
        for table, column, multiple in (("g_user_module_instance", "gumi_parameters", True), ("g_client_module_instance", "gcmi_parameters", False)):
            parameters = json.loads(database.execute("SELECT %s FROM %s" % (column, table)).fetchone()[0])
            parameters["data-format"]["roles"] = {"multiple": multiple, "read": True, "write": True}
            database.execute("UPDATE %s SET %s = ?" % (table, column), [json.dumps(parameters)])
        database.commit()
        database.close()

    def _app(self):
        return {"client_id": APP, "name": APP, "password": APP_SECRET, "client_secret": APP_SECRET, "confidential": True, "enabled": True,
                "redirect_uri": [CALLBACK], "authorization_type": ["code", "client_credentials"], "scope": self.SCOPES[:1],
                "roles": "operator", "authorization_details_types": ["mqtt"], "token_endpoint_auth_method": ["client_secret_basic"]}

    def _settings(self):
        """Of its OpenID Connect plugin."""
        grants = {"code": True, "client": True, "id-token": True, "token": False, "password": False, "refresh": False}
        return {
            "iss": self.issuer, "jwks-private": json.dumps({"keys": [private_jwk(new_key(self.algorithm), "first")]}), "jwks-show": True,
            "access-token-duration": 600, "refresh-token-duration": 3600, "code-duration": 60, "refresh-token-rolling": False,
            "allow-non-oidc": True, **{"auth-type-%s-enabled" % name: on for name, on in grants.items()}, "pkce-allowed": True,
            "pkce-method-plain-allowed": False, "resource-allowed": True,
            "resource-scope": {scope: [self.resource] for scope in ("openid", *self.SCOPES)}, "resource-change-allowed": False,
            "additional-parameters": [{"client-parameter": "roles", "token-parameter": "https://plant.example/roles"}],
            "oauth-rar-allowed": True, "rar-types-client-property": "authorization_details_types", "rar-allow-auth-unsigned": True,
            "rar-allow-auth-unencrypted": True,
            "rar-types": {"mqtt": {"scopes": ["openid"], "locations": [], "actions": [], "datatypes": [], "privileges": [],
                                   "enriched": ["roles"]}}}

    def token(self, scope):
        """An access token of the app alone."""
        return self._token(grant_type="client_credentials", resource=self.resource, scope=scope)

    def token_of(self, user, scope):
        """An access token of the app for a user."""
        browser = Browser(self.url)
        browser.done("/api/auth/", data={"username": user, "password": USER_PASSWORD})
        browser.done("/api/auth/grant/" + APP, data={"scope": "openid " + scope}, method="PUT")
        browser.done("/api/oidc/rar/%s/mqtt/1" % APP, method="PUT")
        verifier, challenge = _pkce()
        asked = {**_authorization(self.resource, scope, challenge), "g_continue": "",
                 "authorization_details": json.dumps([{"type": "mqtt", "access": {"roles": None}}])}
        status, location, body = browser.ask("/api/oidc/auth?" + urllib.parse.urlencode(asked))
        assert status == 302, (status, body)
        return self._token(grant_type="authorization_code", code=_code(location), redirect_uri=CALLBACK, code_verifier=verifier)

    def _token(self, **form):
        credentials = base64.b64encode(("%s:%s" % (APP, APP_SECRET)).encode()).decode()
        return _access_token(Browser(self.url).done("/api/oidc/token", form=form, headers={"Authorization": "Basic " + credentials}))
