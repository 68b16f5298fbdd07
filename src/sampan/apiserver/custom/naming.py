"""Which names a definition gets, and its conditions: plain decisions.

Source: k8s.io/apiextensions-apiserver pkg/controller/status and establish.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sampan.kinds.custom.definitions import condition
from sampan.machinery import conditions
from sampan.machinery.objects import Object, get

# Each name with the reason that its conflict has, and whether it is among kinds or among resources.
_NAMES = (("plural", False), ("singular", False), ("shortNames", False), ("kind", True), ("listKind", True))
ANNOTATION = "api-approved.kubernetes.io"


def status(definition: Object, others: Iterable[Object], now: float) -> Object:
    """The status that a definition is to have, given the other definitions of its group."""
    wanted, before = definition["spec"]["names"], dict(get(definition, "status.acceptedNames") or {})
    resources, kinds = _taken(others)
    accepted = {"plural": "", "kind": "", **before}
    refused: tuple[str, str] = ("", "")
    for name, of_kinds in _NAMES:
        why = _conflict(wanted.get(name), before.get(name), kinds if of_kinds else resources)
        if why:
            refused = (f"{name[0].upper()}{name[1:]}Conflict", why)
        else:
            _put(accepted, name, wanted.get(name))
    _put(accepted, "categories", wanted.get("categories"))
    found = _conditions(definition, refused, now)
    return {**(definition.get("status") or {}), "acceptedNames": accepted, "conditions": found}


def _put(names: dict[str, Any], name: str, value: Any) -> None:
    if value:
        names[name] = value
    elif name in names:
        del names[name]


def _taken(others: Iterable[Object]) -> tuple[set[str], set[str]]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = get(other, "status.acceptedNames") or {}
        resources |= {names.get("plural", ""), names.get("singular", ""), *(names.get("shortNames") or ())}
        kinds |= {names.get("kind", ""), names.get("listKind", "")}
    return resources - {""}, kinds - {""}


def _conflict(wanted: Any, before: Any, taken: set[str]) -> str:
    if isinstance(wanted, list):
        clashes = [w for w in wanted if w not in (before or ()) and w in taken]
        told = [f'"{w}" is already in use' for w in clashes]
        return told[0] if len(told) == 1 else f"[{', '.join(told)}]" if told else ""
    return f'"{wanted}" is already in use' if wanted != before and wanted in taken else ""


def _conditions(definition: Object, refused: tuple[str, str], now: float) -> list[Object]:
    found = tuple(get(definition, "status.conditions") or ())
    if refused[0]:
        accepted = conditions.new("NamesAccepted", "False", *refused, now)
    else:
        accepted = conditions.new("NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
    found = conditions.with_(found, accepted)
    if condition(definition, "Established") != "True":
        if refused[0]:
            made = conditions.new("Established", "False", "NotAccepted", "not all names are accepted", now)
        else:
            said = "the initial names have been accepted"
            made = conditions.new("Established", "True", "InitialNamesAccepted", said, now)
        found = conditions.with_(found, made)
    if re.search(r"(^|\.)(k8s|kubernetes)\.io$", definition["spec"].get("group", "")):
        found = conditions.with_(found, _approval(definition, now))
    return list(found)


def _approval(definition: Object, now: float) -> Object:
    type_, text = "KubernetesAPIApprovalPolicyConformant", _annotation(definition)
    if text.startswith("unapproved"):
        said = f'not approved: "{text}"'
        return conditions.new(type_, "False", "UnapprovedAnnotation", said, now)
    if not text:
        said = f'protected groups must have approval annotation "{ANNOTATION}"'
        return conditions.new(type_, "False", "MissingAnnotation", said, now)
    return conditions.new(type_, "True", "ApprovedAnnotation", f"approved in {text}", now)


def _annotation(definition: Object) -> str:
    return str((definition["metadata"].get("annotations") or {}).get(ANNOTATION) or "")


def terminating(definition: Object, status_: str, reason: str, message: str, now: float) -> Object:
    """The status with the condition that tells how far the deletion is."""
    made = conditions.new("Terminating", status_, reason, message, now)
    found = conditions.with_(tuple(get(definition, "status.conditions") or ()), made)
    return {**(definition.get("status") or {}), "conditions": list(found)}
