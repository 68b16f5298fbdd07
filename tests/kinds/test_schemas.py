"""What decoding makes of bodies: unknown fields, wrong types, nulls, quantities."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.kinds import registry, schemas, upstream
from sampan.kinds.kind import Kind
from sampan.kinds.schemas import DecodeError

from .generate import objects


def decode(**fields: Any) -> schemas.Decoded:
    return schemas.decode(
        {"apiVersion": "apps/v1", "kind": "Deployment", **fields}, "apps", "v1", "Deployment"
    )


def test_unknown_fields_are_named_and_dropped() -> None:
    found = decode(
        spec={"replica": 3, "template": {"spec": {"containers": [{"name": "a", "img": "x"}]}}}, extra=1
    )
    assert found.faults == [
        'unknown field "spec.replica"',
        'unknown field "spec.template.spec.containers[0].img"',
        'unknown field "extra"',
    ]
    assert found.obj["spec"] == {"template": {"spec": {"containers": [{"name": "a"}]}}}


def test_nulls_are_as_good_as_absent() -> None:
    assert decode(metadata={"name": "a", "creationTimestamp": None}, status=None).obj["metadata"] == {
        "name": "a"
    }
    assert "status" not in decode(status=None).obj


def test_labels_and_other_maps_take_any_key() -> None:
    assert decode(metadata={"labels": {"any/thing": "x"}}).unknown == []


def test_quantities_take_their_canonical_form() -> None:
    pod = {"spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}}
    found = schemas.decode(pod, "", "v1", "Pod").obj
    assert found["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    assert pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] == 0.5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"spec": {"replicas": "3"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": []},
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            {"spec": {"paused": 1}},
            "cannot unmarshal number 1 into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        ({"spec": {"replicas": 2**40}}, "of type int32"),
        ({"spec": {"template": {"spec": {"containers": {}}}}}, "of type []v1.Container"),
        ({"spec": {"strategy": {"rollingUpdate": {"maxSurge": True}}}}, "cannot unmarshal bool"),
        ({"metadata": {"creationTimestamp": "yesterday"}}, 'parsing time "yesterday"'),
    ],
)
def test_wrong_types_are_refused_as_gos_decoder_does(fields: Any, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(**fields)
    assert words.replace("number 1 into", "number into") in str(caught.value)


def test_base64_is_checked() -> None:
    with pytest.raises(DecodeError, match="illegal base64 data at input byte 1"):
        schemas.decode({"data": {"a": "x!"}}, "", "v1", "Secret")


def test_what_the_schema_says_of_lists() -> None:
    spec = schemas.node("", "v1", "Pod").child("spec")
    containers = spec.child("containers")
    assert (containers.merge_key, containers.strategies) == ("name", ("merge",))
    ports = containers.child("ports")
    assert (ports.merge_key, ports.map_keys, ports.list_type) == (
        "containerPort",
        ("containerPort", "protocol"),
        "map",
    )
    assert spec.child("nodeSelector").atomic
    assert schemas.node("", "v1", "Service").child("spec").child("selector").atomic
    assert spec.child("no").child("such").merge_key == ""


def test_what_is_shipped_is_what_the_package_says() -> None:
    found = upstream.definitions(descriptions=False)
    assert found is not None
    assert schemas.definitions() == upstream.served(found)


def test_descriptions_come_from_the_package() -> None:
    found = upstream.definitions(descriptions=True)
    assert found is not None
    assert "containers" in found["io.k8s.api.core.v1.Pod"]["description"]


@pytest.mark.parametrize("kind", registry.builtin(), ids=lambda k: k.resource)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_a_schema_allows_is_taken_as_it_is(kind: Kind, data: st.DataObject) -> None:
    if schemas.of(kind.group, kind.version, kind.kind) is None:
        assert kind.group == "metrics.k8s.io"
        return
    obj = data.draw(objects(kind))
    found = schemas.decode(obj, kind.group, kind.version, kind.kind)
    assert found.unknown == []
    assert found.obj == obj


def test_every_reference_leads_somewhere() -> None:
    known = schemas.definitions()
    referred = {r for schema in known.values() for r in upstream._references(schema)}
    assert referred <= known.keys()
    formats = {
        p.get("format")
        for s in known.values()
        for p in s.get("properties", {}).values()
        if p.get("type") == "integer"
    }
    assert formats <= {"int32", "int64"}
