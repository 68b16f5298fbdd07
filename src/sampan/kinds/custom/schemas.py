"""Schemas in CustomResourceDefinitions, beyond their form: what OpenAPI has and Kubernetes has not, lists that are
maps, defaults that hold, and the cost of rules.

Source: k8s.io/apiextensions-apiserver pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sampan.kinds import faults
from sampan.kinds.custom import lists, pruning, rules, structural, values
from sampan.kinds.custom.pruning import Schema, extra
from sampan.kinds.kind import Invalid
from sampan.machinery.cel import openapi
from sampan.machinery.cel.estimates import MOST, estimate

# What one rule, and all rules of a schema, may cost at the most.
RULE_LIMIT, SCHEMA_LIMIT = 10_000_000, 100_000_000
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
# What may stand at the root of the schema of a kind with a status subresource.
_AT_ROOT = (
    "description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength",
    "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items", "properties",
    "externalDocs", "example", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
)  # fmt: skip


def check(schema: Schema, path: str, status: bool, unchanged: bool = False) -> list[Invalid]:
    """Every fault of a version's schema. One that is `unchanged` may have rules that cost more than they now may."""
    found: list[Invalid] = []
    if status:
        found += _root(schema, path)
    if schema.get("nullable"):
        found.append(faults.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    form = structural.check(schema, path)
    defaults = [] if form else list(_defaults(schema, path, True))
    costs = _Costs(unchanged) if not form and not defaults else None
    walk = _Walk(costs)
    found += [*form, *defaults, *walk.check(schema, path, _Place(root=True), 1)]
    found += walk.rule_faults
    if costs and costs.total > SCHEMA_LIMIT:
        found += costs.faults(path)
    return found


def _root(schema: Schema, path: str) -> Iterator[Invalid]:
    if schema.get("type") not in (None, "", "object"):
        said = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        yield faults.invalid(f"{path}.type", schema["type"], said)
    elif any(name not in _AT_ROOT for name, value in schema.items() if value):
        shown = " ".join(_go_name(n) for n in _AT_ROOT)
        said = f"only [{shown}] fields are allowed at the root of the schema if the status subresource is enabled"
        yield faults.invalid(path, schema, said)


def _go_name(name: str) -> str:
    plain = name.replace("x-kubernetes-", "x-")
    return "".join(word[:1].upper() + word[1:] for word in plain.split("-"))


@dataclass(frozen=True, slots=True)
class _Place:
    """What holds at a place of the schema: why defaults may not stand there, and what has no old value."""

    root: bool = False
    no_defaults: str = ""
    in_metadata: bool = False
    uncorrelated: str = ""


class _Walk:
    def __init__(self, costs: _Costs | None):
        self._costs = costs
        self.rule_faults: list[Invalid] = []

    def check(
        self, schema: Schema, path: str, place: _Place, count: int | None, parent: Any = None
    ) -> list[Invalid]:
        """`count` is how often the place can be in an object, None where nothing bounds it."""
        found = list(_plain(schema, path, place))
        if schema.get("uniqueItems"):
            said = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            found.append(faults.forbidden(f"{path}.uniqueItems", said))
        found += self._below(schema, path, place, count)
        found += _extensions(schema, path)
        found += _rules(schema, path)
        if not found and self._costs is not None and schema.get("x-kubernetes-validations"):
            root = place.root or bool(schema.get("x-kubernetes-embedded-resource"))
            self.rule_faults += self._costs.rules(schema, path, place.uncorrelated, root, count)
        return found

    def _below(self, schema: Schema, path: str, place: _Place, count: int | None) -> list[Invalid]:
        found: list[Invalid] = []
        inner = replace(place, root=False)
        more = schema.get("additionalProperties")
        if more is not None and schema.get("properties") and more is not True:
            said = "additionalProperties and properties are mutual exclusive"
            found.append(faults.forbidden(f"{path}.additionalProperties", said))
        if isinstance(more, Mapping):
            at = inner
            if place.in_metadata:
                at = replace(inner, no_defaults="inside additionalProperties applying to object metadata")
            found += self.check(
                more, f"{path}.additionalProperties", at, _times(count, schema.get("maxProperties"))
            )
        for name, item in (schema.get("properties") or {}).items():
            found += self.check(
                item, f"{path}.properties[{name}]", _property(schema, name, path, place), count
            )
        items = schema.get("items")
        if isinstance(items, Mapping):
            at = inner
            if schema.get("x-kubernetes-list-type") != "map":
                at = replace(inner, uncorrelated=place.uncorrelated or path)
            found += self.check(items, f"{path}.items", at, _times(count, schema.get("maxItems")))
        silent = _Walk(None)
        for name in ("allOf", "oneOf", "anyOf"):
            for index, choice in enumerate(schema.get(name) or ()):
                found += silent.check(choice, f"{path}.{name}[{index}]", inner, None)
        if isinstance(schema.get("not"), Mapping):
            found += silent.check(schema["not"], f"{path}.not", inner, None)
        return found


def _times(count: int | None, most: int | None) -> int | None:
    return None if count is None or most is None else min(count * most, MOST)


def _property(schema: Schema, name: str, path: str, place: _Place) -> _Place:
    found = replace(place, root=False)
    if schema.get("x-kubernetes-map-type") == "atomic":
        found = replace(found, uncorrelated=place.uncorrelated or path)
    if name in ("metadata", "kind", "apiVersion") and (
        place.root or schema.get("x-kubernetes-embedded-resource")
    ):
        found = replace(found, in_metadata=True)
        if place.root:
            found = replace(found, no_defaults=f"in top-level {name}")
    return found


def _plain(schema: Schema, path: str, place: _Place) -> Iterator[Invalid]:
    type_ = schema.get("type", "")
    if type_ and type_ not in _TYPES:
        yield faults.unsupported(f"{path}.type", type_, _TYPES)
    if "default" in schema and place.no_defaults:
        yield faults.forbidden(f"{path}.default", f"must not be set {place.no_defaults}")
    for name in _UNSUPPORTED:
        if schema.get(name):
            yield faults.forbidden(f"{path}.{name}", f"{name} is not supported")
    if type_ == "null":
        yield faults.forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(schema.get("items"), list):
        yield faults.forbidden(f"{path}.items", "items must be a schema object and not an array")
    if place.in_metadata and schema.get("x-kubernetes-embedded-resource"):
        yield faults.forbidden(
            f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta"
        )


def _typed(schema: Schema, path: str, wanted: str, name: str) -> Iterator[Invalid]:
    if schema.get("type") != wanted:
        said = f"must be {wanted} if {name} is specified"
        type_ = schema.get("type", "")
        yield faults.invalid(f"{path}.type", type_, said) if type_ else faults.required(f"{path}.type", said)


def _extensions(schema: Schema, path: str) -> Iterator[Invalid]:
    keeps, map_, list_ = (
        schema.get(f"x-kubernetes-{n}") for n in ("preserve-unknown-fields", "map-type", "list-type")
    )
    if keeps is False:
        yield faults.invalid(
            f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined"
        )
    if map_ is not None:
        yield from _typed(schema, path, "object", "x-kubernetes-map-type")
        yield from faults.one_of(f"{path}.x-kubernetes-map-type", map_, ("atomic", "granular"))
    if list_ is not None:
        yield from _typed(schema, path, "array", "x-kubernetes-list-type")
        yield from faults.one_of(f"{path}.x-kubernetes-list-type", list_, ("atomic", "set", "map"))
    if list_ == "set":
        yield from _set(schema, path)
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys and list_ != "map":
        said = "must be map if x-kubernetes-list-map-keys is non-empty"
        at = f"{path}.x-kubernetes-list-type"
        yield faults.required(at, said) if list_ is None else faults.invalid(at, list_, said)
    if list_ == "map":
        yield from _map(schema, path, list(keys or ()))


def _set(schema: Schema, path: str) -> Iterator[Invalid]:
    items = schema.get("items") or {}
    said = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
        yield faults.invalid(
            f"{path}.items.x-kubernetes-list-type", items.get("x-kubernetes-list-type"), said
        )
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        yield faults.invalid(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-list-type"), said)
    if items.get("nullable"):
        yield faults.forbidden(
            f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set"
        )


def _map(schema: Schema, path: str, keys: list[str]) -> Iterator[Invalid]:
    at = f"{path}.x-kubernetes-list-map-keys"
    items = schema.get("items")
    if not keys:
        yield faults.required(at, "must not be empty if x-kubernetes-list-type is map")
    if not isinstance(items, Mapping):
        yield faults.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
        return
    if items.get("type") != "object":
        said = "must be object if parent array's x-kubernetes-list-type is map"
        yield faults.invalid(f"{path}.items.type", items.get("type", ""), said)
        return
    if items.get("nullable"):
        yield faults.forbidden(
            f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is map"
        )
    for index, key in enumerate(keys):
        known = (items.get("properties") or {}).get(key)
        if known is None:
            yield faults.invalid(at, keys, "entries must all be names of item properties")
        else:
            yield from _map_key(items, key, known, f"{path}.items.properties[{key}]")
        if key in keys[:index]:
            yield faults.invalid(at, keys, "must not contain duplicate entries")


def _map_key(items: Schema, key: str, known: Schema, path: str) -> Iterator[Invalid]:
    if known.get("type") in ("array", "object"):
        said = "must be a scalar type if parent array's x-kubernetes-list-type is map"
        yield faults.invalid(f"{path}.type", items["type"], said)
    begin = "this property is in x-kubernetes-list-map-keys, so it "
    if key not in (items.get("required") or ()) and "default" not in known:
        yield faults.required(f"{path}.default", f"{begin}must have a default or be a required property")
    if known.get("nullable"):
        yield faults.forbidden(f"{path}.nullable", f"{begin}cannot be nullable")


# Rules


def _rules(schema: Schema, path: str) -> Iterator[Invalid]:
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        at = f"{path}.x-kubernetes-validations[{index}]"
        text, message = str(rule.get("rule") or ""), str(rule.get("message") or "")
        if not text.strip():
            yield faults.required(f"{at}.rule", "rule is not specified")
        elif message and not message.strip():
            yield faults.invalid(f"{at}.message", message, "must be non-empty if specified")
        elif _lines(message.strip()):
            yield faults.invalid(f"{at}.message", message, "must not contain line breaks")
        elif _lines(text.strip()) and not message.strip():
            yield faults.required(f"{at}.message", "message must be specified if rule contains line breaks")
        expression = str(rule.get("messageExpression") or "")
        if expression and not expression.strip():
            yield faults.required(
                f"{at}.messageExpression", "messageExpression must be non-empty if specified"
            )
        if rule.get("reason") is not None and rule["reason"] not in REASONS:
            yield faults.unsupported(f"{at}.reason", rule["reason"], REASONS)
        if where := str(rule.get("fieldPath") or ""):
            if not where.strip():
                yield faults.invalid(f"{at}.fieldPath", where, "must be non-empty if specified")
            if _lines(where):
                yield faults.invalid(f"{at}.fieldPath", where, "must not contain line breaks")
            if field_at(where, schema)[1]:
                yield faults.invalid(f"{at}.fieldPath", where, "must be a valid path")


def _lines(text: str) -> bool:
    return "\n" in text or "\r" in text


_STEP = re.compile(r"\.([^.\[\]]+)|\['((?:\\.|[^'\\])*)'\]")


def field_at(text: str, schema: Schema, brackets: bool = True) -> tuple[Schema | None, str]:
    """The schema at a path such as `.spec.a['b']`, and what is wrong with the path, if anything is."""
    at = 0
    here: Schema | None = schema
    while at < len(text):
        if text[at] == "[" and not brackets:
            return None, "array notation is not allowed"
        match = _STEP.match(text, at)
        if not match:
            return None, f"expected [ or . but got: {text[at:]}"
        name = match[1] if match[1] is not None else match[2].replace("\\'", "'").replace("\\\\", "\\")
        found = (here.get("properties") or {}).get(name) if here else None
        if found is None and here and not here.get("properties"):
            found = extra(here)
        if found is None:
            return None, "does not refer to a valid field"
        here, at = found, match.end()
    return here, ""


@dataclass
class _Costs:
    """The rules of a schema, compiled, and what they cost at the most."""

    unchanged: bool
    total: int = 0
    dearest: list[tuple[int, str]] = field(default_factory=list)

    def rules(
        self, schema: Schema, path: str, uncorrelated: str, root: bool, count: int | None
    ) -> Iterator[Invalid]:
        type_ = openapi.type_of(schema, root)
        if type_ is None:
            return
        times = count if count is not None else openapi.LARGEST_REQUEST // (type_.least + 1)
        for index, said in enumerate(schema["x-kubernetes-validations"]):
            at = f"{path}.x-kubernetes-validations[{index}]"
            rule = rules.compiled(said, type_)
            if rule.program is not None:
                yield from self._spend(estimate(rule.program.checked).most, times, f"{at}.rule", "rule")
            if rule.fault:
                yield faults.invalid(f"{at}.rule", said, rule.fault)
            if rule.message_fault:
                yield faults.invalid(f"{at}.messageExpression", said, rule.message_fault)
            elif rule.message is not None:
                most = estimate(rule.message.checked).most
                yield from self._spend(most, 1, f"{at}.messageExpression", "messageExpression")
            if rule.uses_old and uncorrelated:
                text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
                yield faults.invalid(f"{at}.rule", said["rule"], text)
            if not rule.uses_old and not rule.fault and said.get("optionalOldSelf") is not None:
                text = "may not be set if oldSelf is not used in rule"
                yield faults.invalid(f"{at}.optionalOldSelf", said["optionalOldSelf"], text)

    def _spend(self, cost: int, times: int, path: str, name: str) -> Iterator[Invalid]:
        cost = min(cost * times, MOST)
        if cost > RULE_LIMIT and not self.unchanged:
            yield faults.forbidden(path, _too_dear(f"estimated {name} cost", cost, RULE_LIMIT))
        self.total = min(self.total + cost, MOST)
        if cost >= 1_000_000:
            self.dearest = sorted([*self.dearest, (cost, path)], reverse=True)[:4]

    def faults(self, path: str) -> Iterator[Invalid]:
        for _, at in self.dearest:
            said = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            yield faults.forbidden(at, said)
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        yield faults.forbidden(path, _too_dear(name, self.total, SCHEMA_LIMIT))


def _too_dear(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    limits = "maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared"
    return f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding {limits})"


# Defaults


def _defaults(schema: Schema, path: str, root: bool) -> Iterator[Invalid]:
    """Defaults that their own schema does not allow."""
    if "default" in schema and not root:
        yield from _default(schema, f"{path}.default")
    for name, inner in (schema.get("properties") or {}).items():
        yield from _defaults(inner, f"{path}.properties[{name}]", False)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            yield from _defaults(schema[name], f"{path}.{name}", False)


def _default(schema: Schema, path: str) -> Iterator[Invalid]:
    given = schema["default"]
    pruned = copy.deepcopy(given)
    if isinstance(pruned, dict | list):
        holder = {"value": pruned}
        pruning.prune_value(holder, {"properties": {"value": schema}}, "", [])
        if holder["value"] != given:
            yield faults.invalid(path, given, "must not have unknown fields")
    found = lists.embedded(given, schema, path, root=False) if isinstance(given, dict | list) else []
    found = found or values.validate(given, schema, path)
    if not found and (validator := rules.validator(schema)):
        run = rules.Run()
        run.check(validator, given, given, path)
        run.check(validator, given, values.ABSENT, path)
        found = run.faults
    yield from found
