"""DefaultBinder: binds a pod to its node through the API."""

from __future__ import annotations

from typing import Any

from sampan.client.api import ApiError, Unavailable
from sampan.scheduler.framework import Plugin, Status, failed
from sampan.scheduler.pods import PodInfo


class DefaultBinder(Plugin):
    name = "DefaultBinder"

    async def bind(self, state: Any, pod: PodInfo, node: str) -> Status | None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        if self.handle is None:
            raise RuntimeError("DefaultBinder binds only within a process")
        try:
            await self.handle.client.create("pods", binding, name=pod.name, subresource="binding")
        except (ApiError, Unavailable) as e:
            return failed(str(e))
        return None
