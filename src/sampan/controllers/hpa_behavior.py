"""How fast a HorizontalPodAutoscaler may scale: what it waits for, and how many pods it may add or take at a time.

Source: the tasks' page "Horizontal Pod Autoscaling", "Configurable scaling behavior"; k8s.io/kubernetes
pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from sampan.machinery.objects import Object, get

# How long a scale-down waits where the autoscaler does not say, and how fast it may grow then.
WINDOW = 300.0
GROWTH, LEAST_GROWTH = 2.0, 4.0
_KEPT = 3600.0  # the longest window and period that validation lets through


class Noted(NamedTuple):
    """A number of pods at a time in seconds: a recommendation, or by how many it was scaled."""

    time: float
    pods: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one autoscaler: recommendations, and how it scaled up and down."""

    recommended: tuple[Noted, ...] = ()
    up: tuple[Noted, ...] = ()
    down: tuple[Noted, ...] = ()

    def recommending(self, count: int, now: float) -> Memory:
        kept = tuple(n for n in self.recommended if n.time > now - _KEPT)
        return replace(self, recommended=(*kept, Noted(now, count)))

    def scaled(self, before: int, after: int, now: float) -> Memory:
        field, change = ("up", after - before) if after > before else ("down", before - after)
        kept = tuple(n for n in getattr(self, field) if n.time > now - _KEPT)
        return replace(self, **{field: (*kept, Noted(now, change))})


class Bounded(NamedTuple):
    """How many pods there shall be; each of `able` and `limited` is a condition's status, reason and message."""

    pods: int
    able: tuple[str, str, str]
    limited: tuple[str, str, str]


_READY = ("True", "ReadyForNewScale", "recommended size matches current size")
_WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_FAST = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_TOO_FAST_DOWN = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
)
_TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
_HIGHER = "recent recommendations were higher than current one, applying the highest recent recommendation"
_LOWER = "recent recommendations were lower than current one, applying the lowest recent recommendation"


def bound(spec: Object, memory: Memory, current: int, desired: int, now: float) -> Bounded:
    """What becomes of the desired number of pods; `memory` does not hold this recommendation yet."""
    behavior = spec.get("behavior")
    least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
    if behavior is None:
        stable = max([desired, *(n.pods for n in memory.recommended if n.time >= now - WINDOW)])
        reason = ("ScaleDownStabilized", _HIGHER)
        count, why = _simple(current, stable, least, most)
    else:
        stable = _stabilized(behavior, memory, current, desired, now)
        reason = ("ScaleUpStabilized", _LOWER) if desired >= current else ("ScaleDownStabilized", _HIGHER)
        count, why = _rated(behavior, memory, current, stable, (least, most), now)
    able = _READY if stable == desired else ("True", *reason)
    return Bounded(count, able, ("False" if count == stable else "True", *why))


def _simple(current: int, desired: int, least: int, most: int) -> tuple[int, tuple[str, str]]:
    limit = int(max(GROWTH * current, LEAST_GROWTH))
    highest, why = (limit, _TOO_FAST) if most > limit else (most, _TOO_MANY)
    if desired < least:
        return least, _TOO_FEW
    return (highest, why) if desired > highest else (desired, _WITHIN)


def _stabilized(behavior: Object, memory: Memory, current: int, desired: int, now: float) -> int:
    """No more than the least recommended lately, and no less than the most, by each direction's window."""
    up = float(get(behavior, "scaleUp.stabilizationWindowSeconds", 0))
    down = float(get(behavior, "scaleDown.stabilizationWindowSeconds", WINDOW))
    lowest = min([desired, *(n.pods for n in memory.recommended if n.time > now - up)])
    highest = max([desired, *(n.pods for n in memory.recommended if n.time > now - down)])
    return min(max(current, lowest), highest)


def _rated(
    behavior: Object, memory: Memory, current: int, desired: int, bounds: tuple[int, int], now: float
) -> tuple[int, tuple[str, str]]:
    least, most = bounds
    if desired > current:
        limit = max(current, _limit(behavior["scaleUp"], memory, current, 1, now))
        highest, why = (limit, _TOO_FAST) if most > limit else (most, _TOO_MANY)
        return (highest, why) if desired > highest else (desired, _WITHIN)
    if desired < current:
        limit = min(current, _limit(behavior["scaleDown"], memory, current, -1, now))
        lowest, why = (limit, _TOO_FAST_DOWN) if least < limit else (least, _TOO_FEW)
        return (lowest, why) if desired < lowest else (desired, _WITHIN)
    return desired, _WITHIN


def _limit(rules: Object, memory: Memory, current: int, sign: int, now: float) -> int:
    """How far the policies let it go in one direction: `sign` 1 is up, -1 is down; `Min` is the least change."""
    select = rules.get("selectPolicy", "Max")
    if select == "Disabled":
        return current
    proposals = [_proposal(p, memory, current, sign, now) for p in rules.get("policies") or ()]
    if (select == "Min") == (sign > 0):
        return min(proposals, default=current)
    return max(proposals, default=current)


def _proposal(policy: Object, memory: Memory, current: int, sign: int, now: float) -> int:
    since = now - policy.get("periodSeconds", 0)
    began = current - _changed(memory.up, since) + _changed(memory.down, since)
    value: int = policy.get("value", 0)
    if policy.get("type") == "Pods":
        return began + sign * value
    # Upwards it is rounded up, or a small percentage of few pods would never add one.
    return math.ceil(began * (1 + value / 100)) if sign > 0 else int(began * (1 - value / 100))


def _changed(noted: Iterable[Noted], since: float) -> int:
    return sum(n.pods for n in noted if n.time > since)
