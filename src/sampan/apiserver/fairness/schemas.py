"""Which flow schema a request matches: the first, by precedence and name, one of whose rules covers it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.apiserver.call import User
from sampan.apiserver.rbac import Attributes
from sampan.machinery.objects import Object, get

_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class FlowSchema:
    """`method` says what tells flows apart: ByUser, ByNamespace, or nothing."""

    name: str
    uid: str
    level: str
    precedence: int
    method: str
    rules: tuple[Object, ...]

    def matches(self, user: User, asked: Attributes) -> bool:
        return any(_subject(r, user) and _covers(r, asked) for r in self.rules)

    def flow(self, user: User, asked: Attributes) -> str:
        return {"ByUser": user.name, "ByNamespace": asked.namespace}.get(self.method, "")


def read(obj: Object) -> FlowSchema:
    spec = obj.get("spec") or {}
    return FlowSchema(
        obj["metadata"]["name"],
        obj["metadata"].get("uid", ""),
        get(spec, "priorityLevelConfiguration.name", ""),
        int(spec.get("matchingPrecedence") or 1000),
        get(spec, "distinguisherMethod.type", ""),
        tuple(spec.get("rules") or ()),
    )


def ordered(schemas: Iterable[FlowSchema]) -> list[FlowSchema]:
    return sorted(schemas, key=lambda s: (s.precedence, s.name))


def match(schemas: Sequence[FlowSchema], user: User, asked: Attributes) -> FlowSchema | None:
    return next((s for s in schemas if s.matches(user, asked)), None)


def _subject(rule: Object, user: User) -> bool:
    return any(_is(s, user) for s in rule.get("subjects") or ())


def _is(subject: Object, user: User) -> bool:
    match subject.get("kind"):
        case "User":
            return get(subject, "user.name") in ("*", user.name)
        case "Group":
            name = get(subject, "group.name")
            return name == "*" or name in user.groups
        case "ServiceAccount":
            namespace, _, account = user.name.removeprefix(_ACCOUNT).partition(":")
            wanted = subject.get("serviceAccount") or {}
            own = user.name.startswith(_ACCOUNT) and namespace == wanted.get("namespace")
            return own and wanted.get("name") in ("*", account)
    return False


def _covers(rule: Object, asked: Attributes) -> bool:
    if asked.path:
        return any(_covers_path(r, asked) for r in rule.get("nonResourceRules") or ())
    return any(_covers_resource(r, asked) for r in rule.get("resourceRules") or ())


def _in(listed: Any, word: str) -> bool:
    return "*" in listed or word in listed


def _covers_resource(rule: Object, asked: Attributes) -> bool:
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    if not (_in(rule.get("verbs") or (), asked.verb) and _in(rule.get("apiGroups") or (), asked.group)):
        return False
    if not _in(rule.get("resources") or (), resource):
        return False
    if not asked.namespace:
        return bool(rule.get("clusterScope"))
    return _in(rule.get("namespaces") or (), asked.namespace)


def _covers_path(rule: Object, asked: Attributes) -> bool:
    if not _in(rule.get("verbs") or (), asked.verb):
        return False
    return any(_path(p, asked.path) for p in rule.get("nonResourceURLs") or ())


def _path(pattern: str, path: str) -> bool:
    """A path covers what is below it, too."""
    return pattern in ("*", path) or path.startswith(pattern.removesuffix("*").rstrip("/") + "/")
