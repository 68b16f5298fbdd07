"""The pods and claims of a StatefulSet, by ordinal: their names, labels and volumes.

Source: the concepts' page on StatefulSets (stable identity, stable storage); KEP-1847 (retention of claims).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sampan.controllers import pods, revisions
from sampan.machinery import selectors
from sampan.machinery.objects import Object

HASH = revisions.HASH
POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def ordinal(pod: Object) -> int:
    """The number at the end of the pod's name, -1 where there is none."""
    _, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if number.isdigit() else -1


def fits(sts: Object) -> Callable[[Object], bool]:
    """Whether a pod belongs to the set: by its labels and by its name."""
    selector = selectors.of(sts["spec"].get("selector"))
    name = sts["metadata"]["name"]

    def check(pod: Object) -> bool:
        return (
            selector.matches(pod["metadata"].get("labels"))
            and pod["metadata"]["name"] == f"{name}-{ordinal(pod)}"
        )

    return check


def pod(sts: Object, revision: Object, i: int) -> Object:
    """Pod `i` as the template of `revision` describes it."""
    name = f"{sts['metadata']['name']}-{i}"
    made = pods.from_template(revisions.template(revision), name, sts)
    made["metadata"]["labels"] = {
        **made["metadata"].get("labels", {}),
        HASH: revision["metadata"]["name"],
        POD_NAME: name,
        POD_INDEX: str(i),
    }
    made["spec"] = {
        **made["spec"],
        "hostname": name,
        **({"subdomain": sts["spec"]["serviceName"]} if sts["spec"].get("serviceName") else {}),
        "volumes": _volumes(sts, made["spec"].get("volumes") or [], i),
    }
    if not made["spec"]["volumes"]:
        del made["spec"]["volumes"]
    return made


def _volumes(sts: Object, volumes: list[Any], i: int) -> list[Any]:
    """The template's volumes, with those that a claim template names taken from the pod's own claim."""
    names = [t["metadata"]["name"] for t in sts["spec"].get("volumeClaimTemplates") or ()]
    claimed = [
        {"name": name, "persistentVolumeClaim": {"claimName": claim_name(sts, name, i)}} for name in names
    ]
    return claimed + [v for v in volumes if v["name"] not in names]


def claim_name(sts: Object, template: str, i: int) -> str:
    return f"{template}-{sts['metadata']['name']}-{i}"


def claims(sts: Object, i: int) -> list[Object]:
    """The claims of pod `i`; with whenDeleted Delete they are the set's own and go with it."""
    policy = sts["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    found = []
    for template in sts["spec"].get("volumeClaimTemplates") or ():
        meta = template["metadata"]
        labels = {**(meta.get("labels") or {}), **(sts["spec"]["selector"].get("matchLabels") or {})}
        made = {
            "name": claim_name(sts, meta["name"], i),
            "namespace": sts["metadata"]["namespace"],
            "labels": labels,
            **({"annotations": meta["annotations"]} if meta.get("annotations") else {}),
        }
        if policy.get("whenDeleted", "Retain") == "Delete":
            made["ownerReferences"] = [pods.reference(sts, controller=False)]
        spec = template["spec"]
        found.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": made, "spec": spec})
    return found
