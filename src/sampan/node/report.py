"""Telling the API a pod's status: the newest one, one request at a time, only what changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from sampan.client.api import ApiError, Unavailable
from sampan.host import trace
from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.node import names
from sampan.node.context import Context
from sampan.node.runtime import SERVICE
from sampan.node.status import difference

log = logging.getLogger(__name__)
RETRIES = (0.1, 0.5, 1.0, 2.0, 5.0)
# A pod that is only starting is told of so much later: by then it mostly runs, and one request tells what four would.
PATIENCE = 0.1
_STARTING = ("ContainerCreating", "PodInitializing")


class Reporter:
    """`reported` is the status as the API has it, as far as is known; `accepted` when the node took the pod."""

    def __init__(self, node: Context, pod: Object):
        self._node = node
        self._pod = pod
        self.reported: Object = pod.get("status") or {}
        self._revision = _number(pod)
        self._wanted: Object | None = None
        self._cause: trace.Cause | None = None
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._closed = False
        begun = self.reported.get("startTime")
        self.accepted = times.seconds(begun) if begun else time.time()

    def update(self, pod: Object) -> None:
        """The pod as the API has it; older than what was written last, its status says nothing new."""
        self._pod = pod
        if _number(pod) > self._revision:
            self._revision = _number(pod)
            self.reported = pod.get("status") or {}

    def report(self, status: Object, cause: trace.Cause | None) -> None:
        """This is the status now."""
        self._wanted, self._cause = status, cause
        if not self._closed and difference(self.reported, status):
            self._settled.clear()
            self._changed.set()

    def close(self) -> None:
        """The pod is gone from the API: there is nothing to report to."""
        self._closed = True
        self._settled.set()

    async def run(self) -> None:
        attempt = 0
        while True:
            await self._changed.wait()
            await self._have_patience()
            self._changed.clear()
            if self._closed:
                self._settled.set()
                continue
            try:
                await self._send()
                attempt = 0
            except (ApiError, Unavailable) as e:
                log.info("status of pod %s: %s", names.full_name(self._pod), e)
                if isinstance(e, ApiError) and e.code in (404, 409):
                    self.close()
                    continue
                await asyncio.sleep(RETRIES[min(attempt, len(RETRIES) - 1)])
                attempt += 1
                self._changed.set()
                continue
            if not self._changed.is_set():
                self._settled.set()

    async def _have_patience(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not self._closed and only_starting(self._wanted or {}):
                    self._changed.clear()
                    await self._changed.wait()

    async def _send(self) -> None:
        wanted = self._wanted
        patch = difference(self.reported, wanted) if wanted else {}
        if not patch:
            return
        meta = self._pod["metadata"]
        causes = [self._cause] if self._cause else []
        with trace.span(
            f"report pod {meta['namespace']}/{meta['name']}", SERVICE, causes=causes, peer="kube-apiserver"
        ):
            done = await self._node.client.patch(
                "pods",
                meta["name"],
                meta["namespace"],
                {"metadata": {"uid": meta["uid"]}, "status": patch},
                type="strategic",
                subresource="status",
            )
        self._revision = max(self._revision, _number(done))
        self.reported = done.get("status") or {}

    async def finish(self) -> None:
        """The last status is told; then the pod itself goes, if the API still has it."""
        await self._settled.wait()
        meta = self._pod["metadata"]
        attempt = 0
        while not self._closed:
            try:
                causes = [self._cause] if self._cause else []
                with trace.span(
                    f"delete pod {meta['namespace']}/{meta['name']}",
                    SERVICE,
                    causes=causes,
                    peer="kube-apiserver",
                ):
                    await self._node.client.delete(
                        "pods", meta["name"], meta["namespace"], uid=meta["uid"], grace=0
                    )
                return
            except ApiError as e:
                if e.code in (404, 409):
                    return
                log.warning("deleting pod %s: %s", names.full_name(self._pod), e)
            except Unavailable as e:
                log.warning("deleting pod %s: %s", names.full_name(self._pod), e)
            await asyncio.sleep(RETRIES[min(attempt, len(RETRIES) - 1)])
            attempt += 1


def only_starting(status: Object) -> bool:
    """Whether nothing has happened yet that anyone acts on: no container runs, has ended, or is in trouble."""
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = ((c["state"].get("waiting") or {}).get("reason") for c in containers)
    return status.get("phase") == "Pending" and all(reason in _STARTING for reason in waiting)


def _number(pod: Object) -> int:
    """Resource versions of one kind may be compared as numbers (KEP-5504)."""
    text = str(pod["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
