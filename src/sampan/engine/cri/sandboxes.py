"""CRI: pod sandboxes."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from sampan.engine.containers import CREATED_EVENT, DELETED_EVENT, STARTED_EVENT, STOPPED_EVENT
from sampan.engine.cri import status
from sampan.engine.records import READY
from sampan.engine.sandboxes import SandboxError
from sampan.engine.shims import ShimError
from sampan.engine.spec import limits
from sampan.host import cgroups
from sampan.machinery.cri import CriError, messages
from sampan.network.attachment import NetworkError

if TYPE_CHECKING:
    from sampan.engine.engine import Engine

HANDLERS = ("", "runc")


async def run(engine: Engine, request: Any) -> Any:
    config = request.config
    if engine.problem:
        raise CriError("UNAVAILABLE", engine.problem)
    if request.runtime_handler not in HANDLERS:
        raise CriError("INVALID_ARGUMENT", f'no runtime for "{request.runtime_handler}" is configured')
    if not config.metadata.name or not config.metadata.uid:
        raise CriError("INVALID_ARGUMENT", "a sandbox needs metadata with a name and a uid")
    for other in engine.sandboxes.records:
        if engine.sandboxes.config(other).metadata == config.metadata:
            raise CriError("ALREADY_EXISTS", f"sandbox {other.id} has this name and attempt already")
    name = secrets.token_hex(32)
    try:
        async with engine.lock(name):
            record = await engine.sandboxes.create(name, config, request.runtime_handler)
    except SandboxError as e:
        raise CriError("INVALID_ARGUMENT", f"failed to create sandbox: {e}") from e
    except (OSError, NetworkError, ShimError) as e:
        raise CriError("UNKNOWN", f"failed to create sandbox: {e}") from e
    engine.notify_sandbox(record, CREATED_EVENT)
    engine.notify_sandbox(record, STARTED_EVENT)
    return messages.RunPodSandboxResponse(pod_sandbox_id=name)


async def stop(engine: Engine, request: Any) -> Any:
    record = engine.sandboxes.records.get(request.pod_sandbox_id)
    if record:
        was_ready = record.state == READY
        try:
            await engine.stop_sandbox(record)
        except OSError as e:
            raise CriError("UNKNOWN", f"failed to stop sandbox {record.id}: {e}") from e
        if was_ready:
            engine.notify_sandbox(record, STOPPED_EVENT)
    return messages.StopPodSandboxResponse()


async def remove(engine: Engine, request: Any) -> Any:
    record = engine.sandboxes.records.get(request.pod_sandbox_id)
    if record:
        await engine.remove_sandbox(record)
        engine.notify_sandbox(record, DELETED_EVENT)
    return messages.RemovePodSandboxResponse()


async def one(engine: Engine, request: Any) -> Any:
    record = engine.sandbox(request.pod_sandbox_id)
    response = messages.PodSandboxStatusResponse(
        status=status.sandbox(engine, record),
        containers_statuses=[status.container(engine, c) for c in engine.containers_of(record)],
        timestamp=time.time_ns(),
    )
    if request.verbose:
        from sampan.engine.engine import info

        facts = {"cgroup": record.cgroup, "namespaces": engine.sandboxes.paths(record), "pid": record.pause}
        response.info.update(info(facts))
    return response


def _chosen(engine: Engine, wanted: Any) -> list[Any]:
    return [
        status.sandbox_item(engine, r)
        for r in status.chosen(engine.sandboxes.records, wanted, status.sandbox_state)
    ]


async def every(engine: Engine, request: Any) -> Any:
    return messages.ListPodSandboxResponse(items=_chosen(engine, request.filter))


async def stream(engine: Engine, request: Any) -> Any:
    return messages.StreamPodSandboxesResponse(pod_sandboxes=_chosen(engine, request.filter))


async def update(engine: Engine, request: Any) -> Any:
    """Set the pod's limits on its own cgroup."""
    import asyncio

    record = engine.sandbox(request.pod_sandbox_id)
    wanted = cgroups.Limits(**limits(request.resources))
    try:
        await asyncio.to_thread(engine.context.cgroups.create, record.cgroup, wanted)
    except OSError as e:
        raise CriError("UNKNOWN", f"failed to update resources of sandbox {record.id}: {e}") from e
    return messages.UpdatePodSandboxResourcesResponse()


METHODS = {
    "RunPodSandbox": run,
    "StopPodSandbox": stop,
    "RemovePodSandbox": remove,
    "PodSandboxStatus": one,
    "ListPodSandbox": every,
    "StreamPodSandboxes": stream,
    "UpdatePodSandboxResources": update,
}
