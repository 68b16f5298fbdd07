"""patch: JSON patch, merge patch and strategic merge patch, applied to the object as it is, again after a conflict.

Server-side apply, which comes as a patch too, is in `applying`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sampan.apiserver import bodies, errors
from sampan.apiserver.applying import Applier
from sampan.apiserver.call import Answer, Call
from sampan.client.api import ApiError
from sampan.kinds import schemas
from sampan.kinds.kind import Kind
from sampan.machinery import patches
from sampan.machinery.objects import Object
from sampan.machinery.patches import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, PatchError

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
# The most operations of a JSON patch, as upstream's.
MOST_OPERATIONS = 10_000


class Patcher:
    def __init__(self, server: ApiServer):
        self._server = server
        self._applier = Applier(server)

    async def patch(self, call: Call) -> Answer:
        if bodies.media_type(call) == APPLY_PATCH:
            return await self._applier.apply(call)
        apply = await change_of(call, call.resource)

        async def patched(obj: Object) -> Object:
            return bodies.typed(call, apply(obj), call.resource)

        return await self._server.writer.change(call, patched)


async def change_of(call: Call, kind: Kind) -> Callable[[Object], Object]:
    """The patch in the body, as a function of an object of `kind`. Raises 400, 415; the function 422."""
    media = bodies.media_type(call)
    if media not in ACCEPTED or media == APPLY_PATCH:
        raise errors.unsupported_media(media, ACCEPTED)
    patch: Any = call.content if call.request is None else await _read(call, media)
    if media == JSON_PATCH and isinstance(patch, list) and len(patch) > MOST_OPERATIONS:
        raise errors.too_large(f"{MOST_OPERATIONS} operations in a JSON patch")
    if media != JSON_PATCH and not isinstance(patch, dict):
        raise errors.bad_request(f"error decoding patch: a {media} must be an object")
    node = schemas.node_of(kind)

    def apply(obj: Object) -> Object:
        try:
            if media == JSON_PATCH:
                found = _operated(obj, patch, kind)
            elif media == MERGE_PATCH:
                found = patches.merge_patch(obj, patch)
            else:
                found = patches.strategic(obj, patch, node)
        except PatchError as e:
            raise _does_not_apply(str(e)) from e
        except (TypeError, AttributeError, LookupError) as e:
            # A directive or an operation of a shape that nobody means.
            raise _does_not_apply("the patch is not of the form that its media type has") from e
        if not isinstance(found, dict):
            raise _does_not_apply("the patched value is no object")
        bodies.check_kind(found, kind)
        return found

    return apply


def _operated(obj: Object, patch: Any, kind: Kind) -> Any:
    """After a JSON patch, whose paths may lead into a status that is empty yet: to clients it is always there."""
    if "status" in obj or "status" not in kind.subresources:
        return patches.json_patch(obj, patch)
    found = patches.json_patch({**obj, "status": {}}, patch)
    if isinstance(found, dict) and found.get("status") == {}:
        del found["status"]
    return found


async def _read(call: Call, media: str) -> Any:
    data = await bodies.raw(call)
    patch = bodies.json(data)
    if media != JSON_PATCH:
        bodies.note_duplicates(call, data, patch)
    return patch


def _does_not_apply(why: str) -> ApiError:
    message = f"the server rejected our request due to an error in our request: {why}"
    return errors.error(422, "Invalid", message, {})
