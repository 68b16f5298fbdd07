"""HorizontalPodAutoscalers: as many pods as their metrics ask for, no faster than their behaviour lets them.

    scale and metrics ──> a proposal for each metric (hpa_replicas) ──> the largest ──> bounded (hpa_behavior) ──> scale

Source: the tasks' page "Horizontal Pod Autoscaling"; k8s.io/kubernetes pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sampan.client.api import Client
from sampan.controllers import hpa_metrics, hpa_replicas
from sampan.controllers.horizontal_pod_autoscaler import KIND
from sampan.controllers.hpa_behavior import Memory, bound
from sampan.controllers.hpa_metrics import Reading, Target
from sampan.controllers.hpa_replicas import Proposal, Tolerance, Unknown, Workload
from sampan.kinds.autoscaling import FIELDS
from sampan.machinery import conditions, quantities, selectors, times
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Action, Cache, Emit, Patch, Plan

# How often metrics are looked at, in seconds.
PERIOD = 15.0
Condition = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Observed:
    """`pods` are those of the namespace; `readings` one for each metric, none where the scale is not known."""

    hpa: Object
    pods: tuple[Object, ...]
    memory: Memory = field(default_factory=Memory)
    target: Target = field(default_factory=Target)
    readings: tuple[Reading, ...] = ()


async def fetch(client: Client, seen: Observed) -> Observed:
    target = await hpa_metrics.target(client, seen.hpa)
    selector = get(target.scale, "status.selector", "")
    readings = await hpa_metrics.read(client, seen.hpa, selector) if selector else ()
    return replace(seen, target=target, readings=readings)


def decide(seen: Observed, now: float) -> Plan:
    return _Decision(seen, now).plan()


@dataclass(slots=True)
class _Decision:
    """One look at one autoscaler; conditions and events gather on the way."""

    seen: Observed
    now: float
    events: list[Action] = field(default_factory=list)
    conditions: tuple[Object, ...] = ()
    metrics: list[Object | None] = field(default_factory=list)

    def plan(self) -> Plan:
        self.conditions = conditions.of(self.seen.hpa)
        scale = self.seen.target.scale
        if scale is None:
            why = self.seen.target.fault
            said = f"the HPA controller was unable to get the target's current scale: {why}"
            self.tell("Warning", "FailedGetScale", why)
            self.set("AbleToScale", ("False", "FailedGetScale", said))
            status = {**(self.seen.hpa.get("status") or {}), "conditions": list(self.conditions)}
            return self.done(status, (), self.seen.memory)
        said = "the HPA controller was able to get the target's current scale"
        self.set("AbleToScale", ("True", "SucceededGetScale", said))
        return self.scaled(scale)

    def scaled(self, scale: Object) -> Plan:
        spec, memory = self.seen.hpa["spec"], self.seen.memory
        current = get(scale, "spec.replicas", 0)
        if not memory.recommended:
            memory = memory.recommending(current, self.now)
        wanted, reason, asked = self.wanted(scale, current)
        if asked:
            found = self.proposal(scale)
            if found is None:
                return self.done(self.status(current, None, False), (), memory)
            desired, metric = found
            reason = f"{metric} above target" if desired > current else "All metrics below target"
            bounded = bound(spec, memory, current, desired, self.now)
            memory = memory.recommending(desired, self.now)
            self.set("AbleToScale", bounded.able)
            self.set("ScalingLimited", bounded.limited)
            wanted = max(bounded.pods, spec.get("minReplicas", 1)) if current == 0 else bounded.pods
        if wanted == current:
            return self.done(self.status(current, current, False), (), memory)
        return self.rescale(current, wanted, reason, memory)

    def wanted(self, scale: Object, current: int) -> tuple[int, str, bool]:
        """The number of pods that follows without metrics, and why; or that they are to be asked."""
        spec = self.seen.hpa["spec"]
        least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
        if current == 0:
            if conditions.is_true(self.seen.hpa, "ScaledToZero") and (least != 0 or self.reaches_zero()):
                return 0, "", True
            said = "scaling is disabled since the replica count of the target is zero"
            self.set("ScalingActive", ("False", "ScalingDisabled", said))
            return 0, "", False
        if current > most:
            return most, "Current number of replicas above Spec.MaxReplicas", False
        if current < least:
            return least, "Current number of replicas below Spec.MinReplicas", False
        return current, "", True

    def reaches_zero(self) -> bool:
        """Whether a metric speaks even where there is no pod."""
        return any(m["type"] in ("Object", "External") for m in self.seen.hpa["spec"]["metrics"])

    def proposal(self, scale: Object) -> tuple[int, str] | None:
        """The most pods that a metric asks for, and its name; None where that cannot be said."""
        pods = self.selected(scale)
        if pods is None:
            return None
        current = get(scale, "spec.replicas", 0)
        work = Workload(pods, current, get(scale, "status.replicas", 0), self.tolerance(), self.now)
        best, name, faults = 0, "", list[tuple[str, str]]()
        for spec, reading in zip(self.seen.hpa["spec"]["metrics"], self.seen.readings, strict=True):
            try:
                found, called, status = propose(work, spec, reading)
            except Unknown as e:
                faults.append((_REASONS[spec["type"]], str(e)))
                self.tell("Warning", *faults[-1])
                self.metrics.append(None)
                continue
            self.metrics.append(status)
            if best == 0 or found.pods > best:
                best, name = found.pods, called
        if faults and (len(faults) == len(self.seen.readings) or best < current):
            self.unable(scale, faults)
            return None
        said = f"the HPA was able to successfully calculate a replica count from {name}"
        self.set("ScalingActive", ("True", "ValidMetricFound", said))
        return best, name

    def unable(self, scale: Object, faults: list[tuple[str, str]]) -> None:
        reason, why = faults[0]
        said = f"the HPA was unable to compute the replica count: {why}"
        self.set("ScalingActive", ("False", reason, said))
        total = len(self.seen.readings)
        index = next(i for i, m in enumerate(self.metrics) if m is None)
        whole = f"{_whole(self.seen.hpa['spec']['metrics'][index])}: {why}"
        message = f"invalid metrics ({len(faults)} invalid out of {total}), first error is: {whole}"
        self.tell("Warning", "FailedComputeMetricsReplicas", message)

    def selected(self, scale: Object) -> tuple[Object, ...] | None:
        """The pods that are scaled; None where the scale does not say which."""
        text = get(scale, "status.selector", "")
        if not text:
            self.tell("Warning", "SelectorRequired", "selector is required")
            said = "the HPA target's scale is missing a selector"
            self.set("ScalingActive", ("False", "InvalidSelector", said))
            return None
        chosen = selectors.parse(text)
        return tuple(p for p in self.seen.pods if chosen.matches(p["metadata"].get("labels")))

    def tolerance(self) -> Tolerance:
        found = [get(self.seen.hpa, f"spec.behavior.{d}.tolerance") for d in ("scaleDown", "scaleUp")]
        return Tolerance(*(0.1 if t is None else quantities.parse(t).number for t in found))

    def rescale(self, current: int, wanted: int, reason: str, memory: Memory) -> Plan:
        hpa = self.seen.hpa
        said = f"the HPA controller was able to update the target scale to {wanted}"
        self.set("AbleToScale", ("True", "SucceededRescale", said))
        zero = current > 0 and wanted == 0 and self.reaches_zero()
        yes = ("True", "ScaledToZero", "the HPA controller scaled the workload to zero")
        no = ("False", "NotScaledToZero", "the HPA controller did not scale the workload to zero")
        self.set("ScaledToZero", yes if zero else no)
        name = Key(hpa["metadata"]["namespace"], hpa["spec"]["scaleTargetRef"]["name"])
        patch = {"spec": {"replicas": wanted}}
        self.tell("Normal", "SuccessfulRescale", f"New size: {wanted}; reason: {reason}")
        scaling = Patch(self.seen.target.resource, name, patch, subresource="scale")
        status = self.status(current, wanted, True)
        return self.done(status, (scaling,), memory.scaled(current, wanted, self.now))

    def status(self, current: int, desired: int | None, rescaled: bool) -> Object:
        old = self.seen.hpa.get("status") or {}
        found: Object = {
            "currentReplicas": current,
            "desiredReplicas": old.get("desiredReplicas", 0) if desired is None else desired,
            "conditions": list(self.conditions),
            "currentMetrics": [m or {"type": ""} for m in self.metrics] or None,
            "observedGeneration": self.seen.hpa["metadata"].get("generation"),
        }
        when = times.time(self.now) if rescaled else old.get("lastScaleTime")
        return found | ({"lastScaleTime": when} if when else {})

    def done(self, status: Object, first: tuple[Action, ...], memory: Memory) -> Plan:
        hpa = self.seen.hpa
        old, wanted = hpa.get("status") or {}, {k: v for k, v in status.items() if v is not None}
        written: tuple[Action, ...] = ()
        if old != wanted:
            patch = {**dict.fromkeys(set(old) - set(wanted)), **wanted}
            written = (Patch(KIND, key(hpa), {"status": patch}, subresource="status"),)
        return Plan((*first, *self.events, *written), PERIOD, memory)

    def tell(self, type: str, reason: str, message: str) -> None:
        self.events.append(Emit(self.seen.hpa, type, reason, message))

    def set(self, type: str, found: Condition) -> None:
        """Set a condition; its message is always the newest."""
        status, reason, message = found
        made = conditions.new(type, status, reason, message, self.now)
        before = conditions.among(self.conditions, type)
        if before is None:
            self.conditions = (*self.conditions, made)
            return
        if before["status"] == status:
            made["lastTransitionTime"] = before.get("lastTransitionTime")
        self.conditions = tuple(made if c["type"] == type else c for c in self.conditions)


# One metric

_REASONS = {
    "Resource": "FailedGetResourceMetric",
    "ContainerResource": "FailedGetContainerResourceMetric",
    "Pods": "FailedGetPodsMetric",
    "Object": "FailedGetObjectMetric",
    "External": "FailedGetExternalMetric",
}


def _whole(spec: Object) -> str:
    """What was tried, as upstream's errors begin."""
    match spec["type"]:
        case "Resource":
            return f"failed to get {spec['resource']['name']} resource metric value"
        case "ContainerResource":
            return f"failed to get {spec['containerResource']['container']} container metric value"
        case "External":
            return f"failed to get {spec['external']['metric']['name']} external metric value"
    return f"failed to get {spec['type'].lower()} metric value"


