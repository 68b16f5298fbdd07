"""The Container Runtime Interface's messages, and the seam between node and engine.

`messages` holds every message class and enumeration of `runtime.v1` by name, made from a descriptor set that
`tools/descriptors.py` compiles from the module k8s.io/cri-api; `methods` is the table of its calls, for gRPC.
In one process the node calls the engine through `Cri` directly; elsewhere the same calls go over gRPC.
Source: k8s.io/cri-api v0.37, pkg/apis/runtime/v1/api.proto.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from sampan.machinery import descriptors

PACKAGE = "runtime.v1"


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


class Messages:
    """Message classes (`messages.PodSandboxConfig`), enumerations and their values (`messages.SANDBOX_READY`) by name.

    Each is made on its first use; loading the descriptors takes a few ms once.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = _find(name)
        setattr(self, name, found)
        return found


def _find(name: str) -> Any:
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
    from google.protobuf.message_factory import GetMessageClass

    file = _file()
    if name in file.message_types_by_name:
        return GetMessageClass(file.message_types_by_name[name])
    if name in file.enum_types_by_name:
        return EnumTypeWrapper(file.enum_types_by_name[name])
    for enumeration in file.enum_types_by_name.values():
        if name in enumeration.values_by_name:
            return enumeration.values_by_name[name].number
    raise AttributeError(f"CRI {PACKAGE} defines no {name}")


messages = Messages()


@dataclass(frozen=True, slots=True)
class Method:
    """One call: `path` is `/runtime.v1.RuntimeService/Version`, and `stream` tells that responses are streamed."""

    name: str
    service: str
    path: str
    request: Any
    response: Any
    stream: bool


@cache
def methods() -> Mapping[str, Method]:
    """Every call of RuntimeService and ImageService by its name; no name is in both."""
    found: dict[str, Method] = {}
    for service in ("RuntimeService", "ImageService"):
        for call in _file().services_by_name[service].methods:
            found[call.name] = Method(
                call.name,
                service,
                f"/{PACKAGE}.{service}/{call.name}",
                getattr(messages, call.input_type.name),
                getattr(messages, call.output_type.name),
                call.server_streaming,
            )
    return found


def _file() -> Any:
    return descriptors.pool("cri").FindFileByName("k8s.io/cri-api/pkg/apis/runtime/v1/api.proto")
