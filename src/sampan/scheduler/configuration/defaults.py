"""What a configuration means where it says nothing.

Source: kube-scheduler 1.37, pkg/scheduler/apis/config/v1 (defaults.go, default_plugins.go).
"""

from __future__ import annotations

import copy
import re
from typing import Any

from sampan.machinery.objects import Object
from sampan.scheduler.plugins import DEFAULT

GROUP = "kubescheduler.config.k8s.io"
VERSION = f"{GROUP}/v1"
KIND = "KubeSchedulerConfiguration"
DEFAULT_NAME = "default-scheduler"


class ConfigurationError(Exception):
    """The configuration cannot be used; the message says why, in upstream's words."""


_DURATION = re.compile(r"[+-]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+|0")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """A duration such as `1m30s` in seconds. Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f'time: invalid duration "{text}"')
    parts = re.findall(r"(\d+\.?\d*)(ns|us|µs|ms|s|m|h)", text)
    return sum(float(n) * _UNITS[unit] for n, unit in parts) * (-1 if text.startswith("-") else 1)


_SPECS = [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]
# The arguments of plugins, by name.
ARGUMENTS: dict[str, Object] = {
    "DefaultPreemption": {"minCandidateNodesPercentage": 10, "minCandidateNodesAbsolute": 100},
    "InterPodAffinity": {"hardPodAffinityWeight": 1, "ignorePreferredTermsOfExistingPods": False},
    "NodeAffinity": {},
    "NodeResourcesBalancedAllocation": {"resources": _SPECS},
    "NodeResourcesFit": {"scoringStrategy": {"type": "LeastAllocated", "resources": _SPECS}},
    "PodTopologySpread": {"defaultingType": "System"},
    "VolumeBinding": {
        "bindTimeoutSeconds": 600,
        "shape": [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}],
    },
    "DynamicResources": {"filterTimeout": "10s", "bindingTimeout": "600s"},
}


def fill(config: Object) -> None:
    """Fill in, in place, what was left out."""
    _set(config, "parallelism", 16)
    _set(config, "percentageOfNodesToScore", 0)
    _set(config, "podInitialBackoffSeconds", 1)
    _set(config, "podMaxBackoffSeconds", 10)
    _fill_election(_part(config, "leaderElection"))
    _fill_connection(_part(config, "clientConnection"))
    config["profiles"] = config.get("profiles") or [{}]
    if len(config["profiles"]) == 1:
        _set(config["profiles"][0], "schedulerName", DEFAULT_NAME)
    for profile in config["profiles"]:
        _fill_profile(profile)


def _set(obj: Object, name: str, value: Any) -> None:
    if obj.get(name) is None:
        obj[name] = value


def _part(obj: Object, name: str) -> Object:
    _set(obj, name, {})
    found: Object = obj[name]
    return found


def _fill_election(election: Object) -> None:
    for name, value in (
        ("leaderElect", True),
        ("leaseDuration", "15s"),
        ("renewDeadline", "10s"),
        ("retryPeriod", "2s"),
        ("resourceLock", "leases"),
        ("resourceName", "kube-scheduler"),
        ("resourceNamespace", "kube-system"),
    ):
        election[name] = value if election.get(name) in (None, "", "0", "0s") else election[name]


def _fill_connection(connection: Object) -> None:
    for name, value in (("qps", 50.0), ("burst", 100)):
        connection[name] = connection.get(name) or value


def _fill_profile(profile: Object) -> None:
    _set(profile, "schedulerName", "")
    profile["plugins"] = merged(profile.get("plugins") or {})
    given = [dict(p) for p in profile.get("pluginConfig") or ()]
    for plugin in given:
        if plugin.get("name") in ARGUMENTS:
            plugin["args"] = arguments(plugin["name"], plugin.get("args") or {})
    named = {p.get("name") for p in given}
    for name in sorted(_enabled(profile["plugins"]) - named):
        if name in ARGUMENTS:
            given.append({"name": name, "args": arguments(name, {})})
    profile["pluginConfig"] = given


def _enabled(plugins: Object) -> set[str]:
    return {p["name"] for point in plugins.values() for p in point.get("enabled") or ()}


def arguments(name: str, given: Object) -> Object:
    """A plugin's arguments, those left out filled in."""
    found = {k: v for k, v in given.items() if k not in ("apiVersion", "kind") and v is not None}
    if name == "NodeResourcesBalancedAllocation":
        found["resources"] = _weighed(found.get("resources"))
    elif name == "NodeResourcesFit" and "scoringStrategy" in found:
        strategy = found["scoringStrategy"]
        found["scoringStrategy"] = {**strategy, "resources": _weighed(strategy.get("resources"))}
    elif name == "VolumeBinding" and not found.get("shape"):
        found.pop("shape", None)
    elif name == "PodTopologySpread" and not found.get("defaultingType"):
        found.pop("defaultingType", None)
    return {**copy.deepcopy(ARGUMENTS[name]), **found}


def _weighed(specs: list[Object] | None) -> list[Object]:
    return [{**spec, "weight": spec.get("weight") or 1} for spec in specs or _SPECS]


def merged(custom: Object) -> Object:
    """The default plugins with what a profile enables, disables and weighs otherwise."""
    enabled = [{"name": name, **({"weight": weight} if weight else {})} for name, weight in DEFAULT]
    found: Object = {"multiPoint": _merged_set({"enabled": enabled}, custom.get("multiPoint") or {})}
    for point, chosen in custom.items():
        if point != "multiPoint":
            found[point] = _merged_set({}, chosen or {})
    return found


def _merged_set(default: Object, custom: Object) -> Object:
    """A plugin that is configured anew keeps its place; the others come after the default ones."""
    disabled = [{"name": p.get("name", "")} for p in custom.get("disabled") or ()]
    off = {p["name"] for p in disabled}
    mine = {p.get("name"): p for p in custom.get("enabled") or ()}
    kept, replaced = [], set()
    if "*" not in off:
        for plugin in default.get("enabled") or ():
            if plugin["name"] in off:
                continue
            if plugin["name"] in mine:
                replaced.add(plugin["name"])
            kept.append(mine.get(plugin["name"], plugin))
    kept += [p for p in custom.get("enabled") or () if p.get("name") not in replaced]
    return {"enabled": kept, "disabled": disabled}
