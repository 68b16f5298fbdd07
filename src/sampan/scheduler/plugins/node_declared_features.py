"""NodeDeclaredFeatures: a pod that needs a feature of the kubelet goes only to nodes that declare it.

Source: KEP-5328; k8s.io/component-helpers/nodedeclaredfeatures of 1.37: of the features known there, these are
the ones that a pod's spec can need.
"""

from __future__ import annotations

from collections.abc import Callable

from sampan.machinery.objects import Object
from sampan.scheduler.framework import SKIP, Plugin, PreFiltered, Status, unresolvable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot


def _containers(spec: Object, *lists: str) -> list[Object]:
    return [container for name in lists for container in spec.get(name) or ()]


def _restarts_all(spec: Object) -> bool:
    containers = _containers(spec, "containers", "initContainers")
    rules = [rule for container in containers for rule in container.get("restartPolicyRules") or ()]
    return any(rule.get("action") == "RestartAllContainers" for rule in rules)


def _has_users_on_host_network(spec: Object) -> bool:
    return bool(spec.get("hostNetwork")) and spec.get("hostUsers") is False


def _has_mount_options(spec: Object) -> bool:
    containers = _containers(spec, "containers", "initContainers", "ephemeralContainers")
    mounts = [mount for container in containers for mount in container.get("volumeMounts") or ()]
    return any(mount.get("bindMountOptions") for mount in mounts)


FEATURES: dict[str, Callable[[Object], bool]] = {
    "RestartAllContainersOnContainerExits": _restarts_all,
    "UserNamespacesHostNetworkSupport": _has_users_on_host_network,
    "VolumeBindMountOptions": _has_mount_options,
}


class NodeDeclaredFeatures(Plugin):
    name = "NodeDeclaredFeatures"

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        needed = frozenset(name for name, is_needed in FEATURES.items() if is_needed(pod.spec))
        return PreFiltered(needed) if needed else SKIP

    def filter(self, state: frozenset[str], pod: PodInfo, node: NodeInfo) -> Status | None:
        if state <= node.declared_features:
            return None
        return unresolvable("node(s) didn't match Pod's required features")
