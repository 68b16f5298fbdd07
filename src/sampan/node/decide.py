"""What to do next for a pod: a plain function of its spec, what the runtime shows, probe results and waits.

The life of a pod has three stages, and this table says what is looked at in each:

    stage         in order
    running       deadline passed, or ended for good? -> end
                  no sandbox -> start one
                  init containers, each when the one before is done (a sidecar: when it has started)
                  then main containers; probes that failed -> stop; ended -> start again after its wait
    terminating   stop main containers, then sidecars in reverse order, then the sandbox -> ended

Nothing here waits or acts: the worker does what the decision says, and asks again when something has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sampan.machinery.objects import Object
from sampan.node import names, pods
from sampan.node.backoff import Backoff, duration
from sampan.node.observed import Container, Observed


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probes of one running container say so far; `started` False while its startup probe has not passed."""

    ready: bool = True
    started: bool = True
    # Why the container must be restarted, or empty: set by a liveness or startup probe.
    failed: str = ""


@dataclass(frozen=True, slots=True)
class StartSandbox:
    attempt: int


@dataclass(frozen=True, slots=True)
class StopSandbox:
    id: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    id: str


@dataclass(frozen=True, slots=True)
class StartContainer:
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class StopContainer:
    """`message` is for the Killing event; `grace` seconds, None: the pod's."""

    id: str
    name: str
    message: str
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    id: str


Action = StartSandbox | StopSandbox | RemoveSandbox | StartContainer | StopContainer | RemoveContainer


@dataclass(frozen=True, slots=True)
class Decision:
    """`actions` to carry out: starts in order one after the other, all else at once.

    `again` is when to ask again, in seconds; `waiting` holds why
    containers wait; `end` the reason and message with which the pod itself ends (both may be empty strings);
    `ended` that nothing runs any more.
    """

    actions: tuple[Action, ...] = ()
    again: float | None = None
    waiting: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    end: tuple[str, str] | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """`starting`: the worker is at starting something; `stopping`: container and sandbox ids being stopped.

    `crashes` are the waits of containers that ended (by name), `held` the waits after failed steps (by container
    name, "" for sandbox and volumes). `started_at` is when the node accepted the pod.
    """

    pod: Object
    observed: Observed
    now: float
    started_at: float
    starting: bool = False
    stopping: frozenset[str] = frozenset()
    probes: Mapping[str, Probed] = field(default_factory=dict)
    crashes: Mapping[str, Backoff] = field(default_factory=dict)
    held: Mapping[str, Backoff] = field(default_factory=dict)


DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


def decide(s: Situation) -> Decision:
    """The running stage."""
    left = _deadline(s)
    if left is not None and left <= 0:
        return Decision(end=DEADLINE)
    if outcome(s.pod, s.observed):
        return Decision(end=("", ""))
    decision = _run(s)
    again = [t for t in (decision.again, left) if t is not None]
    return Decision(decision.actions, min(again, default=None), decision.waiting)


def _deadline(s: Situation) -> float | None:
    seconds = s.pod["spec"].get("activeDeadlineSeconds")
    return None if seconds is None else float(s.started_at + seconds - s.now)


def outcome(pod: Object, seen: Observed) -> str:
    """`Succeeded` or `Failed` where every container has ended for good, else the empty string."""
    newest = seen.sandboxes[0].id if seen.sandboxes else None
    if newest is None:
        return ""
    mains = pods.main_containers(pod)
    if not any(seen.latest(c["name"]) for c in mains):
        return "Failed" if _init_failed(pod, seen, newest) else ""
    ends = [(c, seen.latest(c["name"])) for c in mains]
    if not all(e and e.state == "exited" and not pods.restarts(pod, c, e) for c, e in ends):
        return ""
    return "Succeeded" if all(e and e.exit_code == 0 for _, e in ends) else "Failed"