def propose(work: Workload, spec: Object, reading: Reading) -> tuple[Proposal, str, Object]:
    """What one metric asks for, what it is called, and its status. Raises Unknown."""
    kind = spec["type"]
    source = spec[FIELDS[kind]]
    if kind in ("Resource", "ContainerResource"):
        return _by_resource(work, kind, source, reading)
    metric, target = source["metric"], source["target"]
    if reading.fault:
        raise Unknown(f"unable to get {_called(kind, source)}: {reading.fault}")
    identity = {"metric": metric}
    if kind == "Pods":
        found = hpa_replicas.by_average(work, reading.samples or {}, "", _milli(target["averageValue"]))
        shown = {"averageValue": _written(found.usage)}
        status = {"type": kind, "pods": {**identity, "current": shown}}
        return found, f"pods metric {metric['name']}", status
    by_value = target.get("value") is not None and (kind == "External" or target["type"] == "Value")
    if kind == "External" and target.get("averageValue") is not None:
        by_value = False
    if by_value:
        found = hpa_replicas.by_value(work, reading.value, _milli(target["value"]))
    else:
        found = hpa_replicas.by_share(work, reading.value, _milli(target["averageValue"]))
    shown = {"value" if by_value else "averageValue": _written(found.usage)}
    if kind == "Object":
        identity = {"describedObject": source["describedObject"], **identity}
        name = f"{source['describedObject']['kind']} metric {metric['name']}"
    else:
        name = f"external metric {metric['name']}(nil)"
    return found, name, {"type": kind, FIELDS[kind]: {**identity, "current": shown}}


