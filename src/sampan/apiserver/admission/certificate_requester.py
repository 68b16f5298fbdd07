"""A request for a certificate names its requester, whatever he says himself, and when it was decided on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sampan.apiserver.call import Call
from sampan.machinery import conditions, times
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    if old is not None:
        _date(obj, old)
        return
    spec, user = obj.setdefault("spec", {}), call.user
    for name in ("username", "groups", "uid", "extra"):
        spec.pop(name, None)
    spec |= {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {k: list(v) for k, v in user.extra.items()}


def _date(obj: Object, old: Object) -> None:
    """Say when conditions came, where their writer does not."""
    before = {(c.get("type"), c.get("status")): c for c in conditions.of(old)}
    status, moment = obj.get("status") or {}, times.time(time.time())
    dated = []
    for condition in status.get("conditions") or ():
        same = before.get((condition.get("type"), condition.get("status"))) or {}
        changed = same.get("lastTransitionTime") or moment
        times_ = {"lastUpdateTime": moment, "lastTransitionTime": changed}
        dated.append({**condition, **{k: condition.get(k) or v for k, v in times_.items()}})
    if dated:
        obj["status"] = {**status, "conditions": dated}
