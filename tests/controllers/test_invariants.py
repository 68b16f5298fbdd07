"""What must hold whatever users do, tried with many invented histories."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.controllers.simulation import Simulation, node, workload

from sampan.controllers import pods, rollout
from sampan.controllers.job_pods import format_indexes, parse_indexes
from sampan.controllers.rollout import Sized
from sampan.machinery.objects import Key

# Histories run for a while each: a failing one is reported as it is, not made smaller.
quick = settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.generate))
amounts = st.one_of(st.integers(0, 4), st.integers(0, 100).map(lambda n: f"{n}%"))


@given(
    st.integers(0, 30),
    amounts,
    amounts,
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4),
)
def test_one_step_of_a_rollout_keeps_its_bounds(
    replicas: int, surge: object, unavailable: object, sizes: list[tuple[int, int]]
) -> None:
    bounds = rollout.limits(replicas, surge, unavailable)
    assert bounds.most > bounds.fewest or replicas == 0
    sets = [Sized(f"rs-{i}", size, min(size, available)) for i, (size, available) in enumerate(sizes)]
    new = Sized("new", 0)
    total = sum(s.replicas for s in sets)
    grown = rollout.new_size(bounds, 0, total)
    assert grown == 0 or total + grown <= bounds.most
    shrunk = rollout.old_sizes(bounds, new, sets)
    available = sum(s.available for s in sets)
    left = sum(min(s.available, shrunk.get(s.name, s.replicas)) for s in sets)
    assert left >= min(available, bounds.fewest)


@given(st.integers(0, 20), st.integers(0, 4), st.lists(st.integers(1, 12), min_size=2, max_size=4))
def test_scaling_in_a_rollout_reaches_the_allowed_size(replicas: int, surge: int, sizes: list[int]) -> None:
    bounds = rollout.Limits(replicas, surge)
    most = sum(sizes)
    after = rollout.proportional_sizes(bounds, [Sized(f"rs-{i}", n, n, most) for i, n in enumerate(sizes)])
    assert all(size >= 0 for size in after.values())
    assert sum(after.values()) == (bounds.most if replicas else 0)


steps = st.one_of(
    st.tuples(st.just("image"), st.sampled_from(["v1", "v2", "v3"])),
    st.tuples(st.just("replicas"), st.integers(1, 6)),
    st.tuples(st.just("wait"), st.floats(0.1, 8)),
)


@quick
@given(st.integers(1, 5), st.integers(0, 2), st.integers(0, 2), st.lists(steps, max_size=6))
def test_a_deployment_never_leaves_its_bounds(
    replicas: int, surge: int, unavailable: int, history: list[Any]
) -> None:
    """Never more pods than the surge allows, and never fewer available than must be, unless scaling asked for it."""
    sim = Simulation()
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    name = Key("default", "web")
    sim.create("nodes", node("n1", cpu="100"))
    sim.create("deployments.apps", workload("Deployment", "web", replicas=replicas, strategy=strategy))
    sim.advance(5)
    largest = smallest = replicas

    def watchdog() -> None:
        bounds = rollout.limits(smallest, surge, unavailable)
        staying = [p for p in sim.list("pods") if pods.is_active(p)]
        assert len(staying) <= largest + max(surge, 0)
        assert sum(1 for p in staying if pods.is_ready(p)) >= bounds.fewest

    for what, value in history:
        if what == "image":
            containers = [{"name": "main", "image": value}]
            sim.patch("deployments.apps", name, {"spec": {"template": {"spec": {"containers": containers}}}})
            sim.run()
        elif what == "replicas":
            # Let the last change come to its end, then scale.
            sim.watchdog = lambda: None
            sim.advance(60)
            largest = smallest = int(value)
            sim.patch("deployments.apps", name, {"spec": {"replicas": value}})
            sim.advance(60)
        else:
            sim.advance(float(value))
        sim.watchdog = watchdog
    sim.advance(120)
    found = sim.objects["deployments.apps"][name]["status"]
    assert found["availableReplicas"] == found["updatedReplicas"] == found["replicas"] == largest


@quick
@given(st.integers(1, 4), st.lists(steps, max_size=6))
def test_a_statefulset_keeps_its_order(replicas: int, history: list) -> None:  # type: ignore[type-arg]
    """A pod exists only while all before it do, but for the one that is being replaced."""
    sim = Simulation()
    name = Key("default", "db")
    sim.create("nodes", node("n1", cpu="100"))
    sim.create("statefulsets.apps", workload("StatefulSet", "db", replicas=replicas, serviceName="db"))
    seen: dict[str, str] = {}

    def watchdog() -> None:
        present = {p["metadata"]["name"]: p["metadata"]["uid"] for p in sim.list("pods")}
        for pod, uid in present.items():
            if seen.get(pod) != uid:
                ordinal = int(pod.removeprefix("db-"))
                assert all(f"db-{i}" in present for i in range(ordinal)), f"{pod} came before its turn"
        seen.update(present)
        going = [p for p in sim.list("pods") if pods.is_terminating(p)]
        assert len(going) <= 1, "two at once were deleted"

    sim.watchdog = watchdog
    for what, value in history:
        if what == "image":
            containers = [{"name": "main", "image": value}]
            sim.patch("statefulsets.apps", name, {"spec": {"template": {"spec": {"containers": containers}}}})
            sim.run()
        elif what == "replicas":
            replicas = int(value)
            sim.patch("statefulsets.apps", name, {"spec": {"replicas": value}})
            sim.run()
        else:
            sim.advance(float(value))
    sim.advance(120)
    status = sim.objects["statefulsets.apps"][name]["status"]
    assert status["readyReplicas"] == status["replicas"] == replicas
    assert status["currentRevision"] == status["updateRevision"]


@given(st.sets(st.integers(0, 60)))
def test_completed_indexes_are_written_and_read_alike(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes
