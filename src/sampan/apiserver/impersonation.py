"""Impersonation: a user who may, speaks as another; what is done is that other's.

Source: the authentication documentation's "User impersonation".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sampan.apiserver import errors
from sampan.apiserver.call import Answer, Call, User
from sampan.apiserver.rbac import Attributes

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Next = Callable[[Call], Awaitable[Answer]]
_USER, _GROUP, _UID, _EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"


def impersonate(server: ApiServer, inner: Next) -> Next:
    async def step(call: Call) -> Answer:
        if call.request and any(name.startswith("impersonate-") for name in call.headers):
            call.user = await _assumed(server, call)
        return await inner(call)

    return step


async def _assumed(server: ApiServer, call: Call) -> User:
    """The user that the headers name. Raises 400, 403."""
    name = call.headers.get(_USER, "")
    groups = [g.strip() for g in call.headers.get(_GROUP, "").split(",") if g.strip()]
    uid = call.headers.get(_UID, "")
    extra = {
        unquote(h.removeprefix(_EXTRA)): tuple(v.strip() for v in value.split(","))
        for h, value in call.headers.items()
        if h.startswith(_EXTRA)
    }
    if not name:
        raise errors.bad_request("requested [...] without impersonating a user name")
    await _check(server, call.user, name, groups, uid, extra)
    if name.startswith(_ACCOUNT):
        namespace = name.removeprefix(_ACCOUNT).partition(":")[0]
        groups = groups or ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    everyone = "system:unauthenticated" if name == "system:anonymous" else "system:authenticated"
    if everyone not in groups:
        groups.append(everyone)
    return User(name, tuple(groups), uid, extra)


async def _check(
    server: ApiServer, user: User, name: str, groups: list[str], uid: str, extra: dict[str, tuple[str, ...]]
) -> None:
    asked: list[Attributes] = []
    if name.startswith(_ACCOUNT):
        namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
        asked.append(Attributes("impersonate", "", "serviceaccounts", "", namespace, account))
    else:
        asked.append(Attributes("impersonate", "", "users", "", "", name))
    asked += [Attributes("impersonate", "", "groups", "", "", g) for g in groups]
    group = "authentication.k8s.io"
    if uid:
        asked.append(Attributes("impersonate", group, "uids", "", "", uid))
    for key, values in extra.items():
        asked += [Attributes("impersonate", group, "userextras", key, "", v) for v in values]
    for attributes in asked:
        if not await server.allowed(user, attributes):
            raise errors.denied(user.name, attributes)
