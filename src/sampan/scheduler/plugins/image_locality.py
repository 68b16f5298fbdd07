"""ImageLocality: prefers nodes that hold the pod's images already, the larger the better.

An image counts by its size times the share of nodes that hold it, so that not all pods go to the first node which
pulled it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sampan.scheduler.framework import MAX_SCORE, Plugin
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.normal import quotient
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot

MIB = 2**20
# Less than this in all counts for nothing; more than this for each container counts no more.
LEAST = 23 * MIB
MOST_BY_CONTAINER = 1000 * MIB


class ImageLocality(Plugin):
    name = "ImageLocality"

    def pre_score(
        self, state: None, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> list[tuple[str, float]]:
        """The pod's images, and the share of the nodes that hold each."""
        total = len(snapshot.nodes)
        return [(name, len(snapshot.images.get(name, ())) / total) for name in images_of(pod)]

    def score(self, state: list[tuple[str, float]], pod: PodInfo, node: NodeInfo) -> int:
        held = sum(int(float(node.images[name]) * share) for name, share in state if name in node.images)
        most = MOST_BY_CONTAINER * len(state)
        if held < LEAST:
            held = LEAST
        elif held > most:
            held = most
        return quotient(MAX_SCORE * (held - LEAST), most - LEAST)


def images_of(pod: PodInfo) -> list[str]:
    """The images of the pod's containers and volumes, as nodes report them."""
    spec = pod.spec
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    volumes = [v["image"].get("reference") for v in spec.get("volumes") or () if v.get("image") is not None]
    return [tagged(name or "") for name in [*(c.get("image") for c in containers), *volumes]]


def tagged(name: str) -> str:
    """An image's name as nodes report it: with the tag `latest` where it has none."""
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"
