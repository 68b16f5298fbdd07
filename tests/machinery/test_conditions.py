"""Conditions in an object's status."""

from __future__ import annotations

from sampan.machinery import conditions
from sampan.machinery.objects import Object


def after(before: conditions.Conditions, status: str, reason: str, now: float) -> conditions.Conditions:
    return conditions.with_(before, conditions.new("Ready", status, reason, "", now))


def test_a_condition_changes_its_time_only_with_its_status() -> None:
    first = after((), "False", "New", 0)
    same = after(first, "False", "Waiting", 60)
    other = after(same, "True", "Done", 120)
    assert [c[0]["lastTransitionTime"][14:19] for c in (first, same, other)] == ["00:00", "00:00", "02:00"]
    assert same[0]["reason"] == "Waiting"
    assert first[0]["reason"] == "New"
    assert conditions.without(other, "Ready") == ()


def test_a_condition_keeps_its_place_and_a_message_alone_is_no_news() -> None:
    ready = conditions.new("Ready", "True", "Done", "one", 0)
    both = (ready, conditions.new("Other", "True", "Done", "", 0))
    assert conditions.with_(both, {**ready, "message": "two"}) is both
    assert [c["type"] for c in conditions.with_(both, {**ready, "status": "False"})] == ["Ready", "Other"]


def test_what_an_object_says() -> None:
    pod: Object = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert conditions.is_true(pod, "Ready")
    assert not conditions.is_true(pod, "Initialized")
    assert not conditions.is_true({}, "Ready")
    assert conditions.of({"status": {"conditions": None}}) == ()
