"""Who owns which fields: what is stated, what differs, what an apply merges, drops and refuses; as plain functions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.apiserver import fields, managers
from sampan.apiserver.managers import Manager
from sampan.client.api import ApiError
from sampan.kinds import registry, shapes
from sampan.machinery import fieldsets
from sampan.machinery.objects import Object

DEPLOYMENT = shapes.of(registry.find("deployments.apps"))
POD = shapes.of(registry.find("pods"))
MAP = shapes.of(registry.find("configmaps"))
THEN, NOW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def template(*containers: Object) -> Object:
    return {"metadata": {"name": "web"}, "spec": {"template": {"spec": {"containers": list(containers)}}}}


def applies(name: str = "me", time: str = THEN) -> Manager:
    return Manager(name, "Apply", "v1", time=time)


def updates(name: str = "me", time: str = THEN) -> Manager:
    return Manager(name, "Update", "v1", time=time)


def written(fields_: Any) -> list[str]:
    return sorted(map(fieldsets.worded, fieldsets.paths(fields_)))


def owners(entries: list[Object]) -> dict[str, list[str]]:
    return {f"{e['operation']} {e['manager']}": written(e["fieldsV1"]) for e in entries}


def a_map(data: dict[str, str], entries: list[Object] | None = None) -> Object:
    return {"metadata": {"name": "m", **({"managedFields": entries} if entries else {})}, "data": data}


def apply(live: Object, data: dict[str, str], who: Manager, force: bool = False) -> managers.Applied:
    return managers.apply(live, {"metadata": {"name": "m"}, "data": data}, MAP, who, force, {})


def after(found: managers.Applied) -> Object:
    meta = {**found.object["metadata"], "managedFields": found.managers}
    return {**found.object, "metadata": meta}


def test_items_of_lists_are_owned_by_their_keys() -> None:
    stated = fields.stated(
        template({"name": "a", "image": "x", "ports": [{"containerPort": 80}]}), DEPLOYMENT
    )
    assert written(stated["f:spec"]["f:template"]["f:spec"]) == [
        '.containers[name="a"]',
        '.containers[name="a"].image',
        '.containers[name="a"].name',
        '.containers[name="a"].ports[containerPort=80,protocol="TCP"]',
        '.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort',
    ]


def test_a_create_owns_what_it_says_and_the_maps_that_this_begins() -> None:
    """As upstream's: structs of Go are there already, so `spec` and `template` have no owner; `ports` has."""
    pod = {
        "metadata": {"name": "p", "labels": {"a": "b"}, "uid": "u"},
        "spec": {
            "containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
            "securityContext": {},
        },
    }
    (entry,) = managers.updated(None, pod, POD, updates(), {})
    assert written(entry["fieldsV1"]) == [
        ".metadata.labels",
        ".metadata.labels.a",
        '.spec.containers[name="a"]',
        '.spec.containers[name="a"].name',
        '.spec.containers[name="a"].ports',
        '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]',
        '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort',
        '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].protocol',
        '.spec.containers[name="a"].resources',
        ".spec.securityContext",
    ]


def test_an_update_takes_what_it_changes_and_lets_go_of_what_it_removes() -> None:
    entries = managers.updated(None, a_map({"a": "1", "b": "1", "c": "1"}), MAP, updates("first"), {})
    live = a_map({"a": "1", "b": "1", "c": "1"}, entries)
    entries = managers.updated(live, a_map({"a": "2", "b": "1"}), MAP, updates("second", NOW), {})
    assert owners(entries) == {"Update first": [".data", ".data.b"], "Update second": [".data.a"]}
    assert [e["time"] for e in entries] == [THEN, NOW]


def test_an_update_that_changes_nothing_leaves_no_trace() -> None:
    entries = managers.updated(None, a_map({"a": "1"}), MAP, updates(), {})
    live = a_map({"a": "1"}, entries)
    assert managers.updated(live, a_map({"a": "1"}), MAP, updates("other", NOW), {}) == entries


def test_an_object_without_managers_stays_so_until_somebody_applies() -> None:
    live: Object = {"metadata": {"name": "m", "uid": "u"}, "data": {"a": "1"}}
    assert managers.updated(live, a_map({"a": "2"}), MAP, updates(), {}) == []
    found = managers.apply(
        live, {"metadata": {"name": "m"}, "data": {"a": "1"}}, MAP, applies("me", NOW), False, {}
    )
    assert owners(found.managers) == {
        "Apply me": [".data.a"],
        "Update before-first-apply": [".data", ".data.a"],
    }


def test_a_writer_may_clear_the_managers() -> None:
    live = a_map({"a": "1"}, managers.updated(None, a_map({"a": "1"}), MAP, updates(), {}))
    ways: tuple[list[Object], ...] = ([], [{}])
    for cleared in ways:
        new: Object = {"metadata": {"name": "m", "managedFields": cleared}, "data": {"a": "1"}}
        assert managers.updated(live, new, MAP, updates(), {}) == []


