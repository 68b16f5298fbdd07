"""What /resize of a pod may change, what it refuses, and in what words."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object

from .conftest import Cluster
from .test_access import pod, refused

AMOUNTS = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}


async def _pod(cluster: Cluster, **spec: Any) -> Object:
    await cluster.account()
    resources = [{"name": "c", "image": "x", "resources": AMOUNTS}, {"name": "d", "image": "y"}]
    return await cluster.admin.create("pods", pod("p", containers=resources, **spec))


async def _resize(cluster: Cluster, *containers: Object) -> Object:
    patch = {"spec": {"containers": list(containers)}}
    return await cluster.admin.patch("pods", "p", "default", patch, type="strategic", subresource="resize")


async def test_only_resources_change_and_the_generation_counts(cluster: Cluster) -> None:
    made = await _pod(cluster)
    found = await _resize(cluster, {"name": "c", "image": "other", "resources": {"requests": {"cpu": "1"}}})
    [first, second] = found["spec"]["containers"]
    assert first["resources"] == {"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}
    assert (first["image"], second) == ("x", made["spec"]["containers"][1])
    assert found["metadata"]["generation"] == 2
    assert found["metadata"].get("labels") == made["metadata"].get("labels")


@pytest.mark.parametrize(
    ("container", "why"),
    [
        ({"resources": {"limits": {"memory": None}}}, "resource limits cannot be removed"),
        ({"resources": {"requests": {"ephemeral-storage": "1Gi"}}}, "only cpu and memory resources are mutable"),
        ({"name": "new", "image": "z"}, "containers may not be added or removed on resize"),
        ({"resources": {"requests": {"cpu": None, "memory": None}}}, "resource requests cannot be removed"),
        ({"resources": {"requests": {"memory": "128Mi"}}},
         "must be less than or equal to memory limit of 64Mi"),
    ],
)  # fmt: skip
async def test_a_resize_is_refused_in_upstreams_words(cluster: Cluster, container: Object, why: str) -> None:
    await _pod(cluster)
    assert why in str(await refused(_resize(cluster, {"name": "c", **container})))


async def test_the_class_of_service_stays(cluster: Cluster) -> None:
    await _pod(cluster)
    same = {"cpu": "1", "memory": "64Mi"}
    both = [{"name": n, "resources": {"requests": same, "limits": same}} for n in ("c", "d")]
    error = await refused(_resize(cluster, *both))
    assert 'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing' in str(
        error
    )


async def test_resources_change_through_resize_alone(cluster: Cluster) -> None:
    await _pod(cluster)
    patch = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}
    error = await refused(cluster.admin.patch("pods", "p", "default", patch, type="strategic"))
    assert "pod updates may not change fields other than" in str(error)


async def test_a_node_must_have_what_is_asked(cluster: Cluster) -> None:
    await _pod(cluster, nodeName="n")
    more = {"name": "c", "resources": {"requests": {"cpu": "3"}}}
    assert str(await refused(_resize(cluster, more))) == 'pods "p" is forbidden: node "n" not found'
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    status = {"allocatable": {"cpu": "2", "memory": "1Gi"}}
    await cluster.admin.create("nodes", {**node, "status": status})
    error = await refused(_resize(cluster, more))
    why = "node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000"
    assert str(error) == f'pods "p" is forbidden: {why}'
    assert error.status["details"]["causes"] == [{"reason": "NodeCapacity"}]


async def test_policies_of_resizing_are_checked(cluster: Cluster) -> None:
    await cluster.account()
    policy = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    made = pod("p", containers=[{"name": "c", "image": "x", "resizePolicy": policy}], restartPolicy="Never")
    error = await refused(cluster.admin.create("pods", made))
    assert "must be 'NotRequired' when pod `restartPolicy` is 'Never'" in str(error)
