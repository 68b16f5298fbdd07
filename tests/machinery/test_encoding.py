"""Canonical bytes, and what is spliced from them."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery import encoding, generated

POD: Any = {
    "spec": {"nodeName": "n1"}, "metadata": {"resourceVersion": "3", "name": "web"}, "kind": "Pod", "apiVersion": "v1",
}  # fmt: skip


def test_canonical_bytes_begin_with_what_they_are_and_know_no_revision() -> None:
    expected = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"nodeName":"n1"}}'
    assert encoding.encode(POD) == expected


def test_a_revision_is_spliced_in() -> None:
    spliced = encoding.splice(encoding.encode(POD), 42)
    assert orjson.loads(spliced)["metadata"] == {"resourceVersion": "42", "name": "web"}
    assert encoding.decode(encoding.encode(POD), 42) == orjson.loads(spliced)
    assert orjson.loads(encoding.splice(encoding.encode({"kind": "X"}), 1)) == {
        "kind": "X", "metadata": {"resourceVersion": "1"},
    }  # fmt: skip


texts = st.text(st.sampled_from('],"name:{}[]\\ managedFields'), max_size=30)
trees: st.SearchStrategy[Any] = st.recursive(
    st.just({}), lambda inner: st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@given(trees, texts, texts)
def test_managed_fields_can_be_left_out_without_decoding(fields: Any, text: str, other: str) -> None:
    entry = {"manager": text, "operation": "Update", "fieldsV1": fields}
    obj: Any = {
        "apiVersion": "v1",
        "kind": "X",
        "metadata": {"labels": {text: other}, "name": "x"},
        "spec": fields,
    }
    managed = {**obj, "metadata": {"uid": text, **obj["metadata"], "managedFields": [entry, entry]}}
    without = {**managed["metadata"]}
    del without["managedFields"]
    assert orjson.loads(encoding.light(encoding.encode(managed))) == {**managed, "metadata": without}
    assert orjson.loads(encoding.light(encoding.encode(obj))) == obj


def test_lists_are_made_of_bytes() -> None:
    items = [encoding.splice(encoding.encode(POD), n) for n in (1, 2)]
    head = encoding.list_head("v1", "PodList", 9, continue_="token", remaining=5)
    found = orjson.loads(head + b",".join(items) + encoding.LIST_TAIL)
    assert found["metadata"] == {"resourceVersion": "9", "continue": "token", "remainingItemCount": 5}
    assert [i["metadata"]["resourceVersion"] for i in found["items"]] == ["1", "2"]
    assert orjson.loads(encoding.list_head("v1", "PodList", 9) + encoding.LIST_TAIL)["items"] == []
    assert b"".join(encoding.spliced(encoding.encode(POD), 1)) == items[0]


def test_watch_events_are_lines() -> None:
    value = encoding.splice(encoding.encode(POD), 7)
    assert encoding.event("ADDED", value) == b'{"type":"ADDED","object":' + value + b"}\n"
    assert orjson.loads(encoding.event("ADDED", value, "00-a-b-01"))["cause"] == "00-a-b-01"
    end = encoding.bookmark("v1", "Pod", 7, {"k8s.io/initial-events-end": "true"})
    assert orjson.loads(end)["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


names = st.text('ab"{}:,é', max_size=6)
objects = st.dictionaries(
    names, names | st.integers(-(2**63), 2**63 - 1) | st.dictionaries(names, names), max_size=3
)


@given(objects, objects, st.integers(1, 10**12))
def test_splicing_is_what_decoding_would_give(spec: Any, labels: Any, revision: int) -> None:
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": labels}, "spec": spec}
    value = encoding.encode(obj)
    assert encoding.encode(orjson.loads(value)) == value
    assert orjson.loads(encoding.splice(value, revision)) == encoding.decode(value, revision)


@given(objects)
def test_hashes_depend_on_content_alone(obj: Any) -> None:
    assert generated.code(obj) == generated.code(dict(reversed(list(obj.items()))))
    assert set(generated.code(obj)) <= set(generated.ALPHABET)
    assert generated.code(obj) != generated.code({**obj, "more": 1})


def test_generated_names_fit() -> None:
    assert generated.name("web-", 1) == generated.name("web-", 1) != generated.name("web-", 2)
    assert len(generated.name("x" * 100, 1)) == len(generated.random_name("x" * 100)) == 63
    assert generated.random_name("web-").startswith("web-")
