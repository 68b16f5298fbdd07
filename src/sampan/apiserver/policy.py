"""The roles and bindings that every cluster has, from `data/policy.txt`.

Each `role NAME` there (or `role NAMESPACE/NAME`) is followed by lines of verbs and what they apply to, `pods/log` or
`deployments.apps`, a name in brackets where only some are meant, or paths; and by `bind` with its subjects.
`to:view` lets a role be aggregated into `view`, `from:view` makes one of all that may.
Source: the roles listed in the documentation's "Using RBAC Authorization".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files

from sampan.machinery.objects import Object

GROUP = "rbac.authorization.k8s.io"
_LABEL = "kubernetes.io/bootstrapping"
_TARGET = re.compile(
    r"(?P<resource>[^.\[/]+)(?:\.(?P<group>[^\[/]+))?(?:/(?P<sub>[^\[]+))?(?:\[(?P<names>[^\]]+)\])?"
)


@dataclass(slots=True)
class _Role:
    name: str
    namespace: str = ""
    to: list[str] = field(default_factory=list)
    aggregates: list[str] = field(default_factory=list)
    rules: list[Object] = field(default_factory=list)
    subjects: list[Object] = field(default_factory=list)


def objects() -> Iterator[Object]:
    """Every role and binding, ready to create."""
    for role in _parsed(files("sampan.apiserver").joinpath("data/policy.txt").read_text()):
        yield _role(role)
        if role.subjects:
            yield _binding(role)


def _parsed(text: str) -> list[_Role]:
    found: list[_Role] = []
    for line in text.splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        first, *rest = words
        if first == "role":
            namespace, _, name = rest[0].rpartition("/")
            to = [w.removeprefix("to:") for w in rest if w.startswith("to:")]
            aggregates = [w.removeprefix("from:") for w in rest if w.startswith("from:")]
            found.append(_Role(name, namespace, to, aggregates))
        elif first == "bind":
            found[-1].subjects += [_subject(w) for w in rest]
        else:
            found[-1].rules += _rules(first.split(","), rest)
    return found


def _rules(verbs: list[str], targets: Iterable[str]) -> Iterator[Object]:
    """The rules that a line says: one for all paths, and one for each group and set of names."""
    paths = [t for t in targets if t.startswith("/") or t == "*"]
    if paths:
        yield {"nonResourceURLs": paths, "verbs": verbs}
    grouped: dict[tuple[str, str], list[str]] = {}
    for target in targets:
        match = _TARGET.fullmatch(target)
        if target in paths or not match:
            continue
        resource = match["resource"] + (f"/{match['sub']}" if match["sub"] else "")
        grouped.setdefault((match["group"] or "", match["names"] or ""), []).append(resource)
    for (group, names), resources in grouped.items():
        rule: Object = {"apiGroups": [group], "resources": resources, "verbs": verbs}
        if names:
            rule["resourceNames"] = names.split(",")
        yield rule


def _subject(word: str) -> Object:
    kind, _, name = word.partition(":")
    if kind == "account":
        namespace, _, account = name.partition("/")
        return {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    return {"kind": kind.capitalize(), "name": name, "apiGroup": GROUP}


def _metadata(role: _Role) -> Object:
    found: Object = {
        "name": role.name,
        "labels": {_LABEL: "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }
    if role.namespace:
        found["namespace"] = role.namespace
    return found


def _aggregate(name: str) -> str:
    return f"rbac.authorization.k8s.io/aggregate-to-{name}"


def _role(role: _Role) -> Object:
    meta = _metadata(role)
    for name in role.to:
        meta["labels"][_aggregate(name)] = "true"
    found: Object = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Role" if role.namespace else "ClusterRole",
        "metadata": meta,
        "rules": role.rules,
    }
    if role.aggregates:
        chosen = [{"matchLabels": {_aggregate(name): "true"}} for name in role.aggregates]
        found["aggregationRule"] = {"clusterRoleSelectors": chosen}
    return found


def _binding(role: _Role) -> Object:
    kind = "Role" if role.namespace else "ClusterRole"
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": f"{kind}Binding",
        "metadata": _metadata(role),
        "subjects": role.subjects,
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role.name},
    }
