"""Kinds of pods: what a pod's placement depends on, as keys, so that what was worked out for one serves the next."""

from __future__ import annotations

import orjson

from sampan.machinery.objects import Object, owner
from sampan.scheduler import resources
from sampan.scheduler.plugins.image_locality import tagged
from sampan.scheduler.plugins.node_declared_features import FEATURES
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.resources import CPU, MEMORY, Resources

_SORTED = orjson.OPT_SORT_KEYS
# Volumes of these kinds say nothing of the node that they are on.
_ANYWHERE = frozenset(
    ("name", "configMap", "secret", "projected", "emptyDir", "downwardAPI", "hostPath", "image", "nfs")
)


class Kind:
    """One pod as keys and amounts.

    `group` is the key of what other pods look at, `rest` of all else that the answer depends on but the amounts;
    `social` says whether its own labels matter for that, `owner` is whose selector may be its default one. `extra` is
    what columns know nothing of, empty for most pods: volumes with a place, claims to devices, features. `needs` must
    fit, `fit` counts in the fit score, `takes` is what the pod takes of its node.
    """

    __slots__ = ("extra", "fit", "group", "images", "needs", "non_zero", "owner", "rest", "social", "takes")

    def __init__(self, pod: PodInfo) -> None:
        spec = pod.spec
        affinity = spec.get("affinity") or _NOTHING
        self.group = group_key(pod)
        self._amounts(pod)
        constraints, volumes = spec.get("topologySpreadConstraints"), spec.get("volumes")
        images, plain = _images(spec)
        if volumes:
            images += [v["image"].get("reference") or "" for v in volumes if v.get("image")]
        self.images = tuple([tagged(name) for name in images])
        rest = (
            affinity.get("nodeAffinity"), spec.get("nodeSelector"), spec.get("tolerations"), constraints, self.images,
            pod.host_ports, pod.node, self._names(),
        )  # fmt: skip
        self.rest: bytes = orjson.dumps(rest, option=_SORTED)
        self.social = bool(constraints) or pod.has_affinity
        self.owner = None if constraints else _owner(pod.object)
        self.extra = b"" if plain and not volumes and "resourceClaims" not in spec else _extra(spec)

    def _amounts(self, pod: PodInfo) -> None:
        self.takes, self.non_zero = pod.requests, pod.non_zero
        if resources.is_plain(pod.object):
            self.needs = self.takes
            self.fit = {**self.takes, CPU: self.non_zero[0], MEMORY: self.non_zero[1]}
        else:
            self.needs = resources.requests(pod.object, status=False)
            self.fit = resources.requests(pod.object, status=False, pod_level=False, defaults=(CPU, MEMORY))

    def _names(self) -> list[list[str]]:
        """The resources of each that are not zero."""
        listed: list[Resources] = (
            [self.needs] if self.needs is self.takes else [self.needs, self.fit, self.takes]
        )
        return [[name for name, amount in some.items() if amount] for some in listed]

    def same(self, other: Kind) -> bool:
        """Whether pods of both are equal in all that decides where they go, but for priority."""
        return (
            self.rest == other.rest
            and self.group == other.group
            and self.owner == other.owner
            and self.extra == other.extra
            and self.needs == other.needs
            and self.fit == other.fit
            and self.takes == other.takes
        )


_NOTHING: Object = {}


def group_key(pod: PodInfo) -> bytes:
    """The key of what other pods look at: namespace, labels, terms, and whether it is going."""
    if not pod.group_key:
        affinity = pod.spec.get("affinity") or _NOTHING
        near, apart = affinity.get("podAffinity"), affinity.get("podAntiAffinity")
        social = (pod.namespace, pod.labels, near, apart, pod.terminating)
        pod.group_key = orjson.dumps(social, option=_SORTED)
    return pod.group_key


def _owner(pod: Object) -> tuple[str, ...] | None:
    """The controller whose selector may be the pod's default one."""
    if "ownerReferences" not in pod["metadata"] or (found := owner(pod)) is None:
        return None
    return found.get("apiVersion", ""), found.get("kind", ""), found["name"]


def _images(spec: Object) -> tuple[list[str], bool]:
    """The containers' images, and whether no container has a field that features of the node come from."""
    images: list[str] = []
    plain = "hostUsers" not in spec and "ephemeralContainers" not in spec
    for name in ("initContainers", "containers"):
        for container in spec.get(name) or ():
            images.append(container.get("image") or "")
            plain = plain and "volumeMounts" not in container and "restartPolicyRules" not in container
    return images, plain


def _extra(spec: Object) -> bytes:
    placed = [volume for volume in spec.get("volumes") or () if not volume.keys() <= _ANYWHERE]
    claims, features = spec.get("resourceClaims"), any(is_needed(spec) for is_needed in FEATURES.values())
    return orjson.dumps((placed, claims, features), option=_SORTED) if placed or claims or features else b""


def kind_of(pod: PodInfo) -> Kind:
    """Worked out once for each pod, and kept with it."""
    found: Kind | None = pod.kind
    if found is None:
        found = pod.kind = Kind(pod)
    return found


def same(a: PodInfo, b: PodInfo) -> bool:
    """Whether two pods are equal in all that decides where they go, but for priority."""
    return kind_of(a).same(kind_of(b))
