"""A profile as the columns need it: the arguments and weights of the plugins that they stand for, and the rest.

The plugins that columns stand for are NATIVE; a profile that lacks one of their filters, or has another plugin under
such a name, is left to the plain path as a whole. All other plugins (volumes, devices, own ones) are asked in their
plain form, on the nodes that remain, and only where they may have something to say of the pod.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.scheduler.plugins.image_locality import ImageLocality
from sampan.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from sampan.scheduler.plugins.node_affinity import NodeAffinity
from sampan.scheduler.plugins.node_name import NodeName
from sampan.scheduler.plugins.node_ports import NodePorts
from sampan.scheduler.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from sampan.scheduler.plugins.node_resources_fit import NodeResourcesFit
from sampan.scheduler.plugins.node_unschedulable import NodeUnschedulable
from sampan.scheduler.plugins.pod_topology_spread import PodTopologySpread
from sampan.scheduler.plugins.taint_toleration import TaintToleration
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile

FILTERS = (
    NodeName, NodeUnschedulable, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, PodTopologySpread,
    InterPodAffinity,
)  # fmt: skip
NATIVE: dict[str, type] = {
    kind.name: kind for kind in (*FILTERS, NodeResourcesBalancedAllocation, ImageLocality)
}
# Volumes of these kinds say nothing of the node that they are on.
_ANYWHERE = frozenset(
    ("name", "configMap", "secret", "projected", "emptyDir", "downwardAPI", "hostPath", "image", "nfs")
)


def _has_volumes(pod: PodInfo) -> bool:
    return any(not (volume.keys() <= _ANYWHERE) for volume in pod.spec.get("volumes") or ())


def _has_claims(pod: PodInfo) -> bool:
    return bool(pod.spec.get("resourceClaims"))


# Whether a plugin that columns do not stand for may matter for a pod; those not listed are always asked.
CONCERNS: Mapping[str, Callable[[PodInfo], bool]] = {
    "VolumeRestrictions": _has_volumes,
    "NodeVolumeLimits": _has_volumes,
    "VolumeBinding": _has_volumes,
    "VolumeZone": _has_volumes,
    "DynamicResources": _has_claims,
}


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """One profile. `weights` are by plugin, 0 for those that do not score."""

    profile: Profile
    weights: Mapping[str, int]
    affinity: NodeAffinity
    fit: NodeResourcesFit
    balance: NodeResourcesBalancedAllocation
    spread: PodTopologySpread
    near: InterPodAffinity
    # The plugins at work in filtering or scoring that columns do not stand for.
    others: tuple[Any, ...]

    @staticmethod
    def of(profile: Profile) -> Rules | None:
        """None where the profile must be left to the plain path."""
        plugins = {
            p.name: p for p in (*profile.pre_filter, *profile.filter, *profile.pre_score, *profile.score)
        }
        filters = {p.name for p in profile.filter}
        if any(type(p) is not NATIVE[name] for name, p in plugins.items() if name in NATIVE):
            return None
        if not all(kind.name in filters for kind in FILTERS):
            return None
        scoring = {p.name for p in profile.score}
        made: dict[str, Any] = {name: plugins.get(name) or kind() for name, kind in NATIVE.items()}
        return Rules(
            profile,
            {name: profile.weights.get(name, 1) if name in scoring else 0 for name in NATIVE},
            made["NodeAffinity"],
            made["NodeResourcesFit"],
            made["NodeResourcesBalancedAllocation"],
            made["PodTopologySpread"],
            made["InterPodAffinity"],
            tuple(p for name, p in plugins.items() if name not in NATIVE),
        )

    def concerned(self, pod: PodInfo) -> tuple[Any, ...]:
        """The other plugins that may have something to say of the pod."""
        return tuple(p for p in self.others if CONCERNS.get(p.name, _always)(pod))


def _always(pod: PodInfo) -> bool:
    return True


def reduced(profile: Profile, plugins: tuple[Any, ...]) -> Profile:
    """The profile with these plugins only, for filters and scores."""
    names = {p.name for p in plugins}
    return Profile(
        profile.name,
        pre_filter=tuple(p for p in profile.pre_filter if p.name in names),
        filter=tuple(p for p in profile.filter if p.name in names),
        pre_score=tuple(p for p in profile.pre_score if p.name in names),
        score=tuple(p for p in profile.score if p.name in names),
        weights=profile.weights,
    )
