"""Protobuf bodies of every kind, both ways; the fixed bytes are what kubectl 1.37 sends."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.kinds import registry, schemas
from sampan.kinds.kind import Kind
from sampan.machinery import protobuf, wire
from sampan.machinery.protobuf import ProtobufError

from .generate import objects

KINDS = [
    k
    for k in {(k.api_version, k.kind): k for k in (*registry.builtin(), *registry.bodies())}.values()
    if schemas.of(k.group, k.version, k.kind)
]


def test_every_kind_with_a_schema_has_a_message() -> None:
    assert [k.kind for k in KINDS if not protobuf.knows(k.api_version, k.kind)] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.group}.{k.kind}")
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_object_comes_back_as_it_went(kind: Kind, data: st.DataObject) -> None:
    obj = data.draw(objects(kind))
    assert protobuf.decode(protobuf.encode(obj)) == obj


def test_a_namespace_as_kubectl_sends_it() -> None:
    body = (
        b'k8s\x00\n\x0f\n\x02v1\x12\tNamespace\x12\x1a\n\x14\n\x04shop\x12\x00\x1a\x00"\x00*\x002\x008\x00B\x00'
        b'\x12\x00\x1a\x00\x1a\x00"\x00'
    )
    assert protobuf.decode(body) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop"},
        "spec": {},
        "status": {},
    }


def test_loading_beforehand_leaves_little_to_the_first_body() -> None:
    code = (
        "import sys; from sampan.machinery import protobuf; before = set(sys.modules); protobuf.load();"
        "loaded = set(sys.modules); protobuf.encode({'apiVersion': 'v1', 'kind': 'Pod', 'spec': {}});"
        "print('google.protobuf' in before, len(set(sys.modules) - loaded))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.split() == ["False", "0"]


def test_what_all_groups_share_is_found_in_any() -> None:
    options = {"apiVersion": "apps/v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
    assert protobuf.decode(protobuf.encode(options)) == options


def test_lists() -> None:
    pods = [{"metadata": {"name": name}} for name in ("a", "b")]
    found = {"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": pods}
    assert protobuf.decode(protobuf.encode(found)) == found


def test_a_pointer_to_zero_is_kept_and_a_plain_zero_is_not() -> None:
    obj: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"replicas": 0, "minReadySeconds": 0, "paused": False},
    }
    assert protobuf.decode(protobuf.encode(obj))["spec"] == {"replicas": 0}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"k8s\x00\xff\xff", b"k8s\x00", b"k8s\x00\n\x0b\n\x02v1\x12\x05Nope!"]
)
def test_what_is_no_body(body: bytes) -> None:
    with pytest.raises(ProtobufError):
        protobuf.decode(body)


def test_what_does_not_fit() -> None:
    with pytest.raises(ProtobufError, match="does not fit"):
        protobuf.encode({"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": "yes"}})


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0s", 0),
        ("1.5s", 15 * 10**8),
        ("1h0m0s", 3600 * 10**9),
        ("2m3s", 123 * 10**9),
        ("1.5ms", 1500000),
        ("-1s", -(10**9)),
    ],
)
def test_durations(text: str, nanos: int) -> None:
    assert protobuf.nanoseconds(text) == nanos
    message = protobuf._class("k8s.io.apimachinery.pkg.apis.meta.v1.Duration")(duration=nanos)
    assert protobuf._duration_from(message) == text
    assert wire.message("k8s.io.apimachinery.pkg.apis.meta.v1.Duration", text) == message.SerializeToString()


def test_a_definition_with_all_that_stands_in_a_schemas_place() -> None:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "default": {"a": [1, None, "x"]},
                "properties": {
                    "items": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
                    "labels": {"type": "object", "additionalProperties": {"type": "integer", "maximum": 3.5}},
                    "free": {"type": "object", "additionalProperties": True},
                },
                "x-kubernetes-validations": [{"rule": "self.a == 1", "message": "no"}],
            }
        },
    }  # fmt: skip
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    obj = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "boats", "kind": "Boat"},
            "scope": "Cluster",
            "versions": [version],
        },
    }
    back = protobuf.decode(protobuf.encode(obj))
    found = {k: v for k, v in back["spec"].items() if v}
    assert found == obj["spec"]
