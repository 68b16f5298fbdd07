"""What a claim of devices says (DeviceClaim): defaults and checks that ResourceClaims and their templates share.

Source: k8s.io/kubernetes/pkg/apis/resource/validation of 1.37. Not taken: alpha fields.
"""

from __future__ import annotations

from collections.abc import Iterable

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.machinery import devices, names
from sampan.machinery.objects import Object

MOST_REQUESTS, MOST_CONSTRAINTS, MOST_CONFIGS, MOST_SELECTORS, MOST_ALTERNATIVES = 32, 32, 32, 32, 8
MODES = ("All", "ExactCount")


def default(spec: Object) -> None:
    """Fill in what each request leaves out."""
    for request in (spec.get("devices") or {}).get("requests") or ():
        for one in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if one is not None:
                _default(one)


def _default(request: Object) -> None:
    if not request.get("allocationMode"):
        request["allocationMode"] = "ExactCount"
    if request["allocationMode"] == "ExactCount" and not request.get("count"):
        request["count"] = 1
    for toleration in request.get("tolerations") or ():
        toleration["operator"] = toleration.get("operator") or "Equal"


def validate(spec: Object, path: str) -> list[Invalid]:
    """All faults of a ResourceClaimSpec."""
    claim, at = spec.get("devices") or {}, f"{path}.devices"
    requests = claim.get("requests") or ()
    found: list[Invalid] = []
    if len(requests) > MOST_REQUESTS:
        found.append(faults.too_many(f"{at}.requests", len(requests), MOST_REQUESTS))
    known: set[str] = set()
    for i, request in enumerate(requests):
        found += _request(request, f"{at}.requests[{i}]")
        name = request.get("name", "")
        if name in known:
            found.append(faults.duplicate(f"{at}.requests[{i}].name", name))
        known.add(name)
        known |= {f"{name}/{sub.get('name', '')}" for sub in request.get("firstAvailable") or ()}
    for i, constraint in enumerate(claim.get("constraints") or ()):
        found += _constraint(constraint, f"{at}.constraints[{i}]", known)
    for i, config in enumerate(claim.get("config") or ()):
        found += _named(config, f"{at}.config[{i}]", known)
        found += opaque(config, f"{at}.config[{i}]")
    return found


def _request(request: Object, path: str) -> list[Invalid]:
    found = faults.each_invalid(
        f"{path}.name", request.get("name", ""), names.dns_label(request.get("name", ""))
    )
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or ()
    if (exactly is None) == (not alternatives):
        text = "exactly one of `exactly` or `firstAvailable` is required"
        return [*found, Invalid(path, "FieldValueRequired", f"Required value: {text}")]
    if exactly is not None:
        return found + _wanted(exactly, f"{path}.exactly")
    if len(alternatives) > MOST_ALTERNATIVES:
        found.append(faults.too_many(f"{path}.firstAvailable", len(alternatives), MOST_ALTERNATIVES))
    seen: set[str] = set()
    for i, sub in enumerate(alternatives):
        at, name = f"{path}.firstAvailable[{i}]", sub.get("name", "")
        found += faults.each_invalid(f"{at}.name", name, names.dns_label(name))
        if name in seen:
            found.append(faults.duplicate(f"{at}.name", name))
        seen.add(name)
        found += _wanted(sub, at)
    return found


def _wanted(request: Object, path: str) -> list[Invalid]:
    name, mode, count = (
        request.get("deviceClassName", ""),
        request.get("allocationMode"),
        request.get("count") or 0,
    )
    found = (
        faults.each_invalid(f"{path}.deviceClassName", name, names.dns_subdomain(name))
        if name
        else [faults.required(f"{path}.deviceClassName")]
    )
    found += selectors(request.get("selectors") or (), f"{path}.selectors")
    if mode not in MODES:
        found.append(faults.unsupported(f"{path}.allocationMode", mode, MODES))
    elif mode == "All" and count:
        found.append(
            faults.invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'")
        )
    elif mode == "ExactCount" and count <= 0:
        found.append(faults.invalid(f"{path}.count", count, "must be greater than zero"))
    for key in (request.get("capacity") or {}).get("requests") or ():
        found += faults.each_invalid(f"{path}.capacity.requests[{key}]", key, names.qualified(key))
    return found


def selectors(listed: Iterable[Object], path: str) -> list[Invalid]:
    """CEL expressions over a device."""
    found: list[Invalid] = []
    for i, one in enumerate(listed):
        at = f"{path}[{i}].cel"
        expression = (one.get("cel") or {}).get("expression")
        if not expression:
            found.append(faults.required(at if not one.get("cel") else f"{at}.expression"))
        elif fault := devices.fault(expression):
            found.append(faults.invalid(f"{at}.expression", expression, fault))
    return found


def _constraint(constraint: Object, path: str, known: set[str]) -> list[Invalid]:
    found = _named(constraint, path, known)
    which = next((w for w in ("matchAttribute", "distinctAttribute") if constraint.get(w) is not None), None)
    if which is None:
        text = (
            'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
        )
        return [*found, faults.required(path, text)]
    name, at = constraint[which], f"{path}.{which}"
    found += faults.each_invalid(at, name, names.qualified(name))
    if "/" not in name:
        text = "a fully qualified name must be a domain and a name separated by a slash"
        found.append(faults.invalid(at, name, text))
    return found


def _named(obj: Object, path: str, known: set[str]) -> list[Invalid]:
    return [
        faults.invalid(
            f"{path}.requests[{i}]", name, "must be the name of a request in the claim or the name of a "
            "request and a subrequest separated by '/'"
        )
        for i, name in enumerate(obj.get("requests") or ())
        if name not in known
    ]  # fmt: skip


def opaque(config: Object, path: str) -> list[Invalid]:
    """Configuration for a driver."""
    own = config.get("opaque")
    if own is None:
        return [faults.required(f"{path}.opaque")]
    found = faults.each_invalid(
        f"{path}.opaque.driver", own.get("driver", ""), names.dns_subdomain(own.get("driver", ""))
    )
    if own.get("parameters") is None:
        found.append(faults.required(f"{path}.opaque.parameters"))
    return found
