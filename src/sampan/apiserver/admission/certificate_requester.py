"""A request for a certificate names its requester, whatever he says himself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver.call import Call
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    spec, user = obj.setdefault("spec", {}), call.user
    for name in ("username", "groups", "uid", "extra"):
        spec.pop(name, None)
    spec |= {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {k: list(v) for k, v in user.extra.items()}
