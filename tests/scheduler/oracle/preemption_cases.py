"""Cases in which no node fits a pod of high priority, and others would have to go: budgets, ages, terminating pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.scheduler.oracle.cases import Maker

Object = dict[str, Any]


def add_preemption(make: Maker, case: Object) -> None:
    """Fill the case's nodes, give its pods priorities and ages, and ask for preemption."""
    case["preempt"] = True
    del case["nodes"][6:]
    names = [node["metadata"]["name"] for node in case["nodes"]]
    for node in case["nodes"]:
        node["status"]["allocatable"] |= {"cpu": make.pick("2", "3"), "memory": "5Gi"}
        node["spec"] = {}
    case["pods"] = [make.pod(f"e{i}", make.pick(*names)) for i in range(make.random.randint(6, 30))]
    for index, pod in enumerate(case["pods"]):
        # No two start at the same time, so that little is left to chance.
        start = f"2026-01-01T{make.random.randint(0, 23):02}:{index:02}:{make.random.randint(0, 59):02}Z"
        pod.setdefault("status", {})["startTime"] = start
        # No two may have one port: upstream forgets both where one goes.
        for container in pod["spec"]["containers"]:
            container.pop("ports", None)
        pod["spec"]["priority"] = make.pick(-5, 0, 0, 5, 10, 10, 100, 5000)
        pod["metadata"]["namespace"] = make.pick("default", "default", "other")
        if "deletionTimestamp" in pod["metadata"] and make.chance(0.5):
            condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
            pod["status"].setdefault("conditions", []).append(condition)
    wanted = case["pod"]
    for field in ("nodeName", "nodeSelector", "initContainers", "overhead", "resources"):
        wanted["spec"].pop(field, None)
    wanted["spec"].get("affinity", {}).pop("nodeAffinity", None)
    wanted["spec"]["priority"] = make.pick(10, 100, 1000, 1000)
    for container in wanted["spec"]["containers"]:
        container["resources"]["requests"] = {
            "cpu": make.pick("500m", "800m", "1"),
            "memory": make.pick("1Gi", "2Gi"),
        }
    if make.chance(0.1):
        wanted["spec"]["preemptionPolicy"] = make.pick("Never", "PreemptLowerPriority")
    if make.chance(0.2):
        nominated = make.pick(*case["nodes"])["metadata"]["name"]
        wanted.setdefault("status", {})["nominatedNodeName"] = nominated
    case["podDisruptionBudgets"] = [_budget(make, f"b{i}") for i in range(make.pick(0, 1, 2, 3))]


def _budget(make: Maker, name: str) -> Object:
    status: Object = {"disruptionsAllowed": make.pick(0, 0, 1, 2)}
    if make.chance(0.2):
        status["disruptedPods"] = {f"e{make.random.randint(0, 9)}": "2026-01-01T00:00:00Z"}
    spec = {"selector": make.selector()} if make.chance(0.95) else {}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": status}
