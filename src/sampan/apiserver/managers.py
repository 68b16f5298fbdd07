"""Who owns which fields: `metadata.managedFields`, kept for objects that somebody has applied server-side.

Objects that nobody applied so carry none: tracking every write would cost each of them time and space. At the first
apply, what is there already goes to a manager called `before-first-apply`, as upstream does for objects that are older
than tracking.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from sampan.apiserver import errors, fields
from sampan.apiserver.call import Call
from sampan.apiserver.fields import Path
from sampan.client.api import ApiError
from sampan.kinds.schemas import Node
from sampan.machinery import times
from sampan.machinery.objects import Object

FIRST = "before-first-apply"


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry of managedFields."""

    name: str
    operation: str
    version: str
    subresource: str = ""
    time: str = ""
    owned: frozenset[Path] = frozenset()

    @property
    def identity(self) -> tuple[str, str, str]:
        return (self.name, self.operation, self.subresource)

    def __str__(self) -> str:
        """As conflicts name it."""
        if self.operation != "Update":
            return f'"{self.name}"'
        where = f' with subresource "{self.subresource}"' if self.subresource else ""
        return f'"{self.name}"{where} using {self.version}'


def manager(call: Call, operation: str) -> Manager:
    """Who writes: the field manager named, else the first word of the user agent, else a component's name."""
    agent = call.headers.get("user-agent", "").partition("/")[0]
    name = call.parameter("fieldManager") or agent or call.user.service
    return Manager(name, operation, call.resource.api_version, call.subresource, times.time(time.time()))


def of(obj: Object) -> list[Manager]:
    """The managers of an object. Entries that cannot be read count for nothing."""
    found = []
    for entry in obj["metadata"].get("managedFields") or ():
        try:
            owned = fields.decode(entry.get("fieldsV1") or {})
        except (ValueError, AttributeError):
            continue
        if entry.get("manager") is not None:
            found.append(
                Manager(
                    entry["manager"],
                    entry.get("operation", "Update"),
                    entry.get("apiVersion", ""),
                    entry.get("subresource", ""),
                    entry.get("time", ""),
                    owned,
                )
            )
    return found


def entries(managers: list[Manager]) -> list[Object]:
    """The form in which managers are stored; those that own nothing any more are left out."""
    found = []
    for one in sorted((m for m in managers if m.owned), key=lambda m: (m.operation, m.time, m.name)):
        entry: Object = {
            "manager": one.name,
            "operation": one.operation,
            "apiVersion": one.version,
            "time": one.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields.encode(one.owned),
        }
        found.append(entry | ({"subresource": one.subresource} if one.subresource else {}))
    return found


def updated(old: Object, new: Object, node: Node, who: Manager) -> list[Manager]:
    """The managers after a write that was no apply: who changed a field owns it now, alone."""
    differ, gone = fields.changed(old, new, node)
    found = [replace(m, owned=m.owned - differ - gone) for m in of(old) if m.identity != who.identity]
    own = next((m for m in of(old) if m.identity == who.identity), replace(who, owned=frozenset()))
    owned = (own.owned | differ) - gone
    return [*found, replace(own, owned=owned, time=who.time if owned != own.owned else own.time)]


@dataclass(frozen=True, slots=True)
class Applied:
    object: Object
    managers: list[Manager]


def apply(live: Object, applied: Object, node: Node, who: Manager, force: bool) -> Applied:
    """Lay `applied` over `live`, drop what its manager no longer states and nobody else owns. Raises 409."""
    managers = of(live) or _first(live, node, who)
    others = [m for m in managers if m.identity != who.identity]
    own = next((m for m in managers if m.identity == who.identity), replace(who, owned=frozenset()))
    stated = fields.of(applied, node)
    merged = fields.merge(live, {k: v for k, v in applied.items() if k not in ("apiVersion", "kind")}, node)
    merged["metadata"] = {**merged["metadata"], **_identity(live)}
    differ, _ = fields.changed(live, merged, node)
    contested = {m: m.owned & differ & stated for m in others}
    if any(contested.values()) and not force:
        raise _conflict({m: paths for m, paths in contested.items() if paths})
    others = [replace(m, owned=m.owned - contested[m]) for m in others]
    kept: set[Path] = set().union(*(m.owned for m in others))
    gone = [p for p in own.owned - stated if p not in kept and not any(k[: len(p)] == p for k in kept)]
    pruned = fields.prune(merged, node, gone) if gone else merged
    since = own.time if own.owned == stated and own.time else who.time
    return Applied(pruned, [*others, replace(who, owned=stated, time=since)])


def _first(live: Object, node: Node, who: Manager) -> list[Manager]:
    return [Manager(FIRST, "Update", who.version, "", who.time, fields.of(live, node))]


def _identity(live: Object) -> Object:
    """What an apply never changes of metadata."""
    return {k: v for k, v in live["metadata"].items() if k in ("name", "namespace", "uid", "resourceVersion")}


def _conflict(contested: dict[Manager, frozenset[Path]]) -> ApiError:
    causes, parts = [], []
    for manager, paths in contested.items():
        shown = sorted(fields.worded(p) for p in paths)
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": p}
            for p in shown
        ]
        if len(shown) == 1:
            parts.append(f"conflict with {manager}: {shown[0]}")
        else:
            parts.append(f"conflicts with {manager}:\n" + "\n".join(f"- {p}" for p in shown))
    count = f"{len(causes)} conflict{'s' * (len(causes) != 1)}"
    return errors.error(
        409, "Conflict", f"Apply failed with {count}: " + "\n".join(parts), {"causes": causes}
    )
