"""Who asks: by client certificate, else by bearer token, else nobody in particular."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from sampan.apiserver import errors, tokens
from sampan.apiserver.call import ANONYMOUS, Answer, Call, User
from sampan.host import pki

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Next = Callable[[Call], Awaitable[Answer]]
# A token may stand among the WebSocket protocols, since browsers can set no other header.
TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."


def authenticate(server: ApiServer, inner: Next) -> Next:
    """Sets the call's user. Raises 401 for a token that is not good; no token at all is anonymous."""

    async def step(call: Call) -> Answer:
        assert call.request is not None, "only requests over HTTP are authenticated"
        user = _certified(call.request.peer.certificate)
        if user is None and (token := _bearer(call)):
            user = await server.bootstrap_tokens.user(token)
            try:
                if user is None and server.issuers:
                    user = await server.issuers.user(token)
                if user is None:
                    user, _ = await server.tokens.user(token, [server.tokens.issuer])
            except tokens.Invalid as e:
                raise errors.unauthorized() from e
        call.user = user or ANONYMOUS
        return await inner(call)

    return step


@lru_cache(1000)
def _certified(der: bytes | None) -> User | None:
    """The user whom a verified client certificate names, if it names one."""
    if not der:
        return None
    try:
        found = pki.identity(der)
    except ValueError:
        return None
    return User(found.user, (*found.groups, "system:authenticated")) if found.user else None


def _bearer(call: Call) -> str:
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for protocol in call.headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(TOKEN_PROTOCOL):
            return _decoded(protocol.strip().removeprefix(TOKEN_PROTOCOL))
    return ""


def _decoded(text: str) -> str:
    try:
        return tokens.from_base64url(text).decode()
    except ValueError:
        return "malformed"
