"""CRI: containers."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from sampan.engine.containers import ContainerError, state_name
from sampan.engine.cri import status
from sampan.engine.images.model import ImageError
from sampan.engine.records import CREATED, EXITED, READY, REMOVING
from sampan.engine.spec import SpecError
from sampan.engine.users import UnknownUser
from sampan.machinery.cri import CriError, messages

if TYPE_CHECKING:
    from sampan.engine.engine import Engine


async def create(engine: Engine, request: Any) -> Any:
    import asyncio

    sandbox, config = engine.sandbox(request.pod_sandbox_id), request.config
    if sandbox.state != READY:
        raise CriError("FAILED_PRECONDITION", f"sandbox {sandbox.id} is not running")
    if not config.metadata.name:
        raise CriError("INVALID_ARGUMENT", "a container needs metadata with a name")
    for other in engine.containers_of(sandbox):
        if engine.containers.config(other).metadata == config.metadata:
            raise CriError("ALREADY_EXISTS", f"container {other.id} has this name and attempt already")
    name = secrets.token_hex(32)
    try:
        image = await asyncio.to_thread(engine.context.images.find, config.image.image)
        async with engine.lock(name):
            made = await engine.containers.create(name, sandbox, config, image)
    except ImageError as e:
        raise CriError("NOT_FOUND", f"failed to create container: {e}") from e
    except (SpecError, UnknownUser) as e:
        raise CriError("INVALID_ARGUMENT", f"failed to create container: {e}") from e
    except OSError as e:
        raise CriError("UNKNOWN", f"failed to create container: {e}") from e
    if sandbox.state != READY:  # it was stopped meanwhile, by somebody who did not see this container
        await engine.remove_container(made)
        raise CriError("FAILED_PRECONDITION", f"sandbox {sandbox.id} is not running")
    return messages.CreateContainerResponse(container_id=name)


async def start(engine: Engine, request: Any) -> Any:
    record = engine.container(request.container_id)
    async with engine.lock(record.id):
        if record.state != CREATED:
            raise CriError("FAILED_PRECONDITION", f"container {record.id} is in {state_name(record)} state")
        if engine.sandbox(record.sandbox).state != READY:
            raise CriError("FAILED_PRECONDITION", f"sandbox {record.sandbox} is not running")
        try:
            await engine.containers.start(record)
        except (ContainerError, OSError) as e:
            raise CriError("UNKNOWN", str(e)) from e
    return messages.StartContainerResponse()


async def stop(engine: Engine, request: Any) -> Any:
    record = engine.containers.records.get(request.container_id)
    if record:
        await engine.containers.stop(record, max(0, request.timeout))
    return messages.StopContainerResponse()


async def remove(engine: Engine, request: Any) -> Any:
    record = engine.containers.records.get(request.container_id)
    if record:
        try:
            await engine.remove_container(record)
        except OSError as e:
            raise CriError("UNKNOWN", f"failed to remove container {record.id}: {e}") from e
    return messages.RemoveContainerResponse()


def _chosen(engine: Engine, wanted: Any) -> list[Any]:
    return [
        status.container_item(engine, r)
        for r in status.chosen(engine.containers.records, wanted, status.container_state)
        if r.sandbox.startswith(wanted.pod_sandbox_id)
    ]


async def every(engine: Engine, request: Any) -> Any:
    return messages.ListContainersResponse(containers=_chosen(engine, request.filter))


async def stream(engine: Engine, request: Any) -> Any:
    return messages.StreamContainersResponse(containers=_chosen(engine, request.filter))


async def one(engine: Engine, request: Any) -> Any:
    record = engine.container(request.container_id)
    response = messages.ContainerStatusResponse(status=status.container(engine, record))
    if request.verbose:
        from sampan.engine.engine import info

        facts = {"sandboxID": record.sandbox, "pid": record.pid, "cgroup": record.cgroup}
        response.info.update(info({**facts, "bundle": engine.containers.directory(record)}))
    return response


async def update(engine: Engine, request: Any) -> Any:
    record = engine.container(request.container_id)
    if record.state in (EXITED, REMOVING):
        raise CriError("FAILED_PRECONDITION", f"container {record.id} is in {state_name(record)} state")
    try:
        async with engine.lock(record.id):
            await engine.containers.update(record, request.linux)
    except OSError as e:
        raise CriError("UNKNOWN", f"failed to update resources of container {record.id}: {e}") from e
    return messages.UpdateContainerResourcesResponse()


async def reopen_log(engine: Engine, request: Any) -> Any:
    try:
        await engine.containers.session(engine.container(request.container_id)).reopen_log()
    except (ContainerError, ConnectionError) as e:
        raise CriError("FAILED_PRECONDITION", f"failed to reopen the log: {e}") from e
    return messages.ReopenContainerLogResponse()


METHODS = {
    "CreateContainer": create,
    "StartContainer": start,
    "StopContainer": stop,
    "RemoveContainer": remove,
    "ListContainers": every,
    "StreamContainers": stream,
    "ContainerStatus": one,
    "UpdateContainerResources": update,
    "ReopenContainerLog": reopen_log,
}
