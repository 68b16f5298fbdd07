"""Gives every namespace its ServiceAccount `default`, under which its pods run.

Source: the concepts' page on service accounts.
"""

from __future__ import annotations

from sampan.controllers.settings import Settings
from sampan.machinery.objects import Key, Object
from sampan.reconcile.controller import Cache, Controller, Create, Plan, Watch

KIND = "serviceaccounts"
NAME = "default"


def observe(cache: Cache, name: Key) -> Object | None:
    namespace = cache.get("namespaces", name)
    if namespace is None or "deletionTimestamp" in namespace["metadata"]:
        return None
    return None if cache.get(KIND, Key(name.name, NAME)) else namespace


def decide(seen: Object, now: float) -> Plan:
    meta = {"name": NAME, "namespace": seen["metadata"]["name"]}
    return Plan((Create(KIND, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),))


def _namespace(cache: Cache, account: Object) -> tuple[Key, ...]:
    meta = account["metadata"]
    return (Key("", meta["namespace"]),) if meta["name"] == NAME else ()


def make(settings: Settings) -> Controller:
    return Controller(
        name="service-account-controller",
        watches=(Watch("namespaces"), Watch(KIND, _namespace)),
        observe=observe,
        decide=decide,
    )