def test_too_many_updates_are_put_together() -> None:
    live = a_map({})
    entries: list[Object] = []
    for n in range(12):
        data = {f"k{i}": "v" for i in range(n + 1)}
        who = updates(f"w{n:02}", f"2026-01-01T00:00:{n:02}Z")
        entries = managers.updated(a_map(live["data"], entries) if n else None, a_map(data), MAP, who, {})
        live = a_map(data)
    assert len(entries) == managers.MOST_UPDATES
    assert owners(entries)["Update ancient-changes"] == [".data", ".data.k0", ".data.k1", ".data.k2"]


def test_what_is_no_longer_stated_goes_unless_somebody_else_owns_it() -> None:
    first = apply({"metadata": {}}, {"a": "1", "b": "1"}, applies())
    other = apply(after(first), {"b": "1"}, applies("other"))
    last = apply(after(other), {}, applies())
    assert last.object["data"] == {"b": "1"}


def test_conflicts_name_who_and_what() -> None:
    live = after(apply({"metadata": {}}, {"a": "1", "b": "1"}, applies("one")))
    with pytest.raises(ApiError) as refused:
        apply(live, {"a": "2"}, applies("two"))
    assert refused.value.status["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    with pytest.raises(ApiError) as refused:
        apply(live, {"a": "2", "b": "2"}, applies("two"))
    expected = 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'
    assert refused.value.status["message"] == expected
    forced = apply(live, {"a": "2", "b": "2"}, applies("two"), force=True)
    assert owners(forced.managers) == {"Apply two": [".data.a", ".data.b"]}


def test_a_conflict_with_an_update_names_its_version_and_subresource() -> None:
    who = Manager("kubelet", "Update", "v1", "status", THEN)
    entries = managers.updated(None, a_map({"a": "1"}), MAP, who, {})
    with pytest.raises(ApiError, match=r'"kubelet" with subresource "status" using v1: \.data\.a'):
        apply(a_map({"a": "1"}, entries), {"a": "2"}, applies())


def test_kubectl_takes_over_what_it_applied_client_side() -> None:
    last = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"1"}}'
    live = a_map({"a": "1", "b": "1"})
    live["metadata"] |= {"uid": "u", "annotations": {managers.LAST_APPLIED: last}}
    live["metadata"]["managedFields"] = managers.updated(
        None, live, MAP, updates("kubectl-client-side-apply"), {}
    )
    found = apply(live, {"a": "2"}, applies("kubectl"))
    assert found.object["data"] == {"a": "2", "b": "1"}
    assert '"a":"2"' in found.object["metadata"]["annotations"][managers.LAST_APPLIED]
    with pytest.raises(ApiError, match=r"\.data\.b"):
        apply(live, {"b": "2"}, applies("kubectl"))
    with pytest.raises(ApiError, match=r"\.data\.a"):
        apply(live, {"a": "2"}, applies("somebody"))


def test_items_that_cannot_be_told_apart_are_refused() -> None:
    wanted = template({"name": "a"}, {"name": "a"})
    with pytest.raises(ApiError, match=r'duplicate entries for key \[name="a"\]'):
        managers.apply({"metadata": {}}, wanted, DEPLOYMENT, applies(), False, {})


def test_applied_items_come_in_their_order_and_others_keep_their_places() -> None:
    live = template({"name": "x"}, {"name": "a"}, {"name": "y"}, {"name": "b"})
    merged = fields.merge(live, template({"name": "b"}, {"name": "new"}, {"name": "a"}), DEPLOYMENT)
    names = [c["name"] for c in merged["spec"]["template"]["spec"]["containers"]]
    assert names == ["x", "y", "b", "new", "a"]


data = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


@given(data, data)
def test_applying_twice_is_applying_once(before: dict[str, str], then: dict[str, str]) -> None:
    """And what one manager alone applies is what is there."""
    live: Object = {"metadata": {"name": "m"}}
    for step in (before, then, then):
        live = after(apply(live, step, applies()))
    assert (live.get("data") or {}) == then


@given(data, data)
def test_what_is_given_is_left_alone(one: dict[str, str], two: dict[str, str]) -> None:
    live = after(apply({"metadata": {}}, one, applies()))
    copy = repr(live)
    apply(live, two, applies("other"), force=True)
    managers.updated(live, a_map(two), MAP, updates(), {})
    assert repr(live) == copy


@given(data, st.booleans())
def test_a_create_is_a_change_from_nothing(said: dict[str, str], labelled: bool) -> None:
    meta = {"name": "m", "labels": said} if labelled else {"name": "m"}
    for shape, part in ((MAP, {"data": said}), (POD, {"spec": {"nodeSelector": said, "containers": []}})):
        obj: Object = {"metadata": meta, **part}
        for _ in range(2):  # the second time it is remembered
            assert managers.created(obj, shape) == managers.differences({}, obj, shape)[0]
