"""secret: the keys of a secret as files, in memory."""

from __future__ import annotations

from sampan.machinery.objects import Object
from sampan.node.volumes import sources
from sampan.node.volumes.payload import Files
from sampan.node.volumes.place import Place

KIND = "secret"
SECRET = True


async def files(place: Place) -> tuple[Files, float | None]:
    mode = place.source.get("defaultMode", sources.DEFAULT_MODE)
    return await sources.referenced(place, "secrets", place.source["secretName"], place.source, mode), None


def references(source: Object) -> set[tuple[str, str]]:
    return {("secrets", source["secretName"])}
