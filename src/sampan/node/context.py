"""What the workers of one node share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from sampan.client.api import Client
from sampan.machinery.objects import Object
from sampan.node.admission import Refusal
from sampan.node.cgroups import PodCgroups
from sampan.node.configs import Host
from sampan.node.images import Images
from sampan.node.runtime import Runtime
from sampan.node.services import Services
from sampan.node.volumes.manager import Volumes
from sampan.reconcile.events import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """`root` holds a directory for each pod; `clock` gives seconds since the epoch.

    `admit` says why the node does not take a pod, or None. It raises ApiError or Unavailable where that cannot be told.
    """

    client: Client
    runtime: Runtime
    images: Images
    volumes: Volumes
    services: Services
    events: Recorder
    cgroups: PodCgroups
    host: Host
    address: str
    root: Path
    allocatable: dict[str, str]
    clock: Callable[[], float]
    admit: Callable[[Object], Awaitable[Refusal | None]]
    # Why the node does not give a running pod what its spec says now.
    resizable: Callable[[Object], Awaitable[Refusal | None]]

    def pod_directory(self, uid: str) -> Path:
        return self.root / "pods" / uid
