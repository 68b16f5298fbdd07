"""The form that schemas of CustomResourceDefinitions must have, so that objects can be pruned and defaulted by them.

A structural schema says the type of every place outside of `anyOf`, `oneOf`, `allOf` and `not`, and what these speak of
is defined outside of them too. Source: k8s.io/apiextensions-apiserver pkg/apiserver/schema, validation.go, complete.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sampan.kinds import faults
from sampan.kinds.custom.pruning import Schema, extra
from sampan.kinds.kind import Invalid
from sampan.machinery.cel.errors import EvaluationError
from sampan.machinery.cel.text import pattern

_ROOT, _ITEM, _FIELD = "at the root", "for specified array items", "for specified object fields"
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_CHOICES = ("anyOf", "allOf", "oneOf")
# What may not stand below a choice, and what it must be there.
_NOT_NESTED = {
    "type": "empty", "title": "empty", "description": "empty", "default": "undefined", "nullable": "false",
    "additionalProperties": "undefined", "x-kubernetes-preserve-unknown-fields": "false",
    "x-kubernetes-embedded-resource": "false", "x-kubernetes-int-or-string": "false",
    "x-kubernetes-list-map-keys": "empty", "x-kubernetes-list-type": "undefined", "x-kubernetes-map-type": "undefined",
    "x-kubernetes-validations": "empty",
}  # fmt: skip


def check(schema: Schema, path: str) -> list[Invalid]:
    """Every fault of a schema's form, sorted."""
    found = [*_invariants(schema, _ROOT, path), *_complete(schema, path)]
    return sorted(found, key=lambda f: (f.field, f.detail))


def _key(path: str, name: str) -> str:
    return f"{path}.properties[{name}]"


def _invariants(schema: Schema, level: str, path: str) -> Iterator[Invalid]:
    type_, items = schema.get("type", ""), schema.get("items")
    if type_ == "array" and not items:
        yield faults.required(f"{path}.items", "must be specified")
    if isinstance(items, Mapping):
        yield from _invariants(items, _ITEM, f"{path}.items")
    for name, inner in (schema.get("properties") or {}).items():
        yield from _invariants(inner, _FIELD, _key(path, name))
    if schema.get("additionalProperties"):
        if level == _ROOT:
            yield faults.forbidden(f"{path}.additionalProperties", "must not be used at the root")
        if (more := extra(schema)) is not None:
            yield from _invariants(more, _FIELD, f"{path}.additionalProperties")
    yield from _extensions(schema, path)
    yield from _values(schema, path)
    yield from _types(schema, level, path)
    yield from _metadata(schema, level, path)


def _extensions(schema: Schema, path: str) -> Iterator[Invalid]:
    if schema.get("x-kubernetes-int-or-string"):
        for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if schema.get(name):
                yield faults.invalid(
                    f"{path}.{name}", True, "must be false if x-kubernetes-int-or-string is true"
                )


def _types(schema: Schema, level: str, path: str) -> Iterator[Invalid]:
    type_ = schema.get("type", "")
    embedded, keeps = (
        schema.get("x-kubernetes-embedded-resource"),
        schema.get("x-kubernetes-preserve-unknown-fields"),
    )
    if embedded and type_ != "object":
        said = "must be object if x-kubernetes-embedded-resource is true"
        yield faults.invalid(f"{path}.type", type_, said) if type_ else faults.required(f"{path}.type", said)
    elif not type_ and not schema.get("x-kubernetes-int-or-string") and not keeps:
        yield faults.required(f"{path}.type", f"must not be empty {level}")
    if embedded and schema.get("additionalProperties"):
        said = "must not be used if x-kubernetes-embedded-resource is set"
        yield faults.forbidden(f"{path}.additionalProperties", said)
    if level == _ROOT and type_ and type_ != "object":
        yield faults.invalid(f"{path}.type", type_, "must be object at the root")
    if embedded and not keeps and not schema.get("properties"):
        keeping = "without x-kubernetes-preserve-unknown-fields"
        said = f"must not be empty if x-kubernetes-embedded-resource is true {keeping}"
        yield faults.required(f"{path}.properties", said)


