"""Whether a pod may stand on a node: taints and tolerations, node selectors and affinity; and what it requests.

Sources: the concepts' pages on taints and tolerations, on assigning pods to nodes, and on resource
management; KEP-753 (requests of sidecar containers), KEP-2837 (pod-level resources).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.machinery import quantities
from sampan.machinery.objects import Object
from sampan.machinery.selectors import ABSENT, EXISTS, GREATER, IN, LESS, NOT_IN, Requirement

_OPERATORS = {
    "In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": ABSENT, "Gt": GREATER, "Lt": LESS,
}  # fmt: skip

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def tolerates(toleration: Object, taint: Object) -> bool:
    """Whether one toleration bears one taint; an empty key means every key, an empty effect every effect.

    The operators Lt and Gt bear nothing: they are behind a feature gate that is off (KEP-5471).
    """
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Equal":
        return (toleration.get("value") or "") == (taint.get("value") or "")
    return bool(operator == "Exists")


def untolerated(
    tolerations: Iterable[Object], taints: Iterable[Object], effects: tuple[str, ...]
) -> Object | None:
    """The first taint of these effects that nothing tolerates."""
    borne = tuple(tolerations)
    for taint in taints:
        if taint.get("effect") in effects and not any(tolerates(t, taint) for t in borne):
            return taint
    return None


def term_matches(term: Object, node: Object) -> bool:
    """Whether a node meets a NodeSelectorTerm; a term without any requirement matches nothing."""
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    expressions, by_field = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not by_field:
        return False
    return all(_met(e, labels) for e in expressions) and all(_met(e, fields) for e in by_field)


def _met(expression: Object, labels: Mapping[str, str]) -> bool:
    operator = _OPERATORS.get(expression.get("operator", ""), "")
    values = tuple(expression.get("values") or ())
    if not operator or (operator in (GREATER, LESS) and not _integer(values)):
        return False
    return Requirement(expression["key"], operator, values).matches(labels)


def _integer(values: tuple[str, ...]) -> bool:
    return len(values) == 1 and values[0].lstrip("+-").isdigit()


def selector_matches(selector: Object | None, node: Object) -> bool:
    """Whether a node meets one of a NodeSelector's terms; no selector matches every node."""
    if selector is None:
        return True
    return any(term_matches(term, node) for term in selector.get("nodeSelectorTerms") or ())


def affinity_matches(spec: Object, node: Object) -> bool:
    """Whether a node meets a pod spec's nodeSelector and required node affinity."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return selector_matches(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"), node)


Resources = dict[str, int]


def amount(resource: str, quantity: Any) -> int:
    """A quantity as the scheduler counts it: thousandths for cpu, whole units for all else."""
    parsed = quantities.parse(quantity)
    return parsed.milli if resource == "cpu" else parsed.value


def resources(quantities_by_name: Mapping[str, Any] | None) -> Resources:
    return {name: amount(name, q) for name, q in (quantities_by_name or {}).items()}


def requests(spec: Object) -> Resources:
    """What a pod asks of its node: the larger of what its containers need together and what its start needs.

    Sidecars (init containers that restart Always) run beside everything after them. Pod-level requests,
    where set, replace the sum. The pod's overhead comes on top.
    """
    running: Resources = {}
    for container in spec.get("containers") or ():
        _add(running, _of(container))
    sidecars: Resources = {}
    starting: Resources = {}
    for container in spec.get("initContainers") or ():
        needed = _of(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, needed)
            _most(starting, sidecars)
        else:
            _add(needed, sidecars)
            _most(starting, needed)
    _add(running, sidecars)
    _most(running, starting)
    running |= resources((spec.get("resources") or {}).get("requests"))
    _add(running, resources(spec.get("overhead")))
    return running


def _of(container: Object) -> Resources:
    return resources((container.get("resources") or {}).get("requests"))


def _add(total: Resources, more: Resources) -> None:
    for name, n in more.items():
        total[name] = total.get(name, 0) + n


def _most(total: Resources, other: Resources) -> None:
    for name, n in other.items():
        total[name] = max(total.get(name, 0), n)
