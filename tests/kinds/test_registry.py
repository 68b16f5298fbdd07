"""The registry, and what holds for every kind in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sampan.kinds import registry, schemas, subresources
from sampan.kinds.kind import Kind

ALL = registry.builtin()


def test_kinds_are_found_by_resource_and_by_name() -> None:
    assert registry.find("deployments.apps").kind == "Deployment"
    assert registry.find("pods") is registry.of("v1", "Pod")
    assert registry.of("policy/v1", "Eviction").verbs == ()
    with pytest.raises(KeyError):
        registry.find("deployments")


def test_resources_and_short_names_are_unique() -> None:
    # A second version of a kind is served under the same names.
    resources = [k.resource for k in ALL if k.storage != k.resource]
    assert len(set(resources)) == len(resources)
    short = [(s, k.resource) for k in ALL for s in k.short_names if not k.storage]
    assert len({s for s, _ in short}) == len(short)


def test_loading_the_registry_loads_nothing_heavy() -> None:
    code = "import sys; from sampan.kinds import registry; registry.builtin(); print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()
    assert not {"zstandard", "google.protobuf", "orjson", "asyncio", "hashlib"} & set(found)


@pytest.mark.parametrize("kind", ALL, ids=lambda k: k.resource)
def test_what_holds_for_every_kind(kind: Kind) -> None:
    bare = {"metadata": {"name": "x", "namespace": "default"}}
    for column in kind.columns:
        column.value(bare, 0.0)
    assert {subresources.describe(kind, s).name for s in kind.subresources} == set(kind.subresources)
    assert kind.knows_field("metadata.name")
    assert not kind.knows_field("spec.no.such.field")
    assert all(isinstance(v, str) for v in kind.selectable(bare).values())
    if kind.group != "metrics.k8s.io":
        assert schemas.name_of(kind.group, kind.version, kind.kind)


STORED = [k for k in ALL if "create" in k.verbs and k.stored]


@pytest.mark.parametrize("kind", STORED, ids=lambda k: k.resource)
def test_defaults_change_nothing_the_second_time(kind: Kind) -> None:
    obj = (
        {"metadata": {"name": "x"}, "spec": {}}
        if "spec" in _properties(kind)
        else {"metadata": {"name": "x"}}
    )
    kind.default(obj)
    again = schemas.decode(obj, kind.group, kind.version, kind.kind)
    assert again.unknown == []
    before = repr(again.obj)
    kind.default(again.obj)
    assert repr(again.obj) == before


def _properties(kind: Kind) -> dict[str, object]:
    found: dict[str, object] = (schemas.of(kind.group, kind.version, kind.kind) or {})["properties"]
    return found


def test_events_are_one_thing_in_two_forms() -> None:
    newer = registry.find("events.events.k8s.io")
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
        "note": "pulled",
        "reportingController": "kubelet",
    }
    core = newer.to_storage(event)
    assert core["involvedObject"]["name"] == "web"
    assert core["message"] == "pulled"
    assert newer.from_storage(core) == event
    assert newer.storage == "events"
    assert newer.selectable(event)["regarding.name"] == "web"
    assert schemas.decode(core, "", "v1", "Event").unknown == []
