"""The arithmetic of a Deployment: how many pods each of its ReplicaSets should have next.

Plain numbers in, plain numbers out; `deployment` turns them into a plan. Source: the concepts' page on
Deployments (rolling update, max surge, max unavailable, proportional scaling) and upstream's behaviour
where that is silent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Sized:
    """A ReplicaSet as the arithmetic sees it. `most` is what its Deployment allowed in all when it was last
    scaled (0: unknown).

    Sequences of these are ordered from the oldest to the newest.
    """

    name: str
    replicas: int
    available: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a rolling update must keep: at most `replicas + surge` pods, at least `replicas - unavailable` available."""

    replicas: int
    surge: int = 0
    unavailable: int = 0

    @property
    def most(self) -> int:
        return self.replicas + self.surge

    @property
    def fewest(self) -> int:
        return self.replicas - self.unavailable


def scaled_value(value: Any, total: int, *, up: bool) -> int:
    """A whole number, or a percentage of `total` rounded up or down."""
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * total / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value)


def limits(replicas: int, max_surge: Any, max_unavailable: Any) -> Limits:
    """Surge rounds up and unavailable down; where both come to nothing, one pod may be unavailable, else
    nothing could move.
    """
    surge = scaled_value(max_surge, replicas, up=True)
    unavailable = scaled_value(max_unavailable, replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(replicas, surge, min(unavailable, replicas))


def new_size(bounds: Limits, new: int, total: int) -> int:
    """The size of the new ReplicaSet, now at `new` of `total` pods: as large as the surge allows."""
    if new >= bounds.replicas:
        return bounds.replicas
    room = bounds.most - total
    return new + min(room, bounds.replicas - new) if room > 0 else new


def old_sizes(bounds: Limits, new: Sized, old: Sequence[Sized]) -> dict[str, int]:
    """The sizes of the old ReplicaSets that change: unavailable pods go first, then as many as may be missing."""
    total = new.replicas + sum(s.replicas for s in old)
    budget = total - bounds.fewest - max(0, new.replicas - new.available)
    if budget <= 0:
        return {}
    left = list(old)
    taken = 0
    for i, one in enumerate(left):
        gone = min(budget - taken, one.replicas - min(one.replicas, one.available))
        left[i] = replace(one, replicas=one.replicas - gone)
        taken += gone
    spare = new.available + sum(s.available for s in old) - bounds.fewest
    for i, one in enumerate(left):
        gone = max(0, min(spare, one.replicas))
        left[i] = replace(one, replicas=one.replicas - gone)
        spare -= gone
    return {s.name: s.replicas for s, before in zip(left, old, strict=True) if s.replicas != before.replicas}


def proportional_sizes(bounds: Limits, sets: Sequence[Sized]) -> dict[str, int]:
    """New sizes when a Deployment is scaled in the middle of a rollout: each set gets its share, the
    largest the rest.
    """
    active = [s for s in sets if s.replicas > 0]
    missing = (bounds.most if bounds.replicas > 0 else 0) - sum(s.replicas for s in active)
    # Growing favours the newer, shrinking the older, among sets of equal size.
    ordered = sorted(reversed(active) if missing > 0 else active, key=lambda s: -s.replicas)
    sizes: dict[str, int] = {}
    added = 0
    for one in ordered:
        share = _share(bounds, one, missing - added) if missing else 0
        sizes[one.name] = one.replicas + share
        added += share
    rest = missing - added if missing else 0
    for one in ordered:
        size = max(0, sizes[one.name] + rest)
        rest -= size - sizes[one.name]
        sizes[one.name] = size
    return sizes


def _share(bounds: Limits, one: Sized, missing: int) -> int:
    """How much of `missing` (negative: to be removed) falls to one set, as its part of the old whole."""
    if missing == 0:
        return 0
    if bounds.replicas == 0:
        fraction = -one.replicas
    elif one.most == 0:
        fraction = 0
    else:
        fraction = math.floor(one.replicas * bounds.most / one.most + 0.5) - one.replicas
    return min(fraction, missing) if missing > 0 else max(fraction, missing)
