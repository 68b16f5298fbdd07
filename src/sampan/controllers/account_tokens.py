"""Secrets of type `kubernetes.io/service-account-token`: filled with a lasting token, and deleted with their account.

Source: the concepts' page "Service Accounts", "Manually create a long-lived API token"; k8s.io/kubernetes
pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from sampan.controllers.settings import Settings
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Absent, Cache, Controller, Delete, Index, Patch, Plan, Watch

TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
# Makes a token for an account, to stand in a Secret.
Issue = Callable[[Object, Object], str]


@dataclass(frozen=True, slots=True)
class Observed:
    secret: Object
    account: Object | None


def _account(secret: Object) -> Key | None:
    """The account that a Secret is for; None where it is no such Secret."""
    name = get(secret, "metadata.annotations", {}).get(NAME)
    if secret.get("type") != TYPE or not name:
        return None
    return Key(secret["metadata"]["namespace"], name)


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get("secrets", name)
    if found is None or "deletionTimestamp" in found["metadata"]:
        return None
    account = _account(found)
    return Observed(found, cache.get("serviceaccounts", account)) if account else None


def decide(issue: Issue | None, ca: str, seen: Observed, now: float) -> Plan:
    secret, account = seen.secret, seen.account
    said = get(secret, "metadata.annotations", {}).get(UID)
    if account is None or said not in (None, "", account["metadata"]["uid"]):
        name = _account(secret)
        assert name is not None
        gone = Absent("serviceaccounts", name, said or "")
        return Plan((gone, Delete("secrets", key(secret), secret["metadata"]["uid"])))
    data = secret.get("data") or {}
    wanted = {"ca.crt": _encoded(ca), "namespace": _encoded(secret["metadata"]["namespace"])}
    missing = {k: v for k, v in wanted.items() if v and data.get(k) != v}
    if issue and not data.get("token"):
        missing["token"] = _encoded(issue(account, secret))
    if not missing and said:
        return Plan()
    meta = {"resourceVersion": secret["metadata"].get("resourceVersion"), "annotations": {}}
    meta["annotations"] = {UID: account["metadata"]["uid"]}
    return Plan((Patch("secrets", key(secret), {"metadata": meta, "data": missing}),))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def make(settings: Settings) -> Controller:
    def of_account(cache: Cache, account: Object) -> Iterable[Key]:
        return [key(s) for s in cache.index("secrets", "account", str(key(account)))]

    def of_secret(cache: Cache, secret: Object) -> Iterable[Key]:
        return (key(secret),) if _account(secret) else ()

    def accounts(secret: Object) -> Iterable[str]:
        found = _account(secret)
        return (str(found),) if found else ()

    return Controller(
        name="tokens-controller",
        watches=(Watch("secrets", of_secret), Watch("serviceaccounts", of_account)),
        observe=observe,
        decide=partial(decide, settings.token, settings.ca),
        indexes=(Index("secrets", "account", accounts),),
        workers=1,
    )
