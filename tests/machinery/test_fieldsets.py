"""Sets of fields as trees: the same algebra as sets of paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery import fieldsets
from sampan.machinery.fieldsets import LEAF, SELF, Path, Set

steps = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', "v:1"])
paths = st.frozensets(st.lists(steps, min_size=1, max_size=4).map(tuple), max_size=12)


def tree(of: frozenset[Path]) -> Set:
    found: dict[str, Any] = {}
    for path in of:
        at = found
        for step in path:
            at = at.setdefault(step, {})
        at[SELF] = LEAF

    def tidy(node: dict[str, Any]) -> Set:
        inner = {k: tidy(v) for k, v in node.items() if k != SELF}
        return {SELF: LEAF, **inner} if SELF in node and inner else inner

    return tidy(found)


def listed(fields: Set) -> frozenset[Path]:
    return frozenset(fieldsets.paths(fields))


@given(paths)
def test_a_tree_holds_its_paths(one: frozenset[Path]) -> None:
    assert listed(tree(one)) == one
    assert all(fieldsets.has(tree(one), p) for p in one)
    assert fieldsets.checked(tree(one)) == tree(one)


@given(paths, paths)
def test_the_algebra_of_sets(one: frozenset[Path], other: frozenset[Path]) -> None:
    a, b = tree(one), tree(other)
    assert listed(fieldsets.union(a, b)) == one | other
    assert listed(fieldsets.difference(a, b)) == one - other
    assert listed(fieldsets.intersection(a, b)) == one & other
    below = frozenset(p for p in one if not any(p[: n + 1] in other for n in range(len(p))))
    assert listed(fieldsets.without(a, b)) == below


@given(paths, paths)
def test_equal_sets_are_equal_trees(one: frozenset[Path], other: frozenset[Path]) -> None:
    a, b = tree(one), tree(other)
    assert fieldsets.union(fieldsets.difference(a, b), fieldsets.intersection(a, b)) == a


@pytest.mark.parametrize("wrong", [[], {"a": {}}, {"f:a": []}, {"f:a": {"x:b": {}}}])
def test_what_is_no_set_is_refused(wrong: Any) -> None:
    with pytest.raises(fieldsets.Malformed):
        fieldsets.checked(wrong)
