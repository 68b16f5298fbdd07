"""CertificateSigningRequests: approves those of kubelets, signs what is approved, and forgets what is old.

    pending ─> approved (by people, or here) ─> signed, or failed where the signer's rules forbid it ─> deleted

Source: the reference's page "Certificates and Certificate Signing Requests"; k8s.io/kubernetes
pkg/controller/certificates, pkg/apis/certificates/helpers.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from sampan.client.api import Client
from sampan.controllers.settings import Settings
from sampan.host import certificate_requests
from sampan.host.certificate_requests import Asked, Signer
from sampan.machinery import conditions, times
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Action, Cache, Controller, Delete, Patch, Plan, Watch

KIND = "certificatesigningrequests.certificates.k8s.io"
CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY)
HOUR = 3600.0
# How long a certificate lasts at most, and how far back it begins, since clocks differ.
LONGEST, SHORTEST, BACK = 365 * 24 * HOUR, 600.0, 300.0
# How long a request is kept after it was approved or denied, and one that nobody looks at.
DECIDED, PENDING = HOUR, 24 * HOUR
_CLIENT_USAGES = frozenset({"digital signature", "key encipherment", "client auth"})
_KUBELET = ({"digital signature", "key encipherment"}, {"digital signature"})
_MESSAGES = {
    "selfnodeclient": "Auto approving self kubelet client certificate after SubjectAccessReview.",
    "nodeclient": "Auto approving kubelet client certificate after SubjectAccessReview.",
}


@dataclass(frozen=True, slots=True)
class Observed:
    """`allowed` names the subresource by which its author may have it approved at once, or is empty."""

    request: Object
    allowed: str = ""


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    return Observed(found) if found and "deletionTimestamp" not in found["metadata"] else None


async def fetch(client: Client, seen: Observed) -> Observed:
    """Ask whether a kubelet's author may have it approved."""
    for subresource in recognized(seen.request):
        spec = seen.request["spec"]
        resource = {
            "group": "certificates.k8s.io",
            "resource": "certificatesigningrequests",
            "verb": "create",
            "version": "*",
            "subresource": subresource,
        }
        asked = {"user": spec.get("username", ""), "groups": spec.get("groups"), "uid": spec.get("uid")}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {k: v for k, v in asked.items() if v} | {"resourceAttributes": resource},
        }
        answer = await client.create("subjectaccessreviews.authorization.k8s.io", review)
        if get(answer, "status.allowed"):
            return replace(seen, allowed=subresource)
    return seen


def recognized(request: Object) -> list[str]:
    """The ways in which a pending request of a kubelet may be approved without anybody."""
    if conditions.of(request) or get(request, "status.certificate"):
        return []
    if get(request, "spec.signerName") != KUBELET_CLIENT:
        return []
    try:
        asked = certificate_requests.parse(_pem(request))
    except ValueError:
        return []
    if fault(KUBELET_CLIENT, asked, request):
        return []
    own = asked.user == get(request, "spec.username")
    return ["selfnodeclient", "nodeclient"] if own else ["nodeclient"]


def decide(sign: Signer | None, seen: Observed, now: float) -> Plan:
    request = seen.request
    wait = _kept_for(request, now)
    if wait <= 0:
        return Plan((Delete(KIND, key(request), request["metadata"]["uid"]),))
    if seen.allowed:
        return Plan(
            (_set(request, "Approved", "AutoApproved", _MESSAGES[seen.allowed], "approval", now),), wait
        )
    if sign and _to_sign(request):
        return Plan((_sign(sign, request, now),), wait)
    return Plan(again=wait)


def _pem(request: Object) -> bytes:
    return base64.b64decode(get(request, "spec.request", ""))


def _is(request: Object, type: str) -> bool:
    return conditions.is_true(request, type)


def _to_sign(request: Object) -> bool:
    ours = get(request, "spec.signerName") in SIGNERS
    open_ = _is(request, "Approved") and not _is(request, "Denied") and not _is(request, "Failed")
    return ours and open_ and not get(request, "status.certificate")


# Signing


