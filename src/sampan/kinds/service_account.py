"""ServiceAccount (core/v1): the identity that the processes of pods act under."""

from __future__ import annotations

from sampan.kinds import metadata
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Kind

KIND = Kind(
    group="",
    version="v1",
    kind="ServiceAccount",
    plural="serviceaccounts",
    namespaced=True,
    short_names=("sa",),
    subresources=("token",),
    columns=(NAME, AGE),
    validate=metadata.checked(),
)
