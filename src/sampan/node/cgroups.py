"""The cgroup of each pod: made before its sandbox with the pod's limits, removed after its end."""

from __future__ import annotations

import asyncio

from sampan.host.cgroups import Cgroups, Limits
from sampan.machinery.objects import Object
from sampan.node import resources


class PodCgroups:
    """`root` is the path below which all pods of the node are; None of both does nothing (tests without root)."""

    def __init__(self, cgroups: Cgroups | None, root: str):
        self._cgroups, self.root = cgroups, root

    async def create(self, pod: Object) -> None:
        """Raises OSError."""
        if self._cgroups:
            given = resources.pod_resources(pod)
            limits = Limits(
                cpu_shares=given.cpu_shares,
                cpu_quota=given.cpu_quota,
                cpu_period=given.cpu_period,
                memory=given.memory_limit_in_bytes,
            )
            await asyncio.to_thread(self._cgroups.create, resources.cgroup_parent(pod, self.root), limits)

    async def remove(self, pod: Object) -> None:
        if self._cgroups:
            await asyncio.to_thread(self._cgroups.remove, resources.cgroup_parent(pod, self.root))

    async def orphans(self, uids: set[str]) -> None:
        """Remove the cgroups of pods that are not among `uids` and have no processes."""
        if self._cgroups:
            await asyncio.to_thread(self._orphans, self._cgroups, uids)

    def _orphans(self, cgroups: Cgroups, uids: set[str]) -> None:
        for parent in resources.CLASS_PARENTS.values():
            path = f"/{self.root.strip('/')}{parent}"
            for name in cgroups.children(path):
                if (
                    name.startswith("pod")
                    and name[3:] not in uids
                    and not cgroups.processes(f"{path}/{name}")
                ):
                    cgroups.remove(f"{path}/{name}", timeout=0.1)
