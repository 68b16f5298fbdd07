"""persistentVolumeClaim: a claim bound to a volume whose source is a path of this node (local, hostPath).

Volumes that our own provisioner made lie below one directory. The node makes a volume's directory when it is
first used, and removes it when the PersistentVolume is gone.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

from sampan.client.api import ApiError, Client, Unavailable
from sampan.machinery.objects import Object
from sampan.node.volumes import host_path, ownership
from sampan.node.volumes.place import Place

log = logging.getLogger(__name__)
CLUSTER = ".cluster"


async def set_up(place: Place) -> Path:
    """Raises VolumeError."""
    name = claim_name(place)
    try:
        claim = await place.get("persistentvolumeclaims", place.namespace, name)
        if (claim.get("status") or {}).get("phase") != "Bound" or not claim["spec"].get("volumeName"):
            raise place.error(f'PersistentVolumeClaim "{name}" is not bound')
        volume = await place.get("persistentvolumes", "", claim["spec"]["volumeName"])
    except (ApiError, Unavailable) as e:
        raise place.error(f"error processing PVC {place.namespace}/{name}: {e}") from e
    return await _path(place, volume)


def claim_name(place: Place) -> str:
    """The claim that is named, or the one that is made for a generic ephemeral volume."""
    if "claimName" in place.source:
        return str(place.source["claimName"])
    return f"{place.pod['metadata']['name']}-{place.name}"


async def _path(place: Place, volume: Object) -> Path:
    spec = volume["spec"]
    given = spec.get("local") or spec.get("hostPath")
    if not given:
        known = sorted(
            k for k in spec if isinstance(spec[k], dict) and k not in ("capacity", "claimRef", "nodeAffinity")
        )
        raise place.error(
            f"no volume plugin matched: PersistentVolume {volume['metadata']['name']} is of {', '.join(known)}"
        )
    path = Path(given["path"])
    try:
        await asyncio.to_thread(_prepare, place, path, given.get("type") or "")
    except OSError as e:
        raise place.error(f"{path}: {e.strerror}") from e
    return path


def _prepare(place: Place, path: Path, kind: str) -> None:
    if place.local in path.parents and not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o777)
    if fault := host_path.check(path, kind or "Directory"):
        raise place.error(fault)
    if place.group is not None:
        policy = (place.pod["spec"].get("securityContext") or {}).get("fsGroupChangePolicy") or "Always"
        ownership.give(path, place.group, policy)


class Reclaimer:
    """Removes the directories of provisioned volumes whose PersistentVolume is gone.

    It asks for each by name, since that is all that nodes may do with PersistentVolumes; where there are no
    directories it asks for nothing.
    """

    def __init__(self, client: Client, local: Path, every: float = 30.0):
        self._client, self._local, self.every = client, local, every

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            try:
                await self.sweep()
            except (ApiError, Unavailable, OSError) as e:
                log.info("volumes in %s: %s", self._local, e)

    async def sweep(self) -> None:
        """Only within the same cluster: a store that was lost must not cost the data as well."""
        names = [e.name for e in self._local.iterdir() if e.is_dir()] if self._local.is_dir() else []
        if not names or not await self._same_cluster():
            return
        for name in sorted(names):
            try:
                await self._client.get("persistentvolumes", name)
            except ApiError as e:
                if e.code != 404:
                    raise
                log.info("the volume %s was deleted: removing its directory in %s", name, self._local)
                await asyncio.to_thread(shutil.rmtree, self._local / name, True)

    async def _same_cluster(self) -> bool:
        mark = self._local / CLUSTER
        uid = str((await self._client.get("namespaces", "kube-system"))["metadata"]["uid"])
        if not mark.exists():
            mark.write_text(uid)
        return mark.read_text() == uid
