"""The runtime as the node uses it: CRI calls as spans, and what CRI says as plain values."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sampan.host import trace
from sampan.machinery.cri import Cri, CriError, messages
from sampan.node import names, observed

SERVICE = "kubelet"
MOST_MESSAGE = 4096  # bytes of a termination message
MOST_LOG_MESSAGE = 2048

log = logging.getLogger(__name__)


class Runtime:
    """`ended` remembers containers that have ended, which never change any more."""

    def __init__(self, cri: Cri):
        self.cri = cri
        self.name = "containerd"
        self.version = ""
        self._ended: dict[str, observed.Container] = {}

    async def greet(self) -> None:
        """Learn the runtime's name and version. Raises CriError."""
        found = await self.cri.call("Version", messages.VersionRequest(), timeout=10)
        self.name, self.version = found.runtime_name, found.runtime_version

    async def faults(self) -> list[str]:
        """Why the runtime or its network is not ready, in upstream's words; empty where it is."""
        try:
            found = await self.cri.call("Status", messages.StatusRequest(), timeout=10)
        except CriError as e:
            return [f"container runtime is down: {e}"]
        held = {c.type: c for c in found.status.conditions}
        return [
            f"{text}: {c.reason} {c.message}".rstrip()
            for kind, text in (
                ("RuntimeReady", "container runtime not ready"),
                ("NetworkReady", "container runtime network not ready: NetworkReady=false reason"),
            )
            if (c := held.get(kind)) is not None and not c.status
        ]

    async def step(self, name: str, method: str, request: Any, timeout: float = 120.0) -> Any:
        """One call as a span that is named for what it means to the pod."""
        with trace.span(name, SERVICE, peer=self.name):
            return await self.cri.call(method, request, timeout=timeout)

    async def observe(self, uid: str) -> observed.Observed:
        """What there is of one pod now. Raises CriError."""
        labels = {names.POD_UID: uid}
        listed = messages.ListPodSandboxRequest(filter=messages.PodSandboxFilter(label_selector=labels))
        sandboxes = [
            found
            for item in (await self.cri.call("ListPodSandbox", listed)).items
            if (found := await self._sandbox(item.id))
        ]
        wanted = messages.ListContainersRequest(filter=messages.ContainerFilter(label_selector=labels))
        containers = [
            one
            for item in (await self.cri.call("ListContainers", wanted)).containers
            if (one := await self._container(item))
        ]
        return observed.observed(sandboxes, containers)

    async def _sandbox(self, id: str) -> observed.Sandbox | None:
        try:
            found = await self.cri.call(
                "PodSandboxStatus", messages.PodSandboxStatusRequest(pod_sandbox_id=id)
            )
        except CriError as e:
            if e.code == "NOT_FOUND":
                return None
            raise
        return observed.sandbox(found.status)

    async def _container(self, item: Any) -> observed.Container | None:
        if item.id in self._ended:
            return self._ended[item.id]
        try:
            found = (
                await self.cri.call("ContainerStatus", messages.ContainerStatusRequest(container_id=item.id))
            ).status
        except CriError as e:
            if e.code == "NOT_FOUND":
                return None
            raise
        made = observed.container(found, item.pod_sandbox_id)
        if made.state == "exited":
            made = replace(made, message=await asyncio.to_thread(last_words, found) or made.message)
            self._ended[item.id] = made
        return made

    def forget(self, id: str) -> None:
        """A container was removed."""
        self._ended.pop(id, None)

    async def states(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """For each pod uid the ids and states of all it has, to see what changed. Raises CriError."""
        found: dict[str, list[tuple[str, int]]] = {}
        for item in (await self.cri.call("ListPodSandbox", messages.ListPodSandboxRequest())).items:
            if uid := item.labels.get(names.POD_UID):
                found.setdefault(uid, []).append((item.id, item.state))
        for item in (await self.cri.call("ListContainers", messages.ListContainersRequest())).containers:
            if uid := item.labels.get(names.POD_UID):
                found.setdefault(uid, []).append((item.id, item.state))
        return {uid: tuple(sorted(parts)) for uid, parts in found.items()}

    async def labels(self, uid: str) -> dict[str, str]:
        """The labels of one of a pod's sandboxes or containers, by which an orphan is named."""
        wanted = {names.POD_UID: uid}
        listed = messages.ListPodSandboxRequest(filter=messages.PodSandboxFilter(label_selector=wanted))
        for item in (await self.cri.call("ListPodSandbox", listed)).items:
            return dict(item.labels)
        other = messages.ListContainersRequest(filter=messages.ContainerFilter(label_selector=wanted))
        for item in (await self.cri.call("ListContainers", other)).containers:
            return dict(item.labels)
        return {}

    async def changes(self) -> AsyncIterator[str]:
        """The uids of pods with which something happened, as the runtime tells. Raises CriError."""
        async for event in self.cri.events():
            status = event.pod_sandbox_status
            uid = status.labels.get(names.POD_UID) or status.metadata.uid
            if uid:
                yield uid


def last_words(status: Any) -> str:
    """The termination message of a container that ended (a CRI ContainerStatus): its file, else the end of its log."""
    path = status.annotations.get(names.MESSAGE_PATH, "")
    source = next((m.host_path for m in status.mounts if m.container_path == path), "")
    text = _tail(source, MOST_MESSAGE) if source else ""
    policy = status.annotations.get(names.MESSAGE_POLICY)
    if not text and policy == "FallbackToLogsOnError" and status.exit_code != 0 and status.log_path:
        lines = _tail(status.log_path, 4 * MOST_LOG_MESSAGE).splitlines(keepends=True)[-80:]
        text = "".join(_said(line) for line in lines)[-MOST_LOG_MESSAGE:]
    return text


def _said(line: str) -> str:
    """The text of a line of a CRI log; of a part (P), without the end of line that is the log's own."""
    words = line.split(" ", 3)
    if len(words) < 4:
        return ""  # cut off where the look at the file began
    return words[3].rstrip("\n") if words[2].startswith("P") else words[3]


def _tail(path: str, most: int) -> str:
    try:
        with Path(path).open("rb") as f:
            f.seek(0, 2)
            f.seek(max(0, f.tell() - most))
            return f.read(most).decode(errors="replace")
    except OSError:
        return ""
