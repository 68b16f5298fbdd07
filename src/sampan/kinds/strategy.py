"""What a writer may set through which endpoint: the `prepare` functions of most kinds.

A user's write leaves status alone, a write of `/status` leaves all else alone. `metadata.generation` counts
changes of what the user wants, which is everything but metadata and status.
"""

from __future__ import annotations

from sampan.machinery.objects import Object

_NOT_WANTED = ("apiVersion", "kind", "metadata", "status")
# What a write of /status may still change of metadata: what every write passes through.
_PASSED_METADATA = ("resourceVersion", "managedFields", "annotations", "finalizers")


def counted(obj: Object, old: Object | None, subresource: str) -> None:
    """For kinds with status whose generation counts: workloads, Ingress, PodDisruptionBudget and so on."""
    uncounted(obj, old, subresource)
    count_generation(obj, old)


def uncounted(obj: Object, old: Object | None, subresource: str) -> None:
    """For kinds with status that keep no generation: Namespace, Node, Service, volumes."""
    if subresource == "status":
        keep_all_but_status(obj, old or {})
    else:
        keep_status(obj, old)


def counted_whole(obj: Object, old: Object | None, subresource: str) -> None:
    """For kinds without status whose generation counts: NetworkPolicy, EndpointSlice and so on."""
    count_generation(obj, old)


def keep_status(obj: Object, old: Object | None) -> None:
    """A new object starts without status; a changed one keeps it."""
    obj.pop("status", None)
    if old and "status" in old:
        obj["status"] = old["status"]


def keep_all_but_status(obj: Object, old: Object) -> None:
    """Put everything but status back as it was."""
    status, meta = obj.get("status"), obj.get("metadata") or {}
    obj.clear()
    obj.update(old)
    obj.pop("status", None)
    if status is not None:
        obj["status"] = status
    kept = {k: v for k, v in (old.get("metadata") or {}).items() if k not in _PASSED_METADATA}
    obj["metadata"] = {**kept, **{k: meta[k] for k in _PASSED_METADATA if k in meta}}


def count_generation(obj: Object, old: Object | None) -> None:
    """Start `metadata.generation` at 1, and count one more where what the user wants has changed."""
    if old is None:
        obj["metadata"]["generation"] = 1
        return
    before = old["metadata"].get("generation", 0)
    obj["metadata"]["generation"] = before + (_wanted(obj) != _wanted(old))


def _wanted(obj: Object) -> Object:
    return {k: v for k, v in obj.items() if k not in _NOT_WANTED}
