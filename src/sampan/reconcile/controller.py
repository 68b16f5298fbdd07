"""What a controller is: a name, what it watches, and a decision.

A decision is a plain function: `observe` gathers what it needs from the informers' copies (no I/O),
`decide` makes of that a `Plan`. The loop (`loop`) carries the plan out under the controller's own identity,
within the trace that caused it, and comes back after a conflict, an error (with backoff), or the plan's own
`again`. It does not decide on a key again before the informers have seen what the last plan wrote: no
controller creates twice because its copy is old.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from sampan.client.api import ApiError, Client, PatchType, Propagation
from sampan.machinery.objects import Key, Object, key, owner


@dataclass(frozen=True, slots=True)
class Create:
    """`about` is told of the outcome in an event: SuccessfulCreate or FailedCreate."""

    kind: str
    object: Object
    about: Object | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Replace; `subresource` is usually "" or "status"."""

    kind: str
    object: Object
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    kind: str
    key: Key
    patch: Any
    type: PatchType = "merge"
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """`uid` guards against deleting a namesake; `grace` None means the object's own; `about` as for Create."""

    kind: str
    key: Key
    uid: str = ""
    grace: int | None = None
    propagation: Propagation = "Background"
    about: Object | None = None


@dataclass(frozen=True, slots=True)
class DeleteAll:
    """Delete every object of `kind` that `namespace` holds on the server now, whatever the cache knows."""

    kind: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Absent:
    """Stop here, and decide again later, unless the server confirms that no object of `uid` stands under `key`.

    For decisions that rest on something not being there: the cache may just not know it yet.
    """

    kind: str
    key: Key
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Emit:
    """Record an Event about `about`; repetitions are counted into one Event object. `type` is Normal or Warning."""

    about: Object
    type: str
    reason: str
    message: str


# The resource that brings custom kinds.
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
Action = Create | Update | Patch | Delete | DeleteAll | Absent | Emit


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in order; `again` asks to be called again after so many seconds. An empty plan is content.

    `note` is given to the controller's `remember` once the plan is carried out.
    """

    actions: tuple[Action, ...] = ()
    again: float | None = None
    note: Any = None


class Cache(Protocol):
    """The informers' copies, as a controller sees them. Objects are shared: never mutate one."""

    def get(self, kind: str, key: Key) -> Object | None: ...

    def list(self, kind: str, namespace: str = "") -> Iterable[Object]: ...

    def index(self, kind: str, index: str, value: str) -> Iterable[Object]:
        """Objects under a named index; `owner` (by the controlling owner's uid) always exists."""


def by_own_key(cache: Cache, obj: Object) -> Iterable[Key]:
    return (key(obj),)


def by_owner(kind: str) -> Callable[[Cache, Object], Iterable[Key]]:
    """Wakes the controlling owner, where it is of `kind`, such as `ReplicaSet`."""

    def keys(cache: Cache, obj: Object) -> Iterable[Key]:
        ref = owner(obj)
        return (
            (Key(obj["metadata"].get("namespace", ""), ref["name"]),) if ref and ref["kind"] == kind else ()
        )

    return keys


def later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is loaded at its first call: what a cluster does not use costs nothing."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(module), name)(*arguments)

    return call


@dataclass(frozen=True, slots=True)
class Watch:
    """A kind to watch, and the keys of the controller's work that a change to one of its objects wakes.

    `keys` is asked about the object as it was before and as it is after the change.
    """

    kind: str
    keys: Callable[[Cache, Object], Iterable[Key]] = by_own_key


@dataclass(frozen=True, slots=True)
class Index:
    """An index over a kind's objects, which `Cache.index` reads: an object stands under each of `values`."""

    kind: str
    name: str
    values: Callable[[Object], Iterable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """`name` is also its service account in kube-system, such as `replicaset-controller`.

    `observe` returns None where there is nothing to do; `decide` gets what it returned, and the time now in
    seconds. `fetch`, between them, asks the API for what no informer keeps, such as metrics, and returns what `decide`
    gets; `remember` keeps a plan's note in memory, for what may be forgotten when the process ends; `failed` is told
    why a plan was refused by the server, and None when one was carried out.
    """

    name: str
    watches: tuple[Watch, ...]
    observe: Callable[[Cache, Key], Any]
    decide: Callable[[Any, float], Plan]
    fetch: Callable[[Client, Any], Awaitable[Any]] | None = None
    remember: Callable[[Key, Any], None] | None = None
    failed: Callable[[Key, ApiError | None], None] | None = None
    indexes: tuple[Index, ...] = ()
    workers: int = 4
    # Keys to decide once at the start, for work that no object wakes, such as a periodic sweep.
    always: tuple[Key, ...] = ()
    # What spans say is reconciled; the first watched kind where empty.
    subject: str = ""
    # For controllers that work on every kind: how to watch and index a custom one, by its resource. They also watch
    # the definitions.
    custom: Callable[[str], tuple[Watch, tuple[Index, ...]]] | None = None
