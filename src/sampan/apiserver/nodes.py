"""What a node may read and write: its own Node, Lease and pods, and what those pods use.

Source: the documentation's "Using Node Authorization".
"""

from __future__ import annotations

from collections.abc import Iterator

from sampan.apiserver.call import User
from sampan.apiserver.codec import Decoded
from sampan.apiserver.rbac import Attributes
from sampan.machinery.objects import Object, get
from sampan.store.api import Store

GROUP, PREFIX = "system:nodes", "system:node:"
_READ = ("get", "list", "watch")
# What every node may do to a resource, whatever its name.
_ALWAYS: dict[str, tuple[str, ...]] = {
    "services": _READ,
    "namespaces": _READ,
    # Which node or pod, where it is written, is for admission (`node_restriction`) to see.
    "nodes": ("create", "update", "patch"),
    "pods": ("create", "delete"),
    "events": ("create", "patch", "update"),
    "events.events.k8s.io": ("create", "patch", "update"),
    "endpoints": _READ,
    "endpointslices.discovery.k8s.io": _READ,
    "networkpolicies.networking.k8s.io": _READ,
    "persistentvolumes": ("get",),
    "csidrivers.storage.k8s.io": _READ,
    "runtimeclasses.node.k8s.io": _READ,
    "tokenreviews.authentication.k8s.io": ("create",),
    "subjectaccessreviews.authorization.k8s.io": ("create",),
    "localsubjectaccessreviews.authorization.k8s.io": ("create",),
    "certificatesigningrequests.certificates.k8s.io": (*_READ, "create"),
    "clustertrustbundles.certificates.k8s.io": _READ,
    # For which pod, is for admission to see.
    "podcertificaterequests.certificates.k8s.io": ("create",),
}
_WRITE = ("get", "create", "update", "patch", "delete")
# Subresources it may write; that the pod or node is its own is for admission (`node_restriction`) to see.
_STATUS = {
    "nodes": ("update", "patch"),
    "pods": ("update", "patch"),
    "persistentvolumeclaims": (*_READ, "update", "patch"),
}


def node_name(user: User) -> str | None:
    """The node's name, where the user is a node."""
    if GROUP in user.groups and user.name.startswith(PREFIX):
        return user.name.removeprefix(PREFIX)
    return None


def reason(user: User, asked: Attributes) -> str:
    """What is more to say where a node was refused; empty for anyone else."""
    node = node_name(user)
    if node is None:
        return ""
    match asked.resource:
        case "nodes" if asked.verb in _READ:
            return f"node '{node}' cannot read {_quoted(asked.name)}, only its own Node object"
        case "pods" if asked.verb in ("list", "watch"):
            return "can only list/watch pods with spec.nodeName field selector"
        case "secrets" | "configmaps" | "persistentvolumeclaims" if asked.verb not in _READ:
            return "can only read resources of this type"
        case "secrets" | "configmaps" | "persistentvolumeclaims" if not asked.name:
            return "No Object name found"
        case "secrets" | "configmaps" | "persistentvolumeclaims" | "serviceaccounts" | "pods":
            return f"no relationship found between node '{node}' and this object"
    return ""


def _quoted(name: str) -> str:
    return f"'{name}'" if name else "all nodes"


class NodeRules:
    """Looks at the store's pods; a node asks seldom, since it watches each name that it uses."""

    def __init__(self, store: Store, decoded: Decoded):
        self._store = store
        self._decoded = decoded

    async def allows(self, user: User, asked: Attributes) -> bool:
        node = node_name(user)
        if node is None or asked.path:
            return False
        resource = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
        if asked.subresource:
            return await self._subresource(node, resource, asked)
        if asked.verb in _ALWAYS.get(resource, ()):
            return True
        match resource:
            case "nodes":
                return asked.name == node and asked.verb in (*_READ, "delete")
            case "pods":
                return asked.verb in _READ and (asked.node == node or await self._runs(node, asked))
            case "podcertificaterequests.certificates.k8s.io":
                return asked.verb in ("list", "watch") and asked.node == node
            case "leases.coordination.k8s.io":
                return (
                    asked.namespace == "kube-node-lease" and asked.verb in _WRITE and asked.name in (node, "")
                )
            case "csinodes.storage.k8s.io":
                return asked.name == node and asked.verb in _WRITE
            case "secrets" | "configmaps" | "persistentvolumeclaims":
                return asked.verb in _READ and bool(asked.name) and await self._used(node, resource, asked)
            case "serviceaccounts":
                return asked.verb == "get" and await self._used(node, resource, asked)
        return False

    async def _subresource(self, node: str, resource: str, asked: Attributes) -> bool:
        if asked.subresource == "status":
            if resource == "persistentvolumeclaims" and not await self._used(node, resource, asked):
                return False
            return asked.verb in _STATUS.get(resource, ())
        if (resource, asked.subresource, asked.verb) == ("serviceaccounts", "token", "create"):
            return await self._used(node, resource, asked)
        return (resource, asked.subresource, asked.verb) == ("pods", "eviction", "create")

    async def _runs(self, node: str, asked: Attributes) -> bool:
        """Whether it asks for one pod, and that is on the node."""
        record = await self._store.get(f"/core/pods/{asked.namespace}/{asked.name}") if asked.name else None
        return record is not None and get(self._decoded(record), "spec.nodeName") == node

    async def _used(self, node: str, resource: str, asked: Attributes) -> bool:
        """Whether a pod on the node uses the object."""
        page = await self._store.list(f"/core/pods/{asked.namespace}/")
        mark = b'"nodeName":"%b"' % node.encode()
        for record in page.records:
            if mark not in record.value:
                continue
            pod = self._decoded(record)
            if get(pod, "spec.nodeName") == node and asked.name in used(pod, resource):
                return True
        return False


def used(pod: Object, resource: str) -> set[str]:
    """The names of the objects of a resource that a pod uses."""
    spec = pod["spec"]
    match resource:
        case "serviceaccounts":
            return {spec.get("serviceAccountName", "")}
        case "persistentvolumeclaims":
            claims = {
                v["persistentVolumeClaim"]["claimName"]
                for v in spec.get("volumes") or ()
                if "persistentVolumeClaim" in v
            }
            ephemeral = {
                f"{pod['metadata']['name']}-{v['name']}"
                for v in spec.get("volumes") or ()
                if "ephemeral" in v
            }
            return claims | ephemeral
        case "secrets":
            pulling = {s.get("name", "") for s in spec.get("imagePullSecrets") or ()}
            return pulling | set(_references(spec, "secret", "secretName"))
        case "configmaps":
            return set(_references(spec, "configMap", "name"))
    return set()


def _references(spec: Object, kind: str, volume_field: str) -> Iterator[str]:
    """Names in volumes, projections and environments; `kind` is secret or configMap."""
    for volume in spec.get("volumes") or ():
        yield from _of_volume(volume, kind, volume_field)
    for container in _containers(spec):
        for source in container.get("envFrom") or ():
            yield get(source, f"{kind}Ref.name", "")
        for variable in container.get("env") or ():
            yield get(variable, f"valueFrom.{kind}KeyRef.name", "")


def _of_volume(volume: Object, kind: str, field: str) -> Iterator[str]:
    if kind in volume:
        yield volume[kind].get(field, "")
    for source in get(volume, "projected.sources", ()):
        if kind in source:
            yield source[kind].get("name", "")


def _containers(spec: Object) -> Iterator[Object]:
    for name in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(name) or ()
