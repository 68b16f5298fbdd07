"""The scheduler in batch mode, on a real API server: pods that come together are planned together."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.running import Cluster, cluster

from sampan.machinery.objects import Object
from sampan.scheduler import configuration
from sampan.scheduler.batch.mode import Mode, modes
from sampan.scheduler.batch.plan import Wish
from sampan.scheduler.configuration import ConfigurationError

CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  pluginConfig:
  - name: SampanBatch
    args: {seconds: 0.3, window: 0.2}
"""


def pod(name: str, cpu: str, memory: str, scheduler: str = "packer", **spec: Any) -> Object:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    meta = {"name": name, "namespace": "default"}
    made = {"schedulerName": scheduler, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": made}


async def node_of(c: Cluster, name: str) -> str:
    await c.until("pods", name, lambda p: p and p["spec"].get("nodeName"))
    return str((await c.admin.get("pods", name, "default"))["spec"]["nodeName"])


async def test_pods_that_come_together_are_planned_together() -> None:
    async with cluster("n1", "n2", "n3", "n4", config=configuration.load(CONFIG)) as c:
        for i in range(2):
            await c.admin.create("pods", pod(f"cpu-{i}", "6", "1Gi"))
            await c.admin.create("pods", pod(f"memory-{i}", "2", "7Gi"))
        names = [f"{kind}-{i}" for kind in ("cpu", "memory") for i in range(2)]
        assert len({await node_of(c, name) for name in names}) == 2, (
            "each node has one that needs cpu, one memory"
        )
        await c.admin.create("pods", pod("alone", "1", "1Gi", "default-scheduler"))
        assert await node_of(c, "alone"), "others go their way"


async def test_what_the_plan_leaves_out_goes_the_ordinary_way() -> None:
    async with cluster("n1", config=configuration.load(CONFIG)) as c:
        await c.admin.create("pods", pod("fits", "6", "1Gi"))
        await c.admin.create("pods", pod("waits", "6", "1Gi"))

        def told(found: Object | None) -> bool:
            conditions = (found or {}).get("status", {}).get("conditions", ())
            return any("Insufficient cpu" in x.get("message", "") for x in conditions)

        placed = await node_of(c, "fits")
        assert placed == "n1"
        await c.until("pods", "waits", told)
        await c.admin.delete("pods", "fits", "default")
        assert await node_of(c, "waits") == "n1"


def test_what_a_configuration_says_of_it() -> None:
    assert modes(configuration.load(CONFIG)) == {"packer": Mode(Wish("FewestNodes", 0.3), 0.2)}
    for args, why in (
        ("{objective: Speed}", "objective is 'Speed'; it may be FewestNodes or Balance"),
        ("{seconds: 0}", "seconds is 0, not a number of seconds"),
        ("{windows: 1}", "unknown field 'windows'"),
    ):
        wrong = CONFIG.replace("{seconds: 0.3, window: 0.2}", args)
        with pytest.raises(ConfigurationError, match=why):
            modes(configuration.load(wrong))
