"""ResourceClaims: makes those of pods that name a template, and ends the use of claims by pods that are gone.

A pod's claim is owned by the pod; which one it is stands in the pod's status. Once nobody uses a claim, its devices are
given back; a claim that was made for a pod is deleted when the pod has ended. The finalizer that the scheduler put on
an allocated claim keeps it until then.

Source: KEP-4381; k8s.io/kubernetes/pkg/controller/resourceclaim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers import pods
from sampan.controllers.settings import Settings
from sampan.machinery.objects import Key, Object, changed, key, owner
from sampan.reconcile.controller import (
    Action,
    Cache,
    Controller,
    Create,
    Delete,
    Index,
    Patch,
    Plan,
    Update,
    Watch,
)

NAME = "resource-claim-controller"
CLAIMS, TEMPLATES = "resourceclaims.resource.k8s.io", "resourceclaimtemplates.resource.k8s.io"
FINALIZER = "resource.kubernetes.io/delete-protection"
# Which of the pod's claims it is, by its name in the pod.
FOR = "resource.kubernetes.io/pod-claim-name"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod with its claims that are made from templates: the template (None where it is missing), and the claim."""

    pod: Object
    claims: tuple[tuple[str, Object | None, Object | None], ...]


def observe_pod(cache: Cache, name: Key) -> Pod | None:
    pod = cache.get("pods", name)
    if pod is None or not pods.is_active(pod):
        return None
    entries = [e for e in pod["spec"].get("resourceClaims") or () if e.get("resourceClaimTemplateName")]
    if not entries:
        return None
    own = {
        (claim["metadata"].get("annotations") or {}).get(FOR): claim
        for claim in cache.index(CLAIMS, "owner", pod["metadata"]["uid"])
    }
    found = (
        (
            e["name"],
            cache.get(TEMPLATES, Key(name.namespace, e["resourceClaimTemplateName"])),
            own.get(e["name"]),
        )
        for e in entries
    )
    return Pod(pod, tuple(found))


def decide_pod(seen: Pod, now: float) -> Plan:
    actions: list[Action] = [
        Create(CLAIMS, _claim(seen.pod, name, template), seen.pod)
        for name, template, claim in seen.claims
        if claim is None and template is not None
    ]
    made = [
        {"name": name, "resourceClaimName": claim["metadata"]["name"]}
        for name, _, claim in seen.claims
        if claim is not None
    ]
    known = (seen.pod.get("status") or {}).get("resourceClaimStatuses") or []
    if made and any(entry not in known for entry in made):
        patch = {"metadata": {"uid": seen.pod["metadata"]["uid"]}, "status": {"resourceClaimStatuses": made}}
        actions.append(Patch("pods", key(seen.pod), patch, "strategic", "status"))
    return Plan(tuple(actions))


def _claim(pod: Object, name: str, template: Object) -> Object:
    """The claim of a template; its name is the pod's own, so that it is not made twice."""
    meta, given = pod["metadata"], template["spec"].get("metadata") or {}
    digest = hashlib.sha256(f"{meta['uid']}/{name}".encode()).hexdigest()[:5]
    annotations = {**(given.get("annotations") or {}), FOR: name}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "name": f"{meta['name'][:180]}-{name}-{digest}",
            "namespace": meta["namespace"],
            **({"labels": given["labels"]} if given.get("labels") else {}),
            "annotations": annotations,
            "ownerReferences": [pods.reference(pod)],
        },
        "spec": template["spec"]["spec"],
    }


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, those of its users that are still there, and whether the pod that it was made for has ended."""

    claim: Object
    users: tuple[Object, ...]
    ended: bool


def observe_claim(cache: Cache, name: Key) -> Claim | None:
    claim = cache.get(CLAIMS, name)
    if claim is None:
        return None
    users = tuple(
        u for u in (claim.get("status") or {}).get("reservedFor") or () if _is_there(cache, name.namespace, u)
    )
    ref = owner(claim)
    ended = False
    if ref is not None and ref["kind"] == "Pod":
        pod = cache.get("pods", Key(name.namespace, ref["name"]))
        ended = pod is None or pod["metadata"]["uid"] != ref["uid"] or pods.is_finished(pod)
    return Claim(claim, users, ended)


def _is_there(cache: Cache, namespace: str, user: Object) -> bool:
    """Whether a user still needs the claim; of users that are no pods nothing is known."""
    if user.get("apiGroup") or user.get("resource") != "pods":
        return True
    pod = cache.get("pods", Key(namespace, user["name"]))
    if pod is None or pod["metadata"]["uid"] != user["uid"]:
        return False
    never_ran = pods.is_terminating(pod) and not pod["spec"].get("nodeName")
    return not pods.is_finished(pod) and not never_ran


def decide_claim(seen: Claim, now: float) -> Plan:
    claim, status = seen.claim, dict(seen.claim.get("status") or {})
    meta = claim["metadata"]
    before = status.get("reservedFor") or ()
    if len(seen.users) < len(before):
        status["reservedFor"] = list(seen.users)
        if not seen.users:
            # Nobody uses the devices any more: others may have them.
            for name in ("allocation", "devices", "reservedFor"):
                status.pop(name, None)
        return Plan((Update(CLAIMS, changed(claim, ("status",), status), "status"),))
    if not seen.users and "allocation" in status and pods.is_terminating(claim):
        return Plan((Update(CLAIMS, changed(claim, ("status",), {}), "status"),))
    if "allocation" not in status and FINALIZER in (meta.get("finalizers") or ()):
        kept = [f for f in meta["finalizers"] if f != FINALIZER]
        return Plan((Update(CLAIMS, changed(claim, ("metadata", "finalizers"), kept)),))
    if seen.ended and not seen.users and not pods.is_terminating(claim):
        return Plan((Delete(CLAIMS, key(claim), meta["uid"]),))
    return Plan()


def _users(claim: Object) -> Iterable[str]:
    return [u["uid"] for u in (claim.get("status") or {}).get("reservedFor") or ()]


def _claims_of(cache: Cache, pod: Object) -> Iterable[Key]:
    """The claims that a pod uses, and those made for it."""
    uid = pod["metadata"]["uid"]
    found = [*cache.index(CLAIMS, "users", uid), *cache.index(CLAIMS, "owner", uid)]
    return [key(claim) for claim in found]


def _owning_pod(cache: Cache, claim: Object) -> Iterable[Key]:
    ref = owner(claim)
    return [Key(claim["metadata"]["namespace"], ref["name"])] if ref and ref["kind"] == "Pod" else []


def _pods_of(cache: Cache, template: Object) -> Iterable[Key]:
    """The pods that wait for a template."""
    meta = template["metadata"]
    return [key(p) for p in cache.index("pods", "claim-templates", f"{meta['namespace']}/{meta['name']}")]


def _templates(pod: Object) -> Iterable[str]:
    names = (e.get("resourceClaimTemplateName") for e in pod["spec"].get("resourceClaims") or ())
    return [f"{pod['metadata']['namespace']}/{name}" for name in names if name]


def make_pods(settings: Settings) -> Controller:
    return Controller(
        name=NAME,
        watches=(Watch("pods"), Watch(CLAIMS, _owning_pod), Watch(TEMPLATES, _pods_of)),
        observe=observe_pod,
        decide=decide_pod,
        indexes=(Index("pods", "claim-templates", _templates),),
    )


def make_claims(settings: Settings) -> Controller:
    return Controller(
        name=NAME,
        watches=(Watch(CLAIMS), Watch("pods", _claims_of)),
        observe=observe_claim,
        decide=decide_claim,
        indexes=(Index(CLAIMS, "users", _users),),
    )
