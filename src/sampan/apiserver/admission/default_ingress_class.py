"""An Ingress that names no class gets the default one; of several, the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver.call import Call
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

DEFAULT = "ingressclass.kubernetes.io/is-default-class"


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    spec, annotations = obj.setdefault("spec", {}), get(obj, "metadata.annotations", {})
    if spec.get("ingressClassName") is not None or "kubernetes.io/ingress.class" in annotations:
        return
    page = await server.store.list("/networking.k8s.io/ingressclasses/")
    classes = [server.decoded(r)["metadata"] for r in page.records]
    defaults = [m for m in classes if get(m, "annotations", {}).get(DEFAULT) == "true"]
    if defaults:
        newest = sorted(defaults, key=lambda m: str(m["name"]))
        spec["ingressClassName"] = max(newest, key=lambda m: str(m["creationTimestamp"]))["name"]
