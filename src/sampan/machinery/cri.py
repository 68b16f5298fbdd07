"""The Container Runtime Interface's messages, and the seam between node and engine.

`messages` holds every message class of `runtime.v1` by name, made from a descriptor set that `tools/descriptors.py` compiles from
the module k8s.io/cri-api. In one process the node calls the engine through `Cri` directly; elsewhere the same calls go over gRPC.
Source: k8s.io/cri-api v0.37, pkg/apis/runtime/v1/api.proto.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol


class CriError(Exception):
    """An RPC failed. `code` is the gRPC status name: NOT_FOUND, INVALID_ARGUMENT, UNAVAILABLE, and so on."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Cri(Protocol):
    """Both services in one: `await cri.call("RunPodSandbox", messages.RunPodSandboxRequest(...))`."""

    async def call(self, method: str, request: Any, *, timeout: float = 120.0) -> Any:
        """The response message. Raises CriError."""

    def events(self) -> AsyncIterator[Any]:
        """ContainerEventResponse messages from now on (GetContainerEvents)."""
