"""EndpointSlices: every pod behind a Service once, at most a hundred to a slice, changed as little as possible."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.controllers import endpoint_slices as endpoints
from sampan.machinery.objects import Key, Object
from sampan.reconcile.controller import Create, Delete, Patch


def service(**spec: Any) -> Object:
    port = {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"tier": "front"}},
        "spec": {"selector": {"app": "web"}, "ports": [port], "ipFamilies": ["IPv4"], **spec},
    }


def pod(i: int, *, ready: bool = True, port: int = 8080, **meta: Any) -> Object:
    container = {"name": "c", "ports": [{"name": "web", "containerPort": port, "protocol": "TCP"}]}
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    return {
        "metadata": {
            "name": f"p{i}",
            "namespace": "default",
            "uid": f"u{i}",
            "labels": {"app": "web"},
            **meta,
        },
        "spec": {"nodeName": "n1", "containers": [container]},
        "status": {"phase": "Running", "podIP": f"10.0.{i // 250}.{i % 250 + 1}", "conditions": conditions},
    }


def settle(slices: dict[Key, Object], pods: list[Object], now: float = 0, **spec: Any) -> int:
    """Carry out a plan on `slices`; how many actions it took."""
    seen = endpoints.Observed(service(**spec), tuple(pods), tuple(slices.values()), {"n1": "z1"})
    plan = endpoints.decide(seen, now)
    for action in plan.actions:
        match action:
            case Create():
                meta = {**action.object["metadata"], "uid": action.object["metadata"]["name"]}
                slices[Key("default", meta["name"])] = {**action.object, "metadata": meta}
            case Patch():
                found = slices[action.key]
                meta = {**found["metadata"], **action.patch["metadata"]}
                slices[action.key] = {**found, "metadata": meta, "endpoints": action.patch["endpoints"]}
            case Delete():
                del slices[action.key]
    return len(plan.actions)


def only(slices: dict[Key, Object]) -> Object:
    (found,) = slices.values()
    return found


def test_a_slice_names_ports_and_states() -> None:
    slices: dict[Key, Object] = {}
    going = pod(2, deletionTimestamp="2026-01-01T00:00:00Z")
    settle(slices, [pod(0), pod(1, ready=False), going])
    found = only(slices)
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert found["metadata"]["labels"] == {
        "tier": "front",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    states = [
        tuple(e["conditions"][c] for c in ("ready", "serving", "terminating")) for e in found["endpoints"]
    ]
    assert states == [(True, True, False), (False, False, False), (False, True, True)]
    assert found["endpoints"][0]["zone"] == "z1"


def test_a_headless_service_names_its_hosts_and_may_publish_those_that_are_not_ready() -> None:
    slices: dict[Key, Object] = {}
    named = pod(0, ready=False)
    named["spec"] |= {"hostname": "web-0", "subdomain": "web"}
    settle(slices, [named], clusterIP="None", publishNotReadyAddresses=True)
    found = only(slices)
    assert found["endpoints"][0]["hostname"] == "web-0"
    assert found["endpoints"][0]["conditions"]["ready"]
    assert "service.kubernetes.io/headless" in found["metadata"]["labels"]


def test_pods_with_different_numbers_behind_one_name_stand_apart() -> None:
    slices: dict[Key, Object] = {}
    settle(slices, [pod(0, port=8080), pod(1, port=9090)])
    assert sorted(s["ports"][0]["port"] for s in slices.values()) == [8080, 9090]


def test_a_service_without_pods_keeps_one_empty_slice() -> None:
    slices: dict[Key, Object] = {}
    settle(slices, [pod(0)])
    settle(slices, [])
    assert only(slices)["endpoints"] == []
    assert settle(slices, []) == 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sets(st.integers(0, 260)), min_size=1, max_size=4))
def test_slices_hold_exactly_the_pods(history: list[set[int]]) -> None:
    slices: dict[Key, Object] = {}
    for now, alive in enumerate(history):
        pods = [pod(i) for i in sorted(alive)]
        settle(slices, pods, now)
        held = [e["targetRef"]["name"] for s in slices.values() for e in s["endpoints"]]
        assert sorted(held) == sorted(p["metadata"]["name"] for p in pods)
        assert all(len(s["endpoints"]) <= endpoints.MOST for s in slices.values())
        assert settle(slices, pods, now) == 0, "a settled state is not touched again"


@pytest.mark.parametrize(
    ("wanted", "hints"),
    [
        (None, None),
        ("PreferClose", {"forZones": [{"name": "z1"}]}),
        ("PreferSameZone", {"forZones": [{"name": "z1"}]}),
        ("PreferSameNode", {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}),
    ],
)
def test_endpoints_say_for_whom_they_are(wanted: str | None, hints: Object | None) -> None:
    slices: dict[Key, Object] = {}
    settle(slices, [pod(0), pod(1, ready=False)], trafficDistribution=wanted)
    told = {e["addresses"][0]: e.get("hints") for e in only(slices)["endpoints"]}
    assert told == {"10.0.0.1": hints, "10.0.0.2": None}
    assert settle(slices, [pod(0), pod(1, ready=False)], trafficDistribution=wanted) == 0
