"""What every cluster has before anyone asks: namespaces, roles, priority classes, and Service `kubernetes`.

Everything is written at once, so that a durable store commits it in one batch. What is there already is left as it is,
but for default roles, whose missing rules and subjects come back, as upstream's do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sampan.apiserver import policy
from sampan.apiserver.call import key
from sampan.apiserver.fairness import suggested
from sampan.client.api import ApiError, Client
from sampan.kinds import registry
from sampan.machinery.objects import Object
from sampan.store.api import StoreError

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

log = logging.getLogger(__name__)
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
# Service `kubernetes` and what is behind it: without these no pod finds the API, so they come back when deleted.
KEPT = frozenset(
    {
        "/core/services/default/kubernetes",
        "/core/endpoints/default/kubernetes",
        "/discovery.k8s.io/endpointslices/default/kubernetes",
    }
)
_RETRY_SECONDS = 1.0
_AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"


async def run(server: ApiServer) -> None:
    client = server.local("system:apiserver", ("system:masters",))
    await _all(_create(server, client, n) for n in _namespaces())
    flows = (*suggested.levels(), *suggested.schemas())
    objects = (*flows, *_priority_classes(), _service_range(server.settings.services), *policy.objects())
    await _all(_create(server, client, o) for o in objects)
    await _kubernetes(server, client)


async def keep(server: ApiServer, missing: asyncio.Event) -> None:
    """Make Service `kubernetes` again whenever `missing` is set, for ever."""
    client = server.local("system:apiserver", ("system:masters",))
    while True:
        await missing.wait()
        missing.clear()
        try:
            await _kubernetes(server, client)
        except (ApiError, StoreError) as e:
            log.info("service kubernetes could not be made again, and will be tried again: %s", e)
            await asyncio.sleep(_RETRY_SECONDS)
            missing.set()


async def _all(work: Iterable[object]) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)  # type: ignore[arg-type]


def _namespaces() -> Iterator[Object]:
    for name in NAMESPACES:
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _service_range(cidr: str) -> Object:
    meta = {"name": "kubernetes"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": meta,
        "spec": {"cidrs": [cidr]},
    }


def _priority_classes() -> Iterator[Object]:
    for name, value, description in (
        (
            "system-cluster-critical",
            2_000_000_000,
            "For pods that the cluster cannot do without, wherever they run.",
        ),
        ("system-node-critical", 2_000_001_000, "For pods that their own node cannot do without."),
    ):
        yield {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
        }


async def _create(server: ApiServer, client: Client, obj: Object) -> None:
    kind = registry.of(obj["apiVersion"], obj["kind"])
    meta = obj["metadata"]
    record = await server.store.get(key(kind, meta.get("namespace", ""), meta["name"]))
    if record:
        repaired = _repaired(server.decoded(record), obj)
        if repaired:
            await _repair(client, kind.resource, repaired)
        return
    try:
        await client.create(kind.resource, obj)
    except ApiError as e:
        if e.reason != "AlreadyExists":
            raise


async def _repair(client: Client, kind: str, obj: Object) -> None:
    try:
        await client.update(kind, obj)
    except ApiError as e:
        if e.reason != "Conflict":  # another server did it just now
            raise


def _repaired(found: Object, wanted: Object) -> Object | None:
    """A default role or binding with what it lacks, or None where it lacks nothing or is not to be touched."""
    if (found["metadata"].get("annotations") or {}).get(_AUTOUPDATE) != "true" or "aggregationRule" in wanted:
        return None
    for field in ("rules", "subjects"):
        missing = [r for r in wanted.get(field) or () if r not in (found.get(field) or ())]
        if missing:
            return {**found, field: [*(found.get(field) or ()), *missing]}
    return None


async def _kubernetes(server: ApiServer, client: Client) -> None:
    """Service `kubernetes` and the endpoints behind it, as they are now."""
    settings = server.settings
    if not settings.address:
        return
    meta = {"name": "kubernetes", "namespace": "default"}
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": settings.port}
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**meta, "labels": labels},
        "spec": {
            "clusterIP": server.services.first,
            "ports": [port],
            "type": "ClusterIP",
            "sessionAffinity": "None",
        },
    }
    await _reconcile(client, "services", service, "spec")
    port = {"name": "https", "port": settings.port, "protocol": "TCP"}
    skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    endpoints: Object = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {**meta, "labels": skip},
        "subsets": [{"addresses": [{"ip": a} for a in server.servers.addresses], "ports": [port]}],
    }
    await _reconcile(client, "endpoints", endpoints, "subsets")
    piece: Object = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv6" if ":" in settings.address else "IPv4",
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in server.servers.addresses],
        "ports": [port],
    }
    await _reconcile(client, "endpointslices.discovery.k8s.io", piece, "endpoints", "ports")


async def _reconcile(client: Client, kind: str, wanted: Object, *fields: str) -> None:
    """Create the object, or bring these fields of it to what is wanted; another server may be doing the same."""
    try:
        found = await client.get(kind, wanted["metadata"]["name"], "default")
    except ApiError as e:
        if e.reason != "NotFound":
            raise
        found = await _made(client, kind, wanted)
    if found is wanted:
        return
    if "spec" in fields:
        spec = {**found["spec"], "ports": wanted["spec"]["ports"]}
        await client.update(kind, {**found, "spec": spec})
    else:
        await client.update(kind, {**found, **{f: wanted[f] for f in fields}})


async def _made(client: Client, kind: str, wanted: Object) -> Object:
    """`wanted` itself where it was created, or what another server was quicker to create."""
    try:
        await client.create(kind, wanted)
        return wanted
    except ApiError as e:
        # A service whose address is taken, by itself too, is refused as invalid and not as existing.
        if e.reason not in ("AlreadyExists", "Invalid"):
            raise
        return await client.get(kind, wanted["metadata"]["name"], "default")
