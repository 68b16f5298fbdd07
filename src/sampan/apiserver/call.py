"""One call of the API on its way through the chain, and what can come back.

A `Call` says who asks for what, whether it arrived over HTTP or from a local client; only `request` tells them apart.
An answer is one of `One`, `Made`, `Many`, `Stream`, or a finished HTTP `Response`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sampan.client.api import ApiError
from sampan.http.messages import Request, Response
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object
from sampan.store.api import Record

if TYPE_CHECKING:
    from sampan.apiserver.aggregator.services import Remote
    from sampan.apiserver.moments import Moment
    from sampan.apiserver.watching import Watching


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def component(self) -> bool:
        """Whether this is a part of the platform, whose trace context may be trusted."""
        return self.name.startswith(("system:kube-", "system:node:", "system:serviceaccount:kube-system:"))

    @property
    def service(self) -> str:
        """The short name under which its work is drawn, such as `kube-scheduler` or `deployment-controller`."""
        return self.name.rpartition(":")[2] if self.component else self.name


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(slots=True, kw_only=True)
class Call:
    """`verb` is RBAC's: get, list, watch, create, update, patch, delete, deletecollection; for a path that is no
    resource, the method in lower case. `kind` is None there. `path` is as asked; `subpath` what follows a proxy.

    `content` holds the body of a local call: an object, shared with the caller; an HTTP body is read when it is needed.
    """

    verb: str
    path: str = ""
    kind: Kind | None = None
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    subpath: str = ""
    query: dict[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: object = None
    content_type: str = ""
    request: Request | None = None
    user: User = ANONYMOUS
    # The other server that serves what is asked for, if one does.
    remote: Remote | None = None
    # What of the past is asked for, `at`, `history`, `undo` or `record`, and as of when; empty for the present.
    view: str = ""
    moment: str = ""
    # Why the path leads nowhere, told only to those who may ask for it.
    fault: ApiError | None = None
    warnings: list[str] = field(default_factory=list)
    # The fields that the body says twice.
    duplicates: list[str] = field(default_factory=list)
    # The body of an HTTP request, once it was read; and what is to be done when a watch ends.
    data: bytes | None = None
    ended: Callable[[], None] | None = None
    # What admission notes for the audit log, by its key.
    annotations: dict[str, str] = field(default_factory=dict)
    # What admission reserved, such as an address, is given back by these where the write does not happen.
    undo: list[Callable[[], None]] = field(default_factory=list)

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, or the empty string."""
        found = self.query.get(name)
        return found[0] if found else ""

    def flag(self, name: str) -> bool:
        """Whether a boolean query parameter is set; a bare name counts, as upstream has it."""
        found = self.query.get(name)
        return found is not None and found[0].lower() not in ("false", "0")

    @property
    def resource(self) -> Kind:
        assert self.kind is not None, "a path that is no resource has no kind"
        return self.kind

    @property
    def dry_run(self) -> bool:
        return "All" in self.query.get("dryRun", ())

    @property
    def key(self) -> str:
        """The store's key of the object called on."""
        return key(self.resource, self.namespace, self.name)


def prefix(kind: Kind, namespace: str = "") -> str:
    """What the store's keys of a kind start with, in one namespace or in all."""
    plural, _, group = (kind.storage or kind.resource).partition(".")
    start = f"/{group or 'core'}/{plural}/"
    return f"{start}{namespace}/" if namespace else start


def key(kind: Kind, namespace: str, name: str) -> str:
    return prefix(kind, namespace if kind.namespaced else "") + name


@dataclass(slots=True)
class One:
    """A stored object; `object`, decoded and shared, where someone has it already."""

    record: Record
    code: int = 200
    object: Object | None = None


@dataclass(slots=True)
class Made:
    """An object that is not stored as such: a Status, a review, a Scale, or what a dry run would have written."""

    object: Object
    code: int = 200


@dataclass(slots=True)
class Many:
    """Stored objects as of `revision`; `remaining` is None where it is not known."""

    kind: Kind
    records: list[Record]
    revision: int
    more: str = ""
    remaining: int | None = None


@dataclass(slots=True)
class Stream:
    """A watch: what happened, each with the type under which this watcher sees it."""

    kind: Kind
    watching: Watching


@dataclass(frozen=True, slots=True)
class Seen:
    """One event for one watcher: ADDED, MODIFIED, DELETED or BOOKMARK.

    A bookmark has no moment, only the revision, and `synced` at the end of the initial events.
    """

    type: str
    revision: int
    moment: Moment | None = None
    synced: bool = False


Answer = One | Made | Many | Stream | Response
