"""Image names as the engine reads them: those of `machinery.images`, refused with an error of the engine's own."""

from __future__ import annotations

from sampan.engine.images.model import ImageError
from sampan.machinery import images
from sampan.machinery.images import Reference


class InvalidReference(ImageError):
    """A name that no image can have."""


def parse(text: str, *, default_tag: str = "latest") -> Reference:
    """The full name for what a person wrote; `default_tag` where there is neither tag nor digest."""
    try:
        return images.parse(text, default_tag=default_tag)
    except images.InvalidReference as e:
        raise InvalidReference(str(e)) from None