def _by_resource(work: Workload, kind: str, source: Object, reading: Reading) -> tuple[Proposal, str, Object]:
    name, target, container = source["name"], source["target"], source.get("container", "")
    average = target.get("averageValue")
    doing = f"failed to get {name} {'usage' if average is not None else 'utilization'}"
    if reading.fault:
        raise Unknown(f"{doing}: unable to get metrics for resource {name}: {reading.fault}")
    samples = reading.samples or {}
    try:
        if average is not None:
            found = hpa_replicas.by_average(work, samples, name, _milli(average))
            called = f"{name} resource"
        else:
            found = hpa_replicas.by_utilization(work, samples, name, target["averageUtilization"], container)
            noun = "container resource" if container else "resource"
            called = f"{name} {noun} utilization (percentage of request)"
    except Unknown as e:
        raise Unknown(f"{doing}: {e}") from e
    form = quantities.BINARY if name == "memory" else quantities.DECIMAL
    current: Object = {"averageValue": str(quantities.Quantity(found.usage * 10**6, form))}
    if found.percent is not None:
        current["averageUtilization"] = found.percent
    identity = {"name": name} | ({"container": container} if container else {})
    return found, called, {"type": kind, FIELDS[kind]: {**identity, "current": current}}


def _called(kind: str, source: Object) -> str:
    name = source["metric"]["name"]
    if kind == "Object":
        ref = source["describedObject"]
        return f"metric {name} on {ref['kind']} {ref['name']}"
    return f"external metric {name}" if kind == "External" else f"metric {name}"


def _milli(amount: Any) -> int:
    return quantities.parse(amount).milli


def _written(milli: int) -> str:
    return str(quantities.Quantity(milli * 10**6))


# The controller


def observe(memories: dict[Key, Memory], cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    if found is None or "deletionTimestamp" in found["metadata"]:
        memories.pop(name, None)
        return None
    return Observed(found, tuple(cache.list("pods", name.namespace)), memories.get(name, Memory()))
