"""A bound claim may grow where its StorageClass lets volumes grow.

Source: the concepts' page "Persistent Volumes", "Expanding Persistent Volumes Claims".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.machinery import quantities
from sampan.machinery.objects import Object, get
from sampan.machinery.quantities import Quantity

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

_LEGACY_CLASS = "volume.beta.kubernetes.io/storage-class"


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    if call.subresource or obj is None or old is None or _size(obj) <= _size(old):
        return
    if get(old, "status.phase") != "Bound":
        raise errors.forbidden(
            call.resource, call.name, "Only bound persistent volume claims can be expanded"
        )
    name = _class(obj)
    record = await server.store.get(f"/storage.k8s.io/storageclasses/{name}") if name else None
    if record is None or name != _class(old) or not server.decoded(record).get("allowVolumeExpansion"):
        why = (
            "only dynamically provisioned pvc can be resized and "
            "the storageclass that provisions the pvc must support resize"
        )
        raise errors.forbidden(call.resource, call.name, why)


def _size(claim: Object) -> Quantity:
    return quantities.parse(get(claim, "spec.resources.requests", {}).get("storage", "0"))


def _class(claim: Object) -> str:
    legacy = get(claim, "metadata.annotations", {}).get(_LEGACY_CLASS)
    return str(legacy if legacy is not None else get(claim, "spec.storageClassName", ""))
