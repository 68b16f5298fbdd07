"""A node on a real API server in memory, and short ways to make pods and wait for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.node.fake_cri import FakeCri

from sampan.apiserver.server import ApiServer
from sampan.client.api import Client
from sampan.host.pki import Pki
from sampan.machinery.objects import Object
from sampan.node.kubelet import Kubelet


def pod(name: str, *containers: Object, **spec: Any) -> Object:
    """A pod on the test's node; a container without an image has one that is present."""
    mains = [
        {"image": "busybox", "imagePullPolicy": "IfNotPresent", **c}
        for c in containers or ({"name": "main"},)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": "node-1",
            "containers": mains,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 5,
            **spec,
        },
    }


@dataclass
class Cluster:
    """`admin` may do everything; the node itself is `system:node:node-1`."""

    server: ApiServer
    admin: Client
    client: Client
    cri: FakeCri
    root: Path
    pki: Pki
    kubelet: Kubelet | None = None
    task: asyncio.Task[None] | None = None
    made: list[Kubelet] = field(default_factory=list)

    async def start(self, **more: Any) -> Kubelet:
        """Start the node's process, or start it again."""
        self.kubelet = Kubelet(
            name="node-1",
            client=self.client,
            cri=self.cri,
            root=self.root,
            volumes=self.root / "local",
            address="127.0.0.1",
            cluster_dns="10.65.0.10",
            **more,
        )
        self.task = asyncio.create_task(self.kubelet.run())
        return self.kubelet

    async def kill(self) -> None:
        """End the node's process, as abruptly as a task can be."""
        if self.task:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None

    async def create(self, made: Object) -> Object:
        return await self.admin.create("pods", made)

    async def until(self, name: str, holds: Callable[[Object], bool], timeout: float = 15.0) -> Object:
        """The pod, once a condition on it holds."""
        last: Object = {}
        try:
            async with asyncio.timeout(timeout):
                async for change in self.admin.watch("pods", "default", fields=f"metadata.name={name}"):
                    if change.type in ("ADDED", "MODIFIED"):
                        last = change.object
                        if holds(change.object):
                            return change.object
        except TimeoutError:
            pass
        raise AssertionError(f"pod {name} did not get there: {last.get('status')}")

    async def gone(self, name: str, timeout: float = 15.0) -> None:
        async with asyncio.timeout(timeout):
            async for change in self.admin.watch("pods", "default", fields=f"metadata.name={name}"):
                if change.type == "DELETED" or (
                    change.type == "BOOKMARK" and change.synced and not await self.exists(name)
                ):
                    return

    async def exists(self, name: str) -> bool:
        return any(p["metadata"]["name"] == name for p in (await self.admin.list("pods", "default")).items)

    async def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of each event about a pod."""
        found = (await self.admin.list("events", "default")).items
        return [(e["reason"], e["message"]) for e in found if e["involvedObject"]["name"] == name]

    async def told(self, name: str, reason: str, message: str = "", timeout: float = 10.0) -> str:
        """The message of an event about a pod, once there is one whose message begins so."""
        async with asyncio.timeout(timeout):
            async for change in self.admin.watch("events", "default"):
                e = change.object
                if change.type not in ("ADDED", "MODIFIED") or e["involvedObject"]["name"] != name:
                    continue
                if e["reason"] == reason and e["message"].startswith(message):
                    return str(e["message"])
        raise AssertionError


def phase(wanted: str) -> Callable[[Object], bool]:
    return lambda p: p.get("status", {}).get("phase") == wanted


def condition(obj: Object, kind: str) -> str:
    found = obj.get("status", {}).get("conditions") or []
    return next((c["status"] for c in found if c["type"] == kind), "")


def ready(p: Object) -> bool:
    return condition(p, "Ready") == "True"
