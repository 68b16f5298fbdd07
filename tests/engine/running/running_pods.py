"""A real engine with runc and busybox, and a short way to run pods in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from tests.engine.images.image_making import archive, directory, file, put_image, symlink

from sampan.engine.context import Logs
from sampan.engine.engine import Engine
from sampan.engine.images.store import ImageStore
from sampan.host import mounts
from sampan.machinery.cri import messages
from sampan.network.attachment import Attachment, Bandwidth, PortMapping

TOOLS = "sh sleep cat echo true false id env seq dd yes head hostname ls ps nc stty touch kill mount grep wc pwd date"


def busybox(store: ImageStore) -> None:
    """An image `busybox` of the machine's own static busybox."""
    program = Path("/bin/busybox").read_bytes()
    links = [symlink(f"bin/{tool}", "busybox") for tool in TOOLS.split()]
    passwd = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
    group = b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n"
    layer = archive(
        directory("bin"), file("bin/busybox", program, mode=0o755), *links, directory("etc"), directory("tmp", 0o1777),
        file("etc/passwd", passwd), file("etc/group", group), directory("root"), directory("home/app"),
    )  # fmt: skip
    put_image(store, layer, names=("docker.io/library/busybox:latest",), Cmd=["sh"], Env=["FROM=image"])


async def eventually(condition: Callable[[], object], timeout: float = 20) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


class Loopback:
    """A pod network of nothing: each sandbox has its loopback alone."""

    def __init__(self) -> None:
        self.attached: set[str] = set()

    async def start(self) -> None: ...

    async def attach(
        self,
        sandbox_id: str,
        netns: Path,
        *,
        namespace: str = "",
        name: str = "",
        uid: str = "",
        port_mappings: Sequence[PortMapping] = (),
        bandwidth: Bandwidth | None = None,
    ) -> Attachment:
        self.attached.add(sandbox_id)
        return Attachment(("127.0.0.1",))

    async def detach(self, sandbox_id: str, netns: Path | None = None) -> None:
        self.attached.discard(sandbox_id)

    async def recover(self, known: Collection[str]) -> None:
        self.attached &= set(known)

    def problem(self) -> str:
        return ""


class Pods:
    """An engine under `home`, and the calls that tests make most."""

    def __init__(self, home: Path, cgroup: str, images: ImageStore, logs: Logs | None = None):
        self.home, self.cgroup = home, cgroup
        self.network = Loopback()
        self._count = 0
        self.engine = Engine(
            root=home / "root",
            run=home / "run",
            images=images,
            network=self.network,
            cgroup=cgroup,
            logs=logs,
        )

    async def start(self) -> None:
        await self.engine.start()

    async def call(self, method: str, **fields: Any) -> Any:
        """A CRI call by its name and its request's fields."""
        from sampan.machinery.cri import methods

        return await self.engine.call(method, methods()[method].request(**fields), timeout=60)

    def pod_config(self, **security: Any) -> Any:
        self._count += 1
        return messages.PodSandboxConfig(
            metadata=messages.PodSandboxMetadata(
                name=f"pod-{self._count}", namespace="default", uid=f"uid-{self._count}"
            ),
            hostname=f"pod-{self._count}",
            log_directory=str(self.home / "logs"),
            dns_config=messages.DNSConfig(servers=["192.0.2.53"], searches=["example.test"]),
            labels={"app": f"pod-{self._count}"},
            linux=messages.LinuxPodSandboxConfig(
                security_context=messages.LinuxSandboxSecurityContext(
                    namespace_options=messages.NamespaceOption(
                        pid=security.pop("pid", messages.CONTAINER), **security
                    )
                )
            ),
        )

    async def pod(self, **security: Any) -> str:
        """A ready sandbox; its id. `security` are fields of its NamespaceOption."""
        made = await self.call("RunPodSandbox", config=self.pod_config(**security))
        return str(made.pod_sandbox_id)

    def config(self, name: str, *argv: str, **fields: Any) -> Any:
        linux = fields.pop("linux", None) or messages.LinuxContainerConfig(
            security_context=fields.pop("security", None)
            or messages.LinuxContainerSecurityContext(
                namespace_options=messages.NamespaceOption(pid=fields.pop("pid", messages.CONTAINER))
            )
        )
        return messages.ContainerConfig(
            metadata=messages.ContainerMetadata(name=name),
            image=messages.ImageSpec(image="busybox"),
            command=argv,
            log_path=f"{name}.log",
            linux=linux,
            **fields,
        )

    async def create(self, pod: str, *argv: str, name: str = "main", **fields: Any) -> str:
        """A created container; its id."""
        config = self.config(name, *argv, **fields)
        made = await self.call("CreateContainer", pod_sandbox_id=pod, config=config)
        return str(made.container_id)

    async def run(self, *argv: str, pod: str = "", **fields: Any) -> str:
        """A started container, in a pod of its own unless told; its id."""
        name = await self.create(pod or await self.pod(), *argv, **fields)
        await self.call("StartContainer", container_id=name)
        return name

    async def status(self, container: str) -> Any:
        return (await self.call("ContainerStatus", container_id=container)).status

    async def ended(self, container: str, timeout: float = 20) -> Any:
        """The status of a container once it has exited."""
        async with asyncio.timeout(timeout):
            while True:
                found = await self.status(container)
                if found.state == messages.CONTAINER_EXITED:
                    return found
                await asyncio.sleep(0.01)

    def log(self, name: str = "main") -> list[list[str]]:
        """The lines of a container's log, each split into time, stream, tag and text."""
        path = self.home / "logs" / f"{name}.log"
        return [line.split(" ", 3) for line in path.read_text().splitlines()]

    async def output(self, *argv: str, **fields: Any) -> list[str]:
        """Run to the end and give what it printed, line by line."""
        await self.ended(await self.run(*argv, **fields))
        return [line[3] for line in self.log()]


def nothing_left(pods: Pods, home: Path) -> bool:
    """No mount, directory, record, cgroup, process or attachment of any pod."""
    left = [m.target for m in mounts.below(home)]
    for place in (
        "run/sandboxes",
        "run/containers",
        "root/sandboxes",
        "root/containers",
        "images/snapshots",
    ):
        left += [str(p) for p in (home / place).iterdir()]
    groups = pods.engine.context.cgroups
    left += [*groups.children(pods.cgroup), *map(str, groups.processes(pods.cgroup)), *pods.network.attached]
    left += pods.engine.context.runtime.known()
    assert left == []
    return True
