"""After our own death: what the records say, held against what is really there.

`plan_container` and `plan_sandbox` decide by a table; `recover` does it. Whatever was half made is taken
away, whatever runs is taken up as it is, what ended meanwhile is noted.
"""

from __future__ import annotations

import asyncio
import shutil

from sampan.engine import records, shims
from sampan.engine.containers import Containers
from sampan.engine.context import Context
from sampan.engine.images import snapshots
from sampan.engine.records import Container, Sandbox
from sampan.engine.sandboxes import Sandboxes
from sampan.host import mounts

KEEP, REMOVE, ADOPT, NOTE_END, LOST, STOP = "keep", "remove", "adopt", "note end", "lost", "stop"
ALIVE, ENDED, NOTHING = "shim alive", "exit file", "nothing"


def plan_container(state: str, evidence: str) -> str:
    """What to do about a container whose record has this state; `evidence` is ALIVE, ENDED or NOTHING."""
    if state in (records.CREATING, records.REMOVING):
        return REMOVE
    if state in (records.STARTING, records.RUNNING):
        return {ALIVE: ADOPT, ENDED: NOTE_END, NOTHING: LOST}[evidence]
    return KEEP


def plan_sandbox(state: str, alive: bool) -> str:
    """What to do about a sandbox; `alive` tells whether its namespaces are all there."""
    if state in (records.CREATING, records.REMOVING):
        return REMOVE
    return KEEP if state == records.READY and alive else STOP


async def recover(context: Context, sandboxes: Sandboxes, containers: Containers) -> None:
    """Load all records and make them true. Raises what the clean-up raises, such as OSError."""
    torn_sandboxes = await asyncio.to_thread(sandboxes.records.load)
    torn_containers = await asyncio.to_thread(containers.records.load)
    async with asyncio.TaskGroup() as group:
        for container in containers.records:
            group.create_task(_container(context, containers, container))
        for name in torn_containers:
            group.create_task(_torn_container(context, containers, name))
    for name in torn_sandboxes:
        await sandboxes.discard(Sandbox(name, {}, 0, cgroup=f"/{context.cgroup}/{name}"))
    for sandbox in sandboxes.records:
        await _sandbox(sandboxes, containers, sandbox)
    known = {s.id for s in sandboxes.records if s.state == records.READY}
    await context.network.recover(known)
    await _strangers(context, sandboxes, containers)


async def _container(context: Context, containers: Containers, record: Container) -> None:
    directory = containers.directory(record)
    session = None
    ended = await asyncio.to_thread(shims.read_exit, directory)
    if ended is None and record.state in (records.STARTING, records.RUNNING):
        session = await shims.connect(directory)
        # It may have ended between the two looks.
        ended = None if session else await asyncio.to_thread(shims.read_exit, directory)
    match plan_container(record.state, ALIVE if session else ENDED if ended else NOTHING):
        case "remove":
            await containers.remove(record, quietly=True)
        case "adopt" if session:
            await containers.adopt(record, session)
        case "note end" if ended:
            await containers.ended_meanwhile(record, ended)
        case "lost":
            await containers.ended_meanwhile(record, await containers.lost(record))


async def _torn_container(context: Context, containers: Containers, name: str) -> None:
    """A record that nobody can read: whatever bears its name goes."""
    await context.runtime.delete(name)
    await asyncio.to_thread(snapshots.remove, context.images, name)
    await asyncio.to_thread(shutil.rmtree, context.container_directory(name), True)
    containers.records.forget(name)


async def _sandbox(sandboxes: Sandboxes, containers: Containers, record: Sandbox) -> None:
    alive = await asyncio.to_thread(sandboxes.alive, record) if record.config else False
    match plan_sandbox(record.state, alive):
        case "remove":
            await sandboxes.discard(record)
        case "stop":
            for container in containers.records:
                if container.sandbox == record.id:
                    await containers.stop(container, 0)
            await sandboxes.stop(record)


async def _strangers(context: Context, sandboxes: Sandboxes, containers: Containers) -> None:
    """Take away what has no record: directories, and containers that only the runtime knows."""
    for name in await asyncio.to_thread(context.runtime.known):
        if name not in containers.records:
            await context.runtime.delete(name)
    for directory, known in (("sandboxes", sandboxes.records), ("containers", containers.records)):
        (context.run / directory).mkdir(parents=True, exist_ok=True)
        for entry in (context.run / directory).iterdir():
            if entry.name not in known:
                await asyncio.to_thread(mounts.unmount_below, entry)
                await asyncio.to_thread(shutil.rmtree, entry, True)
