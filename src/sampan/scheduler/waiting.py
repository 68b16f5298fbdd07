"""Pods that have a node but must wait before they are bound: a permit plugin asked for it.

Each plugin that asked may allow or reject the pod; one that says nothing in time rejects it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from sampan.scheduler.framework import Status, unschedulable
from sampan.scheduler.pods import PodInfo


class WaitingPod:
    """One pod on `node`; `patience` has for each plugin that lets it wait how many seconds it may, from `now` on."""

    def __init__(self, pod: PodInfo, node: str, patience: dict[str, float], now: float) -> None:
        self.pod, self.node = pod, node
        self._patience = patience
        self._deadlines = {plugin: now + seconds for plugin, seconds in patience.items()}
        self._decided: asyncio.Future[Status | None] = asyncio.get_running_loop().create_future()

    @property
    def plugins(self) -> list[str]:
        """Those that have not allowed it yet."""
        return list(self._deadlines)

    def allow(self, plugin: str) -> None:
        self._deadlines.pop(plugin, None)
        if not self._deadlines and not self._decided.done():
            self._decided.set_result(None)

    def reject(self, plugin: str, message: str) -> bool:
        """Send the pod back to the queue; False where it was decided before."""
        if self._decided.done():
            return False
        self._decided.set_result(unschedulable(message).of(plugin))
        return True

    async def decision(self) -> Status | None:
        """None once all have allowed it, else why it was rejected."""
        clock = asyncio.get_running_loop().time
        while not self._decided.done():
            plugin, deadline = min(self._deadlines.items(), key=lambda item: item[1])
            await asyncio.wait({self._decided}, timeout=max(0.0, deadline - clock()))
            if not self._decided.done() and self._deadlines.get(plugin) == deadline <= clock():
                waited = _shown(self._patience[plugin])
                self.reject(plugin, f"rejected due to timeout after waiting {waited} at plugin {plugin}")
        return self._decided.result()


def _shown(seconds: float) -> str:
    """A duration as Go prints it: `100ms`, `20s`, `1m30s`."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:g}m{rest:g}s" if minutes else f"{rest:g}s"


class WaitingPods:
    """All of them, by uid; plugins iterate over these to allow or to reject."""

    def __init__(self) -> None:
        self._pods: dict[str, WaitingPod] = {}

    def __iter__(self) -> Iterator[WaitingPod]:
        return iter(list(self._pods.values()))

    def get(self, uid: str) -> WaitingPod | None:
        return self._pods.get(uid)

    def add(self, pod: WaitingPod) -> None:
        self._pods[pod.pod.uid] = pod

    def remove(self, uid: str) -> None:
        self._pods.pop(uid, None)
