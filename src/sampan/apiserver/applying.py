"""Server-side apply: a patch that states what its manager wants, and creates what is not there.

Source: the API concepts' page "Server-Side Apply".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sampan.apiserver import bodies, errors, managers
from sampan.apiserver.call import Answer, Call
from sampan.apiserver.writing import same_name
from sampan.kinds import shapes
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
        shape, left_alone = shapes.of(kind), managers.ignored(kind.subresources, call.subresource)
        if not call.subresource and not await self._server.store.get(call.key):
            await self._server.writer.check_create(call)
            return await self._create(
                call, managers.apply({"metadata": {}}, applied, shape, who, True, left_alone)
            )

        async def laid_over(live: Object) -> Object:
            found = managers.apply(live, applied, shape, who, call.flag("force"), left_alone)
            obj = bodies.typed(call, found.object, kind)
            obj["metadata"] = {**obj["metadata"], "managedFields": found.managers}
            return obj

        return await self._server.writer.change(call, laid_over, tracked=False)

    async def _wanted(self, call: Call, kind: Kind) -> Object:
        raw = call.content if call.request is None else await bodies.patch_of_yaml(call)
        if not isinstance(raw, dict):
            raise errors.bad_request("error decoding YAML: an object was expected")
        raw = dict(raw)
        bodies.check_kind(raw, kind)
        obj = bodies.typed(call, raw, kind, applied=True)
        meta = obj["metadata"]
        if meta.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        same_name(call, meta)
        found: Object = _with_nulls(obj, raw)
        return found

    async def _create(self, call: Call, found: managers.Applied) -> Answer:
        obj = bodies.typed(call, found.object, call.resource)
        obj["metadata"]["managedFields"] = found.managers
        return await self._server.writer.create_from(call, obj, tracked=False)


def _with_nulls(typed: Any, raw: Any) -> Any:
    """A typed value with the nulls that were written: they state that a field is to be empty."""
    if isinstance(typed, dict) and isinstance(raw, dict):
        found = {name: _with_nulls(item, raw.get(name)) for name, item in typed.items()}
        return found | {name: None for name, item in raw.items() if item is None and name not in typed}
    if isinstance(typed, list) and isinstance(raw, list) and len(typed) == len(raw):
        return [_with_nulls(t, r) for t, r in zip(typed, raw, strict=True)]
    return typed
