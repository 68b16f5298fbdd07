"""What the two APIs of events, core/v1 and events.k8s.io/v1, share: columns and checks on the core form."""

from __future__ import annotations

from sampan.kinds import faults
from sampan.kinds.columns import at
from sampan.kinds.kind import Column, Invalid
from sampan.machinery import times
from sampan.machinery.objects import Object, get


def _first_seen(obj: Object, now: float) -> str:
    return times.age(obj.get("firstTimestamp") or obj.get("eventTime"), now)


def _last_seen(obj: Object, now: float) -> str:
    if get(obj, "series"):
        return times.age(get(obj, "series.lastObservedTime"), now)
    return times.age(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else _first_seen(obj, now)


def _object(obj: Object, now: float) -> str:
    kind, name = get(obj, "involvedObject.kind", "").lower(), get(obj, "involvedObject.name", "")
    return f"{kind}/{name}" if name else kind


def _source(obj: Object, now: float) -> str:
    component = get(obj, "source.component") or obj.get("reportingComponent") or ""
    host = get(obj, "source.host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _count(obj: Object, now: float) -> int:
    return int(get(obj, "series.count") or obj.get("count") or 1)


COLUMNS = (
    Column("Last Seen", _last_seen, description="The time since it was seen last."),
    Column("Type", at("type"), description="Normal or Warning."),
    Column("Reason", at("reason"), description="What happened, in one word."),
    Column("Object", _object, description="What it happened to."),
    Column("Subobject", at("involvedObject.fieldPath"), wide=True),
    Column("Source", _source, wide=True, description="Which component saw it, where."),
    Column(
        "Message", lambda obj, now: get(obj, "message", "").strip(), description="What happened, for people."
    ),
    Column("First Seen", _first_seen, wide=True),
    Column("Count", _count, wide=True, description="How often it was seen."),
    Column("Name", at("metadata.name"), wide=True, format="name"),
)

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def fields(obj: Object) -> dict[str, str]:
    found = {f"involvedObject.{f}": str(get(obj, f"involvedObject.{f}", "")) for f in _INVOLVED}
    found["reason"] = get(obj, "reason", "")
    found["reportingComponent"] = get(obj, "reportingComponent", "")
    found["source"] = get(obj, "source.component") or get(obj, "reportingComponent", "")
    found["type"] = get(obj, "type", "")
    return found


def validate(obj: Object, old: Object | None) -> list[Invalid]:
    namespace, involved = obj["metadata"].get("namespace", ""), get(obj, "involvedObject.namespace", "")
    if involved != namespace and not (not involved and namespace in ("default", "kube-system", "")):
        return [faults.invalid("involvedObject.namespace", involved, "does not match event.namespace")]
    return []
