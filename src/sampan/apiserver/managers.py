"""Who owns which fields: `metadata.managedFields`, kept for every write as upstream keeps it.

Every entry is one manager: a name, how it writes (Apply or Update), through which version and subresource. Plain
functions; `writing` calls `updated` for ordinary writes, `applying` calls `apply`. Sources: KEP-555;
k8s.io/apimachinery, pkg/util/managedfields; sigs.k8s.io/structured-merge-diff, merge.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.apiserver import errors, fields
from sampan.apiserver.call import Call
from sampan.client.api import ApiError
from sampan.kinds.shapes import Shape
from sampan.machinery import fieldsets, times
from sampan.machinery.fieldsets import Path, Set
from sampan.machinery.objects import Object

FIRST, ANCIENT = "before-first-apply", "ancient-changes"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# The manager that kubectl applies with; it takes over from client-side apply.
KUBECTL = "kubectl"
# The most entries of updates; older ones are put together.
MOST_UPDATES = 10
# Metadata that nobody owns.
_UNOWNED = (
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
    "resourceVersion",
)  # fmt: skip
NO_METADATA: Set = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {fieldsets.SELF: {}, **{f"f:{name}": {} for name in _UNOWNED}},
}


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes, how, and when."""

    name: str
    operation: str
    version: str
    subresource: str = ""
    time: str = ""

    def same(self, entry: Object) -> bool:
        """Whether an entry is this manager's. Who applies keeps its entry through versions."""
        return bool(
            entry.get("manager") == self.name
            and entry.get("operation") == self.operation
            and entry.get("subresource", "") == self.subresource
            and (self.operation == "Apply" or entry.get("apiVersion") == self.version)
        )

    def entry(self, owned: Set, time: str) -> Object:
        found: Object = {"manager": self.name, "operation": self.operation, "apiVersion": self.version}
        if time:
            found["time"] = time
        found |= {"fieldsType": "FieldsV1", "fieldsV1": owned}
        return found | ({"subresource": self.subresource} if self.subresource else {})


def manager(call: Call, operation: str) -> Manager:
    """Who writes: the field manager named, else the first word of the user agent, else a component's name."""
    agent = call.headers.get("user-agent", "").partition("/")[0]
    name = call.parameter("fieldManager") or agent or call.user.service or "unknown"
    return Manager(name, operation, call.resource.api_version, call.subresource, times.time(time.time()))


def ignored(kind_subresources: tuple[str, ...], subresource: str) -> Set:
    """What a write through an endpoint leaves alone, and hence never owns: the others' parts of the object."""
    if subresource == "status":
        return {
            "f:spec": {},
            "f:metadata": {"f:labels": {}, "f:ownerReferences": {}, "f:deletionTimestamp": {}},
        }
    return {"f:status": {}} if "status" in kind_subresources and not subresource else {}


# Reading and writing the entries


def _entries(listed: Any) -> list[Object] | None:
    """The entries as they stand, None where one of them is not as it should be."""
    found: list[Object] = []
    for entry in listed or ():
        if entry.get("operation") not in ("Apply", "Update") or not entry.get("apiVersion"):
            return None
        if entry.get("fieldsType") != "FieldsV1":
            return None
        try:
            fieldsets.checked(entry.get("fieldsV1") or {})
        except fieldsets.Malformed:
            return None
        found.append(entry)
    return found


def _given(live: Object, new: Object, subresource: str) -> list[Object]:
    """The entries to go on from: those sent along, which a writer may change or clear, else the live ones."""
    sent = None if subresource else new.get("managedFields")
    if sent is not None and (not sent or sent == [{}]):
        return []
    return (_entries(sent) if sent else None) or _entries(live.get("managedFields")) or []


def _order(entry: Object) -> tuple[str, ...]:
    names = ("operation", "time", "manager", "apiVersion", "subresource")
    return tuple(str(entry.get(name) or "") for name in names)


def _sorted(entries: list[Object]) -> list[Object]:
    return sorted((e for e in entries if e["fieldsV1"]), key=_order)


# Ordinary writes


def updated(live: Object | None, new: Object, shape: Shape, who: Manager, left_alone: Set) -> list[Object]:
    """The entries after a create (`live` is None), update or patch: who changed a field owns it now, alone.

    An object that nobody's fields are known of stays so, until somebody applies.
    """
    before: Object = live["metadata"] if live else {}
    entries = _given(before, new["metadata"], who.subresource)
    if live is not None and not entries:
        return []
    try:
        if live is None and not entries:
            owned = fieldsets.without(created(new, shape), left_alone)
            return [who.entry(owned, who.time)] if owned else []
        found, gone = differences(live or {}, new, shape)
    except fields.Ambiguous:
        return list(before.get("managedFields") or ())
    return updated_entries(entries, found, gone, who, left_alone)


