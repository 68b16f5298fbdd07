"""Event (core/v1): something that happened to an object, for people to read."""

from __future__ import annotations

from sampan.kinds import event_fields, metadata
from sampan.kinds.kind import Kind

KIND = Kind(
    group="",
    version="v1",
    kind="Event",
    plural="events",
    namespaced=True,
    short_names=("ev",),
    columns=event_fields.COLUMNS,
    fields=event_fields.fields,
    validate=metadata.checked(event_fields.validate),
)
