"""A pod carries the zone and region of its node as labels, for what runs in it to read.

Source: KEP-4742; k8s.io/kubernetes plugin/pkg/admission/podtopologylabels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver.call import Call
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

_PREFIX = "topology.kubernetes.io/"
_LABELS = (f"{_PREFIX}zone", f"{_PREFIX}region")


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    node = get(obj, "spec.nodeName")
    if node and not call.subresource:
        await label(server, obj, node)


async def label(server: ApiServer, pod: Object, node: str) -> None:
    """Give a pod the labels of the node that it is on; none where that does not exist."""
    record = await server.store.get(f"/core/nodes/{node}")
    if not record or _PREFIX.encode() not in record.value:
        return
    known = get(server.decoded(record), "metadata.labels", {})
    if found := {name: known[name] for name in _LABELS if name in known}:
        pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), **found}
