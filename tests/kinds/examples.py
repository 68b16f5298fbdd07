"""Objects as people write them, and the way that a write takes: decode, default, prepare, validate."""

from __future__ import annotations

import copy
from typing import Any

from sampan.kinds import registry, schemas

Found = dict[str, str]


def written(api_version: str, kind: str, name: str = "web", **fields: Any) -> Any:
    found = registry.of(api_version, kind)
    meta: dict[str, Any] = {"name": name, **({"namespace": "default"} if found.namespaced else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta | fields.pop("metadata", {}), **fields}


def defaulted(obj: Any, old: Any = None, subresource: str = "") -> Any:
    kind = registry.of(obj["apiVersion"], obj["kind"])
    found = schemas.decode(copy.deepcopy(obj), kind.group, kind.version, kind.kind).obj
    kind.default(found)
    if kind.prepare:
        kind.prepare(found, old, subresource)
    return found


def faults(obj: Any, old: Any = None) -> Found:
    """The faults of an object by their fields."""
    kind = registry.of(obj["apiVersion"], obj["kind"])
    return {f.field: f.detail for f in kind.validate(defaulted(obj, old), old)}


def template(**spec: Any) -> Any:
    containers = [{"name": "web", "image": "nginx:1.27"}]
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers, **spec}}


def pod(**spec: Any) -> Any:
    return written("v1", "Pod", spec={"containers": [{"name": "web", "image": "nginx:1.27"}], **spec})


def workload(api_version: str, kind: str, pods: Any = None, **spec: Any) -> Any:
    selector = {"matchLabels": {"app": "web"}}
    return written(api_version, kind, spec={"selector": selector, "template": pods or template(), **spec})


def stateful_set(**spec: Any) -> Any:
    return workload("apps/v1", "StatefulSet", **spec)


def deployment(**spec: Any) -> Any:
    return workload("apps/v1", "Deployment", **spec)


def service(**spec: Any) -> Any:
    return written("v1", "Service", spec={"ports": [{"port": 80}], **spec})
