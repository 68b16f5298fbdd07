"""What admission webhooks and admission policies share: rules, selectors, match conditions; defaults and faults.

Source: k8s.io/kubernetes pkg/apis/admissionregistration, validation and v1 defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sampan.kinds import client_configs, faults, label_selectors
from sampan.kinds.kind import Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object

FAILURES, MATCHES = ("Fail", "Ignore"), ("Equivalent", "Exact")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_HARMLESS = ("None", "NoneOnDryRun")
_REVIEWS = ("v1", "v1beta1")
# The most match conditions.
MOST = 64


def default_matching(found: Object) -> None:
    """The defaults of `matchConstraints` and `matchResources`."""
    found.setdefault("matchPolicy", "Equivalent")
    found.setdefault("namespaceSelector", {})
    found.setdefault("objectSelector", {})
    for name in ("resourceRules", "excludeResourceRules"):
        for rule in found.get(name) or ():
            rule.setdefault("scope", "*")


def default_webhook(found: Object) -> None:
    found.setdefault("failurePolicy", "Fail")
    found.setdefault("matchPolicy", "Equivalent")
    found.setdefault("namespaceSelector", {})
    found.setdefault("objectSelector", {})
    if found.get("timeoutSeconds") is None:
        found["timeoutSeconds"] = 10
    for rule in found.get("rules") or ():
        rule.setdefault("scope", "*")
    client_configs.default(found.get("clientConfig"))


# Rules


def _stars(found: list[str], path: str, what: str) -> Iterator[Invalid]:
    if not found:
        yield faults.required(path)
    if len(found) > 1 and "*" in found:
        yield faults.invalid(path, found, f"if '*' is present, must not specify other {what}")


def rule(found: Mapping[str, Any], path: str) -> Iterator[Invalid]:
    yield from _stars(found.get("apiGroups") or [], f"{path}.apiGroups", "API groups")
    yield from _stars(found.get("apiVersions") or [], f"{path}.apiVersions", "API versions")
    for index, version in enumerate(found.get("apiVersions") or ()):
        if not version:
            yield faults.required(f"{path}.apiVersions[{index}]")
    yield from _resources(found.get("resources") or [], f"{path}.resources")
    yield from faults.one_of(f"{path}.scope", found.get("scope"), _SCOPES)
    operations = found.get("operations") or []
    yield from _stars(operations, f"{path}.operations", "operations")
    for index, operation in enumerate(operations):
        yield from faults.one_of(f"{path}.operations[{index}]", operation, _OPERATIONS)
    seen: set[str] = set()
    for index, name in enumerate(found.get("resourceNames") or ()):
        at = f"{path}.resourceNames[{index}]"
        yield from faults.each_invalid(at, name, names.path_segment(name))
        if name in seen:
            yield faults.duplicate(at, name)
        seen.add(name)


def _resources(found: list[str], path: str) -> Iterator[Invalid]:
    if not found:
        yield faults.required(path)
    all_of: set[str] = set()
    of_all: set[str] = set()
    for index, text in enumerate(found):
        at = f"{path}[{index}]"
        resource, slash, sub = text.partition("/")
        if not text:
            yield faults.required(at)
        if not slash:
            continue
        if resource in all_of:
            yield faults.invalid(at, text, f"if '{resource}/*' is present, must not specify {text}")
        if sub in of_all:
            yield faults.invalid(at, text, f"if '*/{sub}' is present, must not specify {text}")
        if sub == "*":
            all_of.add(resource)
        if resource == "*":
            of_all.add(sub)
    if len(found) > 1 and "*/*" in found:
        yield faults.invalid(path, found, "if '*/*' is present, must not specify other resources")
    if "*" in found and any("/" not in f and f != "*" for f in found):
        said = "if '*' is present, must not specify other resources without subresources"
        yield faults.invalid(path, found, said)


def matching(found: Mapping[str, Any] | None, path: str) -> Iterator[Invalid]:
    """Faults of `matchConstraints` and `matchResources`."""
    if found is None:
        return
    yield from faults.one_of(f"{path}.matchPolicy", found.get("matchPolicy"), MATCHES, needed=True)
    for name in ("namespaceSelector", "objectSelector"):
        yield from label_selectors.validate(found.get(name) or {}, f"{path}.{name}")
    for name in ("resourceRules", "excludeResourceRules"):
        for index, one in enumerate(found.get(name) or ()):
            yield from rule(one, f"{path}.{name}[{index}]")


def conditions(found: list[Object], path: str, params: bool) -> Iterator[Invalid]:
    """Faults of match conditions; they may speak of `params` where a policy has some."""
    if len(found) > MOST:
        yield faults.too_many(path, len(found), MOST)
    seen: set[str] = set()
    for index, condition in enumerate(found):
        at = f"{path}[{index}]"
        expression, name = str(condition.get("expression") or "").strip(), condition.get("name") or ""
        if not expression:
            yield faults.required(f"{at}.expression")
        else:
            from sampan.kinds import policy_expressions

            if why := policy_expressions.fault(expression, params=params):
                yield faults.invalid(f"{at}.expression", expression, why)
        if not name:
            yield faults.required(f"{at}.name")
        else:
            yield from faults.each_invalid(f"{at}.name", name, names.qualified(name))
            if name in seen:
                yield faults.duplicate(f"{at}.name", name)
            seen.add(name)


# Webhooks


def webhook(found: Object, path: str) -> Iterator[Invalid]:
    name = found.get("name") or ""
    if not name:
        yield faults.required(f"{path}.name")
    elif wrong := names.dns_subdomain(name):
        yield faults.invalid(f"{path}.name", name, ",".join(wrong))
    elif name.count(".") < 2:
        yield faults.invalid(
            f"{path}.name", name, "should be a domain with at least three segments separated by dots"
        )
    for index, one in enumerate(found.get("rules") or ()):
        yield from rule(one, f"{path}.rules[{index}]")
    yield from faults.one_of(f"{path}.failurePolicy", found.get("failurePolicy"), FAILURES)
    yield from faults.one_of(f"{path}.matchPolicy", found.get("matchPolicy"), MATCHES)
    effects = found.get("sideEffects")
    if effects is None:
        yield faults.required(f"{path}.sideEffects", f"must specify one of {', '.join(_HARMLESS)}")
    else:
        yield from faults.one_of(f"{path}.sideEffects", effects, _HARMLESS)
    seconds = found.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        said = "the timeout value must be between 1 and 30 seconds"
        yield faults.invalid(f"{path}.timeoutSeconds", seconds, said)
    for field in ("namespaceSelector", "objectSelector"):
        yield from label_selectors.validate(found.get(field) or {}, f"{path}.{field}")
    policy = found.get("reinvocationPolicy")
    yield from faults.one_of(f"{path}.reinvocationPolicy", policy, ("IfNeeded", "Never"))
    yield from client_configs.check(found.get("clientConfig"), f"{path}.clientConfig")
    yield from conditions(found.get("matchConditions") or [], f"{path}.matchConditions", False)
    yield from _reviews(found.get("admissionReviewVersions") or [], f"{path}.admissionReviewVersions")


def _reviews(found: list[str], path: str) -> Iterator[Invalid]:
    if not found:
        yield faults.required(path, f"must specify one of {', '.join(_REVIEWS)}")
        return
    for index, version in enumerate(found):
        if version in found[:index]:
            yield faults.invalid(f"{path}[{index}]", version, "duplicate version")
        else:
            yield from faults.each_invalid(f"{path}[{index}]", version, names.service_name(version))
    if not set(found) & set(_REVIEWS):
        yield faults.invalid(path, found, f"must include at least one of {', '.join(_REVIEWS)}")


def webhooks(obj: Object, old: Object | None) -> list[Invalid]:
    found: list[Invalid] = []
    seen: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks") or ()):
        found += webhook(hook, f"webhooks[{index}]")
        name = hook.get("name") or ""
        if name and name in seen:
            found.append(faults.duplicate(f"webhooks[{index}].name", name))
        seen.add(name)
    return found


# Bindings and parameters


def param_kind(found: Object, path: str) -> Iterator[Invalid]:
    version, kind = found.get("apiVersion") or "", found.get("kind") or ""
    if not version:
        yield faults.required(f"{path}.apiVersion")
    elif version.count("/") > 1:
        yield faults.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    if not kind:
        yield faults.required(f"{path}.kind")
    elif wrong := names.service_name(kind.lower()):
        said = "may have mixed case, but should otherwise match: " + ",".join(wrong)
        yield faults.invalid(f"{path}.kind", kind, said)


def binding(obj: Object) -> Iterator[Invalid]:
    spec = obj.get("spec") or {}
    if not spec.get("policyName"):
        yield faults.required("spec.policyName")
    else:
        wrong = names.dns_subdomain(spec["policyName"])
        yield from faults.each_invalid("spec.policyName", spec["policyName"], wrong)
    if (ref := spec.get("paramRef")) is not None:
        yield from _param_ref(ref, "spec.paramRef")
    yield from matching(spec.get("matchResources"), "spec.matchResources")


def _param_ref(ref: Object, path: str) -> Iterator[Invalid]:
    name, selector = ref.get("name"), ref.get("selector")
    if name and selector is not None:
        for field in ("name", "selector"):
            yield faults.forbidden(f"{path}.{field}", "name and selector are mutually exclusive")
    if name:
        yield from faults.each_invalid(f"{path}.name", name, names.path_segment(name))
    if selector is not None:
        yield from label_selectors.validate(selector, f"{path}.selector")
    if not name and selector is None:
        yield faults.required(path, "one of name or selector must be specified")
    action = ref.get("parameterNotFoundAction")
    yield from faults.one_of(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow"), needed=True)
