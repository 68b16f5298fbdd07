"""ConfigMap (core/v1): configuration as keys and values, text or binary."""

from __future__ import annotations

import base64

from sampan.kinds import faults, metadata
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object

LIMIT = 1024 * 1024


def _data(obj: Object, now: float) -> int:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def decoded_size(value: str) -> int:
    """The size in bytes of what base64 text stands for."""
    return len(base64.b64decode(value, validate=False))


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    found: list[Invalid] = []
    for field, values in (("data", data), ("binaryData", binary)):
        for key in values:
            found += faults.each_invalid(f"{field}[{key}]", key, names.config_key(key))
    for key in sorted(data.keys() & binary.keys()):
        found.append(faults.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    size = sum(len(v.encode()) for v in data.values()) + sum(map(decoded_size, binary.values()))
    if size > LIMIT:
        found.append(faults.too_long("", LIMIT))
    return found + (_unchanged(obj, old) if old and old.get("immutable") else [])


def _unchanged(obj: Object, old: Object) -> list[Invalid]:
    found: list[Invalid] = []
    if not obj.get("immutable"):
        found.append(faults.forbidden("immutable", "field is immutable when `immutable` is set"))
    for field in ("data", "binaryData"):
        if (obj.get(field) or {}) != (old.get(field) or {}):
            found.append(faults.forbidden(field, "field is immutable when `immutable` is set"))
    return found


KIND = Kind(
    group="",
    version="v1",
    kind="ConfigMap",
    plural="configmaps",
    namespaced=True,
    short_names=("cm",),
    columns=(NAME, Column("Data", _data, description="How many keys it holds."), AGE),
    validate=metadata.checked(_validate),
)
