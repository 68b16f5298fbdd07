"""What the built-in controllers need to know of the cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sampan.config import Config
from sampan.host.certificate_requests import Signer


@dataclass(frozen=True, slots=True)
class Settings:
    """`ca` is the certificate (PEM) by which pods know the API server; `sign` signs requests for certificates with its
    key, where we have that.

    `started` is when we began to look, in seconds: silence before that is held against nobody.
    """

    config: Config = field(default_factory=Config)
    ca: str = ""
    sign: Signer | None = None
    started: float = field(default_factory=time.time)
