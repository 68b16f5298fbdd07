"""Profiles: which plugins stand at which extension point, in which order and with which weights.

Source: KubeSchedulerConfiguration v1, `profiles[].plugins`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.machinery.objects import Object
from sampan.scheduler.framework import (
    BindPlugin,
    FilterPlugin,
    Handle,
    Named,
    PermitPlugin,
    PostBindPlugin,
    PostFilterPlugin,
    PreBindPlugin,
    PreEnqueuePlugin,
    PreFilterPlugin,
    PreScorePlugin,
    QueueSortPlugin,
    ReservePlugin,
    ScorePlugin,
)

# The name of each extension point in a configuration, and what a plugin must implement to be there.
POINTS: dict[str, type] = {
    "preEnqueue": PreEnqueuePlugin,
    "queueSort": QueueSortPlugin,
    "preFilter": PreFilterPlugin,
    "filter": FilterPlugin,
    "postFilter": PostFilterPlugin,
    "preScore": PreScorePlugin,
    "score": ScorePlugin,
    "reserve": ReservePlugin,
    "permit": PermitPlugin,
    "preBind": PreBindPlugin,
    "bind": BindPlugin,
    "postBind": PostBindPlugin,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """The plugins of one scheduler name: at each point in order, and the weights of those that score."""

    name: str
    pre_enqueue: tuple[PreEnqueuePlugin, ...] = ()
    queue_sort: tuple[QueueSortPlugin, ...] = ()
    pre_filter: tuple[PreFilterPlugin, ...] = ()
    filter: tuple[FilterPlugin, ...] = ()
    post_filter: tuple[PostFilterPlugin, ...] = ()
    pre_score: tuple[PreScorePlugin, ...] = ()
    score: tuple[ScorePlugin, ...] = ()
    reserve: tuple[ReservePlugin, ...] = ()
    permit: tuple[PermitPlugin, ...] = ()
    pre_bind: tuple[PreBindPlugin, ...] = ()
    bind: tuple[BindPlugin, ...] = ()
    post_bind: tuple[PostBindPlugin, ...] = ()
    weights: Mapping[str, int] = field(default_factory=dict)
    # How many of the nodes are enough, in percent; None leaves it to the scheduler.
    percentage_of_nodes_to_score: int | None = None

    @staticmethod
    def of(
        name: str,
        points: Mapping[str, Iterable[Named]],
        weights: Mapping[str, int],
        percentage: int | None = None,
    ) -> Profile:
        """A profile from plugins by the points' names in a configuration (the keys of POINTS)."""
        by_field: dict[str, Any] = {_snake(point): tuple(found) for point, found in points.items()}
        return Profile(name, weights=weights, percentage_of_nodes_to_score=percentage, **by_field)

    def plugins(self) -> dict[str, Named]:
        """Every plugin of the profile once, by name."""
        return {plugin.name: plugin for point in POINTS for plugin in getattr(self, _snake(point))}


def _snake(point: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in point)


def multi_point(plugins: Iterable[Named]) -> dict[str, list[Named]]:
    """Each plugin at every point that it implements."""
    ordered = list(plugins)
    return {point: [p for p in ordered if isinstance(p, kind)] for point, kind in POINTS.items()}


# What makes a plugin: from its arguments and what the process offers.
Factory = Callable[[Object, Handle | None], Named]
Registry = Mapping[str, Factory]
