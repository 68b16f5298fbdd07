"""The contract between the scheduler and its plugins: statuses, extension points, scores.

A plugin is an object with a `name` and the methods of the extension points that it takes part in (see the
protocols below); an own plugin takes a few lines:

    class OnlyArm(Plugin):
        name = "OnlyArm"

        def filter(self, state, pod, node):
            return None if node.labels.get("kubernetes.io/arch") == "arm64" else unschedulable("no ARM")

Points, in the order in which a pod meets them: pre_enqueue, key (queue sort), pre_filter, filter, post_filter,
pre_score, score with normalize, reserve with unreserve, permit, pre_bind, bind, post_bind. A pod's way through
them is a `Cycle` (`decide.py`). What a plugin works out for one pod in `pre_filter` is its state there, handed
to its later methods; states that `add_pod` and `remove_pod` change have a `clone` method.

Source: k8s.io/kube-scheduler/framework (interface.go, types.go) of 1.37.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from sampan.machinery.objects import Object
from sampan.scheduler.events import EventHint

if TYPE_CHECKING:
    from sampan.client.api import Client
    from sampan.machinery.objects import Key
    from sampan.scheduler.metrics import Metrics
    from sampan.scheduler.nodes import NodeInfo
    from sampan.scheduler.pods import PodInfo
    from sampan.scheduler.snapshot import Snapshot
    from sampan.scheduler.waiting import WaitingPods

MAX_SCORE = 100
MIN_SCORE = 0


class Code(StrEnum):
    """How a plugin's work ended. What returns None or a value succeeded."""

    SUCCESS = "Success"
    ERROR = "Error"
    # Removing other pods might help.
    UNSCHEDULABLE = "Unschedulable"
    # Removing other pods would not help: preemption leaves such nodes alone.
    UNRESOLVABLE = "UnschedulableAndUnresolvable"
    WAIT = "Wait"
    # From pre_filter or pre_score: the plugin has nothing to say of this pod, its filter or score is left out.
    SKIP = "Skip"
    # The plugin waits for something outside; the pod is tried again without backoff.
    PENDING = "Pending"


@dataclass(frozen=True, slots=True)
class Status:
    """A code and the reasons for it, in upstream's words. The framework notes the `plugin` that gave it."""

    code: Code
    reasons: tuple[str, ...] = ()
    plugin: str = ""

    @property
    def message(self) -> str:
        return ", ".join(self.reasons)

    @property
    def rejected(self) -> bool:
        """Whether the pod may not be scheduled so (rather than an error, a wait or a skip)."""
        return self.code in (Code.UNSCHEDULABLE, Code.UNRESOLVABLE, Code.PENDING)

    def of(self, plugin: str) -> Status:
        """The same, with the plugin that gave it."""
        return Status(self.code, self.reasons, plugin)


SKIP = Status(Code.SKIP)


def unschedulable(*reasons: str) -> Status:
    return Status(Code.UNSCHEDULABLE, reasons)


def unresolvable(*reasons: str) -> Status:
    return Status(Code.UNRESOLVABLE, reasons)


def failed(*reasons: str) -> Status:
    """Something unexpected went wrong; the pod is soon tried again."""
    return Status(Code.ERROR, reasons)


@dataclass(frozen=True, slots=True)
class PreFiltered:
    """What pre_filter found: the plugin's state for this pod, and the only nodes to look at (None: all)."""

    state: Any = None
    nodes: frozenset[str] | None = None


@dataclass(slots=True)
class NodeScore:
    """The scores of one node: raw as the plugins gave them; normalised and weighted; and their sum."""

    node: str
    raw: dict[str, int] = field(default_factory=dict)
    scores: dict[str, int] = field(default_factory=dict)
    total: int = 0


class Handle(Protocol):
    """What the process offers to plugins; `handle.ProcessHandle` says what each is. Nothing of it may block."""

    client: Client
    snapshot: Snapshot
    waiting: WaitingPods
    watchers: dict[str, list[Callable[[Object], None]]]
    extenders: tuple[Any, ...]
    metrics: Metrics

    @property
    def emit(self) -> Callable[[Object, str, str, str, str], None]: ...

    @property
    def latest(self) -> Callable[[str, Key], Object | None]: ...

    @property
    def activate(self) -> Callable[[Iterable[str]], None]: ...

    @property
    def spawn(self) -> Callable[[Coroutine[Any, Any, None], str], Any]: ...


