"""A CustomResourceDefinition's versions as kinds: the same values that built-in kinds are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.kinds import metadata, schemas, strategy
from sampan.kinds.columns import NAME
from sampan.kinds.custom import jsonpath, lists, pruning, rules, values
from sampan.kinds.custom.converted import Known
from sampan.kinds.custom.definitions import established, priority, storage_version
from sampan.kinds.custom.pruning import Schema
from sampan.kinds.kind import Column, Invalid, Kind, ScalePaths
from sampan.kinds.schemas import Decoded
from sampan.machinery import times
from sampan.machinery.objects import Object, get

META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# Faults after which rules are not asked: the object is not of the shape that they were written for.
_BLOCKING = frozenset({
    "FieldValueRequired", "FieldValueTypeInvalid", "FieldValueTooLong", "FieldValueTooMany", "FieldValueNotSupported",
})  # fmt: skip
_NOT_ASKED = Invalid(
    "<nil>",
    "FieldValueInvalid",
    'Invalid value: "null": some validation rules were not checked because the object was invalid; correct the '
    "existing errors to complete validation",
)


def of(definition: Object, known: Known | None = None) -> list[Kind]:
    """The kinds that a definition serves, the preferred version first; none before its names are accepted.

    Where a webhook converts, objects are looked up in `known`.
    """
    if not established(definition):
        return []
    served = [v for v in definition["spec"]["versions"] if v.get("served")]
    return [_kind(definition, v, known or Known()) for v in sorted(served, key=lambda v: priority(v["name"]))]


def _kind(definition: Object, version: Object, known: Known) -> Kind:
    spec = definition["spec"]
    names = get(definition, "status.acceptedNames") or spec["names"]
    found = _Version(definition, version, known)
    subresources = version.get("subresources") or {}
    fields = tuple(f["jsonPath"] for f in version.get("selectableFields") or ())
    return Kind(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular", ""),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(n for n in ("status", "scale") if n in subresources),
        default=found.default,
        validate=metadata.checked(found.validate, namespaced=spec["scope"] == "Namespaced", core=False),
        prepare=found.prepare,
        columns=_columns(version),
        fields=_fields(fields),
        storage=f"{names['plural']}.{spec['group']}",
        to_storage=found.to_storage,
        from_storage=found.from_storage,
        list_kind=names.get("listKind", ""),
        schema=_published(spec, version, names["kind"]),
        decode=found.decode,
        scale=_scale(subresources.get("scale")),
        converted=get(definition, "spec.conversion.strategy") == "Webhook",
        deprecation=_deprecation(spec["group"], version, names["kind"]),
        strict=True,
    )


def _deprecation(group: str, version: Object, kind: str) -> str:
    if not version.get("deprecated"):
        return ""
    return str(version.get("deprecationWarning") or f"{group}/{version['name']} {kind} is deprecated")


def _scale(found: Object | None) -> ScalePaths | None:
    if not found:
        return None
    selector = str(found.get("labelSelectorPath") or "").strip(".")
    return ScalePaths(found["specReplicasPath"].strip("."), found["statusReplicasPath"].strip("."), selector)


def _published(spec: Object, version: Object, kind: str) -> Schema:
    """The schema as OpenAPI tells it, and as patches look at it."""
    found = dict(get(version, "schema.openAPIV3Schema") or {"type": "object"})
    keeps = found.get("x-kubernetes-preserve-unknown-fields") or spec.get("preserveUnknownFields")
    properties = {
        "apiVersion": {"type": "string", "description": _API_VERSION},
        "kind": {"type": "string", "description": _KIND},
        "metadata": {"$ref": META},
    }
    if not (keeps and not found.get("properties")):
        found["properties"] = {**(found.get("properties") or {}), **properties}
    else:
        found["properties"] = properties
    named = [{"group": spec["group"], "version": version["name"], "kind": kind}]
    return {**found, "x-kubernetes-group-version-kind": named}


_API_VERSION = "APIVersion names the version of the schema that this representation of the object follows."
_KIND = (
    "Kind is the name, in CamelCase, of the REST resource that this object represents. It cannot be updated."
)


# Columns and fields


def _columns(version: Object) -> tuple[Column, ...]:
    said = version.get("additionalPrinterColumns")
    if not said:
        said = [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
    return (NAME, *(_column(c) for c in said))


def _column(said: Object) -> Column:
    path, type_ = said["jsonPath"], said["type"]

    def value(obj: Object, now: float) -> Any:
        try:
            found = jsonpath.find(obj, path)
        except jsonpath.JsonPathError:
            return None
        return _cell(type_, found[0], now) if found else None

    described = said.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    wide = bool(said.get("priority"))
    return Column(said["name"], value, type_, said.get("format", ""), described, wide)


def _cell(type_: str, value: Any, now: float) -> Any:
    match type_:
        case "string":
            return _text(value)
        case "integer" if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value)
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            try:
                return times.age(value, now)
            except ValueError:
                return "<invalid>"
    return None


def _text(value: Any) -> Any:
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _fields(paths: tuple[str, ...]) -> Callable[[Object], Mapping[str, str]]:
    def found(obj: Object) -> dict[str, str]:
        made = {}
        for path in paths:
            value = next(iter(jsonpath.find(obj, path)), None)
            made[path.lstrip(".")] = "" if value is None else _text(value)
        return made

    return found


# What happens to objects


@dataclass(slots=True)
class _Version:
    """One version of a definition: what is done to its objects."""

    schema: Schema
    api_version: str
    stored: str
    keeps: bool
    status: bool
    defaults: bool
    rules: rules.Validator | None
    known: Known | None

    def __init__(self, definition: Object, version: Object, known: Known):
        webhook = get(definition, "spec.conversion.strategy") == "Webhook"
        self.known = known if webhook else None
        spec = definition["spec"]
        self.schema = get(version, "schema.openAPIV3Schema") or {}
        self.api_version = f"{spec['group']}/{version['name']}"
        self.stored = f"{spec['group']}/{storage_version(definition)}"
        self.keeps = bool(spec.get("preserveUnknownFields"))
        self.status = "status" in (version.get("subresources") or {})
        self.defaults = pruning.has_defaults(self.schema)
        self.rules = rules.validator(self.schema, root=True)

    def decode(self, obj: Object) -> Decoded:
        """What a client sent: metadata as it is stored, and nothing that the schema does not know."""
        obj = _copied(obj)
        unknown: list[str] = []
        meta = obj.get("metadata")
        if meta is not None:
            kind = str(obj.get("kind", ""))
            obj["metadata"] = schemas.decode_part(meta, META, "metadata", kind, unknown)
        if not self.keeps:
            unknown += pruning.prune(obj, self.schema)
        self._nulls(obj)
        return Decoded(obj, unknown)

    def _nulls(self, obj: Object) -> None:
        for name, schema in (self.schema.get("properties") or {}).items():
            if name in obj and name != "metadata":
                if obj[name] is None and not schema.get("nullable") and "default" not in schema:
                    del obj[name]
                else:
                    pruning.drop_nulls(obj[name], schema)

    def default(self, obj: Object) -> None:
        if self.defaults:
            pruning.default(obj, self.schema)

    def prepare(self, obj: Object, old: Object | None, subresource: str) -> None:
        if self.status:
            strategy.counted(obj, old, subresource)
            return
        if old is None:
            obj["metadata"]["generation"] = 1
            return
        before = old["metadata"].get("generation", 0)
        obj["metadata"]["generation"] = before + (_bare(obj) != _bare(old))

    def validate(self, obj: Object, old: Object | None) -> list[Invalid]:
        before = values.ABSENT if old is None else old
        found = values.validate(obj, self.schema, "", before)
        found += lists.embedded(obj, self.schema)
        if old is None or not lists.duplicates(old, self.schema):
            found += lists.duplicates(obj, self.schema)
        if self.rules is None:
            return found
        if any(f.reason in _BLOCKING for f in found):
            return [*found, _NOT_ASKED]
        run = rules.Run()
        run.check(self.rules, obj, before)
        return found + run.faults

    def to_storage(self, obj: Object) -> Object:
        return obj if obj.get("apiVersion") == self.stored else {**obj, "apiVersion": self.stored}

    def from_storage(self, obj: Object) -> Object:
        """An object as stored in the form of this version: it may be older than the schema."""
        if obj.get("apiVersion") == self.api_version and not self.defaults:
            return obj
        if self.known is not None and obj.get("apiVersion") != self.api_version:
            obj = self.known.get(self.api_version, obj)
        made = {**obj, "apiVersion": self.api_version}
        if not self.defaults:
            return made
        made = _copied(made)
        pruning.default(made, self.schema)
        return made


def _copied(obj: Object) -> Object:
    """A deep copy; a JSON round trip is the quickest."""
    made: Object = orjson.loads(orjson.dumps(obj))
    return made


def _bare(obj: Object) -> Object:
    return {k: v for k, v in obj.items() if k not in ("metadata", "apiVersion", "kind")}
