"""CRI: exec, attach and port-forward; ExecSync runs to its end, the others give a URL of the streaming server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sampan.engine.seams import STDERR, Process
from sampan.machinery.cri import CriError, messages

if TYPE_CHECKING:
    from sampan.engine.engine import Engine

OUTPUT_LIMIT = 16 << 20


async def exec_sync(engine: Engine, request: Any) -> Any:
    """Run a program to its end; of each stream 16 MiB are kept, the rest is read and dropped."""
    if not request.cmd:
        raise CriError("INVALID_ARGUMENT", "ExecSync needs a command")
    process = await engine.exec(request.container_id, list(request.cmd), bound=True)
    try:
        async with asyncio.timeout(request.timeout or None):
            out, err = await _collect(process)
            status = await process.wait()
    except TimeoutError as e:
        raise CriError(
            "DEADLINE_EXCEEDED",
            f"failed to exec in container: timeout {request.timeout}s exceeded: context deadline exceeded",
        ) from e
    finally:
        await process.close()
    return messages.ExecSyncResponse(stdout=out, stderr=err, exit_code=status)


async def _collect(process: Process) -> tuple[bytes, bytes]:
    out, err = bytearray(), bytearray()
    while piece := await process.read():
        into = err if piece[0] == STDERR else out
        into += piece[1][: OUTPUT_LIMIT - len(into)]
    return bytes(out), bytes(err)


def _check(request: Any) -> None:
    if request.tty and request.stderr:
        raise CriError("INVALID_ARGUMENT", "tty and stderr cannot both be true")
    if not (request.stdin or request.stdout or request.stderr):
        raise CriError("INVALID_ARGUMENT", "one of stdin, stdout, or stderr must be set")


async def exec_(engine: Engine, request: Any) -> Any:
    _check(request)
    engine.containers.session(engine.container(request.container_id))
    return messages.ExecResponse(url=await engine.streaming.url("exec", request))


async def attach(engine: Engine, request: Any) -> Any:
    _check(request)
    engine.containers.session(engine.container(request.container_id))
    return messages.AttachResponse(url=await engine.streaming.url("attach", request))


async def port_forward(engine: Engine, request: Any) -> Any:
    engine.sandbox(request.pod_sandbox_id)
    return messages.PortForwardResponse(url=await engine.streaming.url("portforward", request))


METHODS = {"ExecSync": exec_sync, "Exec": exec_, "Attach": attach, "PortForward": port_forward}
