"""Field sets of server-side apply: what is owned, merged, pruned; as plain functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.apiserver import fields, managers
from sampan.apiserver.managers import Manager
from sampan.kinds import schemas
from sampan.machinery.objects import Object

DEPLOYMENT = schemas.node("apps", "v1", "Deployment")
MAP = schemas.node("", "v1", "ConfigMap")


def template(*containers: Object) -> Object:
    return {"metadata": {"name": "web"}, "spec": {"template": {"spec": {"containers": list(containers)}}}}


def me(name: str = "me") -> Manager:
    return Manager(name, "Apply", "apps/v1", time="2026-01-01T00:00:00Z")


def test_items_of_lists_are_owned_by_their_keys() -> None:
    owned = fields.of(template({"name": "a", "image": "x", "ports": [{"containerPort": 80}]}), DEPLOYMENT)
    assert sorted(map(fields.worded, owned)) == [
        '.spec.template.spec.containers[name="a"]',
        '.spec.template.spec.containers[name="a"].image',
        '.spec.template.spec.containers[name="a"].name',
        '.spec.template.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]',
        '.spec.template.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort',
    ]


def test_fields_v1_is_read_as_it_was_written() -> None:
    obj = template({"name": "a", "args": ["x"], "env": [{"name": "E", "value": "1"}]})
    obj["metadata"]["finalizers"] = ["example.com/f"]
    obj["metadata"]["labels"] = {"a": "b"}
    owned = fields.of(obj, DEPLOYMENT)
    assert fields.decode(fields.encode(owned)) == owned


def test_what_is_no_longer_stated_goes_unless_somebody_else_owns_it() -> None:
    first = managers.apply(
        {"metadata": {}}, {"metadata": {"name": "m"}, "data": {"a": "1", "b": "1"}}, MAP, me(), False
    )
    live = {**first.object, "metadata": {"name": "m", "managedFields": managers.entries(first.managers)}}
    other = managers.apply(live, {"metadata": {"name": "m"}, "data": {"b": "1"}}, MAP, me("other"), False)
    live = {**other.object, "metadata": {"name": "m", "managedFields": managers.entries(other.managers)}}
    last = managers.apply(live, {"metadata": {"name": "m"}}, MAP, me(), False)
    assert last.object["data"] == {"b": "1"}


def test_an_update_takes_what_it_changes() -> None:
    made = managers.apply(
        {"metadata": {}}, {"metadata": {"name": "m"}, "data": {"a": "1", "b": "1"}}, MAP, me(), False
    )
    old = {**made.object, "metadata": {"name": "m", "managedFields": managers.entries(made.managers)}}
    found = managers.updated(old, {**old, "data": {"a": "2"}}, MAP, Manager("kubectl-edit", "Update", "v1"))
    assert {m.name: sorted(map(fields.worded, m.owned)) for m in found} == {
        "me": [],
        "kubectl-edit": [".data.a"],
    }


data = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


@given(data, data)
def test_applying_twice_is_applying_once(before: dict[str, str], after: dict[str, str]) -> None:
    """And what one manager alone applies is what is there."""
    live: Object = {"metadata": {"name": "m"}}
    for step in (before, after, after):
        made = managers.apply(live, {"metadata": {"name": "m"}, "data": step}, MAP, me(), False)
        live = {**made.object, "metadata": {"name": "m", "managedFields": managers.entries(made.managers)}}
    assert (live.get("data") or {}) == after


@given(data, data)
def test_pruning_all_that_is_owned_leaves_nothing(one: dict[str, str], two: dict[str, str]) -> None:
    obj = {"metadata": {"name": "m"}, "data": one, "binaryData": two}
    left = fields.prune(obj, MAP, fields.of(obj, MAP))
    assert left == {"metadata": {"name": "m"}}
