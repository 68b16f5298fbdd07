"""When the supervisor starts, restarts and stops a process: each story is what happens, and what follows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.supervisor.table import (
    HEALTHY_AFTER,
    LONGEST_DELAY,
    LONGEST_DELAY_ONCE_READY,
    Happening,
    Life,
    step,
)

HAPPENINGS: list[Happening] = ["due", "notified", "exited", "asked to stop"]


def tell(story: str) -> list[str]:
    """Run a story such as `0 due, 1 notified` and give each state with what is done, as `ready` or `starting!spawn`."""
    life, told = Life(), []
    for line in story.split(","):
        when, happening = line.strip().split(" ", 1)
        life, action = step(life, happening, float(when))  # type: ignore[arg-type]
        told.append(f"{life.state}!{action}" if action else life.state)
    return told


@pytest.mark.parametrize(
    ("story", "told"),
    [
        ("0 due, 1 notified", "starting!spawn ready"),
        ("0 due, 1 notified, 5 exited, 6 due", "starting!spawn ready waiting starting!spawn"),
        ("0 due, 1 exited", "starting!spawn waiting"),
        ("0 due, 1 notified, 2 asked to stop, 3 exited", "starting!spawn ready stopping!terminate stopped"),
        ("0 due, 1 asked to stop, 2 exited", "starting!spawn stopping!terminate stopped"),
        ("0 asked to stop, 1 due", "stopped stopped"),
        ("0 due, 1 due", "starting!spawn starting"),
    ],
)
def test_stories(story: str, told: str) -> None:
    assert tell(story) == told.split()


def test_the_delay_doubles_while_a_process_dies_young_and_starts_again_after_a_healthy_life() -> None:
    life, delays, now = Life(), [], 0.0
    for _ in range(12):
        life, _ = step(life, "due", now)
        life, _ = step(life, "exited", now + 0.1)
        delays.append(life.delay)
        now = life.due
    assert delays[:3] == [0.05, 0.1, 0.2]
    assert delays[-1] == LONGEST_DELAY
    life, _ = step(life, "due", now)
    life, _ = step(life, "exited", now + HEALTHY_AFTER)
    assert life.delay == 0.05


def test_a_process_that_was_ready_is_never_long_away() -> None:
    life, now = Life(), 0.0
    for _ in range(12):
        life, _ = step(life, "due", now)
        life, _ = step(life, "notified", now)
        life, _ = step(life, "exited", now)
        now = life.due
    assert life.delay == LONGEST_DELAY_ONCE_READY


@given(st.lists(st.sampled_from(HAPPENINGS)))
def test_a_process_is_spawned_only_when_none_runs(happenings: list[Happening]) -> None:
    life, running = Life(), False
    for now, happening in enumerate(happenings):
        if happening == "exited" and not running:
            continue  # what does not run cannot exit
        life, action = step(life, happening, float(now))
        if happening == "exited":
            running = False
        if action == "spawn":
            assert not running
            running = True
        assert running == (life.state in ("starting", "ready", "stopping"))
