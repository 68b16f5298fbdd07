"""Objects are created only in namespaces that exist and are not on their way out; some namespaces stay for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.client.api import ApiError
from sampan.kinds import registry
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

IMMORTAL = ("default", "kube-system", "kube-public")


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    if not call.resource.namespaced:
        return
    record = await server.store.get(f"/core/namespaces/{call.namespace}")
    if not record:
        raise errors.not_found(registry.find("namespaces"), call.namespace)
    namespace = server.decoded(record)
    if namespace["metadata"].get("deletionTimestamp"):
        raise _terminating(call)


def _terminating(call: Call) -> ApiError:
    why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
    error = errors.forbidden(call.resource, call.name, why)
    said = {"reason": "NamespaceTerminating", "field": "metadata.namespace"}
    message = f"namespace {call.namespace} is being terminated"
    error.status["details"]["causes"] = [said | {"message": message}]
    return error


async def protect(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    if call.name in IMMORTAL:
        raise errors.forbidden(call.resource, call.name, "this namespace may not be deleted")
