"""What the platform knows of a kind of object, as one value; see `docs/adding-a-kind.md`.

Everything here is pure. `default` fills in, in place, an object that was just decoded. `prepare` drops what a writer of
this endpoint may not set and keeps what it may not change (a user's write leaves status alone, and a status write all else),
and counts `metadata.generation`. `validate` returns every fault that it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class Invalid:
    """A fault in an object, as a Status cause names it.

    `reason` is one of upstream's: FieldValueRequired, FieldValueInvalid, FieldValueNotSupported,
    FieldValueDuplicate, FieldValueForbidden, FieldValueTooLong, FieldValueTooMany, FieldValueNotFound,
    FieldValueTypeInvalid. `detail` is the message without the field, worded as upstream's.
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


def _nothing(obj: Object) -> None:
    pass


def _no_faults(obj: Object, old: Object | None) -> list[Invalid]:
    return []


def _no_fields(obj: Object) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
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
    prepare: Callable[[Object, Object | None, str], None] | None = None
    columns: tuple[Column, ...] = ()
    fields: Callable[[Object], Mapping[str, str]] = _no_fields
    # What the schema of this kind is called in the shipped OpenAPI definitions; derived where empty.
    definition: str = field(default="")

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The name that a `Client` takes: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural
