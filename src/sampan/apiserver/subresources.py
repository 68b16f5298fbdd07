"""Subresources: which handler answers for each, and those that are writes of the object itself.

`status`, `finalize`, `approval` and the like are ordinary writes; what they may touch is for the kind's own `prepare`
to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.admission import pod_topology
from sampan.apiserver.bodies import content
from sampan.apiserver.call import Answer, Call, Made
from sampan.apiserver.connections import Connections
from sampan.apiserver.evictions import Evictions
from sampan.apiserver.pods import CREATED, pods_call
from sampan.apiserver.scale import Scales
from sampan.apiserver.token_requests import TokenRequests
from sampan.apiserver.writing import now
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Next = Callable[[Call], Awaitable[Answer]]


class Subresources:
    def __init__(self, server: ApiServer):
        self._server = server
        connections, scales = Connections(server), Scales(server)
        written: dict[str, Next] = {
            "get": server.reader.get,
            "update": server.writer.update,
            "patch": server.patcher.patch,
        }
        stream: dict[str, Next] = {"get": connections.exec, "create": connections.exec}
        attach: dict[str, Next] = {"get": connections.attach, "create": connections.attach}
        forward: dict[str, Next] = {"get": connections.portforward, "create": connections.portforward}
        proxied: dict[str, Next] = dict.fromkeys(
            ("get", "create", "update", "patch", "delete", ""), connections.proxy
        )
        self._handlers: dict[str, dict[str, Next]] = {
            "status": written,
            "finalize": written,
            "approval": written,
            "ephemeralcontainers": written,
            "resize": written,
            "scale": {"get": scales.get, "update": scales.update, "patch": scales.patch},
            "binding": {"create": self.bind},
            "eviction": {"create": Evictions(server).evict},
            "token": {"create": TokenRequests(server).create},
            "log": {"get": connections.log},
            "exec": stream,
            "attach": attach,
            "portforward": forward,
            "proxy": proxied,
        }

    async def __call__(self, call: Call) -> Answer:
        if call.subresource not in call.resource.subresources:
            raise errors.no_such_path()
        handler = self._handlers.get(call.subresource, {}).get(call.verb)
        if handler is None or not call.name:
            raise errors.method_not_allowed(call.resource)
        return await handler(call)

    async def bind(self, call: Call) -> Answer:
        """Put a pod on a node, once: what the scheduler decided."""
        binding = await content(call) or {}
        target = binding.get("target") or {}
        name = call.name or get(binding, "metadata.name", "")
        if not target.get("name") or target.get("kind") not in (None, "", "Node"):
            raise errors.bad_request('target: Invalid value: a Binding names a target of kind "Node"')
        pod_call = pods_call(call, name, "binding")

        async def bound(pod: Object) -> Object:
            self._bindable(pod_call, binding, pod)
            meta, spec = pod["metadata"], pod["spec"]
            spec["nodeName"] = target["name"]
            if annotations := get(binding, "metadata.annotations"):
                meta["annotations"] = {**(meta.get("annotations") or {}), **annotations}
            await pod_topology.label(self._server, pod, target["name"])
            scheduled = {
                "type": "PodScheduled",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": now(),
            }
            status = pod.setdefault("status", {})
            status.pop("nominatedNodeName", None)
            others = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
            status["conditions"] = [*others, scheduled]
            return pod

        await self._server.writer.change(pod_call, bound, ours=True)
        return Made(CREATED, 201)

    def _bindable(self, call: Call, binding: Object, pod: Object) -> None:
        uid = get(binding, "metadata.uid")
        if uid and uid != pod["metadata"]["uid"]:
            raise errors.conflict(
                call.resource,
                call.name,
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {pod['metadata']['uid']}",
            )
        if pod["metadata"].get("deletionTimestamp"):
            raise errors.conflict(
                call.resource, call.name, f"pod {call.name} is being deleted, cannot be assigned to a host"
            )
        if node := get(pod, "spec.nodeName"):
            raise errors.conflict(
                call.resource, call.name, f'pod {call.name} is already assigned to node "{node}"'
            )
        if get(pod, "spec.schedulingGates"):
            raise errors.conflict(
                call.resource, call.name, f"pod {call.name} has non-empty .spec.schedulingGates"
            )
