"""managedFields against upstream's own library, structured-merge-diff, built from its Go module: random histories of
updates and applies, whose every step must leave the same object, the same owners and the same conflicts.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.apiserver import managers
from sampan.apiserver.managers import Manager
from sampan.client.api import ApiError
from sampan.kinds import registry, shapes
from sampan.kinds.shapes import Form, Shape
from sampan.machinery import fieldsets
from sampan.machinery.objects import Object

pytestmark = pytest.mark.campaign
HERE = Path(__file__).parent / "oracle"
TYPE = "io.k8s.api.apps.v1.Deployment"
SHAPE = shapes.of(registry.find("deployments.apps"))
NAMES = ("ann", "bob", "kubectl")


class Oracle:
    """The Go program, asked one write at a time."""

    def __init__(self, program: Path, schema: Path):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([program, schema], stdin=pipe, stdout=pipe, text=True)

    def ask(self, **write: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"type": TYPE, **write}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    directory = tmp_path_factory.mktemp("oracle")
    program, schema = directory / "oracle", directory / "schema.yaml"
    subprocess.run(["go", "build", "-o", program, "."], cwd=HERE, check=True)
    words = ["go", "mod", "download", "-json", "k8s.io/client-go@v0.37.2"]
    done = subprocess.run(words, cwd=directory, check=True, capture_output=True)
    source = Path(json.loads(done.stdout)["Dir"]) / "applyconfigurations" / "internal" / "internal.go"
    schema.write_text(source.read_text().partition("YAMLObject(`")[2].partition("`)")[0])
    made = Oracle(program, schema)
    yield made
    made.process.kill()
    made.process.wait()


def as_go(value: Any, shape: Shape) -> Any:
    """An object as a Go client's structs are: what cannot be left out is there."""
    if shape.form is Form.MAP and isinstance(value, dict):
        empty: Object = {name: {} if zero == {} else None for name, zero in shape.always.items()}
        return {n: as_go(v, shape.below(n)[1]) for n, v in {**empty, **value}.items()}
    if shape.form is Form.LIST and isinstance(value, list):
        return [as_go(item, shape.element) for item in value]
    return value


def stored(value: Any, shape: Shape) -> Any:
    """An object as a Go server keeps it: without empty lists and maps of strings."""
    if shape.form is Form.MAP and isinstance(value, dict):
        found = {n: stored(v, shape.below(n)[1]) for n, v in value.items() if v is not None}
        return {n: v for n, v in found.items() if v or type(v) in (int, bool) or shape.below(n)[1].fields}
    if shape.form is Form.LIST and isinstance(value, list):
        return [stored(item, shape.element) for item in value]
    return value


def plain(value: Any) -> Any:
    """Without what says nothing."""
    if isinstance(value, dict):
        found = {k: plain(v) for k, v in value.items()}
        return {k: v for k, v in found.items() if v not in (None, {}, [])}
    return [plain(v) for v in value] if isinstance(value, list) else value


def ordered(fields: Any) -> Any:
    return {k: ordered(v) for k, v in sorted(fields.items())}


some = st.sampled_from("xyz")
names = st.sampled_from("abc")
labels = st.dictionaries(names, some, max_size=3)


def named(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Object]]:
    one = st.fixed_dictionaries({"name": names}, optional=fields)
    return st.lists(one, max_size=3, unique_by=lambda item: item["name"])


