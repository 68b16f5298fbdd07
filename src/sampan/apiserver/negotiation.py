"""In which form an answer is wanted: from the Accept header, the first that we have.

Source: the API concepts' "Alternate representations of resources" and "Resource server-side tables"; RFC 9110, 12.5.1.
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

    @property
    def plain(self) -> bool:
        """Whether stored bytes can be sent as they are."""
        return self.media == JSON and not self.shape


_SHAPES = {
    "Table": ("meta.k8s.io", ("v1",)),
    "PartialObjectMetadata": ("meta.k8s.io", ("v1",)),
    "PartialObjectMetadataList": ("meta.k8s.io", ("v1",)),
    "APIGroupDiscoveryList": ("apidiscovery.k8s.io", ("v2",)),
}
# What has a message; a table has none.
_PROTOBUF_SHAPES = ("", "PartialObjectMetadata", "PartialObjectMetadataList")
_PLAIN = Form()


@lru_cache(500)
def form(accept: str, protobuf: bool = False) -> Form:
    """`protobuf` says whether what is answered has a message. Raises 406 where nothing that is accepted can be made."""
    if not accept:
        return _PLAIN
    for media, parameters in _ranked(accept):
        if found := _form(media, parameters, protobuf):
            return found
    raise errors.not_acceptable()


def _ranked(accept: str) -> list[tuple[str, dict[str, str]]]:
    """The media types with their parameters, best first; those of the same quality in the order of the header."""
    found: list[tuple[float, str, dict[str, str]]] = []
    for one in accept.split(","):
        media, *rest = (p.strip() for p in one.split(";"))
        parameters = dict(p.split("=", 1) for p in rest if "=" in p)
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if media and quality > 0:
            found.append((-quality, media.lower(), parameters))
    return [(media, parameters) for _, media, parameters in sorted(found, key=lambda one: one[0])]


def _form(media: str, parameters: dict[str, str], protobuf: bool) -> Form | None:
    if media in ("*/*", "application/*"):
        media = JSON
    shape = parameters.get("as", "")
    if media == PROTOBUF:
        if not protobuf or shape not in _PROTOBUF_SHAPES:
            return None
    elif media not in (JSON, YAML):
        return None
    if not shape:
        return Form(media)
    group, versions = _SHAPES.get(shape, ("", ()))
    if parameters.get("g") != group or parameters.get("v") not in versions:
        return None
    return Form(media, shape, parameters["v"])
