"""What the platform knows of a kind of object, as one value; see `docs/adding-a-kind.md`.

Everything here is pure. `default` fills in, in place, an object that was just decoded. `prepare` drops what a
writer of this endpoint may not set and keeps what it may not change (a user's write leaves status alone, and
a status write all else), and counts `metadata.generation`. `validate` returns every fault that it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.kinds.schemas import Decoded


@dataclass(frozen=True, slots=True)
class Invalid:
    """A fault in an object, as a Status cause names it.

    `reason` is one of upstream's: FieldValueRequired, FieldValueInvalid, FieldValueNotSupported,
    FieldValueDuplicate, FieldValueForbidden, FieldValueTooLong, FieldValueTooMany, FieldValueNotFound,
    FieldValueTypeInvalid. `detail` is the message without the field, worded as upstream's. `kinds.faults`
    makes them.
    """

    field: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`. `value` gives a cell; `wide` columns appear only with -o wide.

    `value` gets the object and the time now in seconds, for ages.
    """

    name: str
    value: Callable[[Object, float], Any]
    type: str = "string"
    format: str = ""
    description: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a custom kind keeps what its scale subresource shows, as dotted paths; `selector` may be empty."""

    replicas: str
    current: str
    selector: str = ""


def _nothing(obj: Object) -> None:
    pass


def _no_faults(obj: Object, old: Object | None) -> list[Invalid]:
    return []


def _no_fields(obj: Object) -> Mapping[str, str]:
    return {}


def _same(obj: Object) -> Object:
    return obj


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """`group` is empty for core. `subresources` are such as status, scale, log, exec, binding, token, eviction."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = (
        "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
    )  # fmt: skip
    subresources: tuple[str, ...] = ()
    default: Callable[[Object], None] = _nothing
    validate: Callable[[Object, Object | None], list[Invalid]] = _no_faults
    # What validates writes of a subresource, where that is not `validate`.
    validators: Mapping[str, Callable[[Object, Object | None], list[Invalid]]] = field(
        default_factory=dict, hash=False
    )
    prepare: Callable[[Object, Object | None, str], None] | None = None
    columns: tuple[Column, ...] = ()
    fields: Callable[[Object], Mapping[str, str]] = _no_fields
    # Where the objects of this kind are those of another in another version or group: the resource that stores
    # them (`events`), and the conversions to and from its form.
    storage: str = ""
    to_storage: Callable[[Object], Object] = _same
    from_storage: Callable[[Object], Object] = _same
    # The kind of lists, where it is not the kind with `List` at the end.
    list_kind: str = ""
    # What a custom kind brings itself, and built-in ones have shipped (`kinds.schemas`): its OpenAPI schema, and how a
    # body that a client sent comes into the form that is stored.
    schema: Mapping[str, Any] | None = None
    decode: Callable[[Object], Decoded] | None = None
    scale: ScalePaths | None = None
    # Whether a webhook converts between its versions; a warning for those who use a deprecated one; and whether an
    # update must say which revision it is of.
    converted: bool = False
    deprecation: str = ""
    strict: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The name that a `Client` takes: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def stored(self) -> bool:
        """Whether objects of this kind can be read back; reviews and such are only answered."""
        return "get" in self.verbs

    def selectable(self, obj: Object) -> dict[str, str]:
        """Every field that a field selector may name, with its value in `obj`."""
        meta = obj.get("metadata") or {}
        found = {"metadata.name": meta.get("name", "")}
        if self.namespaced:
            found["metadata.namespace"] = meta.get("namespace", "")
        return {**found, **self.fields(obj)}

    def knows_field(self, name: str) -> bool:
        """Whether a field selector may name this field."""
        return name in self.selectable({})
