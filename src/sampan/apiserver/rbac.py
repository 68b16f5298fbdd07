"""Role-based access control: which rules hold for whom, kept in step with the store.

Decisions are remembered until a role or binding changes. Source: the documentation's "Using RBAC Authorization".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from sampan.apiserver.call import User
from sampan.machinery import encoding, selectors
from sampan.machinery.objects import Object
from sampan.store.api import Compacted, Store

PREFIX = "/rbac.authorization.k8s.io/"
MASTERS = "system:masters"
log = logging.getLogger(__name__)


class Attributes(NamedTuple):
    """What is asked: a verb on a resource, or on a path that is none.

    `node` is the one node whose pods a list or watch is limited to by its field selector.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    urls: tuple[str, ...] = ()

    def allows(self, asked: Attributes) -> bool:
        if asked.verb not in self.verbs and "*" not in self.verbs:
            return False
        if asked.path:
            return any(
                u == "*" or u == asked.path or (u.endswith("*") and asked.path.startswith(u[:-1]))
                for u in self.urls
            )
        if asked.group not in self.groups and "*" not in self.groups:
            return False
        return self._named(asked.name) and self._resource(asked.resource, asked.subresource)

    def _named(self, name: str) -> bool:
        return not self.names or name in self.names

    def _resource(self, resource: str, subresource: str) -> bool:
        whole = f"{resource}/{subresource}" if subresource else resource
        return (
            whole in self.resources
            or "*" in self.resources
            or bool(subresource and f"*/{subresource}" in self.resources)
        )


def rule(obj: Mapping[str, list[str]]) -> Rule:
    """A PolicyRule."""
    return Rule(
        frozenset(obj.get("verbs") or ()),
        frozenset(obj.get("apiGroups") or ()),
        frozenset(obj.get("resources") or ()),
        frozenset(obj.get("resourceNames") or ()),
        tuple(obj.get("nonResourceURLs") or ()),
    )


class _Binding(NamedTuple):
    """`scope` is the namespace it holds in, empty for all; `role` a key of the roles."""

    scope: str
    role: tuple[str, str]
    subjects: frozenset[str]


