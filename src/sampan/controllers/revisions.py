"""ControllerRevisions: the numbered history of a StatefulSet's or DaemonSet's pod template.

Each revision holds the template as a strategic patch, which `kubectl rollout undo` applies to the owner. A
template that comes back gets its old revision with a new number. Source: the API reference of
ControllerRevision; upstream's pkg/controller/history.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sampan.controllers import pods
from sampan.machinery import generated
from sampan.machinery.objects import Key, Object, changed, key
from sampan.reconcile.controller import Action, Create, Delete, Patch

KIND = "controllerrevisions.apps"
# On pods: the name of their revision. On the revisions of a DaemonSet's pods: its hash alone.
HASH = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class History:
    """`all` in order of their numbers; `update` is the present template's, made by `actions` where it is new."""

    all: tuple[Object, ...]
    update: Object
    actions: tuple[Action, ...]


def of_template(template: Object) -> Object:
    """The patch that a revision holds, its keys in order: tools compare its bytes with those that they make."""
    found: Object = _in_order({"spec": {"template": {**template, "$patch": "replace"}}})
    return found


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def template(revision: Object) -> Object:
    """The pod template that a revision holds."""
    return {k: v for k, v in revision["data"]["spec"]["template"].items() if k != "$patch"}


def history(owner: Object, known: Iterable[Object]) -> History:
    """The owner's history with its present template as the last revision."""
    ordered = sorted(known, key=lambda r: (r["revision"], pods.created(r), r["metadata"]["name"]))
    data = of_template(owner["spec"]["template"])
    number = max((r["revision"] for r in ordered), default=0) + 1
    found = next((r for r in reversed(ordered) if r["data"] == data), None)
    if found is not None and found is ordered[-1]:
        return History(tuple(ordered), found, ())
    if found is not None:
        renumbered = changed(found, ("revision",), number)
        ordered = [*(r for r in ordered if r is not found), renumbered]
        patch = Patch(KIND, key(found), {"revision": number})
        return History(tuple(ordered), renumbered, (patch,))
    made = _new(owner, data, number, {r["metadata"]["name"] for r in ordered})
    return History((*ordered, made), made, (Create(KIND, made),))


def _new(owner: Object, data: Object, number: int, taken: set[str]) -> Object:
    """A revision under a name that no other template has taken."""
    collisions = 0
    while True:
        hashed = generated.code(data, collisions)
        name = f"{owner['metadata']['name'][:200]}-{hashed}"
        if name not in taken:
            break
        collisions += 1
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    notes = owner["metadata"].get("annotations")
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "labels": {**labels, HASH: hashed},
            **({"annotations": notes} if notes else {}),
            "ownerReferences": [pods.reference(owner)],
        },
        "data": data,
        "revision": number,
    }


def expired(found: History, live: set[str], limit: int) -> list[Action]:
    """Deletes of the oldest revisions beyond `limit` that no name in `live` needs."""
    spare = [r for r in found.all if r["metadata"]["name"] not in live and r is not found.update]
    return [
        Delete(KIND, Key(r["metadata"]["namespace"], r["metadata"]["name"]), r["metadata"]["uid"])
        for r in spare[: max(0, len(spare) - limit)]
    ]
