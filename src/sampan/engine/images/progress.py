"""What takes long says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """A step forward: `status` in Docker's words, `id` the layer it concerns, `total` 0 where nothing is counted."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


Report = Callable[[Progress], None]


def quiet(_: Progress) -> None:
    """Report to nobody."""


def short(digest: str) -> str:
    """A digest's first twelve digits, as Docker shows layers."""
    return digest.removeprefix("sha256:")[:12]
