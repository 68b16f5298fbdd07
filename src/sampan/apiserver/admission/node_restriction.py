"""What a node may write, beyond what RBAC can say: its own Node and the pods on it.

Source: the documentation's "NodeRestriction" admission controller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.apiserver.nodes import node_name, used
from sampan.client.api import ApiError
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

# Labels of its own that a node may set in the kubernetes.io and k8s.io domains.
_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
    }
)
# What a pod that a node made itself may not use.
_WITHHELD = ("serviceaccounts", "secrets", "configmaps", "persistentvolumeclaims")
_LABEL_PREFIXES = ("kubelet.kubernetes.io/", "node.kubernetes.io/")


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    node = node_name(call.user)
    if node is None:
        return
    match call.resource.resource:
        case "nodes":
            _node(call, node, obj, old)
        case "pods":
            _pod(call, node, obj, old)
        case "podcertificaterequests.certificates.k8s.io" if obj is not None:
            await _certificate_request(server, call, node, obj)
        case "leases.coordination.k8s.io":
            if call.namespace != "kube-node-lease" or call.name != node:
                raise _no(call, "can only access node lease with the same name as the requesting node")


def _node(call: Call, node: str, obj: Object | None, old: Object | None) -> None:
    if call.name != node:
        raise _no(call, f'node "{node}" is not allowed to modify node "{call.name}"')
    if obj is None:
        return
    if old is not None and get(obj, "spec.taints") != get(old, "spec.taints"):
        raise _no(call, f'node "{node}" is not allowed to modify taints')
    new, before = get(obj, "metadata.labels", {}), get(old, "metadata.labels", {})
    changed = {k for k in {*new, *before} if new.get(k) != before.get(k)}
    if refused := sorted(k for k in changed if not _own_label(k)):
        raise _no(call, f"is not allowed to modify labels: {', '.join(refused)}")


def _own_label(key: str) -> bool:
    prefix = key.rpartition("/")[0]
    if not (prefix.endswith(("kubernetes.io", "k8s.io"))):
        return True
    return key in _LABELS or key.startswith(_LABEL_PREFIXES)


def _pod(call: Call, node: str, obj: Object | None, old: Object | None) -> None:
    if old is None and obj is not None:
        if "kubernetes.io/config.mirror" not in get(obj, "metadata.annotations", {}):
            raise _no(
                call,
                'pod does not have "kubernetes.io/config.mirror" annotation, '
                f'node "{node}" can only create mirror pods',
            )
        if get(obj, "spec.nodeName") != node:
            raise _no(call, f'node "{node}" can only create pods with spec.nodeName set to itself')
        for resource in _WITHHELD:
            # Else a node could come to read any of them, by making a pod that uses it.
            if used(obj, resource) - {""}:
                raise _no(call, f'node "{node}" can not create pods that reference {resource}')
    elif get(old, "spec.nodeName") != node:
        what = "delete" if obj is None else "update status for"
        raise _no(call, f'node "{node}" can only {what} pods with spec.nodeName set to itself')


async def _certificate_request(server: ApiServer, call: Call, node: str, obj: Object) -> None:
    """A node asks for certificates only for pods that run on it, as who they are (KEP-4317)."""
    spec = obj["spec"]
    if spec.get("nodeName") != node:
        raise _no(call, f'node "{node}" can only request certificates with spec.nodeName set to itself')
    record = await server.store.get(f"/core/pods/{call.namespace}/{spec.get('podName', '')}")
    pod = server.decoded(record) if record else {}
    account = get(pod, "spec.serviceAccountName", "default")
    told = (node, spec.get("podUID"), spec.get("serviceAccountName"))
    if (get(pod, "spec.nodeName"), get(pod, "metadata.uid"), account) != told:
        raise _no(call, f'pod "{spec.get("podName", "")}" does not run on node "{node}" as the request says')


def _no(call: Call, why: str) -> ApiError:
    return errors.forbidden(call.resource, call.name, why)
