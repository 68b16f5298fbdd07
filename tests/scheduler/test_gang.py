"""Gangs: all or nothing, as one transaction; two that fit only alone do not block each other."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sampan.scheduler import gang
from sampan.scheduler.framework import Code, failed, unschedulable
from sampan.scheduler.gang import Attempt

Objects = list[dict[str, Any]]


def group(name: str, least: int | None, **spec: Any) -> dict[str, Any]:
    policy: dict[str, Any] = {"basic": {}} if least is None else {"gang": {"minCount": least}}
    return {"metadata": {"name": name, "generation": 1}, "spec": {"schedulingPolicy": policy, **spec}}


def pods(name: str, count: int, **spec: Any) -> Objects:
    of = {"schedulingGroup": {"podGroupName": name}, **spec}
    return [{"metadata": {"name": f"{name}-{i}", "uid": f"{name}-{i}"}, "spec": of} for i in range(count)]


class Nodes:
    """Nodes with so many places each, as the snapshot stands in here: who counts where."""

    def __init__(self, **places: int) -> None:
        self.places = places
        self.held: dict[str, str] = {}

    def attempt(self, pod: dict[str, Any], among: frozenset[str] | None) -> Attempt:
        for node, places in self.places.items():
            taken = sum(1 for at in self.held.values() if at == node)
            if taken < places and (among is None or node in among):
                self.held[pod["metadata"]["uid"]] = node
                return Attempt(node)
        return Attempt("", unschedulable("Insufficient cpu"))

    def take_back(self, pod: dict[str, Any]) -> None:
        del self.held[pod["metadata"]["uid"]]

    def place(self, of: dict[str, Any], waiting: Objects, scheduled: int = 0, **more: Any) -> gang.Outcome:
        return gang.place_group(of, waiting, scheduled, self.attempt, self.take_back, **more)


def test_a_gang_that_fits_is_placed_whole() -> None:
    nodes = Nodes(a=2, b=1)
    outcome = nodes.place(group("g", 3), pods("g", 3))
    assert outcome.succeeded
    assert outcome.placed == nodes.held == {"g-0": "a", "g-1": "a", "g-2": "b"}


def test_a_gang_that_does_not_fit_holds_nothing() -> None:
    nodes = Nodes(a=2)
    outcome = nodes.place(group("g", 3), pods("g", 3))
    assert not outcome.succeeded
    assert nodes.held == {} == outcome.placed
    told = "minCount (3) cannot be satisfied: 2 scheduled, 0 remaining"
    assert gang.message(outcome.status) == told


def test_two_gangs_that_each_fit_only_alone_do_not_block_each_other() -> None:
    nodes = Nodes(a=2, b=2)
    first, second = group("x", 3), group("y", 3)
    assert nodes.place(first, pods("x", 3)).succeeded
    assert not nodes.place(second, pods("y", 3)).succeeded
    assert set(nodes.held) == {"x-0", "x-1", "x-2"}
    for pod in pods("x", 3):
        nodes.take_back(pod)
    assert nodes.place(second, pods("y", 3)).succeeded


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=8), st.integers(0, 12))
def test_no_gang_ever_holds_a_part(gangs: list[tuple[int, int]], places: int) -> None:
    nodes = Nodes(a=places)
    for i, (least, count) in enumerate(gangs):
        outcome = nodes.place(group(f"g{i}", least), pods(f"g{i}", count))
        held = sum(1 for uid in nodes.held if uid.startswith(f"g{i}-"))
        assert held == len(outcome.placed)
        assert held == 0 or held >= least
        # It is refused only where it could not have been placed.
        if not outcome.succeeded:
            assert count < least or places - len(nodes.held) < least


def test_pods_beyond_the_least_are_placed_where_there_is_room() -> None:
    outcome = Nodes(a=3).place(group("g", 2), pods("g", 4))
    assert outcome.succeeded
    assert len(outcome.placed) == 3
    assert outcome.attempts["g-3"].status.reasons == ("Insufficient cpu",)


def test_scheduled_pods_count() -> None:
    assert Nodes(a=1).place(group("g", 3), pods("g", 1), scheduled=2).succeeded
    assert not Nodes(a=1).place(group("g", 3), pods("g", 1), scheduled=1).succeeded


def test_a_basic_group_takes_what_it_gets() -> None:
    assert len(Nodes(a=1).place(group("g", None), pods("g", 3)).placed) == 1


def test_an_error_ends_the_group() -> None:
    held: list[str] = []

    def attempt(pod: dict[str, Any], among: frozenset[str] | None) -> Attempt:
        if held:
            return Attempt("", failed("no answer"))
        held.append(pod["metadata"]["uid"])
        return Attempt("a")

    outcome = gang.place_group(group("g", 1), pods("g", 3), 0, attempt, lambda pod: held.clear())
    assert outcome.status.code is Code.ERROR
    assert not held
    assert "failed to schedule other pod from a pod group: no answer" in gang.message(outcome.status)


def test_the_gate_opens_once_group_and_pods_are_there() -> None:
    pod = pods("g", 1)[0]
    waits = gang.gate(pod, None, 1)
    assert waits
    assert waits.message == 'waiting for pods\'s pod group "g" to appear in scheduling queue'
    few = gang.gate(pod, group("g", 3), 2)
    assert few
    assert few.message == "waiting for minCount pods from a gang to appear in scheduling queue"
    assert gang.gate(pod, group("g", 3), 3) is None
    assert gang.gate(pod, group("g", None), 1) is None
    assert gang.gate({"metadata": {}, "spec": {}}, None, 0) is None


def test_members_agree_on_what_decides_who_goes_first() -> None:
    high = group("g", 1, priority=5)
    wrong = gang.fault(high, pods("g", 1))
    assert wrong
    assert "same priority as the pod group's priority, got 0 and 5" in wrong.message
    others = [*pods("g", 1, schedulerName="a"), *pods("g", 1, schedulerName="b")]
    other = gang.fault(group("g", 1), others)
    assert other
    assert 'the same .spec.schedulerName set, got: "b" and "a"' in other.message


def test_a_topology_constraint_keeps_a_group_in_one_domain() -> None:
    rack = {"topology": [{"key": "rack"}]}
    g = group("g", 2, schedulingConstraints=rack)
    machines = [
        {"metadata": {"name": name, "labels": {"rack": at} if at else {}}}
        for name, at in (("a", "r1"), ("b", "r2"), ("c", "r2"), ("d", ""))
    ]
    found = gang.domains(g, machines, [])
    assert found == {"r1": frozenset("a"), "r2": frozenset("bc")}
    nodes = Nodes(a=1, b=1, c=1, d=5)
    outcome = nodes.place(g, pods("g", 2), domains=found)
    assert outcome.placed == {"g-0": "b", "g-1": "c"} == nodes.held
    assert gang.domains(g, machines, ["a"]) == {"r1": frozenset("a")}
    none = Nodes(a=1).place(g, pods("g", 2), domains=found)
    assert "0/2 placements are available" in gang.message(none.status)


def test_the_condition_stays_true_once_it_was() -> None:
    g = group("g", 2)
    waits = gang.condition(g, unschedulable("too small"), "t1")
    assert waits
    assert (waits["status"], waits["reason"], waits["message"]) == ("False", "Unschedulable", "too small")
    g["status"] = {"conditions": [waits]}
    assert gang.condition(g, unschedulable("too small"), "t2") is None
    done = gang.condition(g, gang.SUCCESS, "t3")
    assert done
    assert (done["status"], done["lastTransitionTime"]) == ("True", "t3")
    g["status"] = {"conditions": [done]}
    assert gang.condition(g, unschedulable("too small"), "t4") is None
