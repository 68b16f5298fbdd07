"""Service-account tokens: JSON Web Tokens signed with the cluster's key, bound to what they were issued for.

Sources: RFC 7515, 7517, 7518, 7519; the concepts' page "Managing Service Accounts"; KEP-1205 (bound tokens).
"""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from sampan.apiserver.call import User
from sampan.apiserver.codec import Decoded
from sampan.machinery.objects import Object
from sampan.store.api import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_PREFIX = "system:serviceaccount:"
# Tokens that Secrets keep name this issuer, and what they are for in claims of their own.
LEGACY_ISSUER = "kubernetes/serviceaccount"
_LEGACY = "kubernetes.io/serviceaccount/"


class Invalid(Exception):
    """The token is not one of ours, has expired, or what it was bound to is gone."""


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Tokens:
    """Issues and verifies. Verified signatures are remembered; expiry and bounds are looked at each time."""

    def __init__(self, key: bytes, issuer: str, store: Store, decoded: Decoded):
        self._pem = key
        self.issuer = issuer
        self._store = store
        self._decoded = decoded
        self._loaded: EllipticCurvePrivateKey | RSAPrivateKey | None = None
        self._claims: dict[str, Mapping[str, Any]] = {}
        self._id = ""

    @property
    def able(self) -> bool:
        return bool(self._pem)

    @property
    def _key(self) -> EllipticCurvePrivateKey | RSAPrivateKey:
        if self._loaded is None:
            from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
            from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            key = load_pem_private_key(self._pem, None)
            assert isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey), "the key is for ES256 or RS256"
            self._loaded = key
        return self._loaded

    @property
    def algorithm(self) -> str:
        return "RS256" if hasattr(self._key, "decrypt") else "ES256"

    def jwks(self) -> Object:
        """The public key as a JSON Web Key Set."""
        key = {"use": "sig", "kid": self.key_id, "alg": self.algorithm}
        return {"keys": [key | _public(self._key)]}

    @property
    def key_id(self) -> str:
        """The hash of the public key in DER, as upstream names keys."""
        if not self._id:
            from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

            der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            self._id = base64url(hashlib.sha256(der).digest())
        return self._id

    def issue(self, account: Object, audiences: list[str], seconds: int, bound: Mapping[str, Object]) -> str:
        """A token for a service account; `bound` maps `pod`, `secret` or `node` to the object it dies with."""
        meta, now = account["metadata"], int(time.time())
        about: Object = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        for kind, obj in bound.items():
            about[kind] = {"name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}
        claims = {
            "aud": audiences,
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": about,
            "nbf": now,
            "sub": f"{_PREFIX}{meta['namespace']}:{meta['name']}",
        }
        return self._encoded(claims)

    async def user(self, token: str, audiences: list[str]) -> tuple[User, list[str]]:
        """Whose token it is, and for which of `audiences` it is good. Raises Invalid."""
        claims = self._verified(token)
        now = time.time()
        if now >= claims["exp"] or now < claims["nbf"] - 1:
            self._claims.pop(token, None)
            raise Invalid("service account token has expired")
        good = [a for a in audiences if a in claims["aud"]]
        if not good:
            raise Invalid(f"token audiences {claims['aud']} is invalid for the target audiences {audiences}")
        user = await self._bound(claims)
        if not claims["jti"]:
            await self._kept(claims, token)
        return user, good

    async def _kept(self, claims: Mapping[str, Any], token: str) -> None:
        """Raises Invalid unless the Secret that a legacy token stands in still holds it."""
        about = claims["kubernetes.io"]
        record = await self._store.get(f"/core/secrets/{about['namespace']}/{about['secret']['name']}")
        data = (self._decoded(record).get("data") or {}) if record else {}
        if base64.b64decode(data.get("token", "")) != token.encode():
            raise Invalid("the token's secret is gone, or holds another token")

    def _verified(self, token: str) -> Mapping[str, Any]:
        found = self._claims.get(token)
        if found is None:
            found = self._parsed(token)
            if len(self._claims) >= 1000:
                del self._claims[next(iter(self._claims))]
            self._claims[token] = found
        return found

    def _parsed(self, token: str) -> Mapping[str, Any]:
        if not self._pem:
            raise Invalid("this server has no key for tokens")
        try:
            head, body, signature = token.split(".")
            said, claims = orjson.loads(from_base64url(head)), orjson.loads(from_base64url(body))
            if said["alg"] != self.algorithm or claims["iss"] not in (self.issuer, LEGACY_ISSUER):
                raise Invalid("the token is of another issuer")
            _verify(self._key, from_base64url(signature), f"{head}.{body}".encode())
            if claims["iss"] == LEGACY_ISSUER:
                claims = self._modern(claims)
            claims["exp"], claims["nbf"] = float(claims["exp"]), float(claims.get("nbf", 0))
            claims["aud"] = [claims["aud"]] if isinstance(claims["aud"], str) else list(claims["aud"])
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise Invalid("the token is malformed") from e
        checked: Mapping[str, Any] = claims
        return checked

    def _modern(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """The claims of a token that a Secret keeps, as those of a token of today that never ends."""
        said = {k.removeprefix(_LEGACY): v for k, v in claims.items() if k.startswith(_LEGACY)}
        account = {"name": said["service-account.name"], "uid": said["service-account.uid"]}
        about = {"namespace": said["namespace"], "serviceaccount": account}
        kept = {"secret": {"name": said["secret.name"], "uid": ""}}
        return {"exp": "inf", "aud": self.issuer, "jti": "", "kubernetes.io": about | kept}

    def legacy(self, account: Object, secret: Object) -> str:
        """A token for a Secret of type `kubernetes.io/service-account-token`: good until the Secret is gone."""
        meta = account["metadata"]
        claims = {
            "iss": LEGACY_ISSUER,
            f"{_LEGACY}namespace": meta["namespace"],
            f"{_LEGACY}secret.name": secret["metadata"]["name"],
            f"{_LEGACY}service-account.name": meta["name"],
            f"{_LEGACY}service-account.uid": meta["uid"],
            "sub": f"{_PREFIX}{meta['namespace']}:{meta['name']}",
        }
        return self._encoded(claims)

    def _encoded(self, claims: Object) -> str:
        head = {"alg": self.algorithm, "kid": self.key_id}
        signed = f"{base64url(orjson.dumps(head))}.{base64url(orjson.dumps(claims))}"
        return f"{signed}.{base64url(_sign(self._key, signed.encode()))}"

    async def _bound(self, claims: Mapping[str, Any]) -> User:
        """The user, provided that everything the token is bound to is still there."""
        about = claims["kubernetes.io"]
        namespace, account = about["namespace"], about["serviceaccount"]
        await self._there("serviceaccounts", namespace, account)
        extra: dict[str, tuple[str, ...]] = {}
        if claims["jti"]:
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
        for kind, plural, within in (
            ("pod", "pods", namespace),
            ("secret", "secrets", namespace),
            ("node", "nodes", ""),
        ):
            if ref := about.get(kind):
                if kind != "node" or "pod" not in about:
                    await self._there(plural, within, ref)
                if kind != "secret":
                    extra[f"authentication.kubernetes.io/{kind}-name"] = (ref["name"],)
                    extra[f"authentication.kubernetes.io/{kind}-uid"] = (ref["uid"],)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(f"{_PREFIX}{namespace}:{account['name']}", groups, account["uid"], extra)

    async def _there(self, plural: str, namespace: str, ref: Mapping[str, str]) -> None:
        place = f"{namespace}/" if namespace else ""
        record = await self._store.get(f"/core/{plural}/{place}{ref['name']}")
        if not record or ref["uid"] not in ("", self._decoded(record)["metadata"]["uid"]):
            raise Invalid(f"the token was bound to {plural} {ref['name']}, which is gone")


def _sign(key: EllipticCurvePrivateKey | RSAPrivateKey, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)
    return key.sign(data, padding.PKCS1v15(), SHA256())


def _verify(key: EllipticCurvePrivateKey | RSAPrivateKey, signature: bytes, data: bytes) -> None:
    """Raises Invalid where the signature is not the key's."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
            key.public_key().verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
        else:
            key.public_key().verify(signature, data, padding.PKCS1v15(), SHA256())
    except InvalidSignature as e:
        raise Invalid("the token's signature is not ours") from e


def _public(key: EllipticCurvePrivateKey | RSAPrivateKey) -> Object:
    from cryptography.hazmat.primitives.asymmetric import ec

    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": base64url(point.x.to_bytes(32)),
            "y": base64url(point.y.to_bytes(32)),
        }
    numbers = key.public_key().public_numbers()
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)
    return {"kty": "RSA", "n": base64url(modulus), "e": base64url(numbers.e.to_bytes(3))}
