"""What a Job's policies may say: of failed pods, of success, and of indexes that fail by themselves.

Source: k8s.io/kubernetes pkg/apis/batch/validation.
"""

from __future__ import annotations

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object, get

ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_MOST_RULES, _MOST_PATTERNS, _MOST_CODES = 20, 20, 255
_MOST_INDEXES, _MANY = 100_000, 10_000
_LONGEST_INDEXES, _LONGEST_MANAGER = 64 * 1024, 63


def validate(spec: Object, path: str) -> list[Invalid]:
    """Faults of all that goes beyond plain numbers."""
    found = _per_index(spec, path)
    if manager := spec.get("managedBy"):
        found += _manager(manager, f"{path}.managedBy")
    policy = spec.get("podFailurePolicy")
    if policy is not None:
        found += _failure(policy, spec, f"{path}.podFailurePolicy.rules")
    if spec.get("successPolicy") is not None:
        at = f"{path}.successPolicy"
        if spec.get("completionMode") != "Indexed":
            found.append(faults.invalid(at, spec["successPolicy"], "requires indexed completion mode"))
        else:
            found += _success(spec, f"{at}.rules")
    replacement = ("Failed",) if policy is not None else ("Failed", "TerminatingOrFailed")
    return found + faults.one_of(
        f"{path}.podReplacementPolicy", spec.get("podReplacementPolicy"), replacement
    )


def _manager(manager: str, path: str) -> list[Invalid]:
    domain, slash, rest = manager.partition("/")
    if not slash or not domain or not rest:
        text = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [faults.invalid(path, manager, text)]
    found = faults.each_invalid(path, domain, names.dns_subdomain(domain))
    if len(manager) > _LONGEST_MANAGER:
        found.append(faults.too_long(path, _LONGEST_MANAGER))
    return found


