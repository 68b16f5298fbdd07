"""Bootstrap tokens: signs what joining machines read before they trust anybody, and deletes tokens that are over.

`cluster-info` in kube-public holds a kubeconfig without credentials; beside it stands, for each token that may sign, a
detached JSON Web Signature by the token's secret, so that who knows the token can verify the kubeconfig.
Source: the reference's page "Authenticating with Bootstrap Tokens"; k8s.io/kubernetes pkg/controller/bootstrap.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers.settings import Settings
from sampan.machinery import times
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Cache, Controller, Delete, Patch, Plan, Watch

TYPE = "bootstrap.kubernetes.io/token"
PREFIX = "bootstrap-token-"
INFO = Key("kube-public", "cluster-info")
SIGNATURE = "jws-kubeconfig-"


def _is_token(secret: Object) -> bool:
    meta = secret["metadata"]
    return bool(meta.get("namespace") == "kube-system" and secret.get("type") == TYPE)


def _data(secret: Object) -> dict[str, str]:
    return {k: base64.b64decode(v).decode(errors="replace") for k, v in (secret.get("data") or {}).items()}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# Signing


@dataclass(frozen=True, slots=True)
class Observed:
    info: Object
    tokens: tuple[Object, ...]


def observe(cache: Cache, name: Key) -> Observed | None:
    info = cache.get("configmaps", INFO)
    if info is None or not get(info, "data.kubeconfig"):
        return None
    return Observed(info, tuple(s for s in cache.list("secrets", "kube-system") if _is_token(s)))


def decide(seen: Observed, now: float) -> Plan:
    text = seen.info["data"]["kubeconfig"]
    wanted = {f"{SIGNATURE}{id}": sign(text, id, secret) for id, secret in _signers(seen.tokens, now)}
    known = {k: v for k, v in seen.info["data"].items() if k.startswith(SIGNATURE)}
    if wanted == known:
        return Plan()
    patch = {"data": {**dict.fromkeys(set(known) - set(wanted)), **wanted}}
    return Plan((Patch("configmaps", INFO, patch),))


def _signers(tokens: Iterable[Object], now: float) -> Iterable[tuple[str, str]]:
    """Ids and secrets of the tokens that may sign now."""
    for secret in tokens:
        data = _data(secret)
        id, key_ = data.get("token-id", ""), data.get("token-secret", "")
        named = secret["metadata"]["name"] == f"{PREFIX}{id}"
        if named and key_ and data.get("usage-bootstrap-signing") == "true" and _left(data, now) > 0:
            yield id, key_


def sign(text: str, id: str, secret: str) -> str:
    """A detached signature (RFC 7515, appendix F) of a text by a token."""
    head = _base64url(json.dumps({"alg": "HS256", "kid": id}, separators=(",", ":")).encode())
    signed = f"{head}.{_base64url(text.encode())}".encode()
    return f"{head}..{_base64url(hmac.digest(secret.encode(), signed, hashlib.sha256))}"


# Cleaning


def _left(data: dict[str, str], now: float) -> float:
    """For how many seconds more a token is good; one that names no time is always good."""
    try:
        return times.seconds(data["expiration"]) - now if data.get("expiration") else float("inf")
    except ValueError:
        return 0.0


def observe_token(cache: Cache, name: Key) -> Object | None:
    found = cache.get("secrets", name)
    return found if found and _is_token(found) and "deletionTimestamp" not in found["metadata"] else None


def decide_token(secret: Object, now: float) -> Plan:
    left = _left(_data(secret), now)
    if left <= 0:
        return Plan((Delete("secrets", key(secret), secret["metadata"]["uid"]),))
    return Plan(again=left if left != float("inf") else None)


def make_signer(settings: Settings) -> Controller:
    def of_info(cache: Cache, obj: Object) -> Iterable[Key]:
        return (INFO,) if key(obj) == INFO else ()

    def of_tokens(cache: Cache, obj: Object) -> Iterable[Key]:
        return (INFO,) if _is_token(obj) else ()

    watches = (Watch("configmaps", of_info), Watch("secrets", of_tokens))
    return Controller(name="bootstrap-signer", watches=watches, observe=observe, decide=decide, workers=1)


def make_cleaner(settings: Settings) -> Controller:
    def tokens(cache: Cache, obj: Object) -> Iterable[Key]:
        return (key(obj),) if _is_token(obj) else ()

    watches = (Watch("secrets", tokens),)
    return Controller(
        name="token-cleaner", watches=watches, observe=observe_token, decide=decide_token, workers=1
    )
