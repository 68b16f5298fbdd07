"""Makes the claims of generic ephemeral volumes: one for each such volume of a pod, owned by the pod.
Source: KEP-1698.
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.controllers import pods
from sampan.controllers.settings import Settings
from sampan.controllers.volume_binder import CLAIMS
from sampan.machinery.objects import Key, Object
from sampan.reconcile.controller import Action, Cache, Controller, Create, Plan, Watch


@dataclass(frozen=True, slots=True)
class Observed:
    """`missing` are the volumes of the pod that have no claim yet."""

    pod: Object
    missing: tuple[Object, ...]


def observe(cache: Cache, name: Key) -> Observed | None:
    pod = cache.get("pods", name)
    if pod is None or not pods.is_active(pod):
        return None
    volumes = [v for v in pod["spec"].get("volumes") or () if v.get("ephemeral")]
    missing = [
        v for v in volumes if cache.get(CLAIMS, Key(name.namespace, f"{name.name}-{v['name']}")) is None
    ]
    return Observed(pod, tuple(missing)) if missing else None


def decide(seen: Observed, now: float) -> Plan:
    return Plan(tuple(_claim(seen.pod, volume) for volume in seen.missing))


def _claim(pod: Object, volume: Object) -> Action:
    template = volume["ephemeral"]["volumeClaimTemplate"]
    given = template.get("metadata") or {}
    meta = {
        "name": f"{pod['metadata']['name']}-{volume['name']}",
        "namespace": pod["metadata"]["namespace"],
        **{k: given[k] for k in ("labels", "annotations") if given.get(k)},
        "ownerReferences": [pods.reference(pod)],
    }
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": template["spec"]}
    return Create(CLAIMS, claim, pod)


def make(settings: Settings) -> Controller:
    return Controller(
        name="ephemeral-volume-controller",
        watches=(Watch("pods"), Watch(CLAIMS, lambda cache, claim: ())),
        observe=observe,
        decide=decide,
        workers=1,
    )
