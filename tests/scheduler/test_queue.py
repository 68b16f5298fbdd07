"""The scheduling queue: order, backoff, hints, gates, and that no event is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sampan.host.trace import Cause
from sampan.machinery.objects import Object
from sampan.scheduler import changes
from sampan.scheduler.events import Action, ClusterEvent, Kind, on
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.queue import Queued, Rules, SchedulingQueue

FIT, TAINTS, GATES = "NodeResourcesFit", "TaintToleration", "SchedulingGates"
TAINT_CHANGED = ClusterEvent(Kind.NODE, Action.UPDATE_NODE_TAINT)


def pod(name: str, priority: int = 0, **spec: Any) -> PodInfo:
    meta = {"namespace": "default", "name": name, "uid": f"uid-{name}"}
    return PodInfo({"metadata": meta, "spec": {"priority": priority, **spec}})


def rules(**hints: Any) -> dict[str, Rules]:
    """Fit waits for pods that go, taints for taints that change, gates for gates that open."""
    hinted = {
        FIT: [on(Kind.ASSIGNED_POD, Action.DELETE, hints.get("gone"))],
        TAINTS: [on(Kind.NODE, Action.UPDATE_NODE_TAINT, hints.get("taint"))],
        GATES: [on(Kind.TARGET_POD, Action.UPDATE_POD_GATES_ELIMINATED)],
    }
    gate = (GATES, lambda pod: not pod.spec.get("schedulingGates"))
    return {"default-scheduler": Rules(hinted, (gate,))}


def popped(queue: SchedulingQueue, now: float) -> Queued:
    item = queue.pop(now)
    assert item is not None
    return item


def names(queue: SchedulingQueue, now: float) -> list[str]:
    """Everything that may be tried now, in order."""
    found = []
    while item := queue.pop(now):
        queue.done(item.pod.uid)
        found.append(item.pod.name)
    return found


def test_the_higher_priority_comes_first_then_who_waits_longest() -> None:
    queue = SchedulingQueue(rules())
    for n, (name, priority) in enumerate([("late", 5), ("low", 0), ("later", 5), ("high", 9)]):
        queue.add(pod(name, priority), now=float(n))
    assert names(queue, 10.0) == ["high", "late", "later", "low"]


def test_a_rejected_pod_waits_for_an_event_that_may_help_it() -> None:
    queue = SchedulingQueue(rules())
    queue.add(pod("web"), 1.0)
    queue.give_back(popped(queue, 1.0), 1.0, rejectors=[FIT])
    queue.happened(TAINT_CHANGED, None, None, 2.0)
    assert queue.pop(2.0) is None
    queue.happened(changes.POD_DELETED, None, None, 20.0)
    assert names(queue, 20.0) == ["web"]


def test_a_hint_looks_at_what_changed_and_a_broken_one_says_yes() -> None:
    def same_node(waiting: PodInfo, old: Object | None, new: Object | None) -> bool:
        assert old is not None
        return bool(old["spec"]["nodeName"] == "n1")

    queue = SchedulingQueue(rules(gone=same_node))
    queue.add(pod("web"), 1.0)
    queue.give_back(popped(queue, 1.0), 1.0, rejectors=[FIT])
    queue.happened(changes.POD_DELETED, pod("other", nodeName="n2").object, None, 20.0)
    assert queue.pop(20.0) is None
    queue.happened(changes.POD_DELETED, None, None, 20.0)
    assert names(queue, 20.0) == ["web"]


def test_events_during_a_pods_cycle_are_weighed_when_it_comes_back() -> None:
    queue = SchedulingQueue(rules())
    queue.add(pod("web"), 1.0)
    item = popped(queue, 1.0)
    cause = Cause("1" * 32, "2" * 16)
    queue.happened(changes.POD_DELETED, None, None, 1.0, causes=(cause,))
    queue.give_back(item, 1.5, rejectors=[FIT])
    assert queue.sizes()["backoff"] == 1
    assert popped(queue, 1.6).causes == [cause]


def test_backoff_doubles_but_the_idle_scheduler_tries_at_once() -> None:
    queue = SchedulingQueue(rules())
    queue.add(pod("poor"), 0.0)
    now = 0.0
    for wait in (1, 2, 4, 8, 10, 10):
        queue.give_back(popped(queue, now), now, rejectors=[FIT])
        queue.happened(changes.POD_DELETED, None, None, now)
        queue.add(pod("rich", 5), now)
        # Somebody else is active: the one that backs off is behind, until its time is over.
        assert popped(queue, now).pod.name == "rich"
        queue.done("uid-rich")
        item = queue.get("uid-poor")
        assert item is not None
        assert item.retry_at == now + wait
        now += 100.0


def test_what_failed_by_an_error_waits_for_its_backoff() -> None:
    queue = SchedulingQueue(rules())
    queue.add(pod("web"), 0.0)
    queue.give_back(popped(queue, 0.0), 0.0)
    assert queue.pop(0.5) is None
    assert queue.next_time() == 2.0
    assert names(queue, 2.0) == ["web"]


def test_a_gate_holds_a_pod_until_it_is_taken_away() -> None:
    queue = SchedulingQueue(rules())
    gated = pod("web", schedulingGates=[{"name": "wait"}])
    queue.add(gated, 0.0)
    assert queue.pop(0.0) is None
    assert queue.sizes()["gated"] == 1
    queue.happened(changes.POD_DELETED, None, None, 1.0)
    assert queue.pop(1.0) is None
    queue.update(gated.object, pod("web"), 2.0)
    assert names(queue, 2.0) == ["web"]


def test_a_pod_that_nothing_helps_is_tried_after_five_minutes() -> None:
    queue = SchedulingQueue(rules())
    queue.add(pod("web"), 0.0)
    queue.give_back(popped(queue, 0.0), 0.0, rejectors=[FIT])
    now = 0.0
    while queue.pop(now) is None:
        following = queue.next_time()
        assert following is not None
        now = following
    assert 300.0 < now <= 331.0


def test_activation_reaches_the_waiting_and_those_in_flight() -> None:
    queue = SchedulingQueue(rules())
    for name in ("waiting", "flying"):
        queue.add(pod(name), 0.0)
    queue.give_back(popped(queue, 0.0), 0.0, rejectors=[FIT])
    flying = popped(queue, 0.0)
    queue.activate(["uid-waiting", "uid-flying"], 0.0)
    assert popped(queue, 0.0).pod.name == "waiting"
    queue.give_back(flying, 0.0, rejectors=[FIT])
    assert queue.sizes()["backoff"] == 1


def test_a_pending_plugin_that_is_satisfied_skips_the_backoff() -> None:
    queue = SchedulingQueue(rules())
    queue.add(pod("web"), 0.0)
    queue.give_back(popped(queue, 0.0), 0.0, pending=[TAINTS])
    queue.happened(TAINT_CHANGED, None, None, 0.0)
    assert queue.sizes()["active"] == 1


@pytest.mark.parametrize("where", ["active", "backoff", "unschedulable"])
def test_a_deleted_pod_is_gone_from_wherever_it_waits(where: str) -> None:
    queue = SchedulingQueue(rules())
    queue.add(pod("web"), 0.0)
    if where != "active":
        queue.give_back(popped(queue, 0.0), 0.0, rejectors=[FIT])
    if where == "backoff":
        queue.happened(changes.POD_DELETED, None, None, 0.0)
    assert queue.sizes()[where] == 1
    queue.delete("uid-web")
    assert len(queue) == 0
    assert queue.pop(1000.0) is None


NAMES = st.sampled_from([f"p{n}" for n in range(5)])


class Machine(RuleBasedStateMachine):
    """Any order of calls: each pod is in one place, and an event that helps always leads to another try."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = SchedulingQueue(rules())
        self.now = 0.0
        self.flying: dict[str, Queued] = {}
        self.known: set[str] = set()
        # Pods that an event has helped since they were popped or rejected: they must not be held.
        self.helped: set[str] = set()

    @rule(name=NAMES, priority=st.integers(0, 2))
    def create(self, name: str, priority: int) -> None:
        if name not in self.known:
            self.queue.add(pod(name, priority), self.now)
            self.known.add(name)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if name not in self.flying:
            self.queue.delete(f"uid-{name}")
            self.known.discard(name)

    @rule()
    def pop(self) -> None:
        if item := self.queue.pop(self.now):
            self.flying[item.pod.name] = item
            self.helped.discard(item.pod.name)

    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        if self.flying:
            name = data.draw(st.sampled_from(sorted(self.flying)))
            self.queue.give_back(self.flying.pop(name), self.now, rejectors=[FIT])

    @rule(data=st.data())
    def bind(self, data: st.DataObject) -> None:
        if self.flying:
            name = data.draw(st.sampled_from(sorted(self.flying)))
            self.queue.done(self.flying.pop(name).pod.uid)
            self.known.discard(name)

    @rule(event=st.sampled_from([changes.POD_DELETED, TAINT_CHANGED]))
    def happen(self, event: ClusterEvent) -> None:
        self.queue.happened(event, None, None, self.now)
        if event == changes.POD_DELETED:
            self.helped = set(self.known)

    @rule(seconds=st.sampled_from([0.1, 1.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def every_pod_is_in_one_place(self) -> None:
        waiting = {item.pod.name for item in self.queue.items()}
        assert waiting | set(self.flying) == self.known
        assert not waiting & set(self.flying)
        assert sum(self.queue.sizes().values()) == len(waiting)
        assert min(self.queue.sizes().values()) >= 0

    @invariant()
    def none_that_was_helped_is_held(self) -> None:
        held = {item.pod.name for item in self.queue.items() if item.where == "unschedulable"}
        assert not held & self.helped

    @invariant()
    def nothing_is_kept_of_flights_that_ended(self) -> None:
        if not self.flying:
            assert not self.queue._log


TestMachine = Machine.TestCase
