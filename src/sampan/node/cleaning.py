"""Removing the last of a pod that was deleted: containers, sandboxes, its directory and logs."""

from __future__ import annotations

import asyncio
import logging

from sampan.machinery.cri import CriError, messages
from sampan.machinery.objects import Object
from sampan.node import configs
from sampan.node.context import Context
from sampan.node.removing import remove

log = logging.getLogger(__name__)
ATTEMPTS = 5


async def clean(node: Context, pod: Object) -> None:
    """Idempotent; tries again where the runtime refuses, and gives the rest to the next garbage collection."""
    uid = pod["metadata"]["uid"]
    for attempt in range(ATTEMPTS):
        try:
            await _runtime(node, uid)
            break
        except CriError as e:
            log.warning("removing pod %s from the runtime: %s", uid, e)
            await asyncio.sleep(0.2 * 2**attempt)
    await asyncio.to_thread(remove, node.pod_directory(uid), configs.log_directory(node.host, pod))


async def _runtime(node: Context, uid: str) -> None:
    seen = await node.runtime.observe(uid)
    for c in seen.containers:
        await node.runtime.cri.call("RemoveContainer", messages.RemoveContainerRequest(container_id=c.id))
        node.runtime.forget(c.id)
    for s in seen.sandboxes:
        request = messages.RemovePodSandboxRequest(pod_sandbox_id=s.id)
        await node.runtime.step("remove sandbox", "RemovePodSandbox", request)
