"""ServiceCIDRs, IPAddresses and StorageVersionMigrations on a real API server."""

from __future__ import annotations

from tests.controllers.running import cluster

from sampan.controllers import service_ranges
from sampan.controllers import storage_version_migrator as migrator
from sampan.controllers.service_ranges import Range
from sampan.machinery.objects import Object
from sampan.reconcile.controller import Patch, Plan

CIDRS, ADDRESSES = service_ranges.CIDRS, service_ranges.ADDRESSES


def cidr(name: str, *ranges: str, **meta: object) -> Object:
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR"}
    return {**kind, "metadata": {"name": name, **meta}, "spec": {"cidrs": list(ranges)}}


def ready(found: Object | None) -> bool:
    conditions = (found or {}).get("status", {}).get("conditions", ())
    return [(c["type"], c["status"]) for c in conditions] == [("Ready", "True")]


async def test_what_a_service_holds_is_written_down_and_goes_with_it() -> None:
    async with cluster() as c:
        await c.until(CIDRS, "kubernetes", ready, "")
        meta = {"name": "web", "namespace": "default"}
        spec = {"ports": [{"port": 80}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
        made = await c.admin.create("services", service)
        ip = made["spec"]["clusterIP"]
        await c.until(ADDRESSES, ip, bool, "")
        found = await c.admin.get(ADDRESSES, ip)
        assert found["spec"]["parentRef"] == {
            "group": "",
            "resource": "services",
            "namespace": "default",
            "name": "web",
        }
        await c.admin.delete("services", "web", "default")
        await c.until(ADDRESSES, ip, lambda address: address is None, "")


def test_a_range_stays_while_an_address_is_only_in_it() -> None:
    going = cidr("a", "10.1.0.0/24", deletionTimestamp="now", finalizers=[service_ranges.FINALIZER], uid="u")
    (held,) = service_ranges.decide_range(Range(going, (), ("10.1.0.7",)), 0.0).actions
    assert isinstance(held, Patch)
    assert held.patch["status"]["conditions"][0]["reason"] == "Terminating"
    for others, addresses in (((cidr("b", "10.1.0.0/16"),), ("10.1.0.7",)), ((), ("10.2.0.7",))):
        (freed,) = service_ranges.decide_range(Range(going, others, addresses), 0.0).actions
        assert isinstance(freed, Patch)
        assert freed.patch["metadata"]["finalizers"] == []


async def test_a_migration_writes_every_object_once_more() -> None:
    async with cluster() as c:
        kind = {"apiVersion": "storagemigration.k8s.io/v1", "kind": "StorageVersionMigration"}
        kinds = "storageversionmigrations.storagemigration.k8s.io"
        spec = {"resource": {"group": "", "resource": "configmaps"}}
        await c.admin.create(kinds, {**kind, "metadata": {"name": "good"}, "spec": spec})

        def ended(found: Object | None) -> bool:
            conditions = (found or {}).get("status", {}).get("conditions", ())
            return ("Succeeded", "True") in [(c["type"], c["status"]) for c in conditions]

        await c.until(kinds, "good", ended, "")


def test_a_migration_of_what_nobody_knows_fails_after_a_minute() -> None:
    meta = {"name": "bad", "creationTimestamp": "1970-01-01T00:00:00Z"}
    seen = migrator.Observed({"metadata": meta, "spec": {}}, None, fault="not found")
    assert migrator.decide(seen, 1.0) == Plan((), again=migrator.AGAIN)
    (failed,) = migrator.decide(seen, 61.0).actions
    assert isinstance(failed, Patch)
    assert [c["type"] for c in failed.patch["status"]["conditions"]] == ["Failed"]
