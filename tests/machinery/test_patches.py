"""The three patches: the examples of RFC 6902, RFC 7386 and of kubectl, and the laws they keep."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.kinds import schemas
from sampan.machinery.patches import PatchError, difference, json_patch, merge_patch, strategic

# RFC 6902, appendix A: document, patch, result (None where the patch must fail).
JSON_PATCHES: list[tuple[Any, list[Any], Any]] = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    (
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    ({"foo": [1, 2, 3]}, [{"op": "move", "from": "/foo/0", "path": "/foo/2"}], {"foo": [2, 3, 1]}),
    ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "qux"}], {"baz": "qux"}),
    ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}], None),
    (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"g": {}}}],
        {"foo": "bar", "child": {"g": {}}},
    ),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}], None),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"/": 9}, [{"op": "test", "path": "/~1", "value": "9"}], None),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),
    ({"a": 1}, [{"op": "replace", "path": "/b", "value": 1}], None),
    ({"a": [1]}, [{"op": "remove", "path": "/a/01"}], None),
    ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": True}], None),
    ({"a": 1}, [{"op": "shout", "path": "/a"}], None),
]


@pytest.mark.parametrize(("document", "patch", "result"), JSON_PATCHES)
def test_json_patch(document: Any, patch: list[Any], result: Any) -> None:
    before = copy.deepcopy(document)
    if result is None:
        with pytest.raises(PatchError):
            json_patch(document, patch)
    else:
        assert json_patch(document, patch) == result
    assert document == before


# RFC 7386, appendix A.
MERGE_PATCHES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("document", "patch", "result"), MERGE_PATCHES)
def test_merge_patch(document: Any, patch: Any, result: Any) -> None:
    assert merge_patch(document, patch) == result


scalars = st.one_of(st.booleans(), st.integers(-5, 5), st.text("ab", max_size=3))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
)
objects = st.dictionaries(st.text("abc", max_size=2), values, max_size=4)


@given(objects, objects)
def test_the_difference_is_a_patch_from_one_to_the_other(old: Any, new: Any) -> None:
    before = copy.deepcopy(old)
    assert merge_patch(old, difference(old, new)) == new
    assert difference(old, old) == {}
    assert old == before


POD = schemas.node("", "v1", "Pod")
DEPLOYMENT = schemas.node("apps", "v1", "Deployment")


def containers(*items: dict[str, Any], **directives: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(items), **directives}}


def test_lists_of_objects_merge_by_their_key() -> None:
    pod = containers({"name": "web", "image": "web:1"}, {"name": "log", "image": "log:1"})
    patch = containers({"name": "log", "image": "log:2"}, {"name": "new", "image": "new:1"})
    assert strategic(pod, patch, POD) == containers(
        {"name": "web", "image": "web:1"},
        {"name": "log", "image": "log:2"},
        {"name": "new", "image": "new:1"},
    )


def test_an_item_is_deleted_by_its_key() -> None:
    pod = containers({"name": "web"}, {"name": "log"})
    assert strategic(pod, containers({"name": "web", "$patch": "delete"}), POD) == containers({"name": "log"})


def test_a_list_is_replaced() -> None:
    pod = containers({"name": "web"}, {"name": "log"})
    patch = containers({"name": "new"}, {"$patch": "replace"})
    assert strategic(pod, patch, POD) == containers({"name": "new"})


def test_a_list_that_is_not_there_is_replaced_by_what_the_patch_has() -> None:
    patch = containers({"name": "new"}, {"$patch": "replace"})
    assert strategic({}, patch, POD) == containers({"name": "new"})


def test_a_new_item_comes_before_those_that_the_patch_does_not_name() -> None:
    """As upstream does it, and as its conformance tests of StatefulSets expect."""
    pod = containers({"name": "a"}, {"name": "b"}, {"name": "c"})
    found = strategic(pod, containers({"name": "new"}, {"name": "b", "image": "1"}), POD)
    assert [c["name"] for c in found["spec"]["containers"]] == ["new", "a", "b", "c"]


def test_the_order_that_kubectl_apply_asks_for() -> None:
    pod = containers({"name": "a", "image": "1"}, {"name": "injected"}, {"name": "b", "image": "2"})
    order = [{"name": "b"}, {"name": "new"}, {"name": "a"}]
    patch = containers({"name": "new", "image": "3"}, **{"$setElementOrder/containers": order})
    found = strategic(pod, patch, POD)
    assert [c["name"] for c in found["spec"]["containers"]] == ["injected", "b", "new", "a"]


def test_order_alone_reorders() -> None:
    pod = containers({"name": "a"}, {"name": "b"})
    patch = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    assert strategic(pod, patch, POD) == containers({"name": "b"}, {"name": "a"})


def test_lists_of_scalars_merge_as_sets() -> None:
    pod = {"metadata": {"finalizers": ["a.io/x", "b.io/y"]}}
    patch = {
        "metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a.io/x"],
            "$setElementOrder/finalizers": ["c.io/z", "b.io/y"],
            "finalizers": ["c.io/z"],
        }
    }
    assert strategic(pod, patch, POD) == {"metadata": {"finalizers": ["c.io/z", "b.io/y"]}}


def test_retain_keys_drops_the_other_members_of_a_union() -> None:
    deployment = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic(deployment, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_retain_keys_must_name_what_the_patch_sets() -> None:
    patch = {"spec": {"strategy": {"$retainKeys": [], "type": "Recreate"}}}
    with pytest.raises(PatchError, match="retainKeys"):
        strategic({"spec": {"strategy": {}}}, patch, DEPLOYMENT)


def test_maps_are_replaced_and_deleted_by_directive() -> None:
    pod = {"metadata": {"labels": {"a": "1"}}}
    assert strategic(pod, {"metadata": {"labels": {"$patch": "replace", "b": "2"}}}, POD) == {
        "metadata": {"labels": {"b": "2"}}
    }
    assert strategic(pod, {"metadata": {"labels": {"a": None}}}, POD) == {"metadata": {"labels": {}}}


def test_lists_without_a_strategy_are_replaced() -> None:
    pod = containers({"name": "web", "args": ["a", "b"]})
    assert strategic(pod, containers({"name": "web", "args": ["c"]}), POD) == containers(
        {"name": "web", "args": ["c"]}
    )


def test_directives_and_nulls_do_not_land_in_new_places() -> None:
    patch = {"spec": {"affinity": {"$retainKeys": ["nodeAffinity"], "nodeAffinity": {"x": None}}}}
    assert strategic({}, patch, POD) == {"spec": {"affinity": {"nodeAffinity": {}}}}


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(PatchError, match="does not contain declared merge key: name"):
        strategic(containers({"name": "web"}), containers({"image": "x"}), POD)


names = st.sampled_from(["a", "b", "c", "d"])
container_lists = st.lists(
    st.fixed_dictionaries({"name": names, "image": st.sampled_from(["1", "2"])}),
    unique_by=lambda c: c["name"],
)


@given(container_lists, container_lists)
def test_what_kubectl_apply_sends_leads_to_what_was_written(old: Any, new: Any) -> None:
    """A patch made as kubectl makes it from the last applied to the new list, applied to the last applied."""
    known = {c["name"]: c for c in old}
    changed = [c for c in new if known.get(c["name"]) != c]
    gone = [{"name": c["name"], "$patch": "delete"} for c in old if c["name"] not in {n["name"] for n in new}]
    order = [{"name": c["name"]} for c in new]
    patch = containers(*changed, *gone, **({"$setElementOrder/containers": order} if order else {}))
    before = copy.deepcopy(old)
    assert strategic(containers(*old), patch, POD) == containers(*new)
    assert old == before


REPLACED = [{"$patch": "replace"}, {"ip": "10.0.0.1"}]


@pytest.mark.parametrize(
    ("value", "patch", "found"),
    [
        ({}, {"status": {"podIPs": REPLACED}}, {"status": {"podIPs": [{"ip": "10.0.0.1"}]}}),
        ({"status": {}}, {"status": {"podIPs": REPLACED}}, {"status": {"podIPs": [{"ip": "10.0.0.1"}]}}),
        (
            {"status": {"podIPs": [{"ip": "10.0.0.9"}]}},
            {"status": {"podIPs": REPLACED}},
            {"status": {"podIPs": [{"ip": "10.0.0.1"}]}},
        ),
        ({}, {"spec": {"$patch": "replace", "nodeName": "a"}}, {}),
        ({}, {"spec": {"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}]}},
         {"spec": {"containers": [{"name": "b"}]}}),
        ({}, {"spec": {"$retainKeys": ["nodeName"], "nodeName": "a"}}, {"spec": {"nodeName": "a"}}),
        ({"metadata": {"finalizers": ["a", "b"]}}, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
         {"metadata": {"finalizers": ["b"]}}),
        ({}, {"metadata": {"$setElementOrder/finalizers": ["b", "a"], "finalizers": ["b"]}},
         {"metadata": {"finalizers": ["b"]}}),
    ],
)  # fmt: skip
def test_directives_where_there_is_nothing_and_where_there_is(value: Any, patch: Any, found: Any) -> None:
    assert strategic(value, patch, schemas.node("", "v1", "Pod")) == found


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"$patch": "merge"}},
        {"spec": {"containers": [{"name": "a", "$patch": "merge"}]}},
        {"spec": {"containers": [{"image": "x"}]}},
        {"spec": {"containers": ["a"]}},
    ],
)
def test_patches_that_cannot_be(patch: Any) -> None:
    with pytest.raises(PatchError):
        strategic({"spec": {"containers": [{"name": "a"}]}}, patch, schemas.node("", "v1", "Pod"))
