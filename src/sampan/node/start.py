"""Starting things for a pod: its sandbox, and one container after the other.

Each step either succeeds or raises `StepFailed`, which says what to show as the waiting reason and when to try again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.client.api import ApiError, Unavailable
from sampan.machinery.cri import CriError, messages
from sampan.machinery.objects import Object, changed
from sampan.node import configs, environment, etc, pods, security
from sampan.node.checks import Target, check, hook_timeout
from sampan.node.context import Context
from sampan.node.decide import StartContainer
from sampan.node.images import ImageError
from sampan.node.volumes.place import VolumeError

ETC_HOSTS = "/etc/hosts"


class StepFailed(Exception):
    """`again` is when to try again, in seconds; None leaves it to the worker's own doubling wait."""

    def __init__(self, reason: str, message: str, again: float | None = None):
        super().__init__(message)
        self.reason, self.again = reason, again


@dataclass(slots=True)
class Starter:
    """Starts what one pod needs. `pod` is kept up to date by the worker."""

    node: Context
    pod: Object
    sandbox: str = ""
    ips: tuple[str, ...] = ()
    paths: dict[str, Path] = field(default_factory=dict)
    config: Any = None

    def tell(self, type: str, reason: str, message: str, container: Object | None = None) -> None:
        """Record an event about the pod, or one of its containers."""
        about = {"apiVersion": "v1", "kind": "Pod", "metadata": self.pod["metadata"]}
        if container is not None:
            about["fieldPath"] = pods.field_path(self.pod, container)
        self.node.events.emit(about, type, reason, message)

    async def prepare(self) -> None:
        """Directories and volumes. Raises StepFailed."""
        directory = self.node.pod_directory(self.pod["metadata"]["uid"])
        directory.mkdir(parents=True, exist_ok=True)
        try:
            self.paths = await self.node.volumes.set_up(self.pod)
        except VolumeError as e:
            self.tell("Warning", "FailedMount", f'MountVolume.SetUp failed for volume "{e.volume}" : {e}')
            raise StepFailed("", str(e)) from e

    async def start_sandbox(self, attempt: int) -> None:
        """Raises StepFailed."""
        self.config = configs.sandbox(self.pod, self.node.host, attempt)
        handler = await self._handler()
        Path(self.config.log_directory).mkdir(parents=True, exist_ok=True)
        try:
            request = messages.RunPodSandboxRequest(config=self.config, runtime_handler=handler)
            done, _ = await asyncio.gather(
                self.node.runtime.step("start sandbox", "RunPodSandbox", request),
                self.node.cgroups.create(self.pod),
            )
        except (CriError, OSError) as e:
            text = f"Failed to create pod sandbox: {_rpc(e)}"
            self.tell("Warning", "FailedCreatePodSandBox", text)
            raise StepFailed("", text) from e
        self.sandbox = done.pod_sandbox_id

    async def _handler(self) -> str:
        """The runtime handler that the pod's RuntimeClass names."""
        name = self.pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        try:
            return str((await self.node.client.get("runtimeclasses.node.k8s.io", name))["handler"])
        except (ApiError, Unavailable) as e:
            text = f'failed to get sandbox runtime: RuntimeClass "{name}": {e}'
            self.tell("Warning", "FailedCreatePodSandBox", text)
            raise StepFailed("", text) from e

    async def start_container(self, action: StartContainer) -> str:
        """Pull, configure, create and start; the container's id. Raises StepFailed."""
        c = pods.named(self.pod, action.name)
        if c is None:
            raise StepFailed("CreateContainerError", f"the pod has no container {action.name}")
        if self.config is None:
            self.config = configs.sandbox(self.pod, self.node.host, 0)
        image = await self._image(c)
        volumes = await self._volume_images(c)
        config = await self._configured(c, image, volumes, action.attempt)
        made = await self._create(c, config)
        await self._start(c, made)
        await self._post_start(c, made)
        return made

    async def _image(self, c: Object) -> Any:
        try:
            return await self.node.images.ensure(
                self.pod, c, self.config, self._secrets, lambda t, r, m: self.tell(t, r, m, c)
            )
        except ImageError as e:
            raise StepFailed(e.reason, str(e), e.again) from e

    async def _volume_images(self, c: Object) -> dict[str, str]:
        """The id of the image behind each volume of the container that is one. Raises StepFailed."""
        mounted = {m["name"] for m in c.get("volumeMounts") or ()}
        found = {}
        for volume in self.pod["spec"].get("volumes") or ():
            if "image" in volume and volume["name"] in mounted:
                source = volume["image"]
                wanted = {"image": source["reference"], "imagePullPolicy": source.get("pullPolicy")}
                found[volume["name"]] = (await self._image({**c, **wanted})).id
        return found

    async def _secrets(self) -> list[Object]:
        found = []
        for ref in self.pod["spec"].get("imagePullSecrets") or ():
            with contextlib.suppress(ApiError):
                found.append(
                    await self.node.client.get("secrets", ref["name"], self.pod["metadata"]["namespace"])
                )
        return found

    async def _configured(self, c: Object, image: Any, volumes: dict[str, str], attempt: int) -> Any:
        try:
            security.check_user(self.pod, c, image)
            values = await self._environment(c)
            mounts = await self._mounts(c, values, volumes, attempt)
        except (environment.ConfigError, VolumeError, ApiError, Unavailable, TimeoutError, OSError) as e:
            self.tell("Warning", "Failed", f"Error: {e}", c)
            raise StepFailed("CreateContainerConfigError", str(e)) from e
        target = await self._target(c)
        given = configs.Given(
            environment=values, mounts=mounts, image=image.id, attempt=attempt, target=target
        )
        return configs.container(self.pod, c, self.node.host, given)

    async def _target(self, c: Object) -> str:
        """The container whose processes an ephemeral container is to see."""
        name = c.get("targetContainerName")
        found = (await self.node.runtime.observe(self.pod["metadata"]["uid"])).latest(name) if name else None
        return found.id if found else ""

    async def _environment(self, c: Object) -> dict[str, str]:
        namespace = self.pod["metadata"]["namespace"]

        async def get(kind: str, name: str) -> Object | None:
            try:
                return await self.node.client.get(kind, name, namespace)
            except ApiError as e:
                if e.code == 404:
                    return None
                raise

        facts = environment.Facts(
            self.pod_with_address(),
            await self.node.services.all(),
            await environment.gather(environment.sources(c), get),
            self.node.allocatable,
        )
        return environment.environment(c, facts)

    def pod_with_address(self) -> Object:
        """The pod, with the addresses that its status will show."""
        ips = self.ips or ((self.node.address,) if pods.is_host_network(self.pod) else ())
        own = {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]} if ips else {}
        host = {"hostIP": self.node.address, "hostIPs": [{"ip": self.node.address}]}
        return changed(self.pod, ("status",), {**(self.pod.get("status") or {}), **host, **own})

    async def _mounts(
        self, c: Object, values: dict[str, str], volumes: dict[str, str], attempt: int
    ) -> list[Any]:
        found = await self.node.volumes.mounts(self.pod, c, self.paths, volumes, values)
        taken = {m.container_path.rstrip("/") for m in found}
        directory = self.node.pod_directory(self.pod["metadata"]["uid"])
        if ETC_HOSTS not in taken:
            path = await asyncio.to_thread(self._write_hosts, directory / "etc-hosts")
            found.append(messages.Mount(container_path=ETC_HOSTS, host_path=str(path)))
        message = c.get("terminationMessagePath", "/dev/termination-log")
        if message and message not in taken:
            path = await asyncio.to_thread(_empty_file, directory / "containers" / c["name"] / str(attempt))
            found.append(messages.Mount(container_path=message, host_path=str(path)))
        return found

    def _write_hosts(self, path: Path) -> Path:
        """Written once: containers may have it open, and it must stay the file that was mounted."""
        host = self.node.host
        of_host = Path(ETC_HOSTS).read_text() if pods.is_host_network(self.pod) else ""
        text = etc.hosts(self.pod, self.ips, host.name, host.dns.domain, of_host)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        path.chmod(0o644)
        return path

    async def _create(self, c: Object, config: Any) -> str:
        request = messages.CreateContainerRequest(
            pod_sandbox_id=self.sandbox, config=config, sandbox_config=self.config
        )
        try:
            done = await self.node.runtime.step(f"create container {c['name']}", "CreateContainer", request)
        except CriError as e:
            self.tell("Warning", "Failed", f"Error: {e}", c)
            raise StepFailed("CreateContainerError", str(e)) from e
        self.tell("Normal", "Created", "Container created", c)
        return str(done.container_id)

    async def _start(self, c: Object, made: str) -> None:
        request = messages.StartContainerRequest(container_id=made)
        try:
            await self.node.runtime.step(f"start container {c['name']}", "StartContainer", request)
        except CriError as e:
            self.tell("Warning", "Failed", f"Error: {e}", c)
            raise StepFailed("RunContainerError", str(e)) from e
        self.tell("Normal", "Started", "Container started", c)

    async def _post_start(self, c: Object, made: str) -> None:
        handler = (c.get("lifecycle") or {}).get("postStart")
        if not handler:
            return
        target = Target(self.pod, c, made, self.ips[0] if self.ips else self.node.address)
        answer = await check(self.node.runtime, target, handler, hook_timeout(self.pod))
        if answer.ok:
            return
        self.tell("Warning", "FailedPostStartHook", f"PostStartHook failed: {answer.output}", c)
        self.tell("Normal", "Killing", "FailedPostStartHook", c)
        request = messages.StopContainerRequest(container_id=made, timeout=pods.grace_period(self.pod))
        with contextlib.suppress(CriError):
            await self.node.runtime.step(
                f"stop container {c['name']}", "StopContainer", request, timeout=request.timeout + 30
            )
        raise StepFailed("PostStartHookError", answer.output)


def _empty_file(path: Path) -> Path:
    """The file for a container's last words, which any user in it may write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666))
    path.chmod(0o666)
    return path


def _rpc(e: Exception) -> str:
    """An error as gRPC clients print it."""
    if isinstance(e, CriError):
        return f"rpc error: code = {e.code.title().replace('_', '')} desc = {e}"
    return str(e)
