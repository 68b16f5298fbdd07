"""Claims of devices: checked when they are written, made from templates for pods, and given back when pods are gone."""

from __future__ import annotations

import pytest
from tests.controllers.running import cluster

from sampan.client.api import ApiError
from sampan.machinery.objects import Object

CLAIMS = "resourceclaims.resource.k8s.io"
ONE = {"name": "one", "exactly": {"deviceClassName": "gpu"}}


def made(kind: str, name: str, spec: Object) -> Object:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": meta, "spec": spec}


def pod(name: str, **entry: str) -> Object:
    spec = {"containers": [{"name": "c", "image": "i"}], "resourceClaims": [{"name": "gpu", **entry}]}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


async def test_each_pod_gets_a_claim_of_its_own_from_the_template() -> None:
    async with cluster() as c:
        template = made("ResourceClaimTemplate", "gpu", {"spec": {"devices": {"requests": [ONE]}}})
        await c.admin.create("pods", pod("web", resourceClaimTemplateName="gpu"))
        await c.admin.create("resourceclaimtemplates.resource.k8s.io", template)
        await c.until("pods", "web", lambda p: p and p["status"].get("resourceClaimStatuses"))
        web = await c.admin.get("pods", "web", "default")
        (status,) = web["status"]["resourceClaimStatuses"]
        assert status["name"] == "gpu"
        claim = await c.admin.get(CLAIMS, status["resourceClaimName"], "default")
        assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/pod-claim-name": "gpu"}
        assert claim["metadata"]["ownerReferences"][0]["uid"] == web["metadata"]["uid"]
        request = claim["spec"]["devices"]["requests"][0]["exactly"]
        assert (request["allocationMode"], request["count"]) == ("ExactCount", 1)
        await c.admin.delete("pods", "web", "default")
        await c.until(CLAIMS, status["resourceClaimName"], lambda found: found is None)


async def test_a_claim_is_given_back_when_its_last_user_is_gone() -> None:
    async with cluster() as c:
        shared = made("ResourceClaim", "shared", {"devices": {"requests": [ONE]}})
        shared["metadata"]["finalizers"] = ["resource.kubernetes.io/delete-protection"]
        await c.admin.create(CLAIMS, shared)
        users = []
        for name in ("a", "b"):
            using = await c.admin.create("pods", pod(name, resourceClaimName="shared"))
            users.append({"resource": "pods", "name": name, "uid": using["metadata"]["uid"]})
        result = {"request": "one", "driver": "gpu.example.com", "pool": "p", "device": "d"}
        status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": users}
        await c.admin.patch(CLAIMS, "shared", "default", {"status": status}, subresource="status")
        await c.admin.delete("pods", "a", "default")
        await c.until(CLAIMS, "shared", lambda x: x and len(x.get("status", {}).get("reservedFor", ())) == 1)
        await c.admin.delete("pods", "b", "default")
        await c.until(CLAIMS, "shared", lambda x: x and "allocation" not in (x.get("status") or {}))
        await c.until(CLAIMS, "shared", lambda x: x and not x["metadata"].get("finalizers"))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"name": "one"}, "exactly one of `exactly` or `firstAvailable` is required"),
        ({"name": "one", "exactly": {}}, "spec.devices.requests[0].exactly.deviceClassName: Required value"),
        (
            {"name": "one", "exactly": {"deviceClassName": "gpu", "allocationMode": "All", "count": 2}},
            "must not be specified when allocationMode is 'All'",
        ),
        (
            {
                "name": "one",
                "exactly": {
                    "deviceClassName": "gpu",
                    "selectors": [{"cel": {"expression": "device.colour == 1"}}],
                },
            },
            "undefined field 'colour'",
        ),
    ],
)
async def test_claims_that_make_no_sense_are_refused(request_: Object, message: str) -> None:
    async with cluster() as c:
        with pytest.raises(ApiError, match="is invalid") as caught:
            await c.admin.create(CLAIMS, made("ResourceClaim", "x", {"devices": {"requests": [request_]}}))
        assert message in str(caught.value)