class Rbac:
    """`roles` are kept by namespace (empty for ClusterRoles) and name, bindings by each of their subjects."""

    def __init__(self, store: Store):
        self._store = store
        self._roles: dict[tuple[str, str], Object] = {}
        self._bindings: dict[str, _Binding] = {}
        self._of: dict[str, set[str]] = {}
        self._revisions: dict[str, int] = {}
        # Set whenever a role or binding has changed.
        self.changed = asyncio.Event()
        self._rules: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._decisions: dict[tuple[str, tuple[str, ...], Attributes], bool] = {}

    # Keeping in step

    async def run(self, loaded: asyncio.Event) -> None:
        """Load everything, then follow the store for ever."""
        while True:
            page = await self._store.list(PREFIX)
            self._roles.clear()
            self._bindings.clear()
            self._of.clear()
            self._revisions.clear()
            for record in page.records:
                self.take(record.key, record.value, record.revision)
            loaded.set()
            try:
                async for batch in self._store.watch(PREFIX, page.revision):
                    for event in batch:
                        self.take(event.key, event.value, event.revision)
                return
            except Compacted:
                log.warning("the index of roles fell behind and is loaded anew")

    def take(self, key: str, value: bytes | None, revision: int) -> None:
        """A role or binding as a write left it; what is older than what is known already changes nothing."""
        if revision <= self._revisions.get(key, 0):
            return
        self._revisions[key] = revision
        self.changed.set()
        self._decisions.clear()
        self._rules.clear()
        plural, _, rest = key.removeprefix(PREFIX).partition("/")
        namespace, _, name = rest.rpartition("/")
        obj = orjson.loads(encoding.light(value)) if value is not None else None
        if plural in ("roles", "clusterroles"):
            if obj is None:
                self._roles.pop((namespace, name), None)
            else:
                self._roles[namespace, name] = obj
        else:
            self._bind(key, namespace, obj)

    def _bind(self, key: str, namespace: str, obj: Object | None) -> None:
        if old := self._bindings.pop(key, None):
            for subject in old.subjects:
                self._of[subject].discard(key)
        if obj is None:
            return
        ref = obj["roleRef"]
        role = ("" if ref["kind"] == "ClusterRole" else namespace, ref["name"])
        subjects = frozenset(_subject(s, namespace) for s in obj.get("subjects") or ())
        self._bindings[key] = _Binding(namespace, role, subjects)
        for subject in subjects:
            self._of.setdefault(subject, set()).add(key)

    # Asking

    def allows(self, user: User, asked: Attributes) -> bool:
        """Whether the user may. Members of system:masters may do everything."""
        if MASTERS in user.groups:
            return True
        question = (user.name, user.groups, asked)
        found = self._decisions.get(question)
        if found is None:
            if len(self._decisions) >= 10_000:
                self._decisions.clear()
            found = any(r.allows(asked) for r in self.rules(user, asked.namespace))
            self._decisions[question] = found
        return found

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        """Every rule that holds for the user, in all namespaces and in this one."""
        for subject in (f"User:{user.name}", *(f"Group:{g}" for g in user.groups)):
            for key in self._of.get(subject, ()):
                binding = self._bindings[key]
                if binding.scope in ("", namespace):
                    yield from self.role(*binding.role)

    def role(self, namespace: str, name: str) -> tuple[Rule, ...]:
        """The rules of a role, those that it aggregates included."""
        found = self._rules.get((namespace, name))
        if found is None:
            obj = self._roles.get((namespace, name))
            found = tuple(rule(r) for r in self._policy(obj)) if obj else ()
            self._rules[namespace, name] = found
        return found

    def exists(self, namespace: str, name: str) -> bool:
        return (namespace, name) in self._roles

    def _policy(self, obj: Object) -> Iterable[Mapping[str, list[str]]]:
        aggregation = obj.get("aggregationRule")
        if not aggregation:
            return obj.get("rules") or ()
        return self.aggregated(aggregation, {obj["metadata"]["name"]})

    def stale(self) -> list[tuple[str, list[Object]]]:
        """The ClusterRoles whose stored rules are not what they aggregate, and those rules."""
        found = []
        for (_, name), obj in self._roles.items():
            if aggregation := obj.get("aggregationRule"):
                rules = self.aggregated(aggregation, {name})
                if rules != (obj.get("rules") or []):
                    found.append((name, rules))
        return found

    def aggregated(self, aggregation: Object, within: set[str]) -> list[Object]:
        """The rules of all ClusterRoles that an aggregation selects, each once; not of those it is `within`."""
        chosen = [selectors.of(s) for s in aggregation.get("clusterRoleSelectors") or ()]
        found: list[Object] = []
        for (namespace, name), obj in sorted(self._roles.items()):
            if (
                namespace
                or name in within
                or not any(s.matches(obj["metadata"].get("labels")) for s in chosen)
            ):
                continue
            nested = obj.get("aggregationRule")
            rules = self.aggregated(nested, {*within, name}) if nested else obj.get("rules") or ()
            found += [r for r in rules if r not in found]
        return found

    def uncovered(self, user: User, namespace: str, rules: Iterable[Rule]) -> list[str]:
        """What of `rules` the user does not hold, for the message that refuses to grant it."""
        if MASTERS in user.groups:
            return []
        held = list(self.rules(user, namespace))
        return [_worded(single) for r in rules for single in _singles(r) if not _covered(single, held)]


def _subject(subject: Object, namespace: str) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"User:system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}"
    return f"{subject['kind']}:{subject['name']}"


def _singles(found: Rule) -> Iterator[Rule]:
    """A rule as rules of one verb on one resource or path."""
    for verb in sorted(found.verbs):
        for url in found.urls:
            yield Rule(frozenset({verb}), urls=(url,))
        for group in sorted(found.groups):
            for resource in sorted(found.resources):
                for name in sorted(found.names) or ("",):
                    named = frozenset({name}) if name else frozenset[str]()
                    yield Rule(frozenset({verb}), frozenset({group}), frozenset({resource}), named)


def _covered(single: Rule, held: list[Rule]) -> bool:
    (verb,) = single.verbs
    if single.urls:
        return any(h.allows(Attributes(verb, path=single.urls[0])) for h in held)
    (group,), (whole,) = single.groups, single.resources
    resource, _, subresource = whole.partition("/")
    name = next(iter(single.names), "")
    return any(h.allows(Attributes(verb, group, resource, subresource, "", name)) for h in held)


def _worded(single: Rule) -> str:
    """As upstream prints a missing rule: {APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}."""
    parts = (
        ("APIGroups", single.groups),
        ("Resources", single.resources),
        ("ResourceNames", single.names),
        ("NonResourceURLs", single.urls),
        ("Verbs", single.verbs),
    )
    shown = ", ".join(f"{name}:{orjson.dumps(sorted(values)).decode()}" for name, values in parts if values)
    return "{" + shown + "}"
