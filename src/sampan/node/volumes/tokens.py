"""Service account tokens for pods: asked for once, kept in memory, renewed when 80 % of their time is over.

Source: the Kubernetes documentation's page on managing service accounts (bound tokens).
"""

from __future__ import annotations

import time

from sampan.client.api import Client
from sampan.machinery import times
from sampan.machinery.objects import Object

LONGEST = 24 * 3600.0


class Tokens:
    def __init__(self, client: Client):
        self._client = client
        self._known: dict[tuple[str, str, int], tuple[str, float]] = {}

    async def token(self, pod: Object, audience: str, seconds: int) -> tuple[str, float]:
        """A token for the pod's service account, bound to the pod, and when to renew it. Raises ApiError,
        Unavailable.
        """
        meta = pod["metadata"]
        key = (meta["uid"], audience, seconds)
        known = self._known.get(key)
        if known and known[1] > time.time():
            return known
        account = pod["spec"].get("serviceAccountName") or "default"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        request: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": account, "namespace": meta["namespace"]},
            "spec": {
                "expirationSeconds": seconds,
                "boundObjectRef": bound,
                "audiences": [audience] if audience else [],
            },
        }
        now = time.time()
        made = await self._client.create("serviceaccounts", request, name=account, subresource="token")
        ends = times.seconds(made["status"]["expirationTimestamp"])
        self._known[key] = (made["status"]["token"], now + min(LONGEST, 0.8 * (ends - now)))
        return self._known[key]

    def forget(self, uid: str) -> None:
        for key in [k for k in self._known if k[0] == uid]:
            del self._known[key]
