"""Issuers: their keys, found where their configuration says, and tokens verified by these.

Keys are kept; a token under a key that is not known has them read anew, though not more often than every ten seconds.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import orjson

from sampan.apiserver.call import User
from sampan.apiserver.oidc import claims as claims_
from sampan.apiserver.oidc.configuration import Configuration, Issuer
from sampan.apiserver.tokens import Invalid, from_base64url
from sampan.http.client import HttpClient
from sampan.http.tls import client_context

AGAIN, SECONDS = 10.0, 10.0
# How far an issuer's clock may be off.
LEEWAY = 10.0


class Issuers:
    def __init__(self, configuration: Configuration):
        self._issuers = {i.url: _Known(i) for i in configuration.issuers}

    async def user(self, token: str) -> User | None:
        """The user of a token; None where none of these issued it. Raises Invalid."""
        parts = _parts(token)
        if parts is None:
            return None
        head, said, _, _ = parts
        known = self._issuers.get(said.get("iss", ""))
        if known is None:
            return None
        await known.verify(head, token)
        _current(said, time.time())
        audience = said.get("aud")
        given = {audience} if isinstance(audience, str) else set(audience or ())
        if not given & set(known.issuer.audiences):
            raise Invalid(f"oidc: expected audience in {list(known.issuer.audiences)} got {sorted(given)}")
        try:
            return claims_.user(known.issuer, said)
        except claims_.Refused as e:
            raise Invalid(f"oidc: {e}") from e


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes] | None:
    """Header, claims, signature, and what was signed; None where it is no such token."""
    words = token.split(".")
    if len(words) != 3:
        return None
    try:
        head, said = (orjson.loads(from_base64url(w)) for w in words[:2])
        signature = from_base64url(words[2])
    except ValueError:
        return None
    if not isinstance(head, dict) or not isinstance(said, dict):
        return None
    return head, said, signature, f"{words[0]}.{words[1]}".encode()


def _current(said: dict[str, Any], now: float) -> None:
    expires, begins = said.get("exp"), said.get("nbf")
    if not isinstance(expires, int | float) or expires < now:
        raise Invalid("oidc: token is expired")
    if isinstance(begins, int | float) and begins > now + LEEWAY:
        raise Invalid("oidc: token is not valid yet")


class _Known:
    """One issuer with the keys that it has shown."""

    def __init__(self, issuer: Issuer):
        self.issuer = issuer
        self._keys: dict[str, Any] = {}
        self._read = 0.0

    async def verify(self, head: dict[str, Any], token: str) -> None:
        """Raises Invalid for a signature that is not good."""
        identity, algorithm = str(head.get("kid") or ""), str(head.get("alg") or "")
        if identity not in self._keys and time.monotonic() - self._read > AGAIN:
            await self._load()
        parts = _parts(token)
        candidates = [self._keys[identity]] if identity in self._keys else list(self._keys.values())
        if parts is None or not any(_good(k, algorithm, parts[2], parts[3]) for k in candidates):
            raise Invalid("oidc: failed to verify id token signature")

    async def _load(self) -> None:
        self._read = time.monotonic()
        where = self.issuer.discovery or f"{self.issuer.url.rstrip('/')}/.well-known/openid-configuration"
        told = await self._json(where)
        if told.get("issuer") != self.issuer.url:
            raise Invalid(f"oidc: the issuer calls itself {told.get('issuer')!r}, not {self.issuer.url!r}")
        found = await self._json(str(told.get("jwks_uri")))
        self._keys = {
            str(k.get("kid") or n): key for n, k in enumerate(found.get("keys") or ()) if (key := _key(k))
        }

    async def _json(self, url: str) -> dict[str, Any]:
        parts = urlsplit(url)
        client = HttpClient(f"{parts.scheme}://{parts.netloc}", tls=client_context(ca=self.issuer.authority))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            async with await client.request("GET", target, timeout=SECONDS) as response:
                data, status = await response.read(), response.status
            found = orjson.loads(data)
        except (OSError, ValueError) as e:
            raise Invalid(f"oidc: {url} gave no answer: {e}") from e
        finally:
            await client.close()
        if status != 200 or not isinstance(found, dict):
            raise Invalid(f"oidc: {url} answered {status}")
        return found


def _number(text: str) -> int:
    return int.from_bytes(from_base64url(text), "big")


def _key(found: dict[str, Any]) -> Any:
    """The public key of a JSON Web Key; None for kinds that sign no tokens."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    try:
        if found.get("kty") == "RSA":
            return rsa.RSAPublicNumbers(_number(found["e"]), _number(found["n"])).public_key()
        if found.get("kty") == "EC":
            curves: dict[str, ec.EllipticCurve] = {
                "P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(),
            }  # fmt: skip
            curve = curves[found["crv"]]
            return ec.EllipticCurvePublicNumbers(_number(found["x"]), _number(found["y"]), curve).public_key()
    except (KeyError, ValueError, TypeError):
        return None
    return None


def _good(key: Any, algorithm: str, signature: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    digests = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    digest = digests.get(algorithm[2:])
    if digest is None:
        return False
    try:
        if algorithm.startswith("RS") and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), digest)
            return True
        if algorithm.startswith("PS") and isinstance(key, rsa.RSAPublicKey):
            salted = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
            key.verify(signature, signed, salted, digest)
            return True
        if algorithm.startswith("ES") and isinstance(key, ec.EllipticCurvePublicKey):
            half = len(signature) // 2
            pair = (int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
            key.verify(encode_dss_signature(*pair), signed, ec.ECDSA(digest))
            return True
    except InvalidSignature:
        return False
    return False
