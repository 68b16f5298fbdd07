"""Tables and metadata-only forms of objects (meta.k8s.io/v1), as `kubectl get` and metadata clients ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from sampan.machinery.objects import Object

API_VERSION = "meta.k8s.io/v1"


class Column(Protocol):
    """What `kinds.kind.Column` is."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> Callable[[Object, float], Any]: ...
    @property
    def type(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def wide(self) -> bool: ...


def table(
    columns: Sequence[Column],
    objects: Iterable[Object],
    now: float,
    *,
    metadata: Object | None = None,
    include: str = "Metadata",
    define: bool = True,
) -> Object:
    """A Table of objects as of `now`, in seconds.

    `metadata` is that of the list. `include` says what of each object goes with its row: Metadata, Object or
    None (the parameter includeObject). A watch defines the columns in its first event only.
    """
    rows = [
        {"cells": [c.value(obj, now) for c in columns], "object": _shown(obj, include)} for obj in objects
    ]
    return {
        "kind": "Table",
        "apiVersion": API_VERSION,
        "metadata": metadata or {},
        "columnDefinitions": [_definition(c) for c in columns] if define else None,
        "rows": rows,
    }


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": int(column.wide),
    }


def _shown(obj: Object, include: str) -> Object | None:
    if include == "Object":
        return obj
    return partial(obj) if include == "Metadata" else None


def partial(obj: Object) -> Object:
    """An object's PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": API_VERSION, "metadata": obj.get("metadata") or {}}
