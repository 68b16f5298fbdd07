"""ComponentStatus (core/v1): whether the parts of the control plane are well; asked for, never stored."""

from __future__ import annotations

from sampan.kinds.columns import NAME
from sampan.kinds.kind import Column, Kind
from sampan.machinery.objects import Object


def _healthy(obj: Object) -> Object:
    found = obj.get("conditions") or ()
    return next((c for c in found if c.get("type") == "Healthy"), {})


def _status(obj: Object, now: float) -> str:
    return {"True": "Healthy", None: "Unknown"}.get(_healthy(obj).get("status"), "Unhealthy")


KIND = Kind(
    group="",
    version="v1",
    kind="ComponentStatus",
    deprecation="v1 ComponentStatus is deprecated in v1.19+",
    plural="componentstatuses",
    namespaced=False,
    short_names=("cs",),
    verbs=("get", "list"),
    columns=(
        NAME,
        Column("Status", _status, description="Whether it is well."),
        Column("Message", lambda obj, now: _healthy(obj).get("message", ""), description="What it says."),
        Column("Error", lambda obj, now: _healthy(obj).get("error", ""), description="What is wrong."),
    ),
)
