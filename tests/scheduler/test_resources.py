"""What a pod requests: containers, starts, sidecars, overhead, pods as a whole, resizes in flight."""

from __future__ import annotations

from typing import Any

from sampan.machinery.objects import Object
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.resources import is_scalar, requests, resources


def container(cpu: str = "", memory: str = "", **more: Any) -> Object:
    amounts = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    return {"name": more.pop("name", "c"), "resources": {"requests": amounts}, **more}


def pod(*containers: Object, status: Object | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": list(containers), **spec},
        "status": status or {},
    }


def test_containers_add_up_and_are_rounded_once() -> None:
    assert requests(pod(container("0.0004", "0.5"), container("0.0004", "0.5"))) == {"cpu": 1, "memory": 1}


def test_the_start_counts_where_it_needs_more() -> None:
    found = pod(container("1", "1Gi"), initContainers=[container("3", "1Mi"), container("2", "2Gi")])
    assert requests(found) == {"cpu": 3000, "memory": 2 * 2**30}


def test_sidecars_run_beside_all_that_comes_after_them() -> None:
    sidecar = container("1", restartPolicy="Always")
    assert requests(pod(container("1"), initContainers=[container("3"), sidecar])) == {"cpu": 3000}
    assert requests(pod(container("1"), initContainers=[sidecar, container("3")])) == {"cpu": 4000}
    assert requests(pod(container("4"), initContainers=[sidecar, container("3")])) == {"cpu": 5000}


def test_what_the_pod_asks_as_a_whole_replaces_the_sum_and_overhead_comes_on_top() -> None:
    found = pod(container("1", "1Gi"), resources={"requests": {"cpu": "500m"}}, overhead={"cpu": "100m"})
    assert requests(found) == {"cpu": 600, "memory": 2**30}
    assert requests(found, pod_level=False) == {"cpu": 1100, "memory": 2**30}


def test_a_resize_counts_the_most_of_asked_allocated_and_in_effect() -> None:
    one = {"name": "c", "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "3"}}}
    found = pod(container("1"), status={"containerStatuses": [one]})
    assert requests(found) == {"cpu": 3000}
    assert requests(found, status=False) == {"cpu": 1000}


def test_a_resize_that_cannot_be_counts_what_is() -> None:
    one = {"name": "c", "allocatedResources": {"cpu": "2"}}
    infeasible = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
    status = {"containerStatuses": [one], "conditions": [infeasible]}
    assert requests(pod(container("8"), status=status)) == {"cpu": 2000}


def test_containers_without_requests_count_a_little_when_nodes_are_compared() -> None:
    assert PodInfo(pod(container(), container("1"))).non_zero == (1100, 400 * 2**20)
    # An explicit zero is a request.
    assert PodInfo(pod(container("0", "0"))).non_zero == (0, 0)


def test_only_resources_that_are_known_count() -> None:
    assert resources({"cpu": "1", "example.com/gpu": "2", "hugepages-2Mi": "4Mi", "nonsense": "1", "pods": "3"}) == {
        "cpu": 1000, "example.com/gpu": 2, "hugepages-2Mi": 4 * 2**20, "pods": 3,
    }  # fmt: skip
    assert [n for n in ("cpu", "a.b/c", "requests.a/b", "attachable-volumes-x", "storage") if is_scalar(n)] == [
        "a.b/c", "attachable-volumes-x"
    ]  # fmt: skip
