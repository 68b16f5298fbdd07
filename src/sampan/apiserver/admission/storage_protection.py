"""Claims and volumes are born with the finalizer that keeps them while they are used; the controllers take it off.

Source: the concepts' page "Persistent Volumes", "Storage Object in Use Protection".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver.call import Call
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
}


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    meta, finalizer = obj["metadata"], FINALIZERS[call.resource.resource]
    if finalizer not in (meta.get("finalizers") or ()):
        meta["finalizers"] = [*(meta.get("finalizers") or ()), finalizer]
