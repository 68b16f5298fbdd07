"""Carries out the resize of one pod: asks the node for room, then changes cgroups through the runtime."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sampan.machinery.cri import CriError, messages
from sampan.machinery.objects import Object
from sampan.node import names, resize
from sampan.node.context import Context
from sampan.node.observed import Observed
from sampan.node.resize import Change, Resizing

log = logging.getLogger(__name__)
# How soon room is asked for again, and a change that failed is tried again, in seconds.
AGAIN = 5.0
Tell = Callable[[str, str, str], None]


class Resizer:
    """`state` is what the pod's status tells; `restart` names containers that only a new one can resize."""

    def __init__(self, node: Context, tell: Tell):
        self._node, self._tell = node, tell
        self.state = Resizing()
        # The generation of the spec that the node has room for.
        self._accepted = 0

    async def step(self, pod: Object, seen: Observed) -> list[Change]:
        """Do what can be done now; returns the containers that must be restarted for it."""
        found = resize.changes(pod, seen, self._node.host.memory)
        if not found:
            if self.state.active:
                self._tell("Normal", "ResizeCompleted", "Pod resize completed")
            self.state = Resizing()
            return []
        waiting = frozenset(change.name for change in found)
        generation = pod["metadata"].get("generation", 0)
        if self._accepted != generation:
            refused = await self._node.resizable(pod)
            if refused:
                if self.state.pending != refused:
                    self._tell("Warning", f"Resize{refused[0]}", f"Pod resize {refused[0]}: {refused[1]}")
                self.state = Resizing(refused, unsettled=waiting)
                return []
            self._accepted = generation
            self._tell("Normal", "ResizeStarted", "Pod resize started")
        self.state = Resizing(active=True, unsettled=waiting)
        try:
            await self._apply(pod, [change for change in found if not change.restart])
        except (CriError, OSError) as e:
            log.info("pod %s: resize: %s", names.full_name(pod), e)
            self.state = Resizing(active=True, error=str(e), unsettled=waiting)
        return [change for change in found if change.restart]

    @property
    def again(self) -> float | None:
        """When to try again what nothing else will wake."""
        deferred = self.state.pending is not None and self.state.pending[0] == resize.DEFERRED
        return AGAIN if deferred or self.state.error else None

    async def _apply(self, pod: Object, found: list[Change]) -> None:
        """What shrinks goes first, then the pod as a whole, then what grows: none is ever above its pod's limits."""
        for change in found:
            if not change.grows:
                await self._update(change)
        await self._node.cgroups.create(pod)
        for change in found:
            if change.grows:
                await self._update(change)

    async def _update(self, change: Change) -> None:
        request = messages.UpdateContainerResourcesRequest(container_id=change.id, linux=change.wanted)
        await self._node.runtime.step(f"resize container {change.name}", "UpdateContainerResources", request)
