"""What stands behind the subresources of kinds: the kind of their bodies, and their verbs, as discovery tells."""

from __future__ import annotations

from typing import NamedTuple

from sampan.kinds.kind import Kind


class Subresource(NamedTuple):
    """`kind` with `group` and `version` is what the endpoint takes and gives."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


_SAME = {
    "status": ("get", "patch", "update"),
    "ephemeralcontainers": ("get", "patch", "update"),
    "resize": ("get", "patch", "update"),
    "approval": ("get", "patch", "update"),
    "finalize": ("update",),
    "log": ("get",),
}
_PROXY = ("create", "delete", "get", "patch", "update")
_OTHERS = {
    "scale": Subresource("scale", "autoscaling", "v1", "Scale", ("get", "patch", "update")),
    "binding": Subresource("binding", "", "v1", "Binding", ("create",)),
    "eviction": Subresource("eviction", "policy", "v1", "Eviction", ("create",)),
    "token": Subresource("token", "authentication.k8s.io", "v1", "TokenRequest", ("create",)),
    "attach": Subresource("attach", "", "v1", "PodAttachOptions", ("create", "get")),
    "exec": Subresource("exec", "", "v1", "PodExecOptions", ("create", "get")),
    "portforward": Subresource("portforward", "", "v1", "PodPortForwardOptions", ("create", "get")),
}


def describe(kind: Kind, name: str) -> Subresource:
    """What stands behind `name` of a kind that lists it. Raises KeyError for a name that no kind has."""
    if name in _SAME:
        return Subresource(name, kind.group, kind.version, kind.kind, _SAME[name])
    if name == "proxy":
        return Subresource(name, kind.group, kind.version, f"{kind.kind}ProxyOptions", _PROXY)
    return _OTHERS[name]
