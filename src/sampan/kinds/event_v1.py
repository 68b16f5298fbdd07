"""Event (events.k8s.io/v1): the newer form of the same objects that core/v1 calls Event; they are stored in
core's form.
"""

from __future__ import annotations

from dataclasses import replace

from sampan.kinds import event_fields, metadata
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object

# The fields that have other names in core/v1.
_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_CORE_NAMES = {core: name for name, core in _NAMES.items()}


def to_core(obj: Object) -> Object:
    return {_NAMES.get(k, k): v for k, v in obj.items()} | {"apiVersion": "v1"}


def from_core(obj: Object) -> Object:
    return {_CORE_NAMES.get(k, k): v for k, v in obj.items()} | {"apiVersion": "events.k8s.io/v1"}


def _fields(obj: Object) -> dict[str, str]:
    found = event_fields.fields(to_core(obj))
    renamed = {k.replace("involvedObject.", "regarding."): v for k, v in found.items() if k != "source"}
    renamed["reportingController"] = renamed.pop("reportingComponent")
    return renamed


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    return event_fields.validate(to_core(obj), to_core(old) if old else None)


def _column(core: Column) -> Column:
    return replace(core, value=lambda obj, now: core.value(to_core(obj), now))


KIND = Kind(
    group="events.k8s.io",
    version="v1",
    kind="Event",
    plural="events",
    namespaced=True,
    short_names=("ev",),
    columns=tuple(_column(c) for c in event_fields.COLUMNS),
    fields=_fields,
    storage="events",
    to_storage=to_core,
    from_storage=from_core,
    validate=metadata.checked(_validate),
)
