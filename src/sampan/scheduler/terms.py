"""The terms by which pods choose nodes and one another, read once and asked often.

`NodeTerm` is one NodeSelectorTerm, `AffinityTerm` one PodAffinityTerm. What cannot be read matches nothing.

Source: k8s.io/component-helpers/scheduling/corev1 (nodeaffinity), k8s.io/kube-scheduler/framework (AffinityTerm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sampan.machinery import names, selectors
from sampan.machinery.objects import Object
from sampan.machinery.placement import tolerates
from sampan.machinery.selectors import (
    ABSENT,
    EXISTS,
    GREATER,
    IN,
    LESS,
    NOT_IN,
    NOTHING,
    Requirement,
    Selector,
)

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
Labels = Mapping[str, str]

_OPERATORS = {
    "In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": ABSENT, "Gt": GREATER, "Lt": LESS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """Requirements on a node's labels and on its name; `weight` where it is a preference."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()
    weight: int = 0

    def matches(self, name: str, labels: Labels) -> bool:
        return all(r.matches(labels) for r in self.labels) and (
            not self.fields or all(r.matches({"metadata.name": name}) for r in self.fields)
        )


class NodeTermError(ValueError):
    """A term that cannot be read; `faults` say why."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")
        self.faults = faults


def node_term(term: Object, weight: int = 0, where: str = "") -> NodeTerm:
    """One NodeSelectorTerm; `where` is its path in faults. Raises NodeTermError."""
    labels: list[Requirement] = []
    fields: list[Requirement] = []
    faults: list[str] = []
    for name, read, found in (
        ("matchExpressions", _label_requirement, labels),
        ("matchFields", _field_requirement, fields),
    ):
        for index, expression in enumerate(term.get(name) or ()):
            try:
                found.append(read(expression))
            except _Fault as e:
                faults.append(f"{where}.{name}[{index}].{e}")
    if faults:
        raise NodeTermError(faults)
    return NodeTerm(tuple(labels), tuple(fields), weight)


def is_empty(term: Object) -> bool:
    """Whether a NodeSelectorTerm requires nothing; such terms match no node."""
    return not term.get("matchExpressions") and not term.get("matchFields")


def node_terms(selector: Object | None) -> tuple[NodeTerm, ...] | None:
    """A NodeSelector as terms of which one must match, those that cannot be read left out; None: no selector."""
    if selector is None:
        return None
    found = []
    for term in selector.get("nodeSelectorTerms") or ():
        if not is_empty(term):
            try:
                found.append(node_term(term))
            except NodeTermError:
                continue
    return tuple(found)


class _Fault(ValueError):
    """What is wrong with one expression, from its field on."""


def _label_requirement(expression: Object) -> Requirement:
    name, key = expression.get("operator") or "", expression.get("key") or ""
    values = tuple(expression.get("values") or ())
    if (operator := _OPERATORS.get(name)) is None:
        raise _Fault(_unsupported(name, _OPERATORS))
    if faults := names.qualified(key):
        raise _Fault(f'key: Invalid value: "{key}": {"; ".join(faults)}')
    if operator in (IN, NOT_IN) and not values:
        raise _Fault("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty")
    if operator in (EXISTS, ABSENT) and values:
        raise _Fault(
            f"values: Invalid value: {_listed(values)}: values set must be empty for exists and does not exist"
        )
    if operator in (GREATER, LESS):
        if len(values) != 1:
            raise _Fault(
                f"values: Invalid value: {_listed(values)}: for 'Gt', 'Lt' operators, exactly one value is required"
            )
        if not selectors.is_integer(values[0]):
            raise _Fault(
                f"values[0]: Invalid value: \"{values[0]}\": for 'Gt', 'Lt' operators, the value must be an integer"
            )
    for index, value in enumerate(values):
        if faults := names.label_value(value):
            raise _Fault(f'values[{index}][{key}]: Invalid value: "{value}": {"; ".join(faults)}')
    return Requirement(key, operator, values)


def _field_requirement(expression: Object) -> Requirement:
    name, values = expression.get("operator") or "", tuple(expression.get("values") or ())
    operator = _OPERATORS.get(name)
    if operator not in (IN, NOT_IN):
        raise _Fault(_unsupported(name, ("In", "NotIn")))
    if len(values) != 1:
        raise _Fault(f"values: Invalid value: {_listed(values)}: must have one element")
    return Requirement(expression["key"], operator, values)


def _unsupported(name: str, supported: Iterable[str]) -> str:
    words = ", ".join(f'"{operator}"' for operator in supported)
    return f'operator: Unsupported value: "{name}": supported values: {words}'


def _listed(values: tuple[str, ...]) -> str:
    return "[" + ",".join(f'"{value}"' for value in values) + "]"


@dataclass(frozen=True, slots=True)
class RequiredNodes:
    """A pod's nodeSelector and required node affinity together."""

    selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[NodeTerm, ...] | None = None

    def matches(self, name: str, labels: Labels) -> bool:
        for key, value in self.selector:
            if labels.get(key) != value:
                return False
        return self.terms is None or any(term.matches(name, labels) for term in self.terms)


def required_nodes(spec: Object) -> RequiredNodes:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return RequiredNodes(
        tuple((spec.get("nodeSelector") or {}).items()),
        node_terms(affinity.get("requiredDuringSchedulingIgnoredDuringExecution")),
    )


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """Pods by labels and namespaces, and the node label whose values are the domains; `weight` of a preference."""

    selector: Selector
    topology_key: str
    namespaces: frozenset[str]
    namespace_selector: Selector
    weight: int = 0

    def matches(self, namespace: str, labels: Labels, namespace_labels: Labels | None) -> bool:
        """Whether the term means a pod; `namespace_labels` are None where namespaces are already resolved."""
        if namespace not in self.namespaces and not self.namespace_selector.matches(namespace_labels):
            return False
        return self.selector.matches(labels)

    @property
    def selects_namespaces(self) -> bool:
        """Whether the namespace selector selects some and not all."""
        return bool(self.namespace_selector) and not self.namespace_selector.nothing

    def resolved(self, namespaces: Mapping[str, Labels]) -> AffinityTerm:
        """The same with the namespace selector replaced by the names that it selects among these."""
        if not self.selects_namespaces:
            return self
        selected = {name for name, labels in namespaces.items() if self.namespace_selector.matches(labels)}
        return replace(self, namespaces=self.namespaces | selected, namespace_selector=NOTHING)


def affinity_term(term: Object, namespace: str, weight: int = 0) -> AffinityTerm:
    """One PodAffinityTerm of a pod in `namespace`. Raises SelectorError."""
    listed = term.get("namespaces") or ()
    if not listed and term.get("namespaceSelector") is None:
        listed = (namespace,)
    return AffinityTerm(
        selectors.of(term.get("labelSelector")),
        term.get("topologyKey", ""),
        frozenset(listed),
        selectors.of(term.get("namespaceSelector")),
        weight,
    )


def required_affinity(terms: Iterable[Object] | None, namespace: str) -> tuple[AffinityTerm, ...]:
    return tuple(affinity_term(term, namespace) for term in terms or ())


def preferred_affinity(terms: Iterable[Object] | None, namespace: str) -> tuple[AffinityTerm, ...]:
    return tuple(
        affinity_term(t.get("podAffinityTerm") or {}, namespace, int(t.get("weight") or 0))
        for t in terms or ()
    )


def untolerated(taints: Iterable[Object], tolerations: Iterable[Object]) -> Object | None:
    """The first taint that keeps the pod off a node."""
    for taint in taints:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not any(
            tolerates(t, taint) for t in tolerations
        ):
            return taint
    return None
