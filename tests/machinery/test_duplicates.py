"""Fields that a JSON text says twice are told by their paths."""

from __future__ import annotations

import pytest

from sampan.machinery import duplicates


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{"a": 1, "b": {"a": 2}}', []),
        ('{"a": 1, "a": 2, "a": 3}', ["a"]),
        (
            '{"spec": {"containers": [{"name": "x"}, {"name": "y", "name" : "z"}]}}',
            ["spec.containers[1].name"],
        ),
        ('{"a": {"b": 1, "b": 2}, "c": 1, "c": {"d": 1, "d": 2}}', ["c", "a.b", "c.d"]),
    ],
)
def test_paths(text: str, paths: list[str]) -> None:
    assert duplicates.fields(text.encode()) == paths
