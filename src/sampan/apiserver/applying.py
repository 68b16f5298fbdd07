"""Server-side apply: a patch that states what its manager wants, and creates what is not there.

Source: the API concepts' page "Server-Side Apply".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import bodies, errors, managers
from sampan.apiserver.call import Answer, Call
from sampan.apiserver.managers import Manager
from sampan.apiserver.writing import same_name
from sampan.kinds import schemas
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer


class Applier:
    def __init__(self, server: ApiServer):
        self._server = server

    async def apply(self, call: Call) -> Answer:
        """Raises 400 without a manager, 409 for fields of others unless forced."""
        if not call.parameter("fieldManager"):
            raise errors.bad_request(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        kind = call.resource
        applied = await self._wanted(call, kind)
        who = managers.manager(call, "Apply")
        node = schemas.node_of(kind)
        if not call.subresource and not await self._server.store.get(call.key):
            await self._server.writer.check_create(call)
            return await self._create(call, applied, who, node)

        async def laid_over(live: Object) -> Object:
            found = managers.apply(live, applied, node, who, call.flag("force"))
            obj = bodies.typed(call, found.object, kind)
            obj["metadata"] = {**obj["metadata"], "managedFields": managers.entries(found.managers)}
            return obj

        return await self._server.writer.change(call, laid_over, tracked=False)

    async def _wanted(self, call: Call, kind: Kind) -> Object:
        raw = call.content if call.request is None else bodies.yaml(await bodies.raw(call))
        if not isinstance(raw, dict):
            raise errors.bad_request("error decoding YAML: an object was expected")
        raw = dict(raw)
        bodies.check_kind(raw, kind)
        obj = bodies.typed(call, raw, kind)
        meta = obj["metadata"]
        if meta.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        same_name(call, meta)
        return obj

    async def _create(self, call: Call, applied: Object, who: Manager, node: schemas.Node) -> Answer:
        found = managers.apply({"metadata": {}}, applied, node, who, True)
        meta = {**applied["metadata"], "managedFields": managers.entries(found.managers)}
        return await self._server.writer.create_from(call, {**applied, "metadata": meta})
