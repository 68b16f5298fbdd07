"""metrics.k8s.io: what nodes and pods use now, for `kubectl top`; the kubelets are asked when somebody asks.

A node that does not answer is left out, as upstream's metrics server does.
Source: k8s.io/metrics pkg/apis/metrics/v1beta1.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Answer, Call, Made
from sampan.apiserver.selecting import selector
from sampan.client.api import ApiError
from sampan.machinery import times
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

GROUP, VERSION = "metrics.k8s.io", "metrics.k8s.io/v1beta1"
# Over how long the kubelets' figures are taken.
WINDOW = "10s"


class Usage:
    def __init__(self, server: ApiServer):
        self._server = server

    async def __call__(self, call: Call) -> Answer:
        if call.verb not in ("get", "list"):
            raise errors.method_not_allowed(call.kind)
        items = await (self._nodes(call) if call.resource.plural == "nodes" else self._pods(call))
        if call.verb == "get":
            if not items:
                raise errors.not_found(call.resource, call.name)
            return Made(items[0])
        return Made(
            {"kind": f"{call.resource.kind}List", "apiVersion": VERSION, "metadata": {}, "items": items}
        )

    async def _nodes(self, call: Call) -> list[Object]:
        nodes = await self._chosen(call, "/core/nodes/")
        summaries = await self._summaries(n["metadata"]["name"] for n in nodes)
        found = []
        for node in nodes:
            if summary := summaries.get(node["metadata"]["name"]):
                found.append({**_head("NodeMetrics", node), "usage": _usage(summary["node"])})
        return found

    async def _pods(self, call: Call) -> list[Object]:
        place = f"{call.namespace}/" if call.namespace else ""
        pods = await self._chosen(call, f"/core/pods/{place}")
        summaries = await self._summaries({get(p, "spec.nodeName", "") for p in pods} - {""})
        by_uid = {p["podRef"]["uid"]: p for s in summaries.values() for p in s.get("pods") or ()}
        found = []
        for pod in pods:
            if stats := by_uid.get(pod["metadata"]["uid"]):
                containers = [{"name": c["name"], "usage": _usage(c)} for c in stats.get("containers") or ()]
                found.append({**_head("PodMetrics", pod), "containers": containers})
        return found

    async def _chosen(self, call: Call, prefix: str) -> list[Object]:
        chosen = selector(call)
        page = await self._server.store.list(prefix)
        objects = (self._server.decoded(r) for r in page.records)
        named = [o for o in objects if not call.name or o["metadata"]["name"] == call.name]
        return [o for o in named if not chosen or chosen(o)]

    async def _summaries(self, nodes: Iterable[str]) -> dict[str, Object]:
        """The stats of each node that answers."""
        names = list(nodes)
        answers = await asyncio.gather(*(self._summary(n) for n in names))
        return {n: a for n, a in zip(names, answers, strict=True) if a is not None}

    async def _summary(self, node: str) -> Object | None:
        try:
            return await self._server.kubelets.json(node, "/stats/summary")
        except ApiError:
            return None


def _head(kind: str, obj: Object) -> Object:
    now = times.time(time.time())
    meta = {k: obj["metadata"][k] for k in ("name", "namespace", "labels") if k in obj["metadata"]}
    meta["creationTimestamp"] = now
    return {"kind": kind, "apiVersion": VERSION, "metadata": meta, "timestamp": now, "window": WINDOW}


def _usage(stats: Object) -> Object:
    cores, memory = get(stats, "cpu.usageNanoCores", 0), get(stats, "memory.workingSetBytes", 0)
    return {"cpu": f"{cores}n", "memory": f"{memory // 1024}Ki"}
