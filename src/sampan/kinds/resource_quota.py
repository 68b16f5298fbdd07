"""ResourceQuota (core/v1): how much a namespace may hold."""

from __future__ import annotations

from sampan.kinds import metadata, strategy
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.containers import positive
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get


def _used(obj: Object, limits: bool) -> str:
    hard, used = get(obj, "status.hard", {}), get(obj, "status.used", {})
    chosen = [name for name in sorted(hard) if name.startswith("limits.") == limits]
    return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in chosen)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    return [
        f
        for name, amount in get(obj, "spec.hard", {}).items()
        for f in positive(amount, f"spec.hard[{name}]")
    ]


KIND = Kind(
    group="",
    version="v1",
    kind="ResourceQuota",
    plural="resourcequotas",
    namespaced=True,
    short_names=("quota",),
    subresources=("status",),
    columns=(
        NAME,
        Column(
            "Request",
            lambda obj, now: _used(obj, limits=False),
            description="What is requested, of how much.",
        ),
        Column(
            "Limit",
            lambda obj, now: _used(obj, limits=True),
            description="What limits add up to, of how much.",
        ),
        AGE,
    ),
    prepare=strategy.uncounted,
    validate=metadata.checked(_validate),
)
