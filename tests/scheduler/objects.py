"""Nodes and pods as tests write them, in a few words."""

from __future__ import annotations

from typing import Any

from sampan.machinery.objects import Object


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: int = 110, **more: Any) -> Object:
    """A node; `labels`, `taints` (as `key=value:effect`) and `unschedulable` in `more`."""
    labels = {"kubernetes.io/hostname": name, **more.get("labels", {})}
    spec: Object = {"taints": [taint(t) for t in more.get("taints", ())]}
    if more.get("unschedulable"):
        spec["unschedulable"] = True
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": str(pods)}},
    }


def taint(text: str) -> Object:
    what, _, effect = text.partition(":")
    key, _, value = what.partition("=")
    return {"key": key, "value": value, "effect": effect}


def pod(name: str, on: str = "", cpu: str = "", memory: str = "", **spec: Any) -> Object:
    """A pod with one container, on a node or waiting; `labels` and other metadata in `meta`."""
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    meta = {"name": name, "namespace": "default", "uid": name, **spec.pop("meta", {})}
    if on:
        spec["nodeName"] = on
    ports = spec.pop("ports", [])
    container = {"name": "c", "image": "busybox", "resources": {"requests": requests}, "ports": ports}
    return {"kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


def anti_affinity(app: str, key: str = "kubernetes.io/hostname") -> Object:
    """Required anti-affinity to pods with this `app` label."""
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def spread(app: str, key: str, skew: int = 1, when: str = "DoNotSchedule") -> list[Object]:
    selector = {"matchLabels": {"app": app}}
    return [{"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": when, "labelSelector": selector}]