ports = st.lists(
    st.fixed_dictionaries(
        {"containerPort": st.sampled_from([80, 81])},
        optional={"protocol": st.sampled_from(["TCP", "UDP"]), "name": some},
    ),
    max_size=2,
    unique_by=lambda p: (p["containerPort"], p.get("protocol", "TCP")),
)
containers = named(
    image=some, args=st.lists(some, max_size=2), env=named(value=some), ports=ports,
    resources=st.fixed_dictionaries({}, optional={"limits": st.dictionaries(st.just("cpu"), st.sampled_from("12"))}),
    securityContext=st.fixed_dictionaries({}, optional={"runAsUser": st.integers(0, 1)}),
)  # fmt: skip
pod = st.fixed_dictionaries(
    {},
    optional={
        "containers": containers,
        "nodeSelector": labels,
        "tolerations": st.lists(st.fixed_dictionaries({"key": some}), max_size=2),
        "volumes": named(emptyDir=st.just({}), configMap=st.fixed_dictionaries({"name": some})),
        "securityContext": st.fixed_dictionaries({}, optional={"fsGroup": st.integers(0, 1)}),
        "hostNetwork": st.booleans(),
    },
)
spec: Any = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 2),
        "selector": st.fixed_dictionaries({"matchLabels": labels}),
        "template": st.fixed_dictionaries({}, optional={"spec": pod}),
        "strategy": st.fixed_dictionaries({}, optional={"type": some}),
    },
)
meta: Any = st.fixed_dictionaries(
    {"name": st.just("d")},
    optional={
        "labels": labels, "annotations": labels,
        "finalizers": st.lists(names, max_size=3, unique=True),
        "ownerReferences": st.lists(
            st.fixed_dictionaries({"uid": names, "name": some}), max_size=2, unique_by=lambda r: str(r["uid"])
        ),
    },
)  # fmt: skip
fields: Any = {"metadata": meta}
objects: st.SearchStrategy[Object] = st.fixed_dictionaries(fields, optional={"spec": spec})
writes = st.tuples(st.sampled_from(NAMES), st.booleans(), st.booleans(), objects)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=st.lists(writes, min_size=1, max_size=5))
def test_every_write_leaves_what_upstream_leaves(oracle: Oracle, history: list[Any]) -> None:
    live: Object = {"metadata": {"name": "d"}}
    entries: list[Object] = []
    for name, applies, force, wanted in history:
        wanted = wanted if applies else stored(wanted, SHAPE)
        operation = "Apply" if applies else "Update"
        who = Manager(name, operation, "apps/v1", time="2026-01-01T00:00:00Z")
        said = oracle.ask(
            live=as_go(live, SHAPE), object=wanted if applies else as_go(wanted, SHAPE), apply=applies, force=force,
            managers={key(e): {"set": e["fieldsV1"], "applied": e["operation"] == "Apply"} for e in entries},
            manager=f"Apply {name}" if applies else "current",
        )  # fmt: skip
        assert not said["error"], said["error"]
        held = {**live, "metadata": {**live["metadata"], "managedFields": entries}}
        if not applies:
            found, gone = managers.differences(live, wanted, SHAPE)
            entries = managers.updated_entries(entries, found, gone, who, {})
            check(entries, merged_current(said["managers"], name))
            live = wanted
            continue
        try:
            made = managers.apply(held, wanted, SHAPE, who, force, {})
        except ApiError as refused:
            causes = refused.status["details"]["causes"]
            theirs = [c.rpartition(" ")[2] for c in said["conflicts"]]
            assert sorted(c["field"] for c in causes) == sorted(theirs)
            continue
        assert not said["conflicts"]
        check(made.managers, said["managers"])
        if said["object"] is not None:
            assert plain(without_managers(made.object)) == plain(said["object"])
        entries = made.managers
        live = stored(without_managers(made.object), SHAPE)


def without_managers(obj: Object) -> Object:
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


def key(entry: Object) -> str:
    return f"{entry['operation']} {entry['manager']}"


def merged_current(said: Any, name: str) -> Any:
    """Upstream's wrapper adds what an update took to what its manager had."""
    current = said.pop("current", None)
    if current:
        before = said.get(f"Update {name}", {"set": {}})
        said[f"Update {name}"] = {"set": fieldsets.union(before["set"], current["set"])}
    return said


def check(entries: list[Object], said: Any) -> None:
    ours = {key(e): ordered(strip(e["fieldsV1"])) for e in entries}
    theirs = {k: ordered(strip(v["set"])) for k, v in said.items()}
    assert {k: v for k, v in ours.items() if v} == {k: v for k, v in theirs.items() if v}


def strip(fields: Any) -> Any:
    return fieldsets.difference(fields, managers.NO_METADATA)
