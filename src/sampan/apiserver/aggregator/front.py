"""The front proxy's certificate: by it other API servers know that a request comes from this one, and believe its
headers when they say who the user is.

Made when the first APIService needs it, and kept in a Secret for all servers of the cluster; its authority is told in
the ConfigMap kube-system/extension-apiserver-authentication. Source: the documentation's page "Configure the
Aggregation Layer".
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import TYPE_CHECKING

import orjson

from sampan.apiserver.call import User
from sampan.client.api import ApiError, Client
from sampan.host import pki
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

NAME, NAMESPACE, CONFIG = "front-proxy", "kube-system", "extension-apiserver-authentication"
RENEWED_BEFORE = 30 * 24 * 3600.0
USER, GROUP, EXTRA = "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-"


async def pair(server: ApiServer) -> bytes:
    """The client's certificate with its key, in PEM; made where nobody has made it."""
    client = server.local("system:apiserver", ("system:masters",))
    secret = await _secret(client)
    authority = base64.b64decode(secret["data"]["ca.crt"]).decode()
    await _publish(server, client, authority)
    return base64.b64decode(secret["data"]["tls.pem"])


async def _secret(client: Client) -> Object:
    try:
        found = await client.get("secrets", NAME, NAMESPACE)
        if not _old(found):
            return found
        await client.delete("secrets", NAME, NAMESPACE, uid=found["metadata"]["uid"])
    except ApiError as e:
        if e.code not in (404, 409):
            raise
    made = await asyncio.to_thread(_made)
    try:
        return await client.create("secrets", made)
    except ApiError as e:
        if e.code != 409:
            raise
    return await client.get("secrets", NAME, NAMESPACE)


def _old(secret: Object) -> bool:
    """Whether the certificate ends soon."""
    certificate = pki.Pair.parse(base64.b64decode(secret["data"]["tls.pem"])).certificate
    return pki.expires(certificate) < time.time() + RENEWED_BEFORE


def _made() -> Object:
    authority = pki.create_authority("front-proxy-ca")
    client = authority.client("front-proxy-client")
    data = {"ca.crt": authority.pair.certificate, "tls.pem": client.pem}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "type": "sampan.io/front-proxy",
        "data": {k: base64.b64encode(v).decode() for k, v in data.items()},
    }


async def _publish(server: ApiServer, client: Client, authority: str) -> None:
    data = {
        "requestheader-client-ca-file": authority,
        "requestheader-allowed-names": orjson.dumps(["front-proxy-client"]).decode(),
        "requestheader-username-headers": orjson.dumps([USER]).decode(),
        "requestheader-group-headers": orjson.dumps([GROUP]).decode(),
        "requestheader-extra-headers-prefix": orjson.dumps([EXTRA]).decode(),
    }
    if server.settings.kubelets:
        data["client-ca-file"] = server.settings.kubelets.authority.read_text()
    meta = {"name": CONFIG, "namespace": NAMESPACE}
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
    await client.patch("configmaps", CONFIG, NAMESPACE, wanted, type="apply", manager="apiserver", force=True)


def as_file(data: bytes) -> str:
    """A path under which this process can read some bytes that are on no disk."""
    number = os.memfd_create("front-proxy")
    os.write(number, data)
    return f"/proc/self/fd/{number}"


def headers(user: User) -> dict[str, str | tuple[str, ...]]:
    """Who asks, as the other server is told."""
    found: dict[str, str | tuple[str, ...]] = {USER: user.name}
    if user.groups:
        found[GROUP] = user.groups
    return found | {f"{EXTRA}{name}": tuple(listed) for name, listed in user.extra.items()}
