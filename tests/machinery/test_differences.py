"""Differences of objects, as people read them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.differences import differences

plain = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text("abc", min_size=1, max_size=2), plain, max_size=4)


def test_lists_of_named_items_are_compared_by_name() -> None:
    before = {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}}
    after = {"spec": {"containers": [{"name": "c"}, {"name": "a", "image": "2"}]}}
    assert differences(before, after) == [
        {"path": "spec.containers[name=a].image", "before": "1", "after": "2"},
        {"path": "spec.containers[name=b]", "before": {"name": "b"}},
        {"path": "spec.containers[name=c]", "after": {"name": "c"}},
    ]


def test_plain_lists_are_compared_as_a_whole_and_others_by_position() -> None:
    assert differences({"a": [1, 2]}, {"a": [1]}) == [{"path": "a", "before": [1, 2], "after": [1]}]
    found = differences({"a": [{"x": 1}, {"x": 2}]}, {"a": [{"x": 1}]})
    assert found == [{"path": "a[1]", "before": {"x": 2}}]


def test_names_with_dots_stand_in_brackets() -> None:
    found = differences({"metadata": {"labels": {}}}, {"metadata": {"labels": {"a.b/c": "1"}}})
    assert found == [{"path": "metadata.labels[a.b/c]", "after": "1"}]


def test_what_changes_with_every_write_is_left_out() -> None:
    before = {"metadata": {"resourceVersion": "1", "generation": 1, "managedFields": []}}
    after = {"metadata": {"resourceVersion": "2", "generation": 2, "managedFields": [{}]}}
    assert differences(before, after) == []


@given(objects, objects)
def test_there_are_differences_where_objects_differ_and_only_there(before: dict, after: dict) -> None:  # type: ignore[type-arg]
    found = differences(before, after)
    assert differences(before, before) == []
    assert all("before" in d or "after" in d for d in found)
    assert all(d.get("before") != d.get("after") for d in found if {"before", "after"} <= d.keys())
    assert (found == []) == (before == after)
