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
from sampan.node.watching import follow

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
    """Removes the directories of provisioned volumes whose PersistentVolume is gone."""

    def __init__(self, client: Client, local: Path):
        self._client, self._local = client, local
        self._known: set[str] = set()

    async def run(self) -> None:
        async for change in follow(self._client, "persistentvolumes"):
            if change.type == "BOOKMARK":
                if change.synced:
                    await self._sweep()
                continue
            name = change.object["metadata"]["name"]
            if change.type == "DELETED":
                self._known.discard(name)
                await self._remove(name)
            else:
                self._known.add(name)

    async def _sweep(self) -> None:
        """What was deleted while this process was away. Only within the same cluster: a lost store must not
        cost the data as well.
        """
        if not self._local.is_dir() or not await self._same_cluster():
            return
        for entry in sorted(self._local.iterdir()):
            if entry.is_dir() and entry.name not in self._known:
                await self._remove(entry.name)

    async def _same_cluster(self) -> bool:
        mark = self._local / CLUSTER
        try:
            uid = str((await self._client.get("namespaces", "kube-system"))["metadata"]["uid"])
        except (ApiError, Unavailable):
            return False
        if not mark.exists():
            mark.write_text(uid)
            return False
        return mark.read_text() == uid

    async def _remove(self, name: str) -> None:
        path = self._local / name
        if path.parent == self._local and path.is_dir() and not path.is_symlink():
            log.info("the volume %s was deleted: removing %s", name, path)
            await asyncio.to_thread(shutil.rmtree, path, True)
