"""API objects as plain JSON values, and the few questions everyone asks of them.

An object is what `json.loads` gives. Whatever a client or an informer returns is shared, so it is never
mutated: `machinery.objects.changed` makes a changed copy that shares what did not change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Object = dict[str, Any]


class Key(NamedTuple):
    """The name of an object within its kind; `namespace` is empty for cluster-scoped kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key(obj: Object) -> Key:
    meta = obj["metadata"]
    return Key(meta.get("namespace", ""), meta["name"])


def owner(obj: Object) -> Object | None:
    """The owner reference that controls this object, if one does."""
    for ref in obj["metadata"].get("ownerReferences", ()):
        if ref.get("controller"):
            found: Object = ref
            return found
    return None


def changed(obj: Object, path: tuple[str, ...], value: Any) -> Object:
    """A copy of `obj` with `value` at `path`, or without that field where `value` is None.

    Only the dictionaries on the way are copied.
    """
    head, *rest = path
    copy = dict(obj)
    if rest:
        copy[head] = changed(obj.get(head) or {}, tuple(rest), value)
    elif value is None:
        copy.pop(head, None)
    else:
        copy[head] = value
    return copy


def get(obj: Any, path: str, default: Any = None) -> Any:
    """The value at a dotted path such as `spec.template.metadata`, or `default` where it is absent or null."""
    for name in path.split("."):
        if not isinstance(obj, dict):
            return default
        obj = obj.get(name)
    return default if obj is None else obj
