"""A Service gets its cluster address and its node ports when it is written; a write that fails gives them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.addresses import Taken, held_by
from sampan.apiserver.call import Call
from sampan.client.api import ApiError
from sampan.kinds import faults
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
        await one.address()
    await one.ports()


class _Allocation:
    """One Service's reservations."""

    def __init__(self, server: ApiServer, call: Call, obj: Object, old: Object | None):
        self._services = server.services
        self._call = call
        self._uid: str = obj["metadata"]["uid"]
        self._held = set(held_by(old)) if old else set[str]()
        self._old: Object = (old or {}).get("spec") or {}
        self.spec: Object = obj.setdefault("spec", {})

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

    def _reserved(self, item: str) -> None:
        if item not in self._held:
            self._call.undo.append(lambda: self._services.release([item], self._uid))

    def _refused(self, field: str, value: object, why: str) -> ApiError:
        return errors.invalid(self._call.resource, self._call.name, [faults.invalid(field, value, why)])