def _init_failed(pod: Object, seen: Observed, sandbox: str) -> bool:
    for c in pods.init_containers(pod):
        ended = seen.latest(c["name"], sandbox)
        if ended and ended.state == "exited" and ended.exit_code and not pods.restarts(pod, c, ended):
            return True
    return False


def _run(s: Situation) -> Decision:
    sandbox = s.observed.sandbox
    if sandbox is None:
        return _anew(s)
    plan = _Plan(s, sandbox.id)
    initialized = any(s.observed.latest(c["name"], sandbox.id) for c in pods.main_containers(s.pod))
    if plan.init(initialized):
        for container in pods.main_containers(s.pod):
            plan.keep(container)
        for container in s.pod["spec"].get("ephemeralContainers") or ():
            if not s.observed.of(container["name"]):
                plan.start(container)
    plan.tidy()
    return plan.decision()


def _anew(s: Situation) -> Decision:
    """Without a sandbox: stop what is left of the last one, then start anew with the first container."""
    actions: list[Action] = []
    for c in s.observed.containers:
        if c.state == "running" and c.id not in s.stopping:
            actions.append(
                StopContainer(c.id, c.name, "Pod sandbox changed, it will be killed and re-created.")
            )
    if s.starting or actions or s.stopping:
        return Decision(tuple(actions))
    wait = s.held[""].left(s.now) if "" in s.held else 0.0
    if wait:
        return Decision(again=wait)
    attempt = s.observed.sandboxes[0].attempt + 1 if s.observed.sandboxes else 0
    plan = _Plan(s, "")
    if plan.init(False):
        for container in pods.main_containers(s.pod):
            plan.keep(container)
    found = plan.decision()
    return Decision((StartSandbox(attempt), *found.actions), found.again, found.waiting)


