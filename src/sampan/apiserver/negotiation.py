"""In which form an answer is wanted: from the Accept header, the first that we have.

Source: the API concepts' "Alternate representations of resources" and "Resource server-side tables".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sampan.apiserver import errors

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"


@dataclass(frozen=True, slots=True)
class Form:
    """`shape` is empty for the object itself, or Table, PartialObjectMetadata or PartialObjectMetadataList."""

    media: str = JSON
    shape: str = ""
    version: str = ""


_SHAPES = {
    "Table": ("meta.k8s.io", ("v1",)),
    "PartialObjectMetadata": ("meta.k8s.io", ("v1",)),
    "PartialObjectMetadataList": ("meta.k8s.io", ("v1",)),
    "APIGroupDiscoveryList": ("apidiscovery.k8s.io", ("v2",)),
}


@lru_cache(200)
def form(accept: str) -> Form:
    """Raises 406 where nothing that is accepted can be made."""
    if not accept:
        return Form()
    for one in accept.split(","):
        media, *parameters = (p.strip() for p in one.split(";"))
        if found := _form(media.lower(), dict(p.split("=", 1) for p in parameters if "=" in p)):
            return found
    raise errors.not_acceptable()


def _form(media: str, parameters: dict[str, str]) -> Form | None:
    if media in ("*/*", "application/*"):
        media = JSON
    if media not in (JSON, YAML):
        return None
    shape = parameters.get("as", "")
    if not shape:
        return Form(media)
    group, versions = _SHAPES.get(shape, ("", ()))
    if parameters.get("g") != group or parameters.get("v") not in versions:
        return None
    return Form(media, shape, parameters["v"])
