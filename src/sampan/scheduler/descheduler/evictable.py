"""Which pods may be evicted at all, as the DefaultEvictor of the kubernetes-sigs descheduler decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sampan.machinery.objects import owner
from sampan.scheduler.pods import PodInfo

MIRROR = "kubernetes.io/config.mirror"
# Says yes whatever else says no.
ALWAYS = "descheduler.alpha.kubernetes.io/evict"
SYSTEM_CRITICAL = 2_000_000_000


def why_not(pod: PodInfo, arguments: Mapping[str, Any]) -> str:
    """Why the pod must stay; empty where it may be evicted."""
    annotations = pod.object["metadata"].get("annotations") or {}
    ref = owner(pod.object)
    kind = (ref or {}).get("kind")
    if pod.terminating or pod.finished:
        return "it is on its way out"
    if MIRROR in annotations or kind == "Node":
        return "it belongs to its node"
    if ALWAYS in annotations:
        return ""
    if ref is None:
        return "nobody would make it anew: it has no owner"
    if kind == "DaemonSet" and not arguments.get("evictDaemonSetPods"):
        return "its DaemonSet wants it on this node"
    if pod.priority >= SYSTEM_CRITICAL and not arguments.get("evictSystemCriticalPods"):
        return "it is critical to the system"
    threshold = (arguments.get("priorityThreshold") or {}).get("value")
    if threshold is not None and pod.priority >= threshold:
        return f"its priority is {threshold} or more"
    volumes = pod.spec.get("volumes") or ()
    if any("emptyDir" in v or "hostPath" in v for v in volumes) and not arguments.get(
        "evictLocalStoragePods"
    ):
        return "it has local storage, which it would lose"
    if pod.claims and arguments.get("ignorePvcPods"):
        return "it has a PersistentVolumeClaim"
    return ""