class _Plan:
    """Collects what to do for the containers of one sandbox (empty: one that is still to be started)."""

    def __init__(self, s: Situation, sandbox: str):
        self.s, self.sandbox = s, sandbox
        self.actions: list[Action] = []
        self.again: list[float] = []
        self.waiting: dict[str, tuple[str, str]] = {}
        self.attempts = s.observed.attempts

    def decision(self) -> Decision:
        return Decision(tuple(self.actions), min(self.again, default=None), self.waiting)

    def init(self, initialized: bool) -> bool:
        """Bring init containers forward; True where the main ones may run."""
        for container in pods.init_containers(self.s.pod):
            if not (
                self._sidecar(container, initialized)
                if pods.is_sidecar(container)
                else initialized or self._step(container)
            ):
                return initialized
        return True

    def _step(self, container: Object) -> bool:
        """An init container that must end before the next: True once it has, with success."""
        seen = self.s.observed.latest(container["name"], self.sandbox)
        if seen and seen.state == "exited" and seen.exit_code == 0:
            return True
        if seen is None:
            self.start(
                container
            )  # also where it has ended in an earlier sandbox: a new one begins from the start
        else:
            self.keep(container)
        return False

    def _sidecar(self, container: Object, initialized: bool) -> bool:
        """A sidecar: True once it has started (by its startup probe, where it has one), or when all have before."""
        self.keep(container)
        seen = self.s.observed.latest(container["name"], self.sandbox)
        if initialized:
            return True
        return bool(seen and seen.state == "running" and self.s.probes.get(seen.id, Probed()).started)

    def keep(self, container: Object) -> None:
        """Keep a container running: start it, start it again after its wait, stop it where a probe says so."""
        seen = self.s.observed.latest(container["name"], self.sandbox)
        if seen is None:
            last = self.s.observed.latest(container["name"])
            if last is None or last.state != "exited" or pods.restarts(self.s.pod, container, last):
                self.start(container)
        elif seen.state == "running":
            self._check(container, seen)
        elif seen.state == "exited":
            if pods.restarts(self.s.pod, container, seen):
                self._restart(container, seen)
        elif not self.s.starting:
            # Created but never started, or lost by the runtime: a start that was cut short.
            self.actions.append(RemoveContainer(seen.id))

    def _check(self, container: Object, seen: Container) -> None:
        failed = self.s.probes.get(seen.id, Probed()).failed
        if seen.id in self.s.stopping:
            return
        if seen.hash and seen.hash != names.container_hash(container):
            text = f"Container {container['name']} definition changed, will be restarted"
            self.actions.append(StopContainer(seen.id, seen.name, text))
        elif failed:
            text = f"Container {container['name']} failed {failed} probe, will be restarted"
            probe = container.get(f"{failed}Probe") or {}
            grace = probe.get("terminationGracePeriodSeconds")
            self.actions.append(StopContainer(seen.id, seen.name, text, grace))

    def _restart(self, container: Object, seen: Container) -> None:
        crash = self.s.crashes.get(container["name"])
        left = crash.left(self.s.now, seen.finished) if crash else 0.0
        if crash and left:
            self.again.append(left)
            text = (
                f"back-off {duration(crash.delay)} restarting failed container={container['name']} "
                f"pod={names.full_name(self.s.pod)}"
            )
            self.waiting[container["name"]] = ("CrashLoopBackOff", text)
        else:
            self.start(container)

    def start(self, container: Object) -> None:
        if self.s.starting:
            return
        held = (self.s.held.get(container["name"]), self.s.held.get(""))
        if left := max((h.left(self.s.now) for h in held if h), default=0.0):
            self.again.append(left)
            return
        name = container["name"]
        self.actions.append(StartContainer(name, self.attempts[name] + 1 if name in self.attempts else 0))

    def tidy(self) -> None:
        """Keep for each name the newest container and the newest ended one (for `logs -p`), one sandbox."""
        kept: set[str] = set()
        for name in {c.name for c in self.s.observed.containers}:
            newest, *older = self.s.observed.of(name)
            ended = [c for c in older if c.state == "exited"]
            kept |= {newest.sandbox, *(c.sandbox for c in ended[:1])}
            if not self.s.starting:
                self.actions += [RemoveContainer(c.id) for c in ended[1:] if c.id not in self.s.stopping]
        for sandbox in self.s.observed.sandboxes[1:]:
            if sandbox.id in self.s.stopping:
                continue
            if sandbox.ready:
                self.actions.append(StopSandbox(sandbox.id))
            elif sandbox.id not in kept:
                self.actions.append(RemoveSandbox(sandbox.id))


def terminate(s: Situation, reason: str = "") -> Decision:
    """The terminating stage: main containers first, then sidecars from the last to the first, then the sandbox."""
    running = [c for c in s.observed.containers if c.state in ("running", "unknown")]
    if running:
        text = reason or "Stopping container {}"
        due = _due(s.pod, running)
        return Decision(
            tuple(StopContainer(c.id, c.name, text.format(c.name)) for c in due if c.id not in s.stopping)
        )
    if s.starting:
        return Decision()
    ready = [x for x in s.observed.sandboxes if x.ready]
    if ready:
        return Decision(tuple(StopSandbox(x.id) for x in ready if x.id not in s.stopping))
    return Decision(ended=not s.stopping)


def _due(pod: Object, running: list[Container]) -> list[Container]:
    """Which of the running containers are to be stopped now."""
    order = [c["name"] for c in pods.init_containers(pod) if pods.is_sidecar(c)]
    others = [c for c in running if c.name not in order]
    if others:
        return others
    last = max(running, key=lambda c: order.index(c.name)).name
    return [c for c in running if c.name == last]


def clean(s: Situation) -> Iterator[Action]:
    """The terminated stage of a deleted pod: what the runtime is to forget."""
    for sandbox in s.observed.sandboxes:
        yield RemoveSandbox(sandbox.id)
    orphans = {x.id for x in s.observed.sandboxes}
    for c in s.observed.containers:
        if c.sandbox not in orphans:
            yield RemoveContainer(c.id)
