"""Whether a whole configuration can be used; each fault worded as upstream words it.

Source: kube-scheduler 1.37, pkg/scheduler/apis/config/validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sampan.kinds import affinity
from sampan.kinds import faults as fault
from sampan.kinds.kind import Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object
from sampan.scheduler import resources
from sampan.scheduler.configuration.defaults import VERSION, seconds

_REMOVED = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")
_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


def faults(config: Object) -> list[str]:
    """All faults, as `PATH: DETAIL`."""
    found = [*_connection(config["clientConnection"]), *_election(config["leaderElection"])]
    if config["parallelism"] <= 0:
        found.append(
            fault.invalid(
                "parallelism", config["parallelism"], "should be an integer value greater than zero"
            )
        )
    found += _profiles(config["profiles"])
    found += _percentage("percentageOfNodesToScore", config["percentageOfNodesToScore"])
    first, last = config["podInitialBackoffSeconds"], config["podMaxBackoffSeconds"]
    if first <= 0:
        found.append(fault.invalid("podInitialBackoffSeconds", first, "must be greater than 0"))
    if last < first:
        text = "must be greater than or equal to PodInitialBackoffSeconds"
        found.append(fault.invalid("podMaxBackoffSeconds", last, text))
    found += _extenders(config.get("extenders") or ())
    return [f"{one.field}: {one.detail}" for one in found]


def _connection(connection: Object) -> Iterable[Invalid]:
    if connection["burst"] < 0:
        yield fault.invalid("clientConnection.burst", connection["burst"], "must be non-negative")


def _election(election: Object) -> Iterable[Invalid]:
    if not election["leaderElect"]:
        return
    times = {name: seconds(election[name]) for name in ("leaseDuration", "renewDeadline", "retryPeriod")}
    for name, length in times.items():
        if length <= 0:
            yield fault.invalid(f"leaderElection.{name}", election[name], "must be greater than zero")
    if times["leaseDuration"] <= times["renewDeadline"]:
        text = "must be greater than `RenewDeadline`"
        yield fault.invalid("leaderElection.leaseDuration", election["renewDeadline"], text)
    if election["resourceLock"] != "leases":
        text = 'resourceLock value must be "leases"'
        yield fault.invalid("leaderElection.resourceLock", election["resourceLock"], text)


def _percentage(path: str, value: int | None) -> Iterable[Invalid]:
    if value is not None and not 0 <= value <= 100:
        yield fault.invalid(path, value, "not in valid range [0-100]")


def _profiles(profiles: list[Object]) -> Iterable[Invalid]:
    known: dict[str, int] = {}
    for i, profile in enumerate(profiles):
        path, name = f"profiles[{i}]", profile["schedulerName"]
        if not name:
            yield fault.required(f"{path}.schedulerName")
        yield from _percentage(f"{path}.percentageOfNodesToScore", profile.get("percentageOfNodesToScore"))
        yield from _plugins(path, profile["plugins"])
        yield from _plugin_config(path, profile["pluginConfig"])
        if name in known:
            twin = f"profiles[{known[name]}].schedulerName"
            yield Invalid(f"{path}.schedulerName", "FieldValueDuplicate", f"Duplicate value: {twin}")
        known[name] = i
    yield from _one_sort(profiles)


def _one_sort(profiles: list[Object]) -> Iterable[Invalid]:
    """All profiles share one queue, so they must sort it alike."""
    first = profiles[0]["plugins"].get("queueSort")
    if first and len(first["enabled"]) > 1:
        text = "only one queue sort plugin can be enabled"
        yield fault.invalid("profiles[0].plugins.queueSort.Enabled", len(first["enabled"]), text)
    for i, profile in enumerate(profiles[1:], 1):
        other = profile["plugins"].get("queueSort")
        if (other or {}) != (first or {}):
            yield fault.invalid(
                f"profiles[{i}].plugins.queueSort", other, "must be the same for all profiles"
            )


def _plugins(path: str, plugins: Object) -> Iterable[Invalid]:
    for point, chosen in plugins.items():
        for i, plugin in enumerate(chosen["enabled"] if point != "multiPoint" else ()):
            if plugin.get("name") in _REMOVED:
                yield _removed(f"{path}.plugins.{point}.enabled[{i}]", plugin["name"])


def _removed(path: str, name: str) -> Invalid:
    text = f'was invalid in version "{VERSION}" (KubeSchedulerConfiguration is version "{VERSION}")'
    return fault.invalid(path, name, text)


def _plugin_config(path: str, plugins: list[Object]) -> Iterable[Invalid]:
    seen: set[str] = set()
    for i, plugin in enumerate(plugins):
        at, name = f"{path}.pluginConfig[{i}]", plugin.get("name", "")
        if name in seen:
            yield fault.duplicate(at, name)
        seen.add(name)
        if name in _REMOVED:
            yield _removed(at, name)
        elif name in ARGUMENTS:
            yield from ARGUMENTS[name](f"{at}.args", plugin["args"])


def _preemption(path: str, args: Object) -> Iterable[Invalid]:
    percentage, absolute = args["minCandidateNodesPercentage"], args["minCandidateNodesAbsolute"]
    at, other = f"{path}.minCandidateNodesPercentage", f"{path}.minCandidateNodesAbsolute"
    if not 0 <= percentage <= 100:
        yield fault.invalid(at, percentage, "not in valid range [0, 100]")
    if absolute < 0:
        yield fault.invalid(other, absolute, "not in valid range [0, inf)")
    if not percentage and not absolute:
        text = "cannot be zero at the same time as minCandidateNodes"
        yield fault.invalid(at, percentage, f"{text}Absolute")
        yield fault.invalid(other, absolute, f"{text}Percentage")


def _interpod(path: str, args: Object) -> Iterable[Invalid]:
    weight = args["hardPodAffinityWeight"]
    if not 0 <= weight <= 100:
        yield fault.invalid(f"{path}.hardPodAffinityWeight", weight, "not in valid range [0, 100]")


def _node_affinity(path: str, args: Object) -> Iterable[Invalid]:
    if args.get("addedAffinity"):
        added = {"nodeAffinity": args["addedAffinity"]}
        for one in affinity.validate(added, "ADDED"):
            at = one.field.replace("ADDED.nodeAffinity", f"{path}.addedAffinity")
            yield Invalid(at, one.reason, one.detail)


def _balanced(path: str, args: Object) -> Iterable[Invalid]:
    seen: set[str] = set()
    for i, spec in enumerate(args["resources"]):
        at = f"{path}.resources[{i}]"
        if spec["name"] in seen:
            yield fault.duplicate(f"{at}.name", spec["name"])
        seen.add(spec["name"])
        if spec["weight"] != 1:
            yield fault.invalid(f"{at}.weight", spec["weight"], "must be 1")


def _fit(path: str, args: Object) -> Iterable[Invalid]:
    for i, name in enumerate(args.get("ignoredResources") or ()):
        yield from fault.each_invalid(f"{path}.ignoredResources[{i}]", name, names.qualified(name))
    for i, group in enumerate(args.get("ignoredResourceGroups") or ()):
        at = f"{path}.ignoredResourceGroups[{i}]"
        if "/" in group:
            yield fault.invalid(at, group, "resource group name can't contain '/'")
        yield from fault.each_invalid(at, group, names.qualified(group))
    yield from _strategy(f"{path}.scoringStrategy", args["scoringStrategy"])


def _strategy(path: str, strategy: Object) -> Iterable[Invalid]:
    kind, ratio = strategy.get("type", ""), strategy.get("requestedToCapacityRatio")
    if kind not in _STRATEGIES:
        yield fault.unsupported(f"{path}.type", kind, _STRATEGIES)
    for i, spec in enumerate(strategy["resources"]):
        if not 0 < spec["weight"] <= 100:
            text = f"resource weight of {spec['name']} not in valid range (0, 100]"
            yield fault.invalid(f"{path}.resources[{i}].weight", spec["weight"], text)
    at = f"{path}.requestedToCapacityRatio"
    if kind == "RequestedToCapacityRatio":
        if ratio is None:
            yield fault.required(at, "must be specified when type is RequestedToCapacityRatio")
        else:
            yield from _shape(f"{at}.shape", ratio.get("shape") or ())
    elif ratio is not None:
        yield fault.forbidden(at, "must be nil when type is not RequestedToCapacityRatio")


def _shape(path: str, shape: Any) -> Iterable[Invalid]:
    if not shape:
        yield fault.required(path, "at least one point must be specified")
        return
    points = [(p.get("utilization") or 0, p.get("score") or 0) for p in shape]
    for i in range(1, len(points)):
        if points[i - 1][0] >= points[i][0]:
            text = "values must be sorted in increasing order"
            yield fault.invalid(f"{path}[{i}].utilization", points[i][0], text)
            break
    for i, (utilization, score) in enumerate(points):
        if not 0 <= utilization <= 100:
            yield fault.invalid(f"{path}[{i}].utilization", utilization, "not in valid range [0, 100]")
        if not 0 <= score <= 10:
            yield fault.invalid(f"{path}[{i}].score", score, "not in valid range [0, 10]")


def _spread(path: str, args: Object) -> Iterable[Invalid]:
    kind, constraints = args["defaultingType"], args.get("defaultConstraints") or []
    if kind not in ("System", "List"):
        yield fault.unsupported(f"{path}.defaultingType", kind, ("System", "List"))
    elif kind == "System" and constraints:
        yield fault.invalid(f"{path}.defaultingType", kind, "when .defaultConstraints are not empty")
    for i, constraint in enumerate(constraints):
        yield from _constraint(f"{path}.defaultConstraints[{i}]", constraint)
        same = ("topologyKey", "whenUnsatisfiable")
        if any(all(constraint.get(n) == other.get(n) for n in same) for other in constraints[:i]):
            twin = f"{{{constraint.get('topologyKey')}, {constraint.get('whenUnsatisfiable')}}}"
            yield fault.duplicate(f"{path}.defaultConstraints[{i}]", twin)


def _constraint(path: str, constraint: Object) -> Iterable[Invalid]:
    skew, key = constraint.get("maxSkew") or 0, constraint.get("topologyKey") or ""
    if skew <= 0:
        yield fault.invalid(f"{path}.maxSkew", skew, "not in valid range (0, inf)")
    if not key:
        yield fault.required(f"{path}.topologyKey", "can not be empty")
    else:
        yield from fault.each_invalid(f"{path}.topologyKey", key, names.qualified(key))
    what = constraint.get("whenUnsatisfiable") or ""
    if not what:
        yield fault.required(f"{path}.whenUnsatisfiable", "can not be empty")
    elif what not in ("DoNotSchedule", "ScheduleAnyway"):
        yield fault.unsupported(f"{path}.whenUnsatisfiable", what, ("DoNotSchedule", "ScheduleAnyway"))
    if constraint.get("labelSelector") is not None:
        text = "constraint must not define a selector, as they deduced for each pod"
        yield fault.forbidden(f"{path}.labelSelector", text)


def _volume_binding(path: str, args: Object) -> Iterable[Invalid]:
    timeout = args["bindTimeoutSeconds"]
    if timeout < 0:
        text = "invalid BindTimeoutSeconds, should not be a negative value"
        yield fault.invalid(f"{path}.bindTimeoutSeconds", timeout, text)
    yield from _shape(f"{path}.shape", args["shape"])


def _dynamic_resources(path: str, args: Object) -> Iterable[Invalid]:
    if seconds(args["filterTimeout"]) < 0:
        yield fault.invalid(f"{path}.filterTimeout", args["filterTimeout"], "must be zero or positive")
    if seconds(args["bindingTimeout"]) < 1:
        yield fault.invalid(f"{path}.bindingTimeout", args["bindingTimeout"], "must be at least 1 second")


ARGUMENTS = {
    "DefaultPreemption": _preemption,
    "InterPodAffinity": _interpod,
    "NodeAffinity": _node_affinity,
    "NodeResourcesBalancedAllocation": _balanced,
    "NodeResourcesFit": _fit,
    "PodTopologySpread": _spread,
    "VolumeBinding": _volume_binding,
    "DynamicResources": _dynamic_resources,
}


def _extenders(extenders: Iterable[Object]) -> Iterable[Invalid]:
    binders, managed = 0, set()
    for i, extender in enumerate(extenders):
        path = f"extenders[{i}]"
        if extender.get("prioritizeVerb") and (extender.get("weight") or 0) <= 0:
            text = "must have a positive weight applied to it"
            yield fault.invalid(f"{path}.weight", extender.get("weight") or 0, text)
        binders += 1 if extender.get("bindVerb") else 0
        for j, resource in enumerate(extender.get("managedResources") or ()):
            at, name = f"{path}.managedResources[{j}].name", resource.get("name", "")
            yield from _extended(at, name)
            if name in managed:
                yield fault.invalid(at, name, "duplicate extender managed resource name")
            managed.add(name)
    if binders > 1:
        text = "only one extender can implement bind"
        yield fault.invalid("extenders", f"found {binders} extenders implementing bind", text)


def _extended(path: str, name: str) -> list[Invalid]:
    if wrong := names.qualified(name):
        return fault.each_invalid(path, name, wrong)
    if not resources.is_extended(name):
        return [fault.invalid(path, name, "is an invalid extended resource name")]
    return []
