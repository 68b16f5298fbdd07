"""Nobody grants what he does not hold, unless he may escalate, or bind the role in question.

Source: the documentation's "Privilege escalation prevention and bootstrapping".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.apiserver.rbac import Attributes, rule
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

GROUP = "rbac.authorization.k8s.io"


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    if obj is None:
        return
    if call.resource.plural.endswith("bindings"):
        await _binding(server, call, obj, old)
    elif (
        not old
        or obj.get("rules") != old.get("rules")
        or obj.get("aggregationRule") != old.get("aggregationRule")
    ):
        await _role(server, call, obj)


async def _role(server: ApiServer, call: Call, obj: Object) -> None:
    asked = Attributes("escalate", GROUP, call.resource.plural, "", call.namespace, call.name)
    if await server.allowed(call.user, asked):
        return
    rules = [rule(r) for r in obj.get("rules") or ()]
    if obj.get("aggregationRule"):
        # It could come to hold anything.
        rules.append(rule({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}))
    missing = server.rbac.uncovered(call.user, call.namespace, rules)
    if missing:
        raise _refused(call, missing)


async def _binding(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    if old and (obj["roleRef"], obj.get("subjects")) == (old["roleRef"], old.get("subjects")):
        return
    ref = obj["roleRef"]
    cluster = ref["kind"] == "ClusterRole"
    plural = "clusterroles" if cluster else "roles"
    asked = Attributes("bind", GROUP, plural, "", call.namespace, ref["name"])
    if await server.allowed(call.user, asked):
        return
    namespace = "" if cluster else call.namespace
    missing = server.rbac.uncovered(call.user, call.namespace, server.rbac.role(namespace, ref["name"]))
    if missing or not server.rbac.exists(namespace, ref["name"]):
        raise _refused(call, missing)


def _refused(call: Call, missing: list[str]) -> Exception:
    user = call.user
    who = f'user "{user.name}" (groups={list(user.groups)})'.replace("'", '"')
    why = f"{who} is attempting to grant RBAC permissions not currently held:\n" + "\n".join(missing)
    return errors.forbidden(call.resource, call.name, why)
