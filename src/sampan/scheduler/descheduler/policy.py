"""DeschedulerPolicy (descheduler/v1alpha2): which strategies run, with which arguments, and how much they may evict.

Source: https://github.com/kubernetes-sigs/descheduler (API v1alpha2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.machinery import yaml
from sampan.machinery.objects import Object

API_VERSION = "descheduler/v1alpha2"
# The arguments of each strategy, by name, with what each must be.
ARGUMENTS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "LowNodeUtilization": {"thresholds": dict, "targetThresholds": dict, "numberOfNodes": int},
    "HighNodeUtilization": {"thresholds": dict, "numberOfNodes": int},
    "RemoveDuplicates": {"excludeOwnerKinds": list},
    "RemovePodsViolatingNodeAffinity": {"nodeAffinityType": list},
    "RemovePodsViolatingNodeTaints": {"includePreferNoSchedule": bool, "excludedTaints": list},
    "RemovePodsViolatingInterPodAntiAffinity": {},
    "RemovePodsViolatingTopologySpreadConstraint": {"constraints": list},
    "RemovePodsHavingTooManyRestarts": {"podRestartThreshold": int, "includingInitContainers": bool},
    "PodLifeTime": {"maxPodLifeTimeSeconds": int, "states": list},
}
EVICTOR = "DefaultEvictor"
EVICTOR_ARGUMENTS = {
    "evictSystemCriticalPods": bool, "evictLocalStoragePods": bool, "evictDaemonSetPods": bool,
    "ignorePvcPods": bool, "nodeFit": bool, "minReplicas": int, "priorityThreshold": dict,
}  # fmt: skip
# Every strategy that needs no figures of its own.
DEFAULT = (
    "RemoveDuplicates",
    "RemovePodsViolatingNodeAffinity",
    "RemovePodsViolatingNodeTaints",
    "RemovePodsViolatingInterPodAntiAffinity",
    "RemovePodsViolatingTopologySpreadConstraint",
)


class PolicyError(ValueError):
    """A policy cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most evictions of one run; None for any number."""

    per_node: int | None = None
    per_namespace: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """`strategies` are (name, arguments) in the order in which they run; `evictor` says who may be evicted."""

    strategies: tuple[tuple[str, Mapping[str, Any]], ...]
    evictor: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()


def default() -> Policy:
    """What runs where no policy is given."""
    return Policy(tuple((name, {}) for name in DEFAULT))


def load(text: bytes | str) -> Policy:
    """A policy file. Raises PolicyError."""
    try:
        given = yaml.load(text)
    except yaml.YamlError as e:
        raise PolicyError(str(e)) from e
    if not isinstance(given, dict) or given.get("kind") != "DeschedulerPolicy":
        raise PolicyError("this is no DeschedulerPolicy")
    if given.get("apiVersion") != API_VERSION:
        raise PolicyError(f"apiVersion is {given.get('apiVersion')!r}; this descheduler knows {API_VERSION}")
    strategies: list[tuple[str, Mapping[str, Any]]] = []
    evictor: Mapping[str, Any] = {}
    for i, profile in enumerate(given.get("profiles") or ()):
        where = f"profiles[{i}]"
        arguments = _arguments(profile, where)
        evictor = {**evictor, **arguments.get(EVICTOR, {})}
        for name in _enabled(profile, where):
            strategies.append((name, arguments.get(name, {})))
    return Policy(tuple(strategies), evictor, _limits(given))


def _limits(given: Object) -> Limits:
    names = ("maxNoOfPodsToEvictPerNode", "maxNoOfPodsToEvictPerNamespace", "maxNoOfPodsToEvictTotal")
    for name in names:
        value = given.get(name)
        if value is not None and (not isinstance(value, int) or value < 0):
            raise PolicyError(f"{name} is {value!r}, not a whole number")
    return Limits(*(given.get(name) for name in names))


def _enabled(profile: Object, where: str) -> list[str]:
    found = []
    for point, chosen in (profile.get("plugins") or {}).items():
        for name in (chosen or {}).get("enabled") or ():
            if point in ("balance", "deschedule"):
                if name not in ARGUMENTS:
                    known = ", ".join(ARGUMENTS)
                    raise PolicyError(f"{where}.plugins.{point}: there is no {name!r}; there are {known}")
                found.append(name)
            elif name != EVICTOR:
                raise PolicyError(f"{where}.plugins.{point}: {name!r} is not known here")
    return found


def _arguments(profile: Object, where: str) -> dict[str, Mapping[str, Any]]:
    found = {}
    for i, entry in enumerate(profile.get("pluginConfig") or ()):
        name, args = entry.get("name"), entry.get("args") or {}
        known = EVICTOR_ARGUMENTS if name == EVICTOR else ARGUMENTS.get(name)
        at = f"{where}.pluginConfig[{i}]"
        if known is None:
            raise PolicyError(f"{at}: there is no {name!r}")
        for key, value in args.items():
            if key not in known:
                raise PolicyError(f"{at}.args: {name} has no argument {key!r}")
            if not isinstance(value, known[key]):
                raise PolicyError(f"{at}.args.{key}: {value!r} is of the wrong type")
        found[name] = args
    return found