def _per_index(spec: Object, path: str) -> list[Invalid]:
    limit, most, count = (spec.get(f) for f in ("backoffLimitPerIndex", "maxFailedIndexes", "completions"))
    found: list[Invalid] = []
    if most is not None and limit is None:
        found.append(faults.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("completionMode") != "Indexed":
        text = "requires indexed completion mode"
        given = (("backoffLimitPerIndex", limit), ("maxFailedIndexes", most))
        return found + [faults.invalid(f"{path}.{f}", v, text) for f, v in given if v is not None]
    at, parallel = f"{path}.maxFailedIndexes", spec.get("parallelism") or 0
    if parallel > _MOST_INDEXES:
        text = f"must be less than or equal to {_MOST_INDEXES} when completion mode is Indexed"
        found.append(faults.invalid(f"{path}.parallelism", parallel, text))
    if most is not None and count is not None and most > count:
        found.append(faults.invalid(at, most, "must be less than or equal to completions"))
    if most is not None and most > _MOST_INDEXES:
        found.append(faults.invalid(at, most, f"must be less than or equal to {_MOST_INDEXES}"))
    if count is not None and count > _MOST_INDEXES and limit is not None:
        if most is None:
            text = f"must be specified when completions is above {_MOST_INDEXES}"
            found.append(faults.required(at, text))
        text = (
            f"must be less than or equal to {_MANY} when completions are above {_MOST_INDEXES} "
            "and used with backoff limit per index"
        )
        for field, value in (("parallelism", parallel), ("maxFailedIndexes", most or 0)):
            if value > _MANY:
                found.append(faults.invalid(f"{path}.{field}", value, text))
    return found


def _failure(policy: Object, spec: Object, path: str) -> list[Invalid]:
    rules = policy.get("rules") or []
    found: list[Invalid] = []
    if len(rules) > _MOST_RULES:
        found.append(faults.too_many(path, len(rules), _MOST_RULES))
    template = get(spec, "template.spec", {})
    containers = {c.get("name") for f in ("containers", "initContainers") for c in template.get(f) or ()}
    for index, rule in enumerate(rules):
        found += _rule(rule, spec, containers, f"{path}[{index}]")
    return found


def _rule(rule: Object, spec: Object, containers: set[object], path: str) -> list[Invalid]:
    action, codes, patterns = rule.get("action") or "", rule.get("onExitCodes"), rule.get("onPodConditions")
    found: list[Invalid] = []
    if not action:
        listed = " ".join(f'"{a}"' for a in ACTIONS)
        found.append(faults.required(f"{path}.action", f"valid values: [{listed}]"))
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        text = "requires the backoffLimitPerIndex to be set"
        found.append(faults.invalid(f"{path}.action", action, text))
    else:
        found += faults.one_of(f"{path}.action", action, ACTIONS)
    if codes is not None:
        found += _codes(codes, containers, f"{path}.onExitCodes")
    for index, pattern in enumerate(patterns or ()):
        at, type_ = f"{path}.onPodConditions[{index}]", pattern.get("type") or ""
        found += faults.each_invalid(f"{at}.type", type_, names.qualified(type_))
        found += faults.one_of(
            f"{at}.status", pattern.get("status"), ("False", "True", "Unknown"), needed=True
        )
    if len(patterns or ()) > _MOST_PATTERNS:
        found.append(faults.too_many(f"{path}.onPodConditions", len(patterns or ()), _MOST_PATTERNS))
    if codes is not None and patterns:
        text = "specifying both OnExitCodes and OnPodConditions is not supported"
        found.append(Invalid(path, "FieldValueInvalid", f"Invalid value: {text}"))
    if codes is None and not patterns:
        text = "specifying one of OnExitCodes and OnPodConditions is required"
        found.append(Invalid(path, "FieldValueInvalid", f"Invalid value: {text}"))
    return found


def _codes(codes: Object, containers: set[object], path: str) -> list[Invalid]:
    operator, values, name = codes.get("operator"), codes.get("values") or [], codes.get("containerName")
    found = faults.one_of(f"{path}.operator", operator, ("In", "NotIn"), needed=True)
    if name is not None and name not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        found.append(faults.invalid(f"{path}.containerName", name, text))
    if not values:
        found.append(faults.invalid(f"{path}.values", values, "at least one value is required"))
    elif len(values) > _MOST_CODES:
        found.append(faults.too_many(f"{path}.values", len(values), _MOST_CODES))
    for index, value in enumerate(values):
        at = f"{path}.values[{index}]"
        if operator == "In" and value == 0:
            found.append(faults.invalid(at, value, "must not be 0 for the In operator"))
        if value in values[:index]:
            found.append(faults.duplicate(at, value))
    if values != sorted(values):
        found.append(faults.invalid(f"{path}.values", values, "must be ordered"))
    return found


def _success(spec: Object, path: str) -> list[Invalid]:
    rules = get(spec, "successPolicy.rules", [])
    found: list[Invalid] = []
    if not rules:
        text = "at least one rules must be specified when the successPolicy is specified"
        found.append(faults.required(path, text))
    if len(rules) > _MOST_RULES:
        found.append(faults.too_many(path, len(rules), _MOST_RULES))
    for index, rule in enumerate(rules):
        found += _success_rule(rule, spec.get("completions") or 0, f"{path}[{index}]")
    return found


def _success_rule(rule: Object, completions: int, path: str) -> list[Invalid]:
    count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    found: list[Invalid] = []
    if count is None and indexes is None:
        text = "at least one of succeededCount or succeededIndexes must be specified"
        found.append(faults.required(path, text))
    total = 0
    if indexes is not None:
        at = f"{path}.succeededIndexes"
        if len(indexes) > _LONGEST_INDEXES:
            found.append(faults.too_long(at, _LONGEST_INDEXES))
        try:
            total = _total(indexes, completions)
        except ValueError as e:
            found.append(faults.invalid(at, indexes, f"error parsing succeededIndexes: {e}"))
    if count is not None:
        at = f"{path}.succeededCount"
        found += faults.not_negative(at, count)
        if count > completions:
            text = f"must be less than or equal to {completions} (the number of specified completions)"
            found.append(faults.invalid(at, count, text))
        if indexes is not None and count > total:
            text = (
                f"must be less than or equal to {total} "
                "(the number of indexes in the specified succeededIndexes field)"
            )
            found.append(faults.invalid(at, count, text))
    return found


def _total(text: str, completions: int) -> int:
    """How many indexes a list of ranges names. Raises ValueError."""
    total, last = 0, -1
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) > 2:
            raise ValueError(f'the fragment "{part}" violates the requirement that an index interval can have at '
                             "most two parts separated by '-'")  # fmt: skip
        numbers = []
        for end in ends:
            if not end.isdigit():
                raise ValueError(f'cannot convert string to integer for index: "{end}"')
            if int(end) >= completions:
                raise ValueError(f"too large index: {end}")
            numbers.append(int(end))
        if len(numbers) > 1 and numbers[0] >= numbers[1]:
            raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
        if numbers[0] <= last:
            raise ValueError(f"non-increasing order, previous: {last}, current: {numbers[0]}")
        total, last = total + numbers[-1] - numbers[0] + 1, numbers[-1]
    return total
