"""Kinds of pods: what a pod's placement depends on, as keys, so that what was worked out for one serves the next."""

from __future__ import annotations

import orjson

from sampan.machinery.objects import owner
from sampan.scheduler.columns.questions import Amounts
from sampan.scheduler.pods import PodInfo

_SORTED = orjson.OPT_SORT_KEYS


class Kind:
    """`group` is the key of what other pods look at, `question` of all that the answer depends on but the amounts."""

    __slots__ = ("amounts", "group", "question")

    def __init__(self, pod: PodInfo) -> None:
        spec, affinity = pod.spec, pod.spec.get("affinity") or {}
        social = (
            pod.namespace, pod.labels, affinity.get("podAffinity"), affinity.get("podAntiAffinity"), pod.terminating,
        )  # fmt: skip
        self.group: bytes = orjson.dumps(social, option=_SORTED)
        self.amounts = Amounts.of(pod)
        constraints = spec.get("topologySpreadConstraints")
        belongs = None if constraints else owner(pod.object)
        images = [
            c.get("image") for c in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
        ]
        images += [v["image"].get("reference") for v in spec.get("volumes") or () if v.get("image")]
        rest = (
            affinity.get("nodeAffinity"), spec.get("nodeSelector"), spec.get("tolerations"), constraints,
            belongs and (belongs.get("apiVersion"), belongs.get("kind"), belongs.get("name")), images,
            bool(pod.host_ports), self.amounts.names,
        )  # fmt: skip
        self.question: bytes = self.group + orjson.dumps(rest, option=_SORTED)


def kind_of(pod: PodInfo) -> Kind:
    found: Kind | None = pod.kind
    if found is None:
        found = pod.kind = Kind(pod)
    return found


def same(a: PodInfo, b: PodInfo) -> bool:
    """Whether two pods are equal in all that decides where they go, but for volumes, claims and priority."""
    one, other = kind_of(a), kind_of(b)
    return one.question == other.question and one.amounts == other.amounts and a.host_ports == b.host_ports
