"""The custom kinds that there are, from the copies of their definitions: for controllers that work on every kind."""

from __future__ import annotations

from sampan.kinds.custom.definitions import established, storage_version
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object
from sampan.reconcile.controller import DEFINITIONS, Cache


def of(definition: Object) -> Kind:
    """The names of the kind that a definition defines; nothing else of it is known here."""
    spec = definition["spec"]
    names = spec["names"]
    return Kind(
        group=spec["group"],
        version=storage_version(definition),
        kind=names["kind"],
        plural=names["plural"],
        namespaced=spec["scope"] == "Namespaced",
    )


def served(cache: Cache) -> tuple[Kind, ...]:
    """Every custom kind whose objects are in the cache."""
    return tuple(of(d) for d in cache.list(DEFINITIONS) if established(d))
