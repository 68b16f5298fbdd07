"""The quick way of decoding makes the same as the slow one, or leaves it to that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sampan.kinds import decoders, schemas

from .examples import deployment, pod, service

OBJECTS = [
    deployment(),
    service(ports=[{"port": 80, "targetPort": "http"}], selector={"a": None}),
    pod(
        containers=[
            {
                "name": "a",
                "image": None,
                "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}},
                "env": [{"name": "A", "value": "b"}],
            }
        ]
    ),
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "YQ=="}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}},
]
odd = st.sampled_from([None, True, 1, -1, 2**70, 1.5, "", "x", "1Gi", "YQ==\n", [], {}, [None], {"x": 1}])


def places(value: Any) -> list[Any]:
    """Every map and list in an object."""
    found = [value] if isinstance(value, dict | list) else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found + [place for item in inner for place in places(item)]


@given(st.data(), st.sampled_from(OBJECTS), odd)
def test_both_ways_agree(data: st.DataObject, given_: Any, new: Any) -> None:
    import copy

    obj = copy.deepcopy(given_)
    place = data.draw(st.sampled_from(places(obj)))
    if isinstance(place, dict):
        place[data.draw(st.sampled_from([*place, "unknown"]))] = new
    elif place:
        place[0] = new
    group, _, version = str(given_["apiVersion"]).rpartition("/")
    schema = schemas.of(group, version, given_["kind"])
    assert schema is not None
    slow = outcome(lambda: schemas.decode_slowly(obj, schema, given_["kind"]))
    assert outcome(lambda: schemas.decode(obj, group, version, given_["kind"])) == slow
    if isinstance(slow, schemas.Decoded) and not slow.unknown and "\n" not in str(new):
        assert decoders.of(schema)(obj) == slow.obj


def outcome(work: Callable[[], schemas.Decoded]) -> schemas.Decoded | str:
    """What is decoded, or why it is not."""
    try:
        return work()
    except schemas.DecodeError as e:
        return str(e)
