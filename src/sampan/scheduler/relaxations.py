"""Single changes to a pod or a node that may make the pod fit, each one thing that a person would change.

A `Relaxation` is plain data; `on_pod` and `on_node` give changed copies. `fixes` lists, for one refusal of one node by
one filter, every change known here of which one must be made before that filter lets the pod in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sampan.machinery import quantities
from sampan.machinery.objects import Object, changed, get
from sampan.machinery.placement import tolerates
from sampan.scheduler import resources
from sampan.scheduler.framework import Status
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.terms import HOSTNAME

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_AFFINITY = ("spec", "affinity", "nodeAffinity", REQUIRED)
# What bears the taint of a cordoned node.
UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True, order=True)
class Relaxation:
    """`kind` is a row of `_KINDS`; `node` is empty for a change of the pod; `what` are its particulars."""

    kind: str
    what: tuple[Any, ...] = ()
    node: str = ""

    def __str__(self) -> str:
        """As an instruction: `lower its request for cpu by 500m, to 1500m`."""
        return self.text(self.node)

    def text(self, node: str) -> str:
        """The instruction, for another node or for several."""
        return _KINDS[self.kind].text(*self.what, **({"node": node} if self.node else {}))

    def on_pod(self, pod: Object) -> Object:
        return pod if self.node else _KINDS[self.kind].apply(pod, *self.what)

    def on_node(self, node: Object) -> Object:
        return _KINDS[self.kind].apply(node, *self.what) if self.node == node["metadata"]["name"] else node


@dataclass(frozen=True, slots=True)
class _Kind:
    text: Callable[..., str]
    apply: Callable[..., Object]


def _drop_selector(pod: Object, key: str, value: str) -> Object:
    kept = {k: v for k, v in pod["spec"]["nodeSelector"].items() if k != key}
    return changed(pod, ("spec", "nodeSelector"), kept or None)


def _tolerate(pod: Object, key: str, value: str, effect: str) -> Object:
    new = {"key": key, "operator": "Equal", "value": value, "effect": effect}
    return changed(pod, ("spec", "tolerations"), [*(pod["spec"].get("tolerations") or ()), new])


def _untaint(node: Object, key: str, value: str, effect: str) -> Object:
    kept = [t for t in node["spec"]["taints"] if (t["key"], t.get("effect")) != (key, effect)]
    return changed(node, ("spec", "taints"), kept or None)


def _uncordon(node: Object) -> Object:
    """The node open again; its taint goes with it."""
    kept = [t for t in (node.get("spec") or {}).get("taints") or () if t["key"] != UNSCHEDULABLE["key"]]
    return changed(changed(node, ("spec", "unschedulable"), None), ("spec", "taints"), kept or None)


def _without(path: tuple[str, ...]) -> Callable[..., Object]:
    """A list at `path` without one item."""

    def apply(obj: Object, index: int, *_: Any) -> Object:
        listed = list(get(obj, ".".join(path)) or ())
        del listed[index]
        return changed(obj, path, listed or None)

    return apply


def _soften(pod: Object, index: int, *_: Any) -> Object:
    listed = [dict(c) for c in pod["spec"]["topologySpreadConstraints"]]
    listed[index]["whenUnsatisfiable"] = "ScheduleAnyway"
    return changed(pod, ("spec", "topologySpreadConstraints"), listed)


def _drop_port(pod: Object, number: int, protocol: str) -> Object:
    def freed(container: Object) -> Object:
        ports = [
            {k: v for k, v in p.items() if k != "hostPort"}
            if p.get("hostPort") == number and (p.get("protocol") or "TCP") == protocol
            else p
            for p in container.get("ports") or ()
        ]
        return {**container, "ports": ports}

    return _each_container(pod, freed)


def _lower(pod: Object, name: str, to: int, by: int) -> Object:
    """The pod with so much of a resource, taken from its largest requests first. Its own requests go first."""
    if name in ((pod["spec"].get("resources") or {}).get("requests") or {}):
        return changed(pod, ("spec", "resources", "requests", name), amount(name, to))
    left = {
        "containers": to - (pod_overhead(pod).get(name, 0)),
        "initContainers": to - pod_overhead(pod).get(name, 0),
    }
    spec = dict(pod["spec"])
    for part, room in left.items():
        listed = [dict(c) for c in spec.get(part) or ()]
        asked = [_request(c, name) for c in listed]
        over = sum(asked) - room if part == "containers" else 0
        for i in sorted(range(len(listed)), key=lambda i: -asked[i]):
            cut = min(max(0, over), asked[i]) if part == "containers" else max(0, asked[i] - room)
            if cut:
                listed[i] = changed(listed[i], ("resources", "requests", name), amount(name, asked[i] - cut))
                over -= cut
        if listed:
            spec[part] = listed
    return {**pod, "spec": spec}


def pod_overhead(pod: Object) -> resources.Resources:
    return resources.resources(pod["spec"].get("overhead"))


def _request(container: Object, name: str) -> int:
    return resources.resources((container.get("resources") or {}).get("requests")).get(name, 0)


def amount(name: str, value: int) -> str:
    """An amount as people write it: `1500m`, `2Gi`, `3`."""
    if name == resources.CPU:
        return str(value // 1000) if value % 1000 == 0 else f"{value}m"
    for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def _each_container(pod: Object, change: Callable[[Object], Object]) -> Object:
    spec = dict(pod["spec"])
    for part in ("containers", "initContainers"):
        if spec.get(part):
            spec[part] = [change(c) for c in spec[part]]
    return {**pod, "spec": spec}


def _taint(key: str, value: str, effect: str) -> str:
    return f"{key}={value}:{effect}" if value else f"{key}:{effect}"


_KINDS: dict[str, _Kind] = {
    "drop-node-name": _Kind(
        lambda: "leave the choice of node to the scheduler (remove spec.nodeName)",
        lambda pod: changed(pod, ("spec", "nodeName"), None),
    ),
    "drop-selector": _Kind(lambda k, v: f"remove {k}={v} from its nodeSelector", _drop_selector),
    "drop-affinity": _Kind(
        lambda: "remove its required node affinity", lambda pod: changed(pod, _AFFINITY, None)
    ),
    "tolerate": _Kind(lambda *t: f"add a toleration for the taint {_taint(*t)}", _tolerate),
    "lower": _Kind(
        lambda name, to, by: f"lower its request for {name} by {amount(name, by)}, to {amount(name, to)}",
        _lower,
    ),
    "drop-port": _Kind(lambda n, p: f"give up the host port {n}/{p}", _drop_port),
    "soften-spread": _Kind(
        lambda i, key: f"make its spread over {key} a wish (whenUnsatisfiable: ScheduleAnyway)", _soften
    ),
    "drop-pod-affinity": _Kind(
        lambda i, key: f"remove its required affinity to pods by {key}",
        _without(("spec", "affinity", "podAffinity", REQUIRED)),
    ),
    "drop-pod-anti-affinity": _Kind(
        lambda i, key: f"remove its required anti-affinity to pods by {key}",
        _without(("spec", "affinity", "podAntiAffinity", REQUIRED)),
    ),
    "label": _Kind(
        lambda k, v, node: f"label node {node} {k}={v}",
        lambda obj, k, v: changed(obj, ("metadata", "labels", k), v),
    ),
    "untaint": _Kind(lambda *t, node: f"remove the taint {_taint(*t)} from node {node}", _untaint),
    "uncordon": _Kind(lambda node: f"uncordon node {node}", _uncordon),
}


def fixes(plugin: str, status: Status, pod: PodInfo, node: NodeInfo) -> list[Relaxation]:
    """The changes of which one must be made before `plugin` lets the pod onto the node; none where none is known."""
    found = _FIXES.get(plugin)
    return list(dict.fromkeys(found(status, pod, node))) if found else []


def _by_name(status: Status, pod: PodInfo, node: NodeInfo) -> Iterator[Relaxation]:
    yield Relaxation("drop-node-name")


def _by_cordon(status: Status, pod: PodInfo, node: NodeInfo) -> Iterator[Relaxation]:
    yield Relaxation("uncordon", (), node.name)
    yield Relaxation("tolerate", (UNSCHEDULABLE["key"], "", UNSCHEDULABLE["effect"]))


def _by_taints(status: Status, pod: PodInfo, node: NodeInfo) -> Iterator[Relaxation]:
    """The first taint that is not tolerated; the others come up once it is."""
    for taint in node.taints:
        hard = taint.get("effect") in ("NoSchedule", "NoExecute")
        if hard and not any(tolerates(t, taint) for t in pod.tolerations):
            what = (taint["key"], taint.get("value") or "", taint["effect"])
            yield Relaxation("tolerate", what)
            yield Relaxation("untaint", what, node.name)
            return


def _by_selector(status: Status, pod: PodInfo, node: NodeInfo) -> Iterator[Relaxation]:
    for key, value in pod.required_nodes.selector:
        if node.labels.get(key) != value:
            yield Relaxation("drop-selector", (key, value))
            if key != HOSTNAME:
                yield Relaxation("label", (key, value), node.name)
            return
    if not pod.required_nodes.matches(node.name, node.labels):
        yield Relaxation("drop-affinity")
        yield from _labels_for_affinity(pod, node)


def _labels_for_affinity(pod: PodInfo, node: NodeInfo) -> Iterator[Relaxation]:
    """Labels that would satisfy one more of the expressions of a term."""
    for term in get(pod.object, ".".join(_AFFINITY) + ".nodeSelectorTerms") or ():
        for each in term.get("matchExpressions") or ():
            key, operator, values = each["key"], each["operator"], list(each.get("values") or ())
            if key == HOSTNAME:
                continue
            if operator == "In" and node.labels.get(key) not in values:
                yield Relaxation("label", (key, values[0]), node.name)
            elif operator == "Exists" and key not in node.labels:
                yield Relaxation("label", (key, "true"), node.name)


def _by_ports(status: Status, pod: PodInfo, node: NodeInfo) -> Iterator[Relaxation]:
    for port in pod.host_ports:
        if node.conflicts(port):
            yield Relaxation("drop-port", (port[2], port[0]))
            return


def _by_resources(status: Status, pod: PodInfo, node: NodeInfo) -> Iterator[Relaxation]:
    if "Too many pods" in status.reasons:
        return
    for reason in status.reasons:
        name = reason.removeprefix("Insufficient ")
        asked = pod.requests.get(name, 0)
        free = node.allocatable.get(name, 0) - node.requested.get(name, 0)
        if free >= 0:
            yield Relaxation("lower", (name, free, asked - free))
        return


def _by_spread(status: Status, pod: PodInfo, node: NodeInfo) -> Iterator[Relaxation]:
    for i, constraint in enumerate(pod.spec.get("topologySpreadConstraints") or ()):
        key = constraint["topologyKey"]
        if (constraint.get("whenUnsatisfiable") or "DoNotSchedule") == "DoNotSchedule":
            yield Relaxation("soften-spread", (i, key))


def _by_pods(status: Status, pod: PodInfo, node: NodeInfo) -> Iterator[Relaxation]:
    for kind, of in (("podAffinity", "drop-pod-affinity"), ("podAntiAffinity", "drop-pod-anti-affinity")):
        for i, term in enumerate(get(pod.object, f"spec.affinity.{kind}.{REQUIRED}") or ()):
            yield Relaxation(of, (i, term["topologyKey"]))


_FIXES: dict[str, Callable[[Status, PodInfo, NodeInfo], Iterator[Relaxation]]] = {
    "NodeName": _by_name,
    "NodeUnschedulable": _by_cordon,
    "TaintToleration": _by_taints,
    "NodeAffinity": _by_selector,
    "NodePorts": _by_ports,
    "NodeResourcesFit": _by_resources,
    "PodTopologySpread": _by_spread,
    "InterPodAffinity": _by_pods,
}


def shown(requests: resources.Resources) -> str:
    """Resources on one line: `cpu 4, memory 32Gi, pods 110`."""
    return ", ".join(f"{name} {amount(name, value)}" for name, value in requests.items() if value)


def parsed(amounts: Object) -> resources.Resources:
    """A ResourceList as whole numbers; used for shapes that people give."""
    return {
        name: quantities.parse(v).nano // (10**6 if name == "cpu" else 10**9) for name, v in amounts.items()
    }
