"""A fake container runtime: sandboxes and containers that exist only in memory.

For tests of what the node decides; that containers really run is shown with the real engine in `test_engine.py`.
A test ends a container with `exit`, makes a call fail with `fail`, and answers ExecSync with `exec_exit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sampan.machinery.cri import CriError, messages


class FakeCri:
    def __init__(self) -> None:
        self.sandboxes: dict[str, Any] = {}
        self.containers: dict[str, Any] = {}
        self.configs: dict[str, Any] = {}
        self.images = {"busybox": "sha256:1", "other": "sha256:2"}
        self.pullable: dict[str, str] = {}
        self.calls: list[tuple[str, Any]] = []
        self.fail: dict[str, CriError] = {}
        self.exec_exit: dict[str, int] = {}
        self.stubborn = False  # containers do not end on SIGTERM
        self.silent = False  # tells no events, as containerd before 1.7
        self._ids = itertools.count(1)
        self._listeners: list[asyncio.Queue[Any]] = []
        self._changed = asyncio.Condition()

    async def call(self, method: str, request: Any, *, timeout: float = 120.0) -> Any:
        self.calls.append((method, request))
        self._poke()
        await asyncio.sleep(0)
        if method in self.fail:
            raise self.fail[method]
        return await getattr(self, f"_{method}")(request)

    async def events(self) -> AsyncIterator[Any]:
        if self.silent:
            raise CriError("UNIMPLEMENTED", "unknown method GetContainerEvents")
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._listeners.append(queue)
        while True:
            yield await queue.get()

    def named(self, name: str) -> list[Any]:
        """The statuses of containers of that name, oldest first."""
        return [c for c in self.containers.values() if c.metadata.name == name]

    def running(self) -> list[str]:
        return [c.metadata.name for c in self.containers.values() if c.state == messages.CONTAINER_RUNNING]

    def exit(self, name: str, code: int = 0) -> None:
        """The newest container of that name ends."""
        found = self.named(name)[-1]
        self._end(found, code)

    async def until(self, holds: Any, timeout: float = 10.0) -> None:
        """Wait until a condition on the fake holds."""
        async with asyncio.timeout(timeout):
            async with self._changed:
                await self._changed.wait_for(holds)

    def _poke(self) -> None:
        """Those who wait look again."""

        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        self._notifying = asyncio.get_running_loop().create_task(notify())

    def methods(self, *names: str) -> list[str]:
        return [m for m, _ in self.calls if m in names]

    # The calls.

    async def _Version(self, r: Any) -> Any:
        return messages.VersionResponse(
            version="0.1.0", runtime_name="fake", runtime_version="1", runtime_api_version="v1"
        )

    async def _Status(self, r: Any) -> Any:
        conditions = [
            messages.RuntimeCondition(type=t, status=True) for t in ("RuntimeReady", "NetworkReady")
        ]
        return messages.StatusResponse(status=messages.RuntimeStatus(conditions=conditions))

    async def _RunPodSandbox(self, r: Any) -> Any:
        id = f"sandbox{next(self._ids)}"
        self.configs[id] = r.config
        self.sandboxes[id] = messages.PodSandboxStatus(
            id=id,
            metadata=r.config.metadata,
            state=messages.SANDBOX_READY,
            created_at=time.time_ns(),
            network=messages.PodSandboxNetworkStatus(ip=f"10.0.0.{len(self.sandboxes) + 2}"),
            labels=r.config.labels,
            annotations=r.config.annotations,
        )
        self._tell(id, id)
        return messages.RunPodSandboxResponse(pod_sandbox_id=id)

    async def _StopPodSandbox(self, r: Any) -> Any:
        sandbox = self._sandbox(r.pod_sandbox_id)
        sandbox.state = messages.SANDBOX_NOTREADY
        for id, c in self.containers.items():
            if self.configs[id][0] == r.pod_sandbox_id and c.state == messages.CONTAINER_RUNNING:
                self._end(c, 137)
        return messages.StopPodSandboxResponse()

    async def _RemovePodSandbox(self, r: Any) -> Any:
        self.sandboxes.pop(r.pod_sandbox_id, None)
        for id in [i for i in self.containers if self.configs[i][0] == r.pod_sandbox_id]:
            del self.containers[id]
        self._poke()
        return messages.RemovePodSandboxResponse()

    async def _PodSandboxStatus(self, r: Any) -> Any:
        return messages.PodSandboxStatusResponse(status=self._sandbox(r.pod_sandbox_id))

    async def _ListPodSandbox(self, r: Any) -> Any:
        return messages.ListPodSandboxResponse(
            items=[
                messages.PodSandbox(id=s.id, metadata=s.metadata, state=s.state, labels=s.labels)
                for s in self.sandboxes.values()
                if _matches(s.labels, r.filter.label_selector)
            ]
        )

    async def _CreateContainer(self, r: Any) -> Any:
        id = f"container{next(self._ids)}"
        self.configs[id] = (r.pod_sandbox_id, r.config)
        log = Path(r.sandbox_config.log_directory, r.config.log_path)
        self.containers[id] = messages.ContainerStatus(
            id=id,
            metadata=r.config.metadata,
            state=messages.CONTAINER_CREATED,
            created_at=time.time_ns(),
            image=messages.ImageSpec(
                image=r.config.image.image, user_specified_image=r.config.image.user_specified_image
            ),
            image_ref=r.config.image.image,
            labels=r.config.labels,
            annotations=r.config.annotations,
            mounts=r.config.mounts,
            log_path=str(log),
            resources=messages.ContainerResources(linux=r.config.linux.resources),
        )
        self._poke()
        return messages.CreateContainerResponse(container_id=id)

    async def _StartContainer(self, r: Any) -> Any:
        found = self._container(r.container_id)
        found.state = messages.CONTAINER_RUNNING
        found.started_at = time.time_ns()
        log = Path(found.log_path)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        self._tell(found.id, self.configs[found.id][0])
        return messages.StartContainerResponse()

    async def _StopContainer(self, r: Any) -> Any:
        found = self._container(r.container_id)
        if self.stubborn:
            with contextlib.suppress(TimeoutError):
                await self.until(lambda: found.state != messages.CONTAINER_RUNNING, r.timeout)
        if found.state == messages.CONTAINER_RUNNING:
            self._end(found, 137 if self.stubborn else 143)
        return messages.StopContainerResponse()

    async def _RemoveContainer(self, r: Any) -> Any:
        self.containers.pop(r.container_id, None)
        self._poke()
        return messages.RemoveContainerResponse()

    async def _ListContainers(self, r: Any) -> Any:
        return messages.ListContainersResponse(
            containers=[
                messages.Container(
                    id=c.id,
                    pod_sandbox_id=self.configs[c.id][0],
                    metadata=c.metadata,
                    state=c.state,
                    labels=c.labels,
                    image_ref=c.image_ref,
                )
                for c in self.containers.values()
                if _matches(c.labels, r.filter.label_selector)
            ]
        )

    async def _ContainerStatus(self, r: Any) -> Any:
        return messages.ContainerStatusResponse(status=self._container(r.container_id))

    async def _UpdateContainerResources(self, r: Any) -> Any:
        self._container(r.container_id).resources.linux.CopyFrom(r.linux)
        return messages.UpdateContainerResourcesResponse()

    async def _ExecSync(self, r: Any) -> Any:
        code = self.exec_exit.get(r.cmd[0], 0)
        return messages.ExecSyncResponse(stdout=b"said " + r.cmd[0].encode(), exit_code=code)

    async def _ReopenContainerLog(self, r: Any) -> Any:
        Path(self._container(r.container_id).log_path).touch()
        return messages.ReopenContainerLogResponse()

    async def _ImageStatus(self, r: Any) -> Any:
        name = r.image.image
        id = self.images.get(name) or (name if name in self.images.values() else "")
        if not id:
            return messages.ImageStatusResponse()
        return messages.ImageStatusResponse(image=messages.Image(id=id, repo_tags=[name], size=1000))

    async def _ListImages(self, r: Any) -> Any:
        return messages.ListImagesResponse(
            images=[messages.Image(id=i, repo_tags=[n], size=1000) for n, i in self.images.items()]
        )

    async def _PullImage(self, r: Any) -> Any:
        name = r.image.image
        if name not in self.pullable:
            raise CriError("NOT_FOUND", f'failed to resolve image "{name}": not found')
        self.images[name] = self.pullable[name]
        return messages.PullImageResponse(image_ref=self.images[name])

    async def _ListContainerStats(self, r: Any) -> Any:
        value = messages.UInt64Value
        return messages.ListContainerStatsResponse(
            stats=[
                messages.ContainerStats(
                    attributes=messages.ContainerAttributes(id=c.id, metadata=c.metadata, labels=c.labels),
                    cpu=messages.CpuUsage(
                        timestamp=time.time_ns(), usage_core_nano_seconds=value(value=5 * 10**8)
                    ),
                    memory=messages.MemoryUsage(
                        timestamp=time.time_ns(), working_set_bytes=value(value=1 << 20)
                    ),
                )
                for c in self.containers.values()
            ]
        )

    # Within.

    def _sandbox(self, id: str) -> Any:
        if id not in self.sandboxes:
            raise CriError("NOT_FOUND", f"sandbox {id} not found")
        return self.sandboxes[id]

    def _container(self, id: str) -> Any:
        if id not in self.containers:
            raise CriError("NOT_FOUND", f"container {id} not found")
        return self.containers[id]

    def _end(self, found: Any, code: int) -> None:
        found.state = messages.CONTAINER_EXITED
        found.exit_code = code
        found.finished_at = time.time_ns()
        self._tell(found.id, self.configs[found.id][0])

    def _tell(self, id: str, sandbox: str) -> None:
        self._poke()
        event = messages.ContainerEventResponse(container_id=id, pod_sandbox_status=self.sandboxes[sandbox])
        for queue in self._listeners:
            queue.put_nowait(event)


def _matches(labels: Any, wanted: Any) -> bool:
    return all(labels.get(k) == v for k, v in wanted.items())
