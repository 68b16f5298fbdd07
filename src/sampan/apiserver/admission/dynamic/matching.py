"""Which webhooks and policies concern a request: rules and selectors.

Source: k8s.io/apiserver pkg/admission/plugin/webhook/predicates and policy/matching.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.apiserver.admission.dynamic.request import Attributes
from sampan.kinds.kind import Kind
from sampan.machinery import selectors
from sampan.machinery.objects import Object, get

Rule = Mapping[str, Any]


def by_rules(
    rules: Iterable[Rule], policy: str, found: Attributes, equivalents: Iterable[Kind]
) -> Kind | None:
    """The kind by which a request is seen: its own, or with `Equivalent` another that is the same objects."""
    rules = list(rules)
    if any(_rule(r, found, found.kind) for r in rules):
        return found.kind
    if policy != "Exact":
        for rule in rules:
            for kind in equivalents:
                if kind is not found.kind and _rule(rule, found, kind):
                    return kind
    return None


def _rule(rule: Rule, found: Attributes, kind: Kind) -> bool:
    names = rule.get("resourceNames")
    return (
        _in(found.operation, rule.get("operations"))
        and _in(kind.group, rule.get("apiGroups"))
        and _in(kind.version, rule.get("apiVersions"))
        and _resource(rule.get("resources") or (), kind.plural, found.call.subresource)
        and _scope(rule.get("scope"), kind)
        and (not names or found.name in names)
    )


def _in(value: str, wanted: Iterable[str] | None) -> bool:
    listed = list(wanted or ())
    return "*" in listed or value in listed


def _resource(wanted: Iterable[str], plural: str, subresource: str) -> bool:
    for text in wanted:
        resource, _, sub = text.partition("/")
        if resource in ("*", plural) and (sub == subresource or sub == "*"):
            return True
    return False


def _scope(scope: str | None, kind: Kind) -> bool:
    """A Namespace counts as cluster-scoped."""
    return scope in (None, "", "*") or (scope == "Namespaced") == kind.namespaced


def by_selectors(matcher: Mapping[str, Any], found: Attributes, namespace: Object | None) -> bool:
    """Whether the selectors of a webhook or of match resources choose a request; `namespace` is its namespace."""
    return _namespace(matcher.get("namespaceSelector") or {}, found, namespace) and _object(
        matcher.get("objectSelector") or {}, found
    )


def _namespace(selector: Object, found: Attributes, namespace: Object | None) -> bool:
    if not selector or (not found.kind.namespaced and found.kind.resource != "namespaces"):
        return True
    chosen = selectors.of(selector)
    if found.kind.resource == "namespaces":
        own = found.object if found.object is not None else found.old
        return chosen.matches(get(own, "metadata.labels"))
    return chosen.matches(get(namespace, "metadata.labels"))


def _object(selector: Object, found: Attributes) -> bool:
    if not selector:
        return True
    chosen = selectors.of(selector)
    return any(o is not None and chosen.matches(get(o, "metadata.labels")) for o in (found.object, found.old))


def by_resources(
    resources: Mapping[str, Any] | None,
    found: Attributes,
    namespace: Object | None,
    equivalents: Iterable[Kind],
) -> Kind | None:
    """The kind by which `matchConstraints` or `matchResources` see a request; None where they do not concern it."""
    if not resources:
        return found.kind
    if not by_selectors(resources, found, namespace):
        return None
    policy, equivalents = resources.get("matchPolicy", "Equivalent"), list(equivalents)
    if by_rules(resources.get("excludeResourceRules") or (), policy, found, equivalents):
        return None
    rules = resources.get("resourceRules")
    return by_rules(rules, policy, found, equivalents) if rules else found.kind
