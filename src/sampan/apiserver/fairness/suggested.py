"""The flow schemas and priority levels that every cluster has, as upstream's: two mandatory ones of each, and those
that are suggested. Source: k8s.io/apiserver, pkg/apis/flowcontrol/bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sampan.machinery.objects import Object

AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
VERSION = "flowcontrol.apiserver.k8s.io/v1"
EXEMPT, CATCH_ALL = "exempt", "catch-all"
# name, shares, percent lendable, queues, hand size
_LEVELS = (
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
)
_EVERYONE = ("system:unauthenticated", "system:authenticated")
_ALL = ["*"]
_EVERYTHING: list[Object] = [
    {"verbs": _ALL, "apiGroups": _ALL, "resources": _ALL, "namespaces": _ALL, "clusterScope": True}
]
_EVERY_PATH: list[Object] = [{"verbs": _ALL, "nonResourceURLs": _ALL}]
_LEASES = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": _ALL}


def _groups(*names: str) -> list[Object]:
    return [{"kind": "Group", "group": {"name": n}} for n in names]


def _users(*names: str) -> list[Object]:
    return [{"kind": "User", "user": {"name": n}} for n in names]


_KUBE_SYSTEM: list[Object] = [
    {"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}}
]
_CONTROLLERS, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"


def _object(kind: str, name: str, spec: Object) -> Object:
    meta = {"name": name, "annotations": {AUTO_UPDATE: "true"}}
    return {"apiVersion": VERSION, "kind": kind, "metadata": meta, "spec": spec}


def _level(name: str, shares: int, lendable: int, response: Object) -> Object:
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    return _object("PriorityLevelConfiguration", name, {"type": "Limited", "limited": limited})


def levels() -> Iterator[Object]:
    exempt = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
    yield _object("PriorityLevelConfiguration", EXEMPT, {"type": "Exempt", "exempt": exempt})
    yield _level(CATCH_ALL, 5, 0, {"type": "Reject"})
    for name, shares, lendable, queues, hand in _LEVELS:
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": 50}
        yield _level(name, shares, lendable, {"type": "Queue", "queuing": queuing})


def _schema(
    name: str, level: str, precedence: int, method: str, subjects: list[Object], **rules: Any
) -> Object:
    spec: Object = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if method:
        spec["distinguisherMethod"] = {"type": method}
    return _object("FlowSchema", name, {**spec, "rules": [{"subjects": subjects, **rules}]})


def schemas() -> Iterator[Object]:
    everything = {"resourceRules": _EVERYTHING, "nonResourceRules": _EVERY_PATH}
    user, namespace = "ByUser", "ByNamespace"
    probes = [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]
    leading = [{"verbs": ["get", "create", "update"], **_LEASES}]
    of_nodes = [
        {"verbs": _ALL, "apiGroups": [""], "resources": ["nodes", "nodes/status"], "namespaces": _ALL,
         "clusterScope": True},
        {"verbs": _ALL, **_LEASES},
    ]  # fmt: skip
    nodes = _groups("system:nodes")
    components = [*_users(_CONTROLLERS, _SCHEDULER), *_KUBE_SYSTEM]
    yield _schema(EXEMPT, EXEMPT, 1, "", _groups("system:masters"), **everything)
    yield _schema("probes", EXEMPT, 2, "", _groups(*_EVERYONE), nonResourceRules=probes)
    yield _schema("system-leader-election", "leader-election", 100, user, components, resourceRules=leading)
    yield _schema("system-node-high", "node-high", 400, user, nodes, resourceRules=of_nodes)
    yield _schema("system-nodes", "system", 500, user, nodes, **everything)
    yield _schema(
        "kube-controller-manager", "workload-high", 800, namespace, _users(_CONTROLLERS), **everything
    )
    yield _schema("kube-scheduler", "workload-high", 800, namespace, _users(_SCHEDULER), **everything)
    yield _schema("kube-system-service-accounts", "workload-high", 900, namespace, _KUBE_SYSTEM, **everything)
    accounts = _groups("system:serviceaccounts")
    yield _schema("service-accounts", "workload-low", 9000, user, accounts, **everything)
    yield _schema("global-default", "global-default", 9900, user, _groups(*_EVERYONE), **everything)
    yield _schema(CATCH_ALL, CATCH_ALL, 10_000, user, _groups(*_EVERYONE), **everything)
