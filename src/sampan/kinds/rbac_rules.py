"""What the kinds of RBAC share: rules, subjects, and their checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sampan.kinds import faults
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Column, Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object, get

GROUP = "rbac.authorization.k8s.io"


def rules(found: list[Any], namespaced: bool) -> list[Invalid]:
    listed: list[Invalid] = []
    for index, rule in enumerate(found):
        path = f"rules[{index}]"
        urls, groups, resources = (rule.get(f) or [] for f in ("nonResourceURLs", "apiGroups", "resources"))
        if not rule.get("verbs"):
            listed.append(faults.required(f"{path}.verbs", "verbs must contain at least one value"))
        if urls and namespaced:
            text = "namespaced rules cannot apply to non-resource URLs"
            listed.append(faults.invalid(f"{path}.nonResourceURLs", urls, text))
        if urls and (groups or resources or rule.get("resourceNames")):
            text = "rules cannot apply to both regular resources and non-resource URLs"
            listed.append(faults.invalid(f"{path}.nonResourceURLs", urls, text))
        if urls:
            continue
        if not groups:
            text = "resource rules must supply at least one api group"
            listed.append(faults.required(f"{path}.apiGroups", text))
        if not resources:
            text = "resource rules must supply at least one resource"
            listed.append(faults.required(f"{path}.resources", text))
    return listed


def default_binding(obj: Object) -> None:
    role = obj.setdefault("roleRef", {})
    role["apiGroup"] = role.get("apiGroup") or GROUP
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = GROUP


def binding(namespaced: bool) -> Callable[[Object, Object | None], list[Invalid]]:
    kinds = ("ClusterRole", "Role") if namespaced else ("ClusterRole",)

    def validate(obj: Object, old: Object | None) -> list[Invalid]:
        role = obj.get("roleRef") or {}
        found: list[Invalid] = []
        if role.get("apiGroup") != GROUP:
            found.append(faults.unsupported("roleRef.apiGroup", role.get("apiGroup", ""), (GROUP,)))
        if role.get("kind") not in kinds:
            found.append(faults.unsupported("roleRef.kind", role.get("kind", ""), kinds))
        if not role.get("name"):
            found.append(faults.required("roleRef.name"))
        else:
            found += faults.each_invalid("roleRef.name", role["name"], names.path_segment(role["name"]))
        for index, subject in enumerate(obj.get("subjects") or ()):
            found += _subject(subject, namespaced, f"subjects[{index}]")
        if old is not None and role != old.get("roleRef"):
            found.append(faults.invalid("roleRef", role, "cannot change roleRef"))
        return found

    return validate


def _subject(subject: Object, namespaced: bool, path: str) -> list[Invalid]:
    found = [] if subject.get("name") else [faults.required(f"{path}.name")]
    kind, group = subject.get("kind", ""), subject.get("apiGroup") or ""
    if kind == "ServiceAccount":
        if subject.get("name"):
            found += faults.each_invalid(
                f"{path}.name", subject["name"], names.dns_subdomain(subject["name"])
            )
        if group:
            found.append(faults.unsupported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            found.append(faults.required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != GROUP:
            found.append(faults.unsupported(f"{path}.apiGroup", group, (GROUP,)))
    else:
        found.append(faults.unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return found


def _role(obj: Object, now: float) -> str:
    return f"{get(obj, 'roleRef.kind', '')}/{get(obj, 'roleRef.name', '')}"


def _subjects(kind: str) -> Callable[[Object, float], str]:
    def value(obj: Object, now: float) -> str:
        found = [s for s in obj.get("subjects") or () if s.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{s.get('namespace', '')}/{s['name']}" for s in found)
        return ", ".join(s["name"] for s in found)

    return value


BINDING_COLUMNS = (
    NAME,
    Column("Role", _role, description="The role that is granted."),
    AGE,
    Column("Users", _subjects("User"), wide=True, description="The users it is granted to."),
    Column("Groups", _subjects("Group"), wide=True, description="The groups it is granted to."),
    Column("ServiceAccounts", _subjects("ServiceAccount"), wide=True),
)
