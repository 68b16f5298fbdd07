"""An audit policy: how much of which calls is written down. The first rule that matches a call decides.

Source: k8s.io/apiserver pkg/apis/audit/v1/types.go and pkg/audit/policy/checker.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.apiserver.call import Call, User
from sampan.machinery.objects import Object

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_FIELDS = frozenset({
    "level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages",
    "omitManagedFields",
})  # fmt: skip


class Unusable(ValueError):
    """The policy is none; the message says why."""


@dataclass(frozen=True, slots=True)
class Resources:
    group: str
    resources: tuple[str, ...]
    names: tuple[str, ...]

    def match(self, call: Call) -> bool:
        kind = call.resource
        if self.group != kind.group:
            return False
        if not self.resources:
            return True
        if self.names and call.name not in self.names:
            return False
        whole = f"{kind.plural}/{call.subresource}" if call.subresource else kind.plural
        return any(
            r in ("*", whole)
            or (bool(call.subresource) and r in (f"*/{call.subresource}", f"{kind.plural}/*"))
            or r == f"{kind.plural}/*"
            for r in self.resources
        )


@dataclass(frozen=True, slots=True)
class Rule:
    level: str
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[Resources, ...] = ()
    namespaces: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    omit: frozenset[str] = frozenset()
    bare: bool = False

    def match(self, call: Call, user: User) -> bool:
        """Whether this rule is about a call; `user` is who asks, whoever he then speaks as."""
        if self.users and user.name not in self.users:
            return False
        if self.groups and not set(self.groups) & set(user.groups):
            return False
        if self.verbs and call.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return self._match_resource(call)
        return not self.paths or self._match_path(call)

    def _match_resource(self, call: Call) -> bool:
        if call.kind is None or (self.namespaces and call.namespace not in self.namespaces):
            return False
        return not self.resources or any(r.match(call) for r in self.resources)

    def _match_path(self, call: Call) -> bool:
        if call.kind is not None:
            return False
        return any(
            p in ("*", call.path) or (p[-1:] == "*" and call.path.startswith(p[:-1])) for p in self.paths
        )


NOTHING = Rule("None")


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...]

    def rule(self, call: Call, user: User) -> Rule:
        return next((r for r in self.rules if r.match(call, user)), NOTHING)


def load(path: Path) -> Policy:
    """The policy in a YAML or JSON file. Raises Unusable."""
    from sampan.machinery import yaml

    try:
        return parse(yaml.load(path.read_bytes()))
    except OSError as e:
        raise Unusable(f"{path} cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise Unusable(f"{path} is no audit policy: {e}") from e


def parse(policy: Any) -> Policy:
    """Raises ValueError, which names the field."""
    if not isinstance(policy, dict) or policy.get("kind") != "Policy":
        raise ValueError("kind must be Policy, and apiVersion audit.k8s.io/v1")
    if policy.get("apiVersion") != "audit.k8s.io/v1":
        raise ValueError(f"apiVersion must be audit.k8s.io/v1, not {policy.get('apiVersion')!r}")
    if not policy.get("rules"):
        raise ValueError("it has no rules")
    everywhere = _stages(policy.get("omitStages"), "omitStages")
    bare = bool(policy.get("omitManagedFields"))
    return Policy(tuple(_rule(r, f"rules[{n}]", everywhere, bare) for n, r in enumerate(policy["rules"])))


def _rule(rule: Object, where: str, everywhere: frozenset[str], bare: bool) -> Rule:
    if not isinstance(rule, dict):
        raise ValueError(f"{where} must be an object")
    if unknown := set(rule) - _FIELDS:
        raise ValueError(f"{where} has no field {min(unknown)!r}")
    if rule.get("level") not in LEVELS:
        raise ValueError(f"{where}.level must be one of {', '.join(LEVELS)}")
    if rule.get("nonResourceURLs") and (rule.get("resources") or rule.get("namespaces")):
        raise ValueError(
            f"{where}.nonResourceURLs: rules cannot apply to both regular resources and other URLs"
        )
    return Rule(
        rule["level"],
        _words(rule, "users", where),
        _words(rule, "userGroups", where),
        _words(rule, "verbs", where),
        tuple(_resources(r, f"{where}.resources") for r in rule.get("resources") or ()),
        _words(rule, "namespaces", where),
        _words(rule, "nonResourceURLs", where),
        everywhere | _stages(rule.get("omitStages"), f"{where}.omitStages"),
        bool(rule.get("omitManagedFields", bare)),
    )


def _resources(found: Object, where: str) -> Resources:
    if not isinstance(found, dict):
        raise ValueError(f"{where} must be objects with group and resources")
    resources, names = (_words(found, n, where) for n in ("resources", "resourceNames"))
    if names and not resources:
        raise ValueError(f"{where}.resourceNames: using resourceNames requires at least one resource")
    return Resources(found.get("group") or "", resources, names)


def _words(found: Object, name: str, where: str) -> tuple[str, ...]:
    words: Sequence[Any] = found.get(name) or ()
    if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
        raise ValueError(f"{where}.{name} must be a list of strings")
    return tuple(words)


def _stages(found: Iterable[str] | None, where: str) -> frozenset[str]:
    stages = frozenset(found or ())
    if wrong := stages - set(STAGES):
        raise ValueError(f"{where}: {min(wrong)!r} is not one of {', '.join(STAGES)}")
    return stages
