"""A claim that names no storage class gets the default one; of several, the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver.call import Call
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

DEFAULT = "storageclass.kubernetes.io/is-default-class"


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    spec = obj.setdefault("spec", {})
    legacy = "volume.beta.kubernetes.io/storage-class"
    if spec.get("storageClassName") is not None or legacy in (obj["metadata"].get("annotations") or {}):
        return
    page = await server.store.list("/storage.k8s.io/storageclasses/")
    classes = [server.decoded(r)["metadata"] for r in page.records]
    defaults = [m for m in classes if (m.get("annotations") or {}).get(DEFAULT) == "true"]
    if defaults:
        newest = max(defaults, key=lambda m: str(m["creationTimestamp"]))
        spec["storageClassName"] = newest["name"]
