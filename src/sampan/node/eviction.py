"""Ends pods that use more of the node's disk than they may: limits of emptyDir volumes and of ephemeral storage.

`exceeded` decides; `run` measures every ten seconds, and only pods that set such limits. (A full disk, without limits,
is the node's condition DiskPressure, and keeps new pods away.)
Source: the documentation's page on local ephemeral storage.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.machinery.cri import CriError, messages
from sampan.machinery.objects import Object, get
from sampan.node import names, pods
from sampan.node.resources import whole

if TYPE_CHECKING:
    from sampan.node.kubelet import Kubelet
    from sampan.node.worker import Worker

log = logging.getLogger(__name__)
EVERY = 10.0
EVICTED = "Evicted"
STORAGE = "ephemeral-storage"


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes on disk: of each emptyDir volume, and of each container's writable layer and logs."""

    volumes: Mapping[str, int]
    containers: Mapping[str, int]


def limited(pod: Object) -> bool:
    """Whether anything of the pod's disk use has a limit."""
    limits = (get(c, "resources.limits", {}) for c in pods.containers(pod))
    return any(STORAGE in limit for limit in limits) or bool(_volume_limits(pod))


def exceeded(pod: Object, used: Usage) -> str:
    """Which limit the pod exceeds, in upstream's words; empty where none."""
    for name, limit in _volume_limits(pod).items():
        if used.volumes.get(name, 0) > whole(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    limits = {c["name"]: get(c, "resources.limits", {}).get(STORAGE) for c in pods.main_containers(pod)}
    total = sum(used.volumes.values()) + sum(used.containers.values())
    if limits and all(limits.values()) and total > sum(whole(limit) for limit in limits.values()):
        most = sum(whole(limit) for limit in limits.values())
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {most}. "
    for name, limit in limits.items():
        if limit and used.containers.get(name, 0) > whole(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def _volume_limits(pod: Object) -> dict[str, Any]:
    """Of each emptyDir volume on disk with a limit, that limit; one in memory limits itself."""
    found = {}
    for volume in pod["spec"].get("volumes") or ():
        source = volume.get("emptyDir") or {}
        limit = source.get("sizeLimit")
        if limit and whole(limit) > 0 and source.get("medium", "") != "Memory":
            found[volume["name"]] = limit
    return found


async def run(node: Kubelet) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        for worker in list(node.workers.values()):
            if worker.takes_room and limited(worker.pod):
                try:
                    why = exceeded(worker.pod, await _measure(node, worker))
                except (CriError, OSError) as e:
                    log.warning("measuring the disk use of pod %s: %s", names.full_name(worker.pod), e)
                    continue
                if why:
                    worker.evict(EVICTED, why)


async def _measure(node: Kubelet, worker: Worker) -> Usage:
    directory = node.context.pod_directory(worker.uid) / "volumes" / "kubernetes.io~empty-dir"
    wanted = messages.ContainerStatsFilter(label_selector={names.POD_UID: worker.uid})
    stats = await node.runtime.cri.call(
        "ListContainerStats", messages.ListContainerStatsRequest(filter=wanted)
    )
    containers: dict[str, int] = {}
    for one in stats.stats:
        name = one.attributes.labels.get(names.CONTAINER_NAME, "")
        containers[name] = containers.get(name, 0) + one.writable_layer.used_bytes.value
    for seen in worker.observed.containers:
        if seen.log_path:
            logs = await asyncio.to_thread(_size, Path(seen.log_path).parent)
            containers[seen.name] = containers.get(seen.name, 0) + logs
    volumes = [v["name"] for v in worker.pod["spec"].get("volumes") or () if _on_disk(v)]
    return Usage({name: await asyncio.to_thread(_size, directory / name) for name in volumes}, containers)


def _on_disk(volume: Object) -> bool:
    return "emptyDir" in volume and (volume["emptyDir"] or {}).get("medium", "") != "Memory"


def _size(directory: Path) -> int:
    """The blocks that the files below take; what vanishes meanwhile is not counted."""
    total = 0
    for parent, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
