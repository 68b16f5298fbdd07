"""Who may approve and sign requests for certificates: those whom RBAC lets use the signer.

Source: the reference's page "Certificate Signing Requests", "Authorization"; k8s.io/kubernetes
plugin/pkg/admission/certificates.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.apiserver.rbac import Attributes
from sampan.host import certificate_requests
from sampan.kinds import faults
from sampan.machinery import conditions
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

GROUP = "certificates.k8s.io"
CLIENT = "kubernetes.io/kube-apiserver-client"


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    if obj is None:
        return
    if old is None:
        _well_formed(call, obj)
    elif call.subresource == "approval":
        await _may(server, call, old, "approve")
    elif call.subresource == "status":
        _not_decided(call, obj, old)
        fields = ("status.certificate", "status.conditions")
        if any(get(obj, f) != get(old, f) for f in fields):
            await _may(server, call, old, "sign")


def _not_decided(call: Call, obj: Object, old: Object) -> None:
    """Who signs does not approve: those conditions are set at their own endpoint."""
    found = []
    for type_ in ("Approved", "Denied"):
        before, after = conditions.find(old, type_), conditions.find(obj, type_)
        if before != after:
            word = "modify" if before else "add"
            text = f'updates may not {word} a condition of type "{type_}"'
            found.append(faults.forbidden("status.conditions", text))
    if found:
        raise errors.invalid(call.resource, call.name, found)


async def validate_bundle(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    """Only who may attest for a signer says which authorities are its own."""
    signer = get(obj, "spec.signerName", "")
    if obj is None or not signer or (old is not None and obj.get("spec") == old.get("spec")):
        return
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        if await server.allowed(call.user, Attributes("attest", GROUP, "signers", "", "", name)):
            return
    why = f'user not permitted to attest for signerName "{signer}"'
    raise errors.forbidden(call.resource, call.name, why)


async def validate_pod_request(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    """Only who may sign for its signer decides on a pod's request."""
    if obj is None or old is None or call.subresource != "status" or obj.get("status") == old.get("status"):
        return
    await _may(server, call, old, "sign")


async def _may(server: ApiServer, call: Call, request: Object, verb: str) -> None:
    """Raises 403 unless the user may `verb` for the signer, or for all of its domain."""
    signer = get(request, "spec.signerName", "")
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        if await server.allowed(call.user, Attributes(verb, GROUP, "signers", "", "", name)):
            return
    why = f'user not permitted to {verb} requests with signerName "{signer}"'
    raise errors.forbidden(call.resource, call.name, why)


def _well_formed(call: Call, request: Object) -> None:
    """Raises 422 for what is no request, and 403 for one of the group that may do everything."""
    try:
        asked = certificate_requests.parse(base64.b64decode(get(request, "spec.request", "")))
    except ValueError as e:
        fault = faults.invalid("spec.request", get(request, "spec.request", ""), str(e))
        raise errors.invalid(call.resource, call.name, [fault]) from e
    if get(request, "spec.signerName") == CLIENT and "system:masters" in asked.organizations:
        why = f"use of {CLIENT} signer with system:masters group is not allowed"
        raise errors.forbidden(call.resource, call.name, why)
