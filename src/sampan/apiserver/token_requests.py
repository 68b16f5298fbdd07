"""serviceaccounts/NAME/token: a token for an account, for a while, bound to what it is used by.

Source: the API reference, TokenRequest; KEP-1205.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sampan.apiserver import codec, errors
from sampan.apiserver.bodies import content
from sampan.apiserver.call import Answer, Call, Made
from sampan.apiserver.nodes import node_name
from sampan.kinds import faults, registry
from sampan.machinery import times
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

SHORTEST_SECONDS, USUAL_SECONDS = 600, 3600
_BOUND = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


class TokenRequests:
    def __init__(self, server: ApiServer):
        self._server = server

    async def create(self, call: Call) -> Answer:
        if not self._server.tokens.able:
            raise errors.internal("this API server was given no key to sign tokens with")
        request = await content(call) or {}
        spec = request.get("spec") or {}
        record = await self._server.reader.record(call.resource, call.namespace, call.name)
        account = codec.decode(record)
        seconds = self._seconds(call, spec.get("expirationSeconds"))
        audiences = spec.get("audiences") or [self._server.tokens.issuer]
        bound = await self._bound(call, spec.get("boundObjectRef"))
        if node_name(call.user) is not None and "pod" not in bound:
            raise errors.forbidden(call.resource, call.name, "node requested token not bound to a pod")
        token = "" if call.dry_run else self._server.tokens.issue(account, audiences, seconds, bound)
        status = {"token": token, "expirationTimestamp": times.time(time.time() + seconds)}
        made: Object = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": call.name,
                "namespace": call.namespace,
                "creationTimestamp": times.time(time.time()),
            },
            "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
            "status": status,
        }
        return Made(made, 201)

    def _seconds(self, call: Call, asked: object) -> int:
        seconds = USUAL_SECONDS if asked is None else asked
        if not isinstance(seconds, int) or seconds < SHORTEST_SECONDS:
            fault = faults.invalid(
                "spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
            )
            raise errors.invalid(registry.of("authentication.k8s.io/v1", "TokenRequest"), "", [fault])
        return min(seconds, 1 << 32)

    async def _bound(self, call: Call, ref: Object | None) -> dict[str, Object]:
        """The object that the token dies with; with a pod, also the node it is on. Raises 404, 409, 400."""
        if not ref:
            return {}
        plural = _BOUND.get(ref.get("kind", ""))
        if plural is None:
            raise errors.bad_request(f"cannot bind token for serviceaccount to a {ref.get('kind')}")
        kind, name = registry.find(plural), ref.get("name") or ""
        obj = codec.decode(
            await self._server.reader.record(kind, call.namespace if kind.namespaced else "", name)
        )
        if ref.get("uid") and ref["uid"] != obj["metadata"]["uid"]:
            why = (
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise errors.conflict(kind, name, why)
        found = {ref["kind"].lower(): obj}
        if plural == "pods":
            self._check_pod(call, obj)
            if (node := get(obj, "spec.nodeName")) and (
                record := await self._server.store.get(f"/core/nodes/{node}")
            ):
                found["node"] = codec.decode(record)
        return found

    def _check_pod(self, call: Call, pod: Object) -> None:
        account = get(pod, "spec.serviceAccountName", "")
        if account != call.name:
            raise errors.bad_request(
                f"cannot bind token for serviceaccount {call.name!r} to pod running with different serviceaccount name."
            )
        node = node_name(call.user)
        if node is not None and get(pod, "spec.nodeName") != node:
            why = "node requested token bound to a pod scheduled on a different node"
            raise errors.forbidden(call.resource, call.name, why)
