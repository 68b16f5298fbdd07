"""The default plugins, one file each: the plain, exact form of every decision.

These are the reference: `sampan scheduler evaluate` runs them, small clusters use them, and the fast path
(`columns`) is tested against them. Start with `node_name`, the smallest, then `node_resources_fit`.
`REGISTRY` makes a plugin by its name in a configuration; `DEFAULT` is upstream's default set, in its order.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from sampan.machinery.objects import Object
from sampan.scheduler.framework import Handle, Named
from sampan.scheduler.profiles import Factory, Profile, Registry, multi_point

# The default plugins at every point that they implement (multiPoint), with their weights where they score.
DEFAULT: tuple[tuple[str, int], ...] = (
    ("SchedulingGates", 0),
    ("GangScheduling", 0),
    ("PrioritySort", 0),
    ("NodeName", 0),
    ("NodeUnschedulable", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 2),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
    ("NodeDeclaredFeatures", 0),
)

_MODULES = {
    "SchedulingGates": "scheduling_gates",
    "GangScheduling": "gang_scheduling",
    "PrioritySort": "priority_sort",
    "NodeName": "node_name",
    "NodeUnschedulable": "node_unschedulable",
    "TaintToleration": "taint_toleration",
    "NodeAffinity": "node_affinity",
    "NodePorts": "node_ports",
    "NodeResourcesFit": "node_resources_fit",
    "NodeResourcesBalancedAllocation": "node_resources_balanced_allocation",
    "VolumeRestrictions": "volume_restrictions",
    "NodeVolumeLimits": "node_volume_limits",
    "VolumeBinding": "volume_binding",
    "VolumeZone": "volume_zone",
    "PodTopologySpread": "pod_topology_spread",
    "InterPodAffinity": "inter_pod_affinity",
    "ImageLocality": "image_locality",
    "DynamicResources": "dynamic_resources",
    "DefaultPreemption": "default_preemption",
    "DefaultBinder": "default_binder",
    "NodeDeclaredFeatures": "node_declared_features",
}


def _lazy(name: str, module: str) -> Factory:
    def make(arguments: Object, handle: Handle | None) -> Named:
        found: Callable[[Object, Handle | None], Named] = getattr(
            importlib.import_module(f"{__name__}.{module}"), name
        )
        return found(arguments, handle)

    return make


# Each plugin's class has its name, and is loaded when a profile first wants it.
REGISTRY: Registry = {name: _lazy(name, module) for name, module in _MODULES.items()}


def default_profile(name: str = "default-scheduler", handle: Handle | None = None) -> Profile:
    """The default plugins with default arguments."""
    plugins = [REGISTRY[plugin]({}, handle) for plugin, _ in DEFAULT if plugin in REGISTRY]
    return Profile.of(name, multi_point(plugins), {plugin: weight or 1 for plugin, weight in DEFAULT})
