"""What is told of a pod that could not be scheduled: the message, the condition, the nominated node."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.client.api import ApiError, Client
from sampan.machinery import conditions, times
from sampan.machinery.objects import Object
from sampan.scheduler import hints
from sampan.scheduler.decide import Decision
from sampan.scheduler.framework import Code, Status
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot

SCHEDULED = "PodScheduled"
# The longest message of an event.
NOTE = 1024


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pod has no node: refused by plugins (`rejectors`, or `pending` ones that wait for something), or by an
    error where there are none.

    `nominated` is the node that is made room on, "" to give up an earlier one, None to leave it.
    """

    message: str
    rejectors: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    nominated: str | None = ""

    @property
    def is_error(self) -> bool:
        return not self.rejectors and not self.pending


NO_NODES = Failure("no nodes available to schedule pods", frozenset({hints.NO_NODES}))


def unfit(decision: Decision, post_filter: str = "") -> Failure:
    """No node will do."""
    found = [*decision.statuses.values(), *([decision.rejected] if decision.rejected else [])]
    pending = frozenset(s.plugin for s in found if s.code is Code.PENDING)
    rejectors = frozenset(decision.plugins) - pending
    return Failure(decision.message(post_filter), rejectors, pending)


def on_one_node(pod: PodInfo, node: str, refused: Status) -> Failure:
    """The node that was chosen would not do after all."""
    if not refused.rejected:
        return Failure(refused.message)
    decision = Decision(pod, 1, statuses={node: refused}, plugins={refused.plugin})
    return unfit(decision)


def statuses(decision: Decision, cluster: Snapshot) -> dict[str, Status]:
    """The verdict on every node, also on those that were not looked at."""
    absent = decision.rejected or decision.absent
    if absent is None:
        return decision.statuses
    return dict.fromkeys(cluster.nodes, absent) | decision.statuses


def note(message: str) -> str:
    """A message cut to what an event may hold."""
    return message if len(message) <= NOTE else message[: NOTE - 4] + " ..."


async def write(client: Client, pod: PodInfo, failure: Failure) -> None:
    """Set the pod's condition and nominated node, where they are not so already."""
    meta = pod.object["metadata"]
    known = conditions.find(pod.object, SCHEDULED) or {}
    condition = {
        "type": SCHEDULED,
        "status": "False",
        "reason": "SchedulerError" if failure.is_error else "Unschedulable",
        "message": failure.message,
        "observedGeneration": meta.get("generation", 0),
    }
    status: Object = {}
    if any(known.get(name) != value for name, value in condition.items()):
        same = known.get("status") == "False"
        since = known.get("lastTransitionTime") if same else None
        status["conditions"] = [{**condition, "lastTransitionTime": since or times.time(time.time())}]
    if failure.nominated is not None and failure.nominated != pod.nominated:
        status["nominatedNodeName"] = failure.nominated or None
    if not status:
        return
    patch = {"metadata": {"uid": pod.uid}, "status": status}
    try:
        await client.patch("pods", pod.name, pod.namespace, patch, type="strategic", subresource="status")
    except ApiError as e:
        # Gone, or another by now.
        if e.reason not in ("Conflict", "NotFound"):
            raise


async def served(client: Client, kinds: Iterable[str]) -> list[str]:
    """Those of the kinds that the cluster serves."""
    found = []
    for kind in kinds:
        try:
            await client.list(kind, limit=1)
            found.append(kind)
        except ApiError as e:
            if e.code != 404:
                found.append(kind)
    return found