def _metadata(schema: Schema, level: str, path: str) -> Iterator[Invalid]:
    checked = level == _ROOT or schema.get("x-kubernetes-embedded-resource")
    properties = schema.get("properties") or {}
    for name in ("kind", "apiVersion"):
        if checked and name in properties and properties[name].get("type") != "string":
            yield faults.invalid(
                f"{_key(path, name)}.type", properties[name].get("type", ""), "must be string"
            )
    metadata = properties.get("metadata")
    if metadata is None:
        return
    at = _key(path, "metadata")
    if checked and metadata.get("type") != "object":
        yield faults.invalid(f"{at}.type", metadata.get("type", ""), "must be object")
    if level == _ROOT:
        rest = {k: v for k, v in metadata.items() if k not in ("type", "default", "description", "title")}
        if set(rest.get("properties") or ()) <= {"name", "generateName"}:
            rest.pop("properties", None)
        if rest or metadata.get("description") or metadata.get("title"):
            said = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield faults.forbidden(at, said)


# Choices


def _values(schema: Schema, path: str, any_of: bool = True, first_all_of: bool = True) -> Iterator[Invalid]:
    """The choices of a schema; those that only say that an integer or a string is meant are as they should be."""
    either = any_of and schema.get("anyOf") == _INT_OR_STRING
    all_of = schema.get("allOf") or []
    for name in _CHOICES:
        for index, inner in enumerate(schema.get(name) or ()):
            if name == "anyOf" and either:
                continue
            skip = (
                first_all_of and name == "allOf" and index == 0 and all_of[0].get("anyOf") == _INT_OR_STRING
            )
            yield from _nested(inner, f"{path}.{name}[{index}]", skip)
    if (inner := schema.get("not")) is not None:
        yield from _nested(inner, f"{path}.not", False)
    if text := schema.get("pattern"):
        try:
            pattern(text)
        except EvaluationError as e:
            said = f"must be a valid regular expression, but isn't: {e}"
            yield faults.invalid(f"{path}.pattern", text, said)


def _nested(schema: Schema, path: str, skip: bool) -> Iterator[Invalid]:
    yield from _values(schema, path, any_of=skip, first_all_of=False)
    if isinstance(schema.get("items"), Mapping):
        yield from _nested(schema["items"], f"{path}.items", False)
    for name, inner in (schema.get("properties") or {}).items():
        yield from _nested(inner, _key(path, name), False)
    for name, state in _NOT_NESTED.items():
        if schema.get(name) or (name == "default" and name in schema):
            yield faults.forbidden(f"{path}.{name}", f"must be {state} to be structural")
    if "metadata" in (schema.get("properties") or {}):
        yield faults.forbidden(_key(path, "metadata"), "must not be specified in a nested context")


# Completeness: what choices speak of is there outside of them


def _complete(schema: Schema, path: str) -> Iterator[Invalid]:
    yield from _choices_complete(schema, schema, path, path)
    if isinstance(schema.get("items"), Mapping):
        yield from _complete(schema["items"], f"{path}.items")
    for name, inner in (schema.get("properties") or {}).items():
        yield from _complete(inner, _key(path, name))
    if (more := extra(schema)) is not None:
        yield from _complete(more, f"{path}.additionalProperties")


def _choices_complete(choice: Schema, schema: Schema, at: str, path: str) -> Iterator[Invalid]:
    for name in _CHOICES:
        for index, inner in enumerate(choice.get(name) or ()):
            yield from _nested_complete(inner, schema, at, f"{path}.{name}[{index}]")
    if (inner := choice.get("not")) is not None:
        yield from _nested_complete(inner, schema, at, f"{path}.not")


def _nested_complete(choice: Schema, schema: Any, at: str, path: str) -> Iterator[Invalid]:
    if not isinstance(schema, Mapping):
        yield faults.required(at, f"because it is defined in {path}")
        return
    yield from _choices_complete(choice, schema, at, path)
    if isinstance(choice.get("items"), Mapping):
        yield from _nested_complete(choice["items"], schema.get("items"), f"{at}.items", f"{path}.items")
    for name, inner in (choice.get("properties") or {}).items():
        known = (schema.get("properties") or {}).get(name)
        if known is None and (more := extra(schema)) is not None:
            yield from _nested_complete(inner, more, f"{at}.additionalProperties", _key(path, name))
        else:
            yield from _nested_complete(inner, known, _key(at, name), _key(path, name))