def differences(live: Object, new: Object, shape: Shape) -> tuple[Set, Set]:
    """What differs, less the metadata that nobody owns."""
    one, other = _owned_part(live), _owned_part(new)
    return fields.changes(one, other, shape)


# What parts of objects own that were created lately, by their JSON: pods come in many copies.
_created: dict[tuple[int, str, bytes], Set] = {}
MOST_CREATED, LARGEST_CREATED = 500, 8192


def created(obj: Object, shape: Shape) -> Set:
    """What a new object owns: what `differences` finds where nothing was. Raises Ambiguous."""
    found: Set = {}
    for name, value in obj.items():
        if name in ("apiVersion", "kind"):
            continue
        below: Set | None
        if name == "metadata":
            value = {n: v for n, v in value.items() if n not in _UNOWNED}
            below = fields.changes({}, value, shape.below(name)[1])[0]
        else:
            below = _created_part(shape, name, value)
        if below is not None and (below or name != "metadata"):
            found[f"f:{name}"] = below
    return found


def _created_part(shape: Shape, name: str, value: Any) -> Set | None:
    text = orjson.dumps(value)
    key = (id(shape), name, text)
    found: Set | None = _created.get(key)
    if found is None:
        found = fields.changes({}, {name: value}, shape)[0].get(f"f:{name}")
        if found is not None and len(text) <= LARGEST_CREATED:
            if len(_created) >= MOST_CREATED:
                _created.clear()
            _created[key] = found
    return found


def _owned_part(obj: Object) -> Object:
    meta = obj.get("metadata") or {}
    kept = {name: value for name, value in meta.items() if name not in _UNOWNED}
    return {**{k: v for k, v in obj.items() if k not in ("apiVersion", "kind")}, "metadata": kept}


def updated_entries(
    entries: list[Object], found: Set, gone: Set, who: Manager, left_alone: Set
) -> list[Object]:
    found, gone = fieldsets.without(found, left_alone), fieldsets.without(gone, left_alone)
    touched = fieldsets.union(found, gone)
    kept = [_less(e, touched) for e in entries] if touched else entries
    if found:
        own = next((e for e in kept if who.same(e)), None)
        owned = fieldsets.union(own["fieldsV1"], found) if own else found
        kept = [e for e in kept if e is not own] + [who.entry(owned, who.time)]
    return _sorted(_capped(kept))


def _less(entry: Object, fields_: Set) -> Object:
    left = fieldsets.difference(entry["fieldsV1"], fields_)
    return entry if left == entry["fieldsV1"] else {**entry, "fieldsV1": left}


def _capped(entries: list[Object]) -> list[Object]:
    """The entries with the oldest updates of each version put together, where there are too many."""
    updates = [e for e in entries if e["operation"] == "Update" and e["fieldsV1"]]
    over = len(updates) - MOST_UPDATES
    if over <= 0:
        return entries
    updates.sort(key=_order)
    first: dict[str, Object] = {}
    dropped: list[Object] = []
    buckets: dict[str, Object] = {}
    for entry in updates:
        version = entry["apiVersion"]
        if over <= 0:
            break
        if version not in first:
            first[version] = entry
            continue
        bucket = buckets.get(version) or first[version]
        owned = fieldsets.union(bucket["fieldsV1"], entry["fieldsV1"])
        buckets[version] = Manager(ANCIENT, "Update", version).entry(owned, entry.get("time", ""))
        dropped += [entry, first[version]]
        over -= 1
    return [e for e in entries if not any(e is d for d in dropped)] + list(buckets.values())


