"""What a volume is set up with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.machinery.objects import Object
from sampan.node.volumes.pod_certificates import Credentials


class VolumeError(Exception):
    """A volume cannot be set up; the message goes into a FailedMount event. `again` is set where trying again helps."""

    def __init__(self, volume: str, message: str):
        super().__init__(message)
        self.volume = volume


# Of ("configmaps" or "secrets", namespace, name): the object, or None where it does not exist.
Lookup = Callable[[str, str, str], Awaitable[Object | None]]


@dataclass(frozen=True, slots=True)
class Place:
    """`source` is the part of the volume that names its sort; `path` the directory made for it below the pod's."""

    pod: Object
    name: str
    source: Any
    path: Path
    lookup: Lookup
    # Of (service account, audience, seconds): a token and when to renew it, in seconds since the epoch.
    token: Callable[[str, int], Awaitable[tuple[str, float]]]
    # Of a ClusterTrustBundleProjection: the certificates in PEM, or None where nothing matches.
    bundles: Callable[[Object], Awaitable[str | None]]
    # Of a PodCertificateProjection: key and certificates. Raises CertificateError.
    certificate: Callable[[Object], Awaitable[Credentials]]
    get: Callable[[str, str, str], Awaitable[Object]]
    allocatable: dict[str, str]
    # The directory of the volumes that the local-path provisioner hands out.
    local: Path

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])

    @property
    def group(self) -> int | None:
        """The pod's fsGroup."""
        found = (self.pod["spec"].get("securityContext") or {}).get("fsGroup")
        return None if found is None else int(found)

    def error(self, message: str) -> VolumeError:
        return VolumeError(self.name, message)