def _sign(sign: Signer, request: Object, now: float) -> Action:
    """The certificate, or the word that this signer does not sign such a request."""
    spec = request["spec"]
    try:
        pem = _pem(request)
        why = fault(spec["signerName"], certificate_requests.parse(pem), request)
        if not why:
            made = sign(pem, spec.get("usages") or (), now - BACK, now + _lasts(request))
            patch = {"status": {"certificate": base64.b64encode(made).decode()}}
            return Patch(KIND, key(request), patch, subresource="status")
    except ValueError as e:
        why = f"unable to parse csr: {e}"
    return _set(request, "Failed", "SignerValidationFailure", why, "status", now)


def _lasts(request: Object) -> float:
    wanted = get(request, "spec.expirationSeconds")
    return LONGEST if wanted is None else min(LONGEST, max(SHORTEST, float(wanted)))


def fault(signer: str, asked: Asked, request: Object) -> str:
    """Why a signer does not sign a request; empty where it does."""
    usages = set(get(request, "spec.usages", ()))
    match signer:
        case "kubernetes.io/kube-apiserver-client":
            if "client auth" not in usages or not usages <= _CLIENT_USAGES:
                return f"invalid usages for client certificate: {_listed(usages)}"
            return ""
        case "kubernetes.io/kube-apiserver-client-kubelet":
            return _kubelet(asked, usages, "client auth", _names_anything(asked))
        case "kubernetes.io/kubelet-serving":
            if asked.user != get(request, "spec.username", ""):
                return "subject common name is not the requesting user"
            return _kubelet(asked, usages, "server auth", _names_no_host(asked))
    return ""


def _kubelet(asked: Asked, usages: set[str], auth: str, names: str) -> str:
    """The rules for kubelets' certificates, of clients and of servers; `names` is what their names break."""
    if asked.organizations != ("system:nodes",):
        return "subject organization is not system:nodes"
    if names:
        return names
    if usages not in [needed | {auth} for needed in _KUBELET]:
        return f"usages did not match {_listed(_KUBELET[0] | {auth})}"
    if not asked.user.startswith("system:node:"):
        return "subject common name does not begin with system:node:"
    return ""


def _listed(usages: set[str]) -> str:
    return f"[{' '.join(sorted(usages))}]"


def _names_anything(asked: Asked) -> str:
    given = (
        ("DNS", asked.hosts),
        ("Email", asked.emails),
        ("IP", asked.addresses),
        ("URI", asked.uris),
    )
    return next((f"{kind} subjectAltNames are not allowed" for kind, names in given if names), "")


def _names_no_host(asked: Asked) -> str:
    if not asked.hosts and not asked.addresses:
        return "DNS or IP subjectAltName is required"
    given = (("Email", asked.emails), ("URI", asked.uris))
    return next((f"{kind} subjectAltNames are not allowed" for kind, names in given if names), "")


def _set(request: Object, type: str, reason: str, message: str, subresource: str, now: float) -> Action:
    made = {**conditions.new(type, "True", reason, message, now), "lastUpdateTime": times.time(now)}
    every = [*conditions.of(request), made]
    return Patch(KIND, key(request), {"status": {"conditions": every}}, subresource=subresource)


# Forgetting


def _kept_for(request: Object, now: float) -> float:
    """For how many seconds more a request is kept."""
    ends = [times.seconds(request["metadata"]["creationTimestamp"]) + PENDING]
    found = conditions.of(request)
    if found:
        ends = []
    for condition in found:
        changed = condition.get("lastUpdateTime") or condition.get("lastTransitionTime")
        if condition["type"] in ("Approved", "Denied", "Failed") and changed:
            ends.append(times.seconds(changed) + DECIDED)
    return min(ends, default=now + HOUR) - now


def make(settings: Settings) -> Controller:
    deciding: Callable[[Observed, float], Plan] = partial(decide, settings.sign)
    return Controller(
        name="certificate-controller",
        watches=(Watch(KIND),),
        observe=observe,
        fetch=fetch,
        decide=deciding,
        workers=1,
    )