class Plugin:
    """The base of the plugins here; any object with a `name` and some of the methods below will do.

    `arguments` are the plugin's own part of the configuration (pluginConfig[].args), with or without defaults.
    """

    name: ClassVar[str] = ""

    def __init__(self, arguments: Object | None = None, handle: Handle | None = None) -> None:
        self.arguments: Object = arguments or {}
        self.handle = handle


class Named(Protocol):
    @property
    def name(self) -> str: ...


@runtime_checkable
class PreEnqueuePlugin(Named, Protocol):
    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        """A status keeps the pod out of the active queue."""


@runtime_checkable
class QueueSortPlugin(Named, Protocol):
    def key(self, pod: PodInfo, since: float) -> Any:
        """What the active queue is ordered by, the least first; `since` is when the pod came, in seconds."""


@runtime_checkable
class PreFilterPlugin(Named, Protocol):
    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status | None:
        """Look at the pod once, before all nodes. SKIP leaves out the plugin's filter."""


@runtime_checkable
class PreFilterExtensions(Named, Protocol):
    """For plugins whose verdict on a node depends on other pods: change the state as if `other` came or went."""

    def add_pod(self, state: Any, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None: ...

    def remove_pod(self, state: Any, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None: ...


@runtime_checkable
class FilterPlugin(Named, Protocol):
    def filter(self, state: Any, pod: PodInfo, node: NodeInfo) -> Status | None:
        """None where the pod may go to the node. `state` is from pre_filter, None without one."""


@runtime_checkable
class PostFilterPlugin(Named, Protocol):
    async def post_filter(self, cycle: Any, statuses: Mapping[str, Status]) -> tuple[Status, str | None]:
        """No node fits, for these reasons: make room. `cycle` is the pod's decide.Cycle.

        A success names the node that will do later; unschedulable lets the next plugin try. The node is "" to give
        up an earlier one, None to leave it.
        """


@runtime_checkable
class PreScorePlugin(Named, Protocol):
    def pre_score(
        self, state: Any, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> Status | Any:
        """The state for `score`, from the feasible nodes; SKIP leaves out the plugin's score."""


@runtime_checkable
class ScorePlugin(Named, Protocol):
    def score(self, state: Any, pod: PodInfo, node: NodeInfo) -> int | Status:
        """How good the node is. `state` is pre_score's, or pre_filter's where there is no pre_score."""


@runtime_checkable
class NormalizePlugin(Named, Protocol):
    def normalize(self, state: Any, pod: PodInfo, nodes: Sequence[NodeInfo], scores: list[int]) -> list[int]:
        """All nodes' scores, brought into MIN_SCORE..MAX_SCORE."""


@runtime_checkable
class ReservePlugin(Named, Protocol):
    def reserve(self, state: Any, pod: PodInfo, node: str) -> Status | None: ...

    def unreserve(self, state: Any, pod: PodInfo, node: str) -> None:
        """Take back what reserve did; must not fail, and may come without a reserve before."""


@runtime_checkable
class PermitPlugin(Named, Protocol):
    def permit(self, state: Any, pod: PodInfo, node: str) -> tuple[Status | None, float]:
        """Allow, refuse, or make the pod wait (Code.WAIT) for at most so many seconds."""


@runtime_checkable
class PreBindPlugin(Named, Protocol):
    async def pre_bind(self, state: Any, pod: PodInfo, node: str) -> Status | None: ...


@runtime_checkable
class BindPlugin(Named, Protocol):
    async def bind(self, state: Any, pod: PodInfo, node: str) -> Status | None:
        """SKIP leaves it to the next bind plugin."""


@runtime_checkable
class PostBindPlugin(Named, Protocol):
    def post_bind(self, state: Any, pod: PodInfo, node: str) -> None: ...


@runtime_checkable
class EnqueuePlugin(Named, Protocol):
    def events(self) -> Sequence[EventHint]:
        """Which changes of the cluster may help a pod that this plugin refused; `hints` has the default plugins'."""