# Apply


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply leads to. `changed` is false where the object already said all of it."""

    object: Object
    managers: list[Object]
    changed: bool


@dataclass(frozen=True, slots=True)
class _Work:
    """An apply that is being worked out."""

    live: Object
    wanted: Object
    shape: Shape
    who: Manager
    left_alone: Set


def apply(live: Object, wanted: Object, shape: Shape, who: Manager, force: bool, left_alone: Set) -> Applied:
    """Lay what is wanted over what is live, and drop what its manager no longer states and nobody else owns.

    Raises ApiError 409 for fields of others unless forced, 400 for lists whose items cannot be told apart.
    """
    work = _Work(live, wanted, shape, who, left_alone)
    try:
        entries = _entries(live["metadata"].get("managedFields")) or []
        if not entries and live["metadata"].get("uid"):
            found, _ = differences({}, live, shape)
            entries = updated_entries(
                [], found, {}, Manager(FIRST, "Update", who.version, who.subresource, who.time), {}
            )
        return _apply(work, entries, force)
    except fields.Ambiguous as e:
        where = f"{live['metadata'].get('namespace', '')}/{wanted['metadata'].get('name', '')}"
        raise errors.bad_request(
            f"failed to create typed patch object ({where}; {wanted.get('apiVersion')}, "
            f"Kind={wanted.get('kind')}): {e}"
        ) from e


def _apply(work: _Work, entries: list[Object], force: bool) -> Applied:
    who, shape = work.who, work.shape
    own = next((e for e in entries if who.same(e)), None)
    others = [e for e in entries if e is not own]
    stated = fields.stated(work.wanted, shape, distinct=True)
    owned = fieldsets.difference(fieldsets.without(stated, work.left_alone), NO_METADATA)
    merged: Object = fields.merge(work.live, work.wanted, shape)
    if own:
        merged = _pruned(merged, shape, own["fieldsV1"], [stated, *(e["fieldsV1"] for e in others)])
    merged = {**merged, "metadata": {**merged.get("metadata", {}), **_identity(work.live)}}
    found, gone = differences(work.live, merged, shape)
    found, gone = fieldsets.without(found, work.left_alone), fieldsets.without(gone, work.left_alone)
    contested = [(e, c) for e in others if (c := fieldsets.intersection(e["fieldsV1"], found))]
    if contested and not force:
        contested = _not_allowed(work, contested)
        if contested:
            raise _conflict(contested)
    touched = fieldsets.union(found, gone)
    changed = bool(touched)
    since = who.time if changed else own.get("time", "") if own else ""
    kept = [_less(e, touched) for e in others] if touched else others
    return Applied(_annotated(work, merged), _sorted([*kept, who.entry(owned, since)]), changed)


def _pruned(merged: Object, shape: Shape, last: Set, owned: list[Set]) -> Object:
    """Without what was stated last time and belongs to nobody any more."""
    last = fieldsets.union(fields.with_parents(last, shape), {})
    whole = fields.with_parents(fields.stated(merged, shape), shape)
    pruned = fields.remove(merged, last, shape) or {}
    everyone: Set = {}
    for one in owned:
        everyone = fieldsets.union(everyone, one)
    kept = fieldsets.union(
        fields.with_parents(fields.stated(pruned, shape), shape), fields.with_parents(everyone, shape)
    )
    pruned = fields.remove(merged, fieldsets.difference(whole, kept), shape) or {}
    left = fields.with_parents(fields.stated(pruned, shape), shape)
    dangling = fieldsets.intersection(fieldsets.difference(whole, left), last)
    found: Object = fields.remove(merged, dangling, shape) or {}
    return found


def _identity(live: Object) -> Object:
    """What an apply never changes of metadata."""
    return {k: v for k, v in live["metadata"].items() if k in ("name", "namespace", "uid", "resourceVersion")}


def _annotated(work: _Work, merged: Object) -> Object:
    """kubectl keeps its annotation of client-side apply up to date where there is one."""
    annotations = merged["metadata"].get("annotations") or {}
    if work.who.name != KUBECTL or not annotations.get(LAST_APPLIED):
        return merged
    meta = dict(work.wanted["metadata"])
    meta["annotations"] = {k: v for k, v in (meta.get("annotations") or {}).items() if k != LAST_APPLIED}
    if not meta["annotations"]:
        del meta["annotations"]
    text = orjson.dumps({**work.wanted, "metadata": meta}, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    return {**merged, "metadata": {**merged["metadata"], "annotations": {**annotations, LAST_APPLIED: text}}}


Contested = list[tuple[Object, Set]]


def _not_allowed(work: _Work, contested: Contested) -> Contested:
    """The conflicts that remain where kubectl takes over what it applied client-side, as far as it still is so."""
    text = (work.live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if work.who.name != KUBECTL or not text:
        return contested
    try:
        last = orjson.loads(text)
        if last.get("apiVersion") != work.who.version:
            return contested
        said = fields.stated(last, work.shape)
        found, gone = fields.changes(last, work.live, work.shape)
    except (ValueError, AttributeError):
        return contested
    said = fieldsets.difference(said, fieldsets.union(found, gone))
    return [(e, left) for e, fields_ in contested if (left := fieldsets.difference(fields_, said))]


def _worded(entry: Object) -> str:
    """A manager as conflicts name it."""
    name = f'"{entry["manager"]}"'
    if entry.get("subresource"):
        name += f' with subresource "{entry["subresource"]}"'
    return f"{name} using {entry['apiVersion']}" if entry["operation"] == "Update" else name


def _conflict(contested: Contested) -> ApiError:
    listed: list[tuple[str, list[Path]]] = [(_worded(e), list(fieldsets.paths(s))) for e, s in contested]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": fieldsets.worded(p)}
        for who, paths in listed
        for p in paths
    ]
    if len(causes) == 1:
        said = f"1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = [
            line
            for who, paths in sorted(listed, key=lambda one: one[0])
            for line in (f"conflicts with {who}:", *(f"- {fieldsets.worded(p)}" for p in paths))
        ]
        said = f"{len(causes)} conflicts: " + "\n".join(lines)
    return errors.error(409, "Conflict", f"Apply failed with {said}", {"causes": causes})
