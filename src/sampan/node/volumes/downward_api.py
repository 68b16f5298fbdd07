"""downwardAPI: what the pod may learn of itself, as files."""

from __future__ import annotations

from sampan.machinery.objects import Object
from sampan.node.volumes import sources
from sampan.node.volumes.payload import Files
from sampan.node.volumes.place import Place

KIND = "downward-api"
SECRET = False


async def files(place: Place) -> tuple[Files, float | None]:
    return sources.downward_files(
        place, place.source, place.source.get("defaultMode", sources.DEFAULT_MODE)
    ), None


def references(source: Object) -> set[tuple[str, str]]:
    return set()
