"""configMap: the keys of a config map as files."""

from __future__ import annotations

from sampan.machinery.objects import Object
from sampan.node.volumes import sources
from sampan.node.volumes.payload import Files
from sampan.node.volumes.place import Place

KIND = "configmap"
SECRET = False


async def files(place: Place) -> tuple[Files, float | None]:
    """The files, and when they must be made anew even if nothing changes. Raises VolumeError."""
    mode = place.source.get("defaultMode", sources.DEFAULT_MODE)
    return await sources.referenced(place, "configmaps", place.source["name"], place.source, mode), None


def references(source: Object) -> set[tuple[str, str]]:
    """The kind and name of what the files come from."""
    return {("configmaps", source["name"])}
