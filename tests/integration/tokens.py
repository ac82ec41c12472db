# SPDX-License-Identifier: ISC
"""An identity provider for the tests: keys of its own, and tokens made by python3-jwt."""

import base64
import itertools
import time

import jwt

import pki

_kids = itertools.count(1)


def _base64url(number):
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


class Provider:
    def __init__(self, issuer="https://idp.example", audience="mqtt"):
        self.issuer = issuer
        self.audience = audience
        self.kid = "key-%d" % next(_kids)
        self.key = pki.rsa_key()

    def jwks(self):
        """The key set as a provider publishes it (RFC 7517)."""
        numbers = self.key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": self.kid, "use": "sig", "alg": "RS256"}
        return {"keys": [{**key, "n": _base64url(numbers.n), "e": _base64url(numbers.e)}]}

    def token(self, app_id="dashboard", lifetime=600, scope=None, headers=None, **claims):
        now = int(time.time())
        payload = {"iss": self.issuer, "aud": self.audience, "client_id": app_id, "sub": app_id, "iat": now}
        payload["exp"] = now + lifetime
        if scope is not None:
            payload["scope"] = scope
        payload.update(claims)
        headers = {"kid": self.kid, "typ": "at+jwt", **(headers or {})}
        return jwt.encode(payload, self.key, algorithm="RS256", headers=headers)

    def register(self, registry, name="corp", **options):
        """Registers the issuer under a name, with its keys in SQL."""
        registry.register_issuer(name=name, issuer=self.issuer, audience=[self.audience], jwks=self.jwks(), **options)
