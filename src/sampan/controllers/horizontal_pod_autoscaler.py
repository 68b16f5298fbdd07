"""HorizontalPodAutoscalers: as many pods as their metrics ask for; `hpa` decides, loaded for the first of them."""

from __future__ import annotations

from functools import partial
from typing import Any

from sampan.controllers.settings import Settings
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Cache, Controller, Watch, later

KIND = "horizontalpodautoscalers.autoscaling"
_PLAN = "sampan.controllers.hpa"


def make(settings: Settings) -> Controller:
    memories: dict[Key, Any] = {}

    def changed(cache: Cache, obj: Object) -> tuple[Key, ...]:
        """What its author changes is looked at soon; the status that we write ourselves is not."""
        looked = key(obj) in memories
        same = get(obj, "status.observedGeneration") == obj["metadata"].get("generation")
        return () if looked and same else (key(obj),)

    return Controller(
        name="horizontal-pod-autoscaler",
        # Pods are read, and wake nobody.
        watches=(Watch(KIND, changed), Watch("pods", lambda cache, pod: ())),
        observe=partial(later(_PLAN, "observe"), memories),
        fetch=later(_PLAN, "fetch"),
        decide=later(_PLAN, "decide"),
        remember=memories.__setitem__,
    )
