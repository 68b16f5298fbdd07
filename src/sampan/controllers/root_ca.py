"""Publishes the cluster's CA certificate in every namespace, as ConfigMap `kube-root-ca.crt`, which pods'
tokens come with.

Source: the concepts' page on service accounts (projected volumes).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sampan.controllers.settings import Settings
from sampan.machinery.objects import Key, Object
from sampan.reconcile.controller import Cache, Controller, Create, Patch, Plan, Watch

KIND = "configmaps"
NAME = "kube-root-ca.crt"
_NOTE = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using "
    "internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed "
    "across distributions of Kubernetes clusters."
}


@dataclass(frozen=True, slots=True)
class Observed:
    namespace: str
    found: Object | None


def observe(cache: Cache, name: Key) -> Observed | None:
    namespace = cache.get("namespaces", name)
    if namespace is None or "deletionTimestamp" in namespace["metadata"]:
        return None
    return Observed(name.name, cache.get(KIND, Key(name.name, NAME)))


def decide(ca: str, seen: Observed, now: float) -> Plan:
    data = {"ca.crt": ca}
    if seen.found is None:
        meta = {"name": NAME, "namespace": seen.namespace, "annotations": _NOTE}
        return Plan(
            (Create(KIND, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}),)
        )
    if seen.found.get("data") == data:
        return Plan()
    stale = {k: None for k in seen.found.get("data") or {} if k not in data}
    return Plan((Patch(KIND, Key(seen.namespace, NAME), {"data": {**stale, **data}}),))


def _namespace(cache: Cache, config: Object) -> tuple[Key, ...]:
    meta = config["metadata"]
    return (Key("", meta["namespace"]),) if meta["name"] == NAME else ()


def make(settings: Settings) -> Controller:
    return Controller(
        name="root-ca-cert-publisher",
        watches=(Watch("namespaces"), Watch(KIND, _namespace)),
        observe=observe,
        decide=partial(decide, settings.ca),
    )
