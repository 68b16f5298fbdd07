"""The terms by which pods choose nodes and one another, read once and asked often.

`NodeTerm` is one NodeSelectorTerm, `AffinityTerm` one PodAffinityTerm. What cannot be read matches nothing.

Source: k8s.io/component-helpers/scheduling/corev1 (nodeaffinity), k8s.io/kube-scheduler/framework (AffinityTerm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sampan.machinery import selectors
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
    """A term that cannot be read; the text says why."""


def node_term(term: Object, weight: int = 0) -> NodeTerm:
    """One NodeSelectorTerm. Raises NodeTermError."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    return NodeTerm(
        tuple(_label_requirement(e) for e in expressions),
        tuple(_field_requirement(f) for f in fields),
        weight,
    )


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


def _label_requirement(expression: Object) -> Requirement:
    operator = _OPERATORS.get(expression.get("operator", ""))
    values = tuple(expression.get("values") or ())
    if operator is None:
        raise NodeTermError(f'"{expression.get("operator", "")}" is not a valid node selector operator')
    if (
        (operator in (IN, NOT_IN) and not values)
        or (operator in (EXISTS, ABSENT) and values)
        or (operator in (GREATER, LESS) and not (len(values) == 1 and selectors.is_integer(values[0])))
    ):
        raise NodeTermError(f"values {list(values)} do not go with {expression['operator']}")
    return Requirement(expression["key"], operator, values)


def _field_requirement(expression: Object) -> Requirement:
    operator = _OPERATORS.get(expression.get("operator", ""))
    values = tuple(expression.get("values") or ())
    if operator not in (IN, NOT_IN):
        raise NodeTermError(f'"{expression.get("operator", "")}" is not a valid field selector operator')
    if len(values) != 1:
        raise NodeTermError("values: must have one element")
    return Requirement(expression["key"], operator, values)


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
