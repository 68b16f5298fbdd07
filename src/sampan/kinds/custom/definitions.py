"""Questions asked of a CustomResourceDefinition; light, so that every server may ask them at its start."""

from __future__ import annotations

import re
from typing import Any

from sampan.machinery.objects import Object, get

_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def established(definition: Object) -> bool:
    return condition(definition, "Established") == "True"


def condition(definition: Object, type_: str) -> str:
    """The status of a condition; empty where there is none."""
    found = get(definition, "status.conditions", ())
    return next((str(c.get("status", "")) for c in found if c.get("type") == type_), "")


def priority(version: str) -> tuple[Any, ...]:
    """Sorts versions as discovery lists them: v2, v1, v1beta2, v1beta1, v1alpha1, then others by name."""
    match = _VERSION.fullmatch(version)
    if not match:
        return (1, 0, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (0, stage, -int(match[1]), -int(match[3] or 0), version)


def storage_version(definition: Object) -> str:
    return next((str(v["name"]) for v in definition["spec"]["versions"] if v.get("storage")), "")
