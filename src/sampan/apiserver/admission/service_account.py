"""Every pod runs as a service account, with a token that is its own.

Source: the concepts' page "Managing Service Accounts": the volume kube-api-access and its mount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.machinery import generated
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
MIRROR = "kubernetes.io/config.mirror"
TOKEN_SECONDS = 3607


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    if call.subresource or MIRROR in (obj["metadata"].get("annotations") or {}):
        return
    spec = obj.setdefault("spec", {})
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    record = await server.store.get(f"/core/serviceaccounts/{call.namespace}/{name}")
    if not record:
        await _missing(server, call, name)
        return
    account = server.decoded(record)
    if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(s) for s in account["imagePullSecrets"]]
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken", True)
    if wanted:
        _mount(spec)


async def _missing(server: ApiServer, call: Call, name: str) -> None:
    """A namespace that is not there is a clearer answer than its missing account."""
    if await server.store.get(f"/core/namespaces/{call.namespace}"):
        why = f'error looking up service account {call.namespace}/{name}: serviceaccount "{name}" not found'
        raise errors.forbidden(call.resource, call.name, why)


def _mount(spec: Object) -> None:
    """Add the token's volume, and its mount to each container that has nothing there."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    without = [c for c in containers if all(m.get("mountPath") != MOUNT for m in c.get("volumeMounts") or ())]
    if not without:
        return
    name = generated.random_name("kube-api-access-")
    for container in without:
        mount = {"name": name, "readOnly": True, "mountPath": MOUNT}
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
    spec["volumes"] = [*(spec.get("volumes") or ()), {"name": name, "projected": _projection()}]


def _projection() -> Object:
    """The token, the authority that signed the server's certificate, and the pod's namespace."""
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
        ],
    }


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    """A mirror pod, which a node makes of a static one, may not use what only the API can give."""
    if call.subresource or obj is None or MIRROR not in (obj["metadata"].get("annotations") or {}):
        return
    if obj["spec"].get("serviceAccountName"):
        raise errors.forbidden(call.resource, call.name, "a mirror pod may not reference service accounts")
