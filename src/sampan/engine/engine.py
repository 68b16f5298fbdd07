"""The engine: runs containers, and serves CRI v1 in process (`call`) or on a unix socket (`serve`).

    engine = Engine(root=..., run=..., images=ImageStore(...), network=PodNetwork(...), cgroup="sampan0")
    await engine.start()
    response = await engine.call("RunPodSandbox", messages.RunPodSandboxRequest(...))

The calls themselves stand in `cri/`, a file for each group. `close` leaves all containers running; a new
engine over the same directories takes them up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from sampan.engine import context as contexts
from sampan.engine import records, recovery, shims
from sampan.engine.containers import ContainerError, Containers
from sampan.engine.context import Context, Logs
from sampan.engine.images.model import ImageError
from sampan.engine.images.store import ImageStore
from sampan.engine.records import READY, Container, Sandbox
from sampan.engine.runtime import SERVICE, Runtime
from sampan.engine.sandboxes import Sandboxes
from sampan.engine.seams import Connection, Process
from sampan.engine.streaming import StreamingServer
from sampan.host import cgroups, trace
from sampan.host.process import ProcessError
from sampan.machinery.cri import CriError
from sampan.network.attachment import Network, NetworkError

if TYPE_CHECKING:
    from sampan.engine.images.registry import Registries

EVENTS_KEPT = 1000
# The calls that are worth a span; the others only look.
CHANGES = frozenset(
    [
        "RunPodSandbox",
        "StopPodSandbox",
        "RemovePodSandbox",
        "CreateContainer",
        "StartContainer",
        "StopContainer",
        "RemoveContainer",
        "ExecSync",
        "UpdateContainerResources",
        "UpdatePodSandboxResources",
        "PullImage",
        "RemoveImage",
    ]
)
# What may go wrong on the machine in any call; what a call knows better it tells itself.
FAILURES = (ContainerError, ImageError, NetworkError, ProcessError, shims.ShimError, records.IllegalStep)


class Engine:
    """Fulfils machinery.cri.Cri and seams.Streaming.

    `root` holds records, which survive a reboot; `run` sockets and mounts, and should be short-lived.
    `cgroup` is the parent of pods that name none. `network` must have started.
    """

    def __init__(
        self,
        *,
        root: Path,
        run: Path,
        images: ImageStore,
        network: Network,
        cgroup: str = "sampan",
        runtime: str = "runc",
        logs: Logs | None = None,
        registries: Registries | None = None,
    ):
        groups = cgroups.detect()
        self.context = Context(
            root=root,
            run=run,
            cgroup=cgroup,
            runtime=Runtime(runtime, run / "runtime"),
            shim=root / "shim",
            cgroups=groups,
            machine=contexts.machine(groups),
            images=images,
            network=network,
            logs=logs or Logs(),
        )
        self.sandboxes = Sandboxes(self.context)
        self.containers = Containers(self.context, self.sandboxes, self._notify)
        self._listeners: set[asyncio.Queue[Any]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.registries = registries
        self.streaming = StreamingServer(self)
        # What stats remember of each container or sandbox: CPU at the last look, the writable layer's size.
        self.samples: dict[str, tuple[int, int]] = {}
        self.layers: dict[str, tuple[float, int, int]] = {}
        self._started = False
        self.problem = "the engine has not started"

    async def start(self) -> None:
        """Take up what an earlier engine left. Raises OSError, ProcessError.

        Where a program is missing the engine starts all the same: `problem` says which, and pods are refused.
        """
        for directory in (self.context.root, self.context.run):
            directory.mkdir(parents=True, exist_ok=True)
        with trace.span("recover containers", SERVICE):
            await recovery.recover(self.context, self.sandboxes, self.containers)
        await self.check()
        self._started = True

    async def check(self) -> None:
        """Look whether everything is there that containers need; `problem` says what is not, and what helps."""
        command = self.context.runtime.command
        try:
            self.context.shim = await asyncio.to_thread(shims.build, self.context.root / "bin")
            self.problem = (
                "" if shutil.which(command) else f"{command} is not installed: install the package {command}"
            )
        except shims.ShimError as e:
            self.problem = str(e)

    async def close(self) -> None:
        """Let go; containers run on under their shims."""
        self._started = False
        await self.streaming.close()
        await self.containers.close()

    async def serve(self) -> None:
        """Serve CRI on `cri.sock` in the run directory until cancelled. Raises OSError."""
        from sampan.engine import cri_grpc

        await cri_grpc.serve(self, self.context.run / "cri.sock")

    async def stop_all(self, grace: float = 10.0) -> None:
        """Stop and remove every container and sandbox, each container with `grace` seconds to end by itself.

        An engine that has not started, as that of `sampan down`, first takes up what is there.
        """
        if not self._started:
            await self.start()
        await together(self._stop_and_remove(sandbox, grace) for sandbox in self.sandboxes.records)

    async def _stop_and_remove(self, sandbox: Sandbox, grace: float) -> None:
        await together(self.containers.stop(container, grace) for container in self.containers_of(sandbox))
        await self.stop_sandbox(sandbox)
        await self.remove_sandbox(sandbox)

    # CRI

    async def call(self, method: str, request: Any, *, timeout: float = 120.0) -> Any:
        """A CRI call by its name. Raises CriError."""
        from sampan.engine.cri import METHODS

        handler = METHODS.get(method)
        if not handler:
            raise CriError("UNIMPLEMENTED", f"this runtime does not implement {method}")
        try:
            async with asyncio.timeout(timeout):
                if method in CHANGES:
                    with trace.span(method, SERVICE):
                        return await handler(self, request)
                return await handler(self, request)
        except FAILURES as e:
            raise CriError("UNKNOWN", f"{method} failed: {e}") from e
        except TimeoutError as e:
            raise CriError("DEADLINE_EXCEEDED", f"{method} had not ended after {timeout:g} s") from e

    async def events(self) -> AsyncGenerator[Any, None]:
        """ContainerEventResponse messages from now on.

        A listener that falls a thousand behind loses the oldest.
        """
        queue: asyncio.Queue[Any] = asyncio.Queue(EVENTS_KEPT)
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    def _notify(self, container: Container, kind: int) -> None:
        self._tell(container.id, kind, self.sandboxes.records.get(container.sandbox))

    def notify_sandbox(self, sandbox: Sandbox, kind: int) -> None:
        self._tell(sandbox.id, kind, sandbox)

    def _tell(self, name: str, kind: int, pod: Sandbox | None) -> None:
        if not self._listeners:
            return
        from sampan.engine.cri import status

        event = status.event(self, name, kind, time.time_ns(), pod)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    # What the calls are made of

    def lock(self, name: str) -> asyncio.Lock:
        """The lock of one sandbox or container: what makes or removes it holds this."""
        return self._locks.setdefault(name, asyncio.Lock())

    def sandbox(self, name: str) -> Sandbox:
        """Raises CriError where there is no such sandbox."""
        if found := self.sandboxes.records.get(name):
            return found
        raise CriError(
            "NOT_FOUND", f'an error occurred when try to find sandbox: sandbox "{name}": not found'
        )

    def container(self, name: str) -> Container:
        """Raises CriError where there is no such container."""
        found = self.containers.records.get(name)
        if found and found.state != records.CREATING:
            return found
        raise CriError("NOT_FOUND", f'an error occurred when try to find container "{name}": not found')

    def containers_of(self, sandbox: Sandbox) -> list[Container]:
        return [c for c in self.containers.records if c.sandbox == sandbox.id]

    async def stop_sandbox(self, sandbox: Sandbox) -> None:
        """Kill what runs in a sandbox, then take it down. Idempotent."""
        await together(self.containers.stop(container, 0) for container in self.containers_of(sandbox))
        async with self.lock(sandbox.id):
            if sandbox.state != records.REMOVING and sandbox.id in self.sandboxes.records:
                await self.sandboxes.stop(sandbox)

    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        """Remove a sandbox with its containers. Idempotent."""
        for container in self.containers_of(sandbox):
            await self.remove_container(container)
        await self.stop_sandbox(sandbox)
        async with self.lock(sandbox.id):
            if sandbox.id in self.sandboxes.records:
                await self.sandboxes.remove(sandbox)
        self._forget(sandbox.id)

    async def remove_container(self, container: Container) -> None:
        """Remove a container, by force if it runs. Idempotent."""
        await self.containers.stop(container, 0)
        async with self.lock(container.id):
            if container.id in self.containers.records:
                await self.containers.remove(container)
        self._forget(container.id)

    def _forget(self, name: str) -> None:
        self.samples.pop(name, None)
        self.layers.pop(name, None)

    # The streaming seam

    async def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        tty: bool = False,
        stdin: bool = False,
        bound: bool = False,
    ) -> Process:
        record = self.container(container_id)
        with _as_cri():
            return await self.containers.exec(record, argv, tty=tty, stdin=stdin, bound=bound)

    async def attach(self, container_id: str) -> Process:
        with _as_cri():
            return await self.containers.attach(self.container(container_id))

    async def port_forward(self, sandbox_id: str, port: int) -> Connection:
        from sampan.engine import ports

        sandbox = self.sandbox(sandbox_id)
        if sandbox.state != READY:
            raise CriError("FAILED_PRECONDITION", f"sandbox {sandbox_id} is not running")
        net = self.sandboxes.paths(sandbox).get("network")
        try:
            return await ports.dial(Path(net) if net else None, port)
        except OSError as e:
            raise CriError(
                "UNAVAILABLE", f"failed to connect to port {port} of sandbox {sandbox_id}: {e}"
            ) from e


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it side by side, to the end; then raise the first failure."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


@contextlib.contextmanager
def _as_cri() -> Any:
    try:
        yield
    except ContainerError as e:
        raise CriError("FAILED_PRECONDITION", str(e)) from e


def info(value: Any) -> dict[str, str]:
    """CRI's `info` for verbose answers: one entry, JSON."""
    import json

    return {"info": json.dumps(value, default=str)}
