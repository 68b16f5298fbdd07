"""Keeps claims that pods use, and volumes that claims are bound to, from vanishing under them.

Both carry a finalizer while they exist; it is taken off a deleted one once nobody uses it. A pod that was on a node
uses its claims as long as it exists, ended or not: what it wrote is there to be read until someone deletes it.
Source: the concepts' page on persistent volumes (storage object in use protection).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers import pods
from sampan.controllers.settings import Settings
from sampan.controllers.volume_binder import CLAIMS, VOLUMES
from sampan.machinery import claims
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.controller import Action, Cache, Controller, Index, Patch, Plan, Watch, by_own_key

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


@dataclass(frozen=True, slots=True)
class Observed:
    object: Object
    used: bool


def observe_claim(cache: Cache, name: Key) -> Observed | None:
    claim = cache.get(CLAIMS, name)
    if claim is None:
        return None
    users = cache.index("pods", "claims", str(name))
    return Observed(claim, any(_uses(p) for p in users))


def _uses(pod: Object) -> bool:
    gone = pods.is_terminating(pod) and pods.is_finished(pod)
    return bool(pod["spec"].get("nodeName")) and not gone


def observe_volume(cache: Cache, name: Key) -> Observed | None:
    volume = cache.get(VOLUMES, name)
    return Observed(volume, (volume.get("status") or {}).get("phase") == "Bound") if volume else None


def decide_claim(seen: Observed, now: float) -> Plan:
    return Plan(_protect(CLAIMS, CLAIM_FINALIZER, seen))


def decide_volume(seen: Observed, now: float) -> Plan:
    return Plan(_protect(VOLUMES, VOLUME_FINALIZER, seen))


def _protect(kind: str, finalizer: str, seen: Observed) -> tuple[Action, ...]:
    meta = seen.object["metadata"]
    have = meta.get("finalizers") or []
    if pods.is_terminating(seen.object):
        want = have if seen.used else [f for f in have if f != finalizer]
    else:
        want = have if finalizer in have else [*have, finalizer]
    if want == have:
        return ()
    own = {"uid": meta["uid"], "resourceVersion": meta.get("resourceVersion"), "finalizers": want}
    return (Patch(kind, key(seen.object), {"metadata": own}),)


def _claims(pod: Object) -> Iterable[str]:
    return [str(k) for k in _claim_keys(pod)]


def _claim_keys(pod: Object) -> list[Key]:
    return [Key(pod["metadata"]["namespace"], name) for name in claims.of_pod(pod)]


def make_claims(settings: Settings) -> Controller:
    return Controller(
        name="pvc-protection-controller",
        watches=(Watch(CLAIMS, by_own_key), Watch("pods", lambda cache, pod: _claim_keys(pod))),
        observe=observe_claim,
        decide=decide_claim,
        indexes=(Index("pods", "claims", _claims),),
    )


def make_volumes(settings: Settings) -> Controller:
    return Controller(
        name="pv-protection-controller",
        watches=(Watch(VOLUMES),),
        observe=observe_volume,
        decide=decide_volume,
        workers=1,
    )
