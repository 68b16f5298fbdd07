"""What the built-in controllers need to know of the cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sampan.config import Config
from sampan.host.certificate_requests import Signer
from sampan.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class Settings:
    """`ca` is the certificate (PEM) by which pods know the API server; `sign` signs requests for certificates with its
    key, where we have that; `token` makes the token that a Secret keeps, of its account and itself.

    `started` is when we began to look, in seconds: silence before that is held against nobody.
    """

    config: Config = field(default_factory=Config)
    ca: str = ""
    sign: Signer | None = None
    token: Callable[[Object, Object], str] | None = None
    started: float = field(default_factory=time.time)
