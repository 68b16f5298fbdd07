"""Paths that are no resources: health, version, discovery, OpenAPI, metrics, keys for tokens, and extensions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import orjson

from sampan.apiserver import errors, health
from sampan.apiserver.call import Answer, Call, Made
from sampan.apiserver.discovery import Discovery
from sampan.apiserver.openapi import OpenApi
from sampan.http.messages import Response
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Next = Callable[[Call], Awaitable[Answer]]
VERSION: Object = {
    "major": "1",
    "minor": "37",
    "emulationMajor": "1",
    "emulationMinor": "37",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "36",
    "gitVersion": "v1.37.2+sampan",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "cpython",
    "platform": "linux/amd64",
}


class Paths:
    def __init__(self, server: ApiServer):
        self._server = server
        self._discovery = Discovery(server)
        self._openapi = OpenApi(server)
        self._fixed: dict[str, Callable[[Call], Awaitable[Answer]]] = {
            "/": self._index,
            "/version": self._version,
            "/metrics": self._metrics,
            "/openid/v1/jwks": self._keys,
            "/.well-known/openid-configuration": self._issuer,
        }

    async def __call__(self, call: Call) -> Answer:
        path = call.path.rstrip("/") or "/"
        for prefix, extension in self._server.settings.extensions.items():
            if path.startswith(prefix) or path == prefix.rstrip("/"):
                assert call.request is not None, "an extension is asked over HTTP"
                return await extension(call.user, call.request)
        if call.verb not in ("get", "head"):
            raise errors.method_not_allowed() if path in self._fixed else errors.no_such_path()
        if fixed := self._fixed.get(path):
            return await fixed(call)
        first = path.split("/")[1]
        if first in health.CHECKED:
            return health.answer(self._server, call, path)
        if first in ("api", "apis"):
            return self._discovery.answer(call, path)
        if first == "openapi":
            return await self._openapi.answer(call, path)
        raise errors.no_such_path()

    async def _index(self, call: Call) -> Answer:
        paths = [*self._fixed, "/api", "/apis", "/healthz", "/livez", "/readyz", "/openapi/v2", "/openapi/v3"]
        paths += self._discovery.paths()
        return Made({"paths": sorted(p for p in paths if p != "/")})

    async def _version(self, call: Call) -> Answer:
        return Made(VERSION)

    async def _metrics(self, call: Call) -> Answer:
        text = self._server.metrics.text()
        return Response(200, text.encode(), {"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _keys(self, call: Call) -> Answer:
        if not self._server.tokens.able:
            raise errors.no_such_path()
        return Response(
            200, orjson.dumps(self._server.tokens.jwks()), {"content-type": "application/jwk-set+json"}
        )

    async def _issuer(self, call: Call) -> Answer:
        if not self._server.tokens.able:
            raise errors.no_such_path()
        tokens = self._server.tokens
        settings = self._server.settings
        host = settings.address or "localhost"
        return Made(
            {
                "issuer": tokens.issuer,
                "jwks_uri": f"https://{host}:{settings.port}/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [tokens.algorithm],
            }
        )
