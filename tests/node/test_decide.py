"""What is done next for a pod: decisions as plain functions, in simulated time."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.objects import Object
from sampan.node.backoff import CRASH, Backoff, duration
from sampan.node.decide import (
    DEADLINE,
    Decision,
    Probed,
    RemoveContainer,
    RemoveSandbox,
    Situation,
    StartContainer,
    StartSandbox,
    StopContainer,
    StopSandbox,
    decide,
    outcome,
    terminate,
)
from sampan.node.names import container_hash
from sampan.node.observed import Container, Observed, Sandbox, State, observed

NOW = 1000.0


def pod(*mains: Object, init: tuple[Object, ...] = (), **spec: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
        "spec": {"containers": list(mains) or [{"name": "main"}], "initContainers": list(init), **spec},
    }


def seen(
    name: str,
    state: State = "running",
    code: int = 0,
    *,
    attempt: int = 0,
    at: float = 900.0,
    box: str = "s0",
) -> Container:
    return Container(
        id=f"{name}-{attempt}",
        name=name,
        attempt=attempt,
        state=state,
        sandbox=box,
        created=at,
        started=at,
        finished=at + 1 if state == "exited" else 0,
        exit_code=code,
    )


def look(*containers: Container, ready: bool = True) -> Observed:
    return observed([Sandbox("s0", 0, ready, ("10.0.0.2",), 890.0)], containers)


def situation(p: Object, o: Observed, **more: Any) -> Situation:
    return Situation(**{"pod": p, "observed": o, "now": NOW, "started_at": 890.0, **more})


def run(p: Object, o: Observed, **more: Any) -> Decision:
    return decide(situation(p, o, **more))


def test_a_new_pod_gets_its_sandbox_and_its_containers_in_order() -> None:
    found = run(pod({"name": "a"}, {"name": "b"}), Observed())
    assert found.actions == (StartSandbox(0), StartContainer("a", 0), StartContainer("b", 0))


def test_init_containers_run_one_after_the_other_before_the_main_ones() -> None:
    p = pod(init=({"name": "one"}, {"name": "two"}))
    assert run(p, Observed()).actions == (StartSandbox(0), StartContainer("one", 0))
    assert run(p, look(seen("one"))).actions == ()
    assert run(p, look(seen("one", "exited"))).actions == (StartContainer("two", 0),)
    done = (seen("one", "exited"), seen("two", "exited"))
    assert run(p, look(*done)).actions == (StartContainer("main", 0),)


def test_an_init_container_that_fails_is_repeated_or_fails_the_pod() -> None:
    failed = look(seen("one", "exited", 1))
    assert run(pod(init=({"name": "one"},)), failed).actions == (StartContainer("one", 1),)
    assert run(pod(init=({"name": "one"},), restartPolicy="Never"), failed).end == ("", "")


def test_a_sidecar_gates_what_follows_until_it_has_started() -> None:
    p = pod(init=({"name": "proxy", "restartPolicy": "Always"},))
    waiting = {"proxy-0": Probed(ready=False, started=False)}
    assert run(p, look(seen("proxy")), probes=waiting).actions == ()
    assert run(p, look(seen("proxy"))).actions == (StartContainer("main", 0),)
    both = look(seen("proxy", "exited", 1), seen("main"))
    assert run(p, both).actions == (StartContainer("proxy", 1),)


def test_a_crash_is_followed_by_a_wait_that_doubles() -> None:
    p, crashed = pod(), look(seen("main", "exited", 1, at=NOW - 3))
    assert run(p, crashed).actions == (StartContainer("main", 1),)
    held = run(p, crashed, crashes={"main": Backoff(20, NOW - 10)})
    assert held.actions == ()
    assert held.again == 18.0
    assert held.waiting["main"] == (
        "CrashLoopBackOff",
        "back-off 20s restarting failed container=main pod=web_default(u1)",
    )


@given(st.lists(st.floats(0, 200), max_size=20))
def test_the_wait_grows_to_five_minutes_and_no_further(pauses: list[float]) -> None:
    now, last = 0.0, None
    for pause in pauses:
        now += pause
        last = CRASH.after(last, now)
        assert 10 <= last.delay <= 300
    if last:
        assert CRASH.after(last, now + 601).delay == 10


def test_durations_read_as_upstreams() -> None:
    assert [duration(s) for s in (10, 80, 300, 3600)] == ["10s", "1m20s", "5m0s", "1h0m0s"]


def test_restart_policies() -> None:
    good, bad = look(seen("main", "exited", 0)), look(seen("main", "exited", 3))
    assert run(pod(restartPolicy="Always"), good).actions == (StartContainer("main", 1),)
    assert run(pod(restartPolicy="OnFailure"), good).end == ("", "")
    assert run(pod(restartPolicy="OnFailure"), bad).actions == (StartContainer("main", 1),)
    assert run(pod(restartPolicy="Never"), bad).end == ("", "")
    assert outcome(pod(restartPolicy="Never"), bad) == "Failed"
    assert outcome(pod(restartPolicy="Never"), good) == "Succeeded"
    rule = {
        "name": "main",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}],
    }
    assert run(pod(rule, restartPolicy="Never"), bad).actions == (StartContainer("main", 1),)


def test_probes_and_changed_images_stop_a_container() -> None:
    probe = {"name": "main", "livenessProbe": {"terminationGracePeriodSeconds": 7}}
    found = run(pod(probe), look(seen("main")), probes={"main-0": Probed(failed="liveness")})
    assert found.actions == (
        StopContainer("main-0", "main", "Container main failed liveness probe, will be restarted", 7),
    )
    old = Container("main-0", "main", 0, "running", "s0", hash=container_hash({"name": "main", "image": "a"}))
    changed = run(pod({"name": "main", "image": "b"}), look(old))
    assert changed.actions == (
        StopContainer("main-0", "main", "Container main definition changed, will be restarted"),
    )
    assert run(pod({"name": "main", "image": "b"}), look(old), stopping=frozenset({"main-0"})).actions == ()


def test_a_dead_sandbox_is_replaced_and_everything_starts_again() -> None:
    p = pod(init=({"name": "one"},))
    dead = look(seen("one", "exited"), seen("main", "exited", 137, at=901.0), ready=False)
    assert run(p, dead).actions == (StartSandbox(1), StartContainer("one", 1))
    running = look(seen("main"), ready=False)
    assert run(p, running).actions[0] == StopContainer(
        "main-0", "main", "Pod sandbox changed, it will be killed and re-created."
    )


def test_a_start_that_was_cut_short_is_cleared_away_first() -> None:
    assert run(pod(), look(seen("main", "created"))).actions == (RemoveContainer("main-0"),)
    assert run(pod(), look(seen("main", "created")), starting=True).actions == ()


def test_old_containers_and_sandboxes_are_tidied() -> None:
    history = [seen("main", "exited", 1, attempt=n, at=900.0 + n) for n in range(3)]
    found = run(pod(), look(*history, seen("main", attempt=3, at=910.0)))
    assert found.actions == (RemoveContainer("main-1"), RemoveContainer("main-0"))
    two = observed([Sandbox("s0", 0, False), Sandbox("s1", 1, True)], [seen("main", box="s1")])
    assert run(pod(), two).actions == (RemoveSandbox("s0"),)


def test_the_deadline_ends_a_pod() -> None:
    p = pod(activeDeadlineSeconds=100)
    assert run(p, look(seen("main")), started_at=895.0).end == DEADLINE
    assert run(p, look(seen("main")), started_at=950.0).again == 50.0


def test_a_failed_step_waits_before_it_is_tried_again() -> None:
    held = run(pod(), look(), held={"main": Backoff(10, NOW - 4)})
    assert (held.actions, held.again) == ((), 6.0)
    assert run(pod(), Observed(), held={"": Backoff(1, NOW)}).again == 1.0


def test_ending_stops_main_containers_then_sidecars_in_reverse_then_the_sandbox() -> None:
    sidecars = ({"name": "x", "restartPolicy": "Always"}, {"name": "y", "restartPolicy": "Always"})
    p = pod({"name": "a"}, {"name": "b"}, init=sidecars)
    steps = [
        (look(*(seen(n) for n in "abxy")), ["a", "b"]),
        (look(seen("a", "exited"), seen("b", "exited"), seen("x"), seen("y")), ["y"]),
        (look(seen("x"), seen("y", "exited")), ["x"]),
    ]
    for state, names in steps:
        actions = terminate(situation(p, state)).actions
        assert [a.name for a in actions if isinstance(a, StopContainer)] == names
    assert terminate(situation(p, look(seen("a", "exited")))).actions == (StopSandbox("s0"),)
    assert terminate(situation(p, look(seen("a", "exited"), ready=False))).ended


def _states() -> st.SearchStrategy[Observed]:
    """Any mixture of what the runtime may show of a pod with one init container, a sidecar and two main ones."""
    container = st.builds(
        seen,
        st.sampled_from(["one", "proxy", "a", "b"]),
        st.sampled_from(["created", "running", "exited", "unknown"]),
        st.sampled_from([0, 1]),
        attempt=st.integers(0, 3),
        at=st.floats(880, 1000),
        box=st.sampled_from(["s0", "gone"]),
    )
    containers = st.lists(container, max_size=6, unique_by=lambda c: c.id)
    return st.builds(lambda cs, ready: look(*cs, ready=ready), containers, st.booleans())


SHAPE = pod(
    {"name": "a"}, {"name": "b"}, init=({"name": "one"}, {"name": "proxy", "restartPolicy": "Always"})
)


@given(_states())
def test_no_state_makes_a_decision_that_acts_twice_on_the_same_thing(state: Observed) -> None:
    found = decide(situation(SHAPE, state))
    names = [a.name for a in found.actions if isinstance(a, StartContainer)]
    assert len(names) == len(set(names))
    running = {c.name for c in state.containers if c.state == "running" and state.latest(c.name, "s0") is c}
    assert not (running & set(names)) or state.sandbox is None
    ids = [a.id for a in found.actions if not isinstance(a, StartContainer | StartSandbox)]
    assert len(ids) == len(set(ids))


@given(_states())
def test_every_ending_comes_to_its_end(state: Observed) -> None:
    """Carry out what `terminate` says, again and again: nothing runs in the end, after few rounds."""
    for _ in range(10):
        found = terminate(situation(SHAPE, state))
        if found.ended:
            break
        stopped = {a.id for a in found.actions if isinstance(a, StopContainer | StopSandbox)}
        assert stopped
        containers = [
            Container(c.id, c.name, c.attempt, "exited", c.sandbox) if c.id in stopped else c
            for c in state.containers
        ]
        state = observed(
            [Sandbox(s.id, s.attempt, s.ready and s.id not in stopped) for s in state.sandboxes], containers
        )
    assert found.ended
    assert not any(c.state == "running" for c in state.containers)
