"""What the built-in controllers need to know of the cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.config import Config


@dataclass(frozen=True, slots=True)
class Settings:
    """`ca` is the certificate (PEM) by which pods know the API server."""

    config: Config = field(default_factory=Config)
    ca: str = ""
