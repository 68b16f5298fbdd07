"""The Client: the only way by which components read and change state.

A *kind* is named as kubectl would name its resource: `pods`, `deployments.apps`, or with a version where several
are served, `flowschemas.v1.flowcontrol.apiserver.k8s.io`. Objects returned are shared and must not be mutated.
Every call carries the current span as its cause (`sampan.host.trace`), and has a deadline.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sampan.machinery.objects import Object

Propagation = Literal["", "Background", "Foreground", "Orphan"]
PatchType = Literal["json", "merge", "strategic", "apply"]


class ApiError(Exception):
    """The server's answer was no. `status` is the Kubernetes Status object, whole."""

    def __init__(self, status: Object):
        super().__init__(status.get("message") or status.get("reason") or "unknown error")
        self.status = status

    @property
    def code(self) -> int:
        return int(self.status.get("code", 500))

    @property
    def reason(self) -> str:
        """Such as NotFound, AlreadyExists, Conflict, Forbidden, Invalid, Expired, TooManyRequests."""
        return str(self.status.get("reason", ""))


class Unavailable(Exception):
    """The server could not be reached, or did not answer in time; whether a write took effect is unknown."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects of one kind as of `revision`; `more` continues the list where it was limited."""

    items: list[Object]
    revision: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One watch event. `object` for a bookmark holds only a resourceVersion; `cause` is a traceparent or empty.

    After the initial events of a watch-list comes a bookmark with `synced` true.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Object
    cause: str = ""
    synced: bool = False


class Client(Protocol):
    """Raises ApiError where the server refuses, and Unavailable where there is no answer."""

    async def get(self, kind: str, name: str, namespace: str = "", *, subresource: str = "") -> Object: ...

    async def list(
        self,
        kind: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        more: str = "",
    ) -> Listing:
        """Objects in `namespace`, or in all where it is empty. `labels` and `fields` are selectors in text form."""

    async def read(self, path: str, **query: str) -> Object:
        """What a path gives that stands for no kind we know, such as one of an aggregated API."""

    def watch(
        self,
        kind: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        since: str = "",
    ) -> AsyncIterator[Change]:
        """Changes after revision `since`; where that is empty, first every object as ADDED, then a synced bookmark.

        Ends when the server ends it (go on from the last revision seen), and raises ApiError with reason Expired where
        `since` is no longer kept (start anew).
        """

    async def create(self, kind: str, obj: Object, *, name: str = "", subresource: str = "") -> Object:
        """Create `obj` in the namespace its metadata name. With `subresource`, on the object `name`."""

    async def update(self, kind: str, obj: Object, *, subresource: str = "") -> Object:
        """Replace; where metadata.resourceVersion is set, only if it is still the latest."""

    async def patch(
        self,
        kind: str,
        name: str,
        namespace: str,
        patch: Any,
        *,
        type: PatchType = "merge",
        subresource: str = "",
        manager: str = "",
        force: bool = False,
    ) -> Object: ...

    async def delete(
        self,
        kind: str,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        revision: str = "",
        grace: int | None = None,
        propagation: Propagation = "",
    ) -> Object:
        """Delete, on the condition that uid and revision, where given, still hold."""
