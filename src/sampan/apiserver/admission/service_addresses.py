"""A Service gets its cluster address and its node ports when it is written; a write that fails gives them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.addresses import Taken, held_by
from sampan.apiserver.call import Call
from sampan.client.api import ApiError
from sampan.kinds import faults
from sampan.kinds.service_traffic import needs_health_check
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

_WITH_PORTS = ("NodePort", "LoadBalancer")
_ADDRESSES = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    if call.subresource:
        return
    one = _Allocation(server, call, obj, old)
    if one.spec.get("type") == "ExternalName":
        for name in _ADDRESSES:
            one.spec.pop(name, None)
    else:
        one.families()
        await one.address()
    await one.ports()
    if needs_health_check(one.spec):
        await one.health()


class _Allocation:
    """One Service's reservations."""

    def __init__(self, server: ApiServer, call: Call, obj: Object, old: Object | None):
        self._services = server.services
        self._call = call
        self._uid: str = obj["metadata"]["uid"]
        self._held = set(held_by(old)) if old else set[str]()
        self._old: Object = (old or {}).get("spec") or {}
        self.spec: Object = obj.setdefault("spec", {})

    def families(self) -> None:
        """A cluster has addresses of one family; only endpoints that somebody else writes may be of both."""
        if self.spec.get("clusterIP") == "None" and not self.spec.get("selector"):
            return
        found = []
        if (policy := self.spec.get("ipFamilyPolicy")) == "RequireDualStack":
            text = "this cluster is not configured for dual-stack services"
            found.append(faults.invalid("spec.ipFamilyPolicy", policy, text))
        for index, family in enumerate(self.spec.get("ipFamilies") or ()):
            if family != self._services.family:
                text = "not configured on this cluster"
                found.append(faults.invalid(f"spec.ipFamilies[{index}]", family, text))
        if found:
            raise errors.invalid(self._call.resource, self._call.name, found)

    async def address(self) -> None:
        spec, old = self.spec, self._old
        asked = (
            spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "") or old.get("clusterIP", "")
        )
        if asked != "None":
            try:
                found = await self._services.address(self._uid, asked)
            except Taken as e:
                raise self._refused("spec.clusterIPs", [asked], str(e)) from e
            self._reserved(found)
            asked = found
        spec["clusterIP"], spec["clusterIPs"] = asked, [asked]
        spec.setdefault("ipFamilies", ["IPv6" if ":" in asked else "IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    async def ports(self) -> None:
        wanted = (
            self.spec.get("type") in _WITH_PORTS
            and self.spec.get("allocateLoadBalancerNodePorts") is not False
        )
        before = {(p.get("name"), p.get("port")): p.get("nodePort") for p in self._old.get("ports") or ()}
        for index, port in enumerate(self.spec.get("ports") or ()):
            kept = before.get((port.get("name"), port.get("port")))
            if not wanted:
                # What an earlier type had is dropped; what the writer says is for validation to judge.
                if port.get("nodePort") and port["nodePort"] == kept:
                    del port["nodePort"]
                continue
            await self._port(port, index, port.get("nodePort") or kept or 0)

    async def _port(self, port: Object, index: int, asked: int) -> None:
        protocol = port.get("protocol") or "TCP"
        taken = [p for p in self.spec["ports"] if p is not port and p.get("nodePort") == asked]
        try:
            port["nodePort"] = await self._services.port(
                self._uid, protocol, 0 if taken and not port.get("nodePort") else asked
            )
        except Taken as e:
            raise self._refused(f"spec.ports[{index}].nodePort", asked, str(e)) from e
        self._reserved(f"{protocol}/{port['nodePort']}")

    async def health(self) -> None:
        """The port by which a load balancer learns whether a node has endpoints."""
        field = "healthCheckNodePort"
        asked = self.spec.get(field) or self._old.get(field) or 0
        try:
            self.spec[field] = await self._services.port(self._uid, "TCP", asked)
        except Taken as e:
            raise self._refused(f"spec.{field}", asked, str(e)) from e
        self._reserved(f"TCP/{self.spec[field]}")

    def _reserved(self, item: str) -> None:
        if item not in self._held:
            self._call.undo.append(lambda: self._services.release([item], self._uid))

    def _refused(self, field: str, value: object, why: str) -> ApiError:
        return errors.invalid(self._call.resource, self._call.name, [faults.invalid(field, value, why)])
