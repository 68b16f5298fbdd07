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
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

GROUP = "certificates.k8s.io"
CLIENT = "kubernetes.io/kube-apiserver-client"


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    if obj is None:
        return
    if old is None:
        _not_masters(call, obj)
    elif call.subresource == "approval":
        await _may(server, call, old, "approve")
    elif call.subresource == "status":
        fields = ("status.certificate", "status.conditions")
        if any(get(obj, f) != get(old, f) for f in fields):
            await _may(server, call, old, "sign")


async def _may(server: ApiServer, call: Call, request: Object, verb: str) -> None:
    """Raises 403 unless the user may `verb` for the signer, or for all of its domain."""
    signer = get(request, "spec.signerName", "")
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        if await server.allowed(call.user, Attributes(verb, GROUP, "signers", "", "", name)):
            return
    why = f'user not permitted to {verb} requests with signerName "{signer}"'
    raise errors.forbidden(call.resource, call.name, why)


def _not_masters(call: Call, request: Object) -> None:
    """Nobody becomes a member of the group that may do everything by a certificate that he asks for."""
    if get(request, "spec.signerName") != CLIENT:
        return
    try:
        asked = certificate_requests.parse(base64.b64decode(get(request, "spec.request", "")))
    except ValueError as e:
        raise errors.forbidden(call.resource, call.name, f"failed to parse CSR: {e}") from e
    if "system:masters" in asked.organizations:
        why = f"use of {CLIENT} signer with system:masters group is not allowed"
        raise errors.forbidden(call.resource, call.name, why)
