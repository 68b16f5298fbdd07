"""Eviction: a delete that a PodDisruptionBudget may put off.

Source: the concepts' page "API-initiated Eviction"; k8s.io/kubernetes pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.bodies import content
from sampan.apiserver.call import Answer, Call, Made
from sampan.apiserver.pods import CREATED, pods_call
from sampan.apiserver.writing import now
from sampan.client.api import ApiError
from sampan.kinds import registry
from sampan.machinery import conditions, selectors
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

_VIOLATION = "Cannot evict pod as it would violate the pod's disruption budget."


class Evictions:
    def __init__(self, server: ApiServer):
        self._server = server

    async def evict(self, call: Call) -> Answer:
        eviction = await content(call) or {}
        record = await self._server.reader.record(call.resource, call.namespace, call.name)
        pod = self._server.decoded(record)
        if not _gone_anyway(pod):
            await self._ask_budget(call, pod)
        if not call.dry_run:
            await self._mark(call)
        deletion = pods_call(call, call.name, "")
        deletion.verb = "delete"
        deletion.content = eviction.get("deleteOptions") or {}
        await self._server.deleter.delete(deletion)
        return Made(CREATED, 201)

    async def _mark(self, call: Call) -> None:
        """Say in the pod's conditions why it goes: a Job's failure policy may forgive it."""

        async def marked(pod: Object) -> Object:
            status = pod.setdefault("status", {})
            status["conditions"] = list(conditions.with_(conditions.of(pod), target))
            return pod

        target = conditions.new(
            "DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting", time.time()
        )
        await self._server.writer.change(pods_call(call, call.name, "status"), marked, ours=True)

    async def _ask_budget(self, call: Call, pod: Object) -> None:
        """Take one disruption from the pod's budget. Raises 429 where none is left."""
        budgets = await self._budgets(pod)
        if len(budgets) > 1:
            raise errors.internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        if not budgets or call.dry_run:
            return
        kind = registry.find("poddisruptionbudgets.policy")
        name = budgets[0]["metadata"]["name"]
        budget_call = Call(
            verb="update",
            kind=kind,
            namespace=call.namespace,
            name=name,
            subresource="status",
            user=call.user,
        )

        async def taken(budget: Object) -> Object:
            return _taken(budget, pod)

        await self._server.writer.change(budget_call, taken)

    async def _budgets(self, pod: Object) -> list[Object]:
        namespace = pod["metadata"]["namespace"]
        page = await self._server.store.list(f"/policy/poddisruptionbudgets/{namespace}/")
        found = [self._server.decoded(r) for r in page.records]
        return [
            b for b in found if selectors.of(get(b, "spec.selector")).matches(pod["metadata"].get("labels"))
        ]


def _gone_anyway(pod: Object) -> bool:
    """A pod that has ended, has not begun, or is being deleted, disturbs no budget."""
    return bool(pod["metadata"].get("deletionTimestamp")) or get(pod, "status.phase") in (
        "Succeeded",
        "Failed",
        "Pending",
    )


def _taken(budget: Object, pod: Object) -> Object:
    """The budget with one disruption less. Raises 429, 403."""
    status = budget.setdefault("status", {})
    name = budget["metadata"]["name"]
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _violated(f"The disruption budget {name} is still being processed by the server.", 10)
    if not conditions.is_true(pod, "Ready") and _unhealthy_may_go(budget):
        return budget
    allowed = status.get("disruptionsAllowed", 0)
    if allowed <= 0:
        healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        raise _violated(
            f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently", 0
        )
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod["metadata"]["name"]: now()}
    return budget


def _unhealthy_may_go(budget: Object) -> bool:
    status = budget["status"]
    if get(budget, "spec.unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    return bool(status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0)


def _violated(why: str, seconds: int) -> ApiError:
    return errors.too_many_requests(_VIOLATION, seconds, [{"reason": "DisruptionBudget", "message": why}])
