"""What webhooks and expressions see of a request."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sampan.apiserver.call import Call
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object

_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


@dataclass(slots=True)
class Attributes:
    """A write on its way: `kind` is the request's own; `object` is None for a delete, `old` for a create."""

    call: Call
    kind: Kind
    object: Object | None
    old: Object | None

    @property
    def operation(self) -> str:
        return "DELETE" if self.object is None else "CREATE" if self.old is None else "UPDATE"

    @property
    def namespace(self) -> str:
        """The namespace that the request concerns; that of a Namespace is itself."""
        return self.call.name if self.kind.resource == "namespaces" else self.call.namespace

    @property
    def name(self) -> str:
        return self.call.name

    def as_(self, kind: Kind) -> tuple[Object | None, Object | None]:
        """The object and the old one, in the form of another version."""
        return self._form(self.object, kind), self._form(self.old, kind)

    def _form(self, obj: Object | None, kind: Kind) -> Object | None:
        if obj is None or kind is self.kind:
            return obj
        return kind.from_storage(self.kind.to_storage(dict(obj)))


def request(found: Attributes, kind: Kind) -> Object:
    """The AdmissionRequest, without its objects; `kind` is the one whose rule matched."""
    call, own = found.call, found.kind
    name, verb = found.name, found.operation
    made: Object = {
        "uid": str(uuid.uuid4()),
        "kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "resource": {"group": kind.group, "version": kind.version, "resource": kind.plural},
        "requestKind": {"group": own.group, "version": own.version, "kind": own.kind},
        "requestResource": {"group": own.group, "version": own.version, "resource": own.plural},
        "operation": verb,
        "userInfo": user(call),
        "dryRun": call.dry_run,
        "options": _options(call, verb),
    }
    if call.subresource:
        made |= {"subResource": call.subresource, "requestSubResource": call.subresource}
    if name:
        made["name"] = name
    if found.namespace:
        made["namespace"] = found.namespace
    return made


def user(call: Call) -> Object:
    who = call.user
    made: Object = {"username": who.name, "groups": list(who.groups)}
    if who.uid:
        made["uid"] = who.uid
    if who.extra:
        made["extra"] = {k: list(v) for k, v in who.extra.items()}
    return made


def _options(call: Call, verb: str) -> Object:
    kind = "PatchOptions" if call.verb == "patch" else _OPTIONS[verb]
    made: dict[str, Any] = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    for name in ("fieldManager", "fieldValidation"):
        if value := call.parameter(name):
            made[name] = value
    if call.dry_run:
        made["dryRun"] = ["All"]
    return made
