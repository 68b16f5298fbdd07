"""The checks of node and pod affinity."""

from __future__ import annotations

from typing import Any

from sampan.kinds import faults, label_selectors
from sampan.kinds.kind import Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object, get

_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_SETS, _FLAGS, _NUMBERS = ("In", "NotIn"), ("Exists", "DoesNotExist"), ("Gt", "Lt")


def validate(affinity: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    node = affinity.get("nodeAffinity") or {}
    if node.get(_REQUIRED) is not None:
        found += node_selector(node[_REQUIRED], f"{path}.nodeAffinity.{_REQUIRED}")
    for index, term in enumerate(node.get(_PREFERRED) or ()):
        at = f"{path}.nodeAffinity.{_PREFERRED}[{index}]"
        found += _weight(term, at) + _node_term(term.get("preference") or {}, f"{at}.preference")
    for field in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(field) or {}
        for index, term in enumerate(pods.get(_REQUIRED) or ()):
            found += _pod_term(term, f"{path}.{field}.{_REQUIRED}[{index}]")
        for index, term in enumerate(pods.get(_PREFERRED) or ()):
            at = f"{path}.{field}.{_PREFERRED}[{index}]"
            found += _weight(term, at) + _pod_term(term.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")
    return found


def node_selector(selector: Object, path: str) -> list[Invalid]:
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        return [faults.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [f for i, term in enumerate(terms) for f in _node_term(term, f"{path}.nodeSelectorTerms[{i}]")]


def _weight(term: Object, path: str) -> list[Invalid]:
    weight = term.get("weight", 0)
    return (
        [] if 1 <= weight <= 100 else [faults.invalid(f"{path}.weight", weight, "must be in the range 1-100")]
    )


def _node_term(term: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for index, item in enumerate(term.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        found += _expression(item, at) + faults.each_invalid(
            f"{at}.key", item.get("key"), names.qualified(item["key"])
        )
    for index, item in enumerate(term.get("matchFields") or ()):
        at = f"{path}.matchFields[{index}]"
        if item.get("operator") not in _SETS:
            text = "not a valid selector operator"
            found.append(faults.invalid(f"{at}.operator", item.get("operator", ""), text))
        elif len(item.get("values") or ()) != 1:
            found.append(
                faults.required(
                    f"{at}.values",
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                )
            )
        if item.get("key") != "metadata.name":
            found.append(faults.invalid(f"{at}.key", item.get("key", ""), "not a valid field selector key"))
    return found


def _expression(item: Object, path: str) -> list[Invalid]:
    operator, values = item.get("operator", ""), item.get("values") or []
    if operator in _SETS:
        text = "must be specified when `operator` is 'In' or 'NotIn'"
        return [] if values else [faults.required(f"{path}.values", text)]
    if operator in _FLAGS:
        text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        return [faults.forbidden(f"{path}.values", text)] if values else []
    if operator in _NUMBERS:
        text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
        return [] if len(values) == 1 else [faults.required(f"{path}.values", text)]
    return [faults.invalid(f"{path}.operator", operator, "not a valid selector operator")]


def _pod_term(term: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for field in ("labelSelector", "namespaceSelector"):
        selector: Any = get(term, field)
        found += label_selectors.validate(selector, f"{path}.{field}", needed=False)
    if not term.get("topologyKey"):
        text = "can not be empty"
        found.append(faults.required(f"{path}.topologyKey", text))
    else:
        found += faults.each_invalid(
            f"{path}.topologyKey", term["topologyKey"], names.qualified(term["topologyKey"])
        )
    for index, namespace in enumerate(term.get("namespaces") or ()):
        found += faults.each_invalid(f"{path}.namespaces[{index}]", namespace, names.dns_label(namespace))
    return found
