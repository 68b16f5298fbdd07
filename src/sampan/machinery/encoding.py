"""The canonical JSON of objects, and lists and watch events made of it without decoding.

An object is stored as its canonical JSON *without* a resourceVersion: compact, with `apiVersion`, `kind` and
`metadata` first, and in that `managedFields`, then `name`, where they are. Whatever is read gets the revision spliced
in at the start of `metadata`; `light` takes out managedFields, which are half of many an object and mean nothing to
most who decode it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from sampan.machinery.objects import Object

_FIRST = ("apiVersion", "kind", "metadata")
_METADATA = b'"metadata":{'
_MANAGED, _NAME = b'"metadata":{"managedFields":[', b'],"name":"'


def encode(obj: Object) -> bytes:
    """The canonical bytes of an object, as they are stored. Any resourceVersion is left out."""
    ordered = {name: obj[name] for name in _FIRST if name in obj}
    meta = obj.get("metadata") or {}
    leading = {k: meta[k] for k in ("managedFields", "name") if meta.get(k)}
    ordered["metadata"] = leading | {
        k: v for k, v in meta.items() if k != "resourceVersion" and v is not None
    }
    for name, value in obj.items():
        if name not in _FIRST:
            ordered[name] = value
    return orjson.dumps(ordered)


def light(value: bytes) -> bytes:
    """Canonical bytes without managedFields.

    These end where a name follows a list: in no string stands a quote that is not escaped, and their own lists and
    objects have no field of that name.
    """
    head, found, rest = value.partition(_MANAGED)
    if not found or _METADATA in head:
        return value
    end = rest.find(_NAME)
    return value if end < 0 else b"%b%b%b" % (head, _METADATA, rest[end + 2 :])


def decode(value: bytes, revision: int = 0) -> Object:
    """The object behind canonical bytes, with its resourceVersion where a revision is given."""
    obj: Object = orjson.loads(value)
    if revision:
        obj["metadata"]["resourceVersion"] = str(revision)
    return obj


def splice(value: bytes, revision: int) -> bytes:
    """Canonical bytes with a resourceVersion: what a reader gets."""
    at = value.index(_METADATA) + len(_METADATA)
    comma = b"" if value[at : at + 1] == b"}" else b","
    return b'%b"resourceVersion":"%d"%b%b' % (value[:at], revision, comma, value[at:])


def plain(value: Any) -> bytes:
    """Any other JSON value as bytes: Status, discovery, tables."""
    return orjson.dumps(value)


def spliced(value: bytes, revision: int) -> tuple[memoryview, bytes, memoryview]:
    """What `splice` gives, in pieces that copy nothing: for who joins many."""
    at = value.index(_METADATA) + len(_METADATA)
    comma = b"" if value[at : at + 1] == b"}" else b","
    view = memoryview(value)
    return view[:at], b'"resourceVersion":"%d"%b' % (revision, comma), view[at:]


def list_head(
    api_version: str, kind: str, revision: int, *, continue_: str = "", remaining: int | None = None
) -> bytes:
    """The beginning of a list, up to its items, which are joined by commas and followed by `LIST_TAIL`.

    `kind` is the list's, such as `PodList`; `continue_` is the token of the next page.
    """
    meta: Object = {"resourceVersion": str(revision)}
    if continue_:
        meta["continue"] = continue_
        if remaining is not None:
            meta["remainingItemCount"] = remaining
    head = orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": meta})
    return b'%b,"items":[' % head[:-1]


LIST_TAIL = b"]}"


def event(kind: str, value: bytes, cause: str = "") -> bytes:
    """A watch event, a line of its own; `kind` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.

    `cause` is a traceparent, for readers who asked for it.
    """
    tail = b',"cause":%b' % orjson.dumps(cause) if cause else b""
    return b'{"type":"%b","object":%b%b}\n' % (kind.encode(), value, tail)


def bookmark(
    api_version: str, kind: str, revision: int, annotations: Mapping[str, str] | None = None
) -> bytes:
    """The object of a BOOKMARK event: it only says how far the watch has come."""
    meta: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        meta["annotations"] = dict(annotations)
    return orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": meta})
