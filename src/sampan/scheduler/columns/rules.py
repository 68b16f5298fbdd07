"""A profile as the columns need it: the arguments and weights of the plugins that they stand for, and the rest.

The plugins that columns stand for are NATIVE; a profile that lacks one of their filters, or has another plugin under
such a name, is left to the plain path as a whole. All other plugins (volumes, devices, own ones) are asked in their
plain form, on the nodes that remain, and only where they may have something to say of the pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan.scheduler.columns.kinds import Kind
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
from sampan.scheduler.profiles import Profile

FILTERS = (
    NodeName, NodeUnschedulable, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, PodTopologySpread,
    InterPodAffinity,
)  # fmt: skip
NATIVE: dict[str, type] = {
    kind.name: kind for kind in (*FILTERS, NodeResourcesBalancedAllocation, ImageLocality)
}
# The kernel's totals have 32 bits.
MOST_WEIGHT = 1_000_000
# Plugins that have nothing to say of a pod without `Kind.extra`; all others are always asked.
EXTRA = frozenset(
    (
        "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "DynamicResources",
        "NodeDeclaredFeatures",
    )
)  # fmt: skip


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
    # The plugins at work in filtering or scoring that columns do not stand for; and those of them for every pod.
    others: tuple[Any, ...]
    own: tuple[Any, ...]

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
        if any(profile.weights.get(name, 1) > MOST_WEIGHT for name in scoring):
            return None
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
            tuple(p for name, p in plugins.items() if name not in NATIVE and name not in EXTRA),
        )

    def concerned(self, kind: Kind) -> tuple[Any, ...]:
        """The other plugins that may have something to say of such pods."""
        return self.others if kind.extra else self.own


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
