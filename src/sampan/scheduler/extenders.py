"""Scheduler extenders: programs that are asked over HTTP which nodes will do, how good they are, and to bind.

An extender with managed resources is asked only about pods that request one of them. What it cannot answer fails
the pod's scheduling, unless it is ignorable. Scores go from 0 to 10.

Source: https://github.com/kubernetes/design-proposals-archive/blob/main/scheduling/scheduler_extender.md;
kube-scheduler 1.37, pkg/scheduler/extender.go, k8s.io/kube-scheduler/extender/v1.
"""

from __future__ import annotations

import base64
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from sampan.http.client import HttpClient
from sampan.http.tls import client_context
from sampan.machinery.objects import Object
from sampan.scheduler import hints
from sampan.scheduler.configuration.defaults import seconds
from sampan.scheduler.decide import SchedulingError
from sampan.scheduler.framework import MAX_SCORE, Code, Status, failed
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo

TIMEOUT = 5.0
HIGHEST = 10
log = logging.getLogger(__name__)


class ExtenderError(Exception):
    """The extender did not answer, or not as it should."""


class Extender:
    """One extender, by its part of the configuration."""

    plugin = hints.EXTENDERS

    def __init__(self, config: Object) -> None:
        self.url: str = config.get("urlPrefix", "")
        self.is_ignorable = bool(config.get("ignorable"))
        self.is_prioritizer = bool(config.get("prioritizeVerb"))
        self.is_binder = bool(config.get("bindVerb"))
        self.supports_preemption = bool(config.get("preemptVerb"))
        self._config = config
        self._weight = config.get("weight") or 0
        self._by_name = bool(config.get("nodeCacheCapable"))
        self._managed = {r["name"] for r in config.get("managedResources") or ()}
        base, _, path = self.url.partition("://")[2].partition("/")
        scheme = "https" if config.get("enableHTTPS") else self.url.partition("://")[0] or "http"
        self._path = f"/{path}".rstrip("/")
        tls = config.get("tlsConfig") or {}
        self._http = HttpClient(
            f"{scheme}://{base or self.url}",
            tls=_tls(tls, scheme) if scheme == "https" else None,
            timeout=seconds(config.get("httpTimeout") or "0") or TIMEOUT,
            server_name=tls.get("serverName", ""),
        )

    async def close(self) -> None:
        await self._http.close()

    def is_interested(self, pod: PodInfo) -> bool:
        """Whether the pod requests one of the managed resources; all pods where there are none."""
        if not self._managed:
            return True
        containers = [*(pod.spec.get("containers") or ()), *(pod.spec.get("initContainers") or ())]
        asked = (c.get("resources") or {} for c in containers)
        return any(self._managed & {*(r.get("requests") or ()), *(r.get("limits") or ())} for r in asked)

    async def filter(
        self, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[list[NodeInfo], dict[str, Status]]:
        """Of these nodes those that will do, and the verdicts on others. Raises SchedulingError."""
        if not self._config.get("filterVerb"):
            return list(nodes), {}
        try:
            answer = await self._ask("filterVerb", self._about(pod, nodes))
            if answer.get("error"):
                raise ExtenderError(answer["error"])
            return self._kept(answer, nodes), _refused(answer)
        except ExtenderError as e:
            if self.is_ignorable:
                log.info("extender %s is left out: %s", self.url, e)
                return list(nodes), {}
            raise SchedulingError(str(e)) from e

    def _kept(self, answer: Object, nodes: Sequence[NodeInfo]) -> list[NodeInfo]:
        by_name = {node.name: node for node in nodes}
        if self._by_name and answer.get("nodenames") is not None:
            names = answer["nodenames"]
        else:
            names = [n["metadata"]["name"] for n in (answer.get("nodes") or {}).get("items") or ()]
        for name in names:
            if name not in by_name:
                raise ExtenderError(
                    f'extender "{self.url}" claims a filtered node "{name}" '
                    "which is not found in the input node list"
                )
        return [by_name[name] for name in names]

    async def prioritize(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> dict[str, int]:
        """What to add to the nodes' scores; nothing where the extender fails, for it is not needed."""
        try:
            answer = await self._send("prioritizeVerb", self._about(pod, nodes))
        except ExtenderError as e:
            log.info("extender %s gives no scores: %s", self.url, e)
            return {}
        scores = [{k.lower(): v for k, v in entry.items()} for entry in answer or ()]
        return {s["host"]: s.get("score", 0) * self._weight * (MAX_SCORE // HIGHEST) for s in scores}

    async def preempt(
        self, pod: PodInfo, victims: Mapping[str, tuple[list[PodInfo], int]], nodes: Mapping[str, NodeInfo]
    ) -> dict[str, tuple[list[PodInfo], int]]:
        """Of these candidates (victims and violated budgets, by node) those that help. Raises SchedulingError."""
        body: Object = {"Pod": pod.object}
        if self._by_name:
            body["NodeNameToMetaVictims"] = {
                name: {"Pods": [{"UID": p.uid} for p in pods], "NumPDBViolations": n}
                for name, (pods, n) in victims.items()
            }
        else:
            body["NodeNameToVictims"] = {
                name: {"Pods": [p.object for p in pods], "NumPDBViolations": n}
                for name, (pods, n) in victims.items()
            }
        try:
            answer = await self._ask("preemptVerb", body)
            chosen = answer.get("nodenametometavictims") or {}
            return {name: self._victims(name, found, nodes) for name, found in chosen.items()}
        except ExtenderError as e:
            if self.is_ignorable:
                log.info("extender %s is left out: %s", self.url, e)
                return dict(victims)
            raise SchedulingError(str(e)) from e

    def _victims(self, name: str, found: Object, nodes: Mapping[str, NodeInfo]) -> tuple[list[PodInfo], int]:
        if name not in nodes:
            raise ExtenderError(f'nodeinfo not found for node name "{name}"')
        lower = {k.lower(): v for k, v in found.items()}
        pods = []
        for meta in lower.get("pods") or ():
            uid = meta.get("UID") or meta.get("uid")
            if uid not in nodes[name].pods:
                raise ExtenderError(
                    f"extender: {self.url} claims to preempt pod (UID: {uid}) on node: {name}, "
                    "but the pod is not found on that node"
                )
            pods.append(nodes[name].pods[uid])
        if not pods:
            raise ExtenderError(f'expected at least one victim pod on node "{name}"')
        return pods, lower.get("numpdbviolations") or 0

    async def bind(self, pod: PodInfo, node: str) -> tuple[bool, Status | None]:
        """Have the pod bound: whether the extender did its part, and what went wrong."""
        body = {"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node}
        try:
            answer = await self._ask("bindVerb", body)
            if answer.get("error"):
                raise ExtenderError(answer["error"])
        except ExtenderError as e:
            if self.is_ignorable:
                log.info("extender %s does not bind: %s", self.url, e)
                return False, None
            return True, failed(str(e))
        return True, None

    def _about(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> Object:
        if self._by_name:
            return {"Pod": pod.object, "Nodes": None, "NodeNames": [node.name for node in nodes]}
        listed = {"metadata": {}, "items": [node.object for node in nodes]}
        return {"Pod": pod.object, "Nodes": listed, "NodeNames": None}

    async def _ask(self, verb: str, body: Object) -> Object:
        """The answer's fields in lower case, for Go's decoder does not tell the cases apart either."""
        answer = await self._send(verb, body)
        if not isinstance(answer, dict):
            raise ExtenderError(f"extender at URL {self.url} answered {self._config[verb]} with no object")
        return {k.lower(): v for k, v in answer.items()}

    async def _send(self, verb: str, body: Object) -> Any:
        action = self._config[verb]
        url = f"{self.url.rstrip('/')}/{action}"
        headers = {"content-type": "application/json"}
        try:
            response = await self._http.request(
                "POST", f"{self._path}/{action}", headers=headers, body=orjson.dumps(body)
            )
            async with response:
                data = await response.read()
                if response.status != 200:
                    raise ExtenderError(f"failed {action} with extender at URL {url}, code {response.status}")
                return orjson.loads(data)
        except (ConnectionError, TimeoutError, orjson.JSONDecodeError) as e:
            raise ExtenderError(f'Post "{url}": {e or "no answer in time"}') from e


def _refused(answer: Object) -> dict[str, Status]:
    """What cannot be helped by removing pods goes before what can."""
    found = {
        name: Status(Code.UNSCHEDULABLE, (why,)) for name, why in (answer.get("failednodes") or {}).items()
    }
    for name, why in (answer.get("failedandunresolvablenodes") or {}).items():
        found[name] = Status(Code.UNRESOLVABLE, (why,))
    return found


def _tls(config: Object, scheme: str) -> Any:
    """Without an authority of its own, the extender is trusted blindly, as upstream does."""
    authority = base64.b64decode(config["caData"]) if config.get("caData") else config.get("caFile")
    verify = bool(authority) and not config.get("insecure")
    if not config.get("certData"):
        certificate, key = config.get("certFile"), config.get("keyFile")
        return client_context(ca=authority, pair=certificate, key=key, verify=verify)
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(base64.b64decode(config["certData"]) + b"\n" + base64.b64decode(config["keyData"]))
        pair.flush()
        return client_context(ca=authority, pair=Path(pair.name), verify=verify)
