"""Objects and lists in the form that was asked for: JSON, YAML or protobuf; whole, as a table, or their metadata alone.

JSON is put together from stored bytes without decoding. Everything else decodes, a slice at a time. Lists come in
pieces, so that a large one is never in one callback's hands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import orjson

from sampan.apiserver import codec
from sampan.apiserver.call import Call, Many
from sampan.apiserver.negotiation import PROTOBUF, YAML, Form
from sampan.apiserver.reading import SLICE
from sampan.kinds.kind import Kind
from sampan.machinery import encoding, protobuf, tables, wire
from sampan.machinery.objects import Object
from sampan.store.api import Record

# How large the pieces of a list are, at least.
PIECE = 1 << 20
# How many stored objects are spliced before others get the loop.
MANY = 1000
_PARTIAL = "k8s.io.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata"
_LIST_META = "k8s.io.apimachinery.pkg.apis.meta.v1.ListMeta"


def encoded(form: Form, obj: Object) -> bytes:
    """An object, already in its shape, as bytes."""
    if form.media == PROTOBUF:
        return protobuf.encode(obj)
    if form.media == YAML:
        from sampan.machinery import yaml

        return yaml.dump(obj).encode()
    return orjson.dumps(obj)


def record(form: Form, call: Call, found: Record) -> bytes:
    """A stored object."""
    if form.plain:
        return codec.json(call.resource, found)
    return encoded(form, shaped(form, call, codec.view(call.resource, found)))


def shaped(form: Form, call: Call, obj: Object) -> Object:
    """An object of the call's kind in the shape that is wanted."""
    if form.shape == "Table":
        kind, metadata = call.resource, {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return tables.table(kind.columns, [obj], time.time(), metadata=metadata, include=include(call))
    return tables.partial(obj) if form.shape.startswith("Partial") else obj


def include(call: Call) -> str:
    """What of an object goes with its row of a table."""
    return call.parameter("includeObject") or "Metadata"


def pieces(form: Form, call: Call, answer: Many) -> AsyncIterator[bytes]:
    """A list, piece by piece."""
    if form.shape == "Table":
        return _table(call, answer)
    if form.media == PROTOBUF:
        return _protobuf(form, answer)
    return _json(form, answer)


async def _json(form: Form, answer: Many) -> AsyncIterator[bytes]:
    kind = answer.kind
    version, name = _named(form, kind)
    head = encoding.list_head(
        version, name, answer.revision, continue_=answer.more, remaining=answer.remaining
    )
    parts: list[bytes | memoryview] = [head]
    size = 0
    plain = not form.shape and not kind.storage and not kind.converted
    stride = MANY if plain else SLICE
    for n, found in enumerate(answer.records):
        if n:
            parts.append(b",")
        if plain:
            parts += encoding.spliced(found.value, found.revision)
            size += len(found.value)
        else:
            obj = codec.view(kind, found)
            parts.append(orjson.dumps(tables.partial(obj) if form.shape else obj))
            size += len(parts[-1])
        if size >= PIECE:
            yield b"".join(parts)
            parts, size = [], 0
        elif n % stride == stride - 1:
            await asyncio.sleep(0)
    parts.append(encoding.LIST_TAIL)
    yield b"".join(parts)


def _named(form: Form, kind: Kind) -> tuple[str, str]:
    if form.shape:
        return tables.API_VERSION, "PartialObjectMetadataList"
    return kind.api_version, kind.list_kind or f"{kind.kind}List"


async def _table(call: Call, answer: Many) -> AsyncIterator[bytes]:
    now, kind = time.time(), answer.kind
    meta: Object = {"resourceVersion": str(answer.revision)}
    if answer.more:
        meta |= {"continue": answer.more, "remainingItemCount": answer.remaining}
    head = tables.table(kind.columns, [], now, metadata=meta)
    del head["rows"]
    parts: list[bytes] = []
    for objects in _slices(kind, answer.records):
        shown = tables.table(kind.columns, objects, now, include=include(call), define=False)["rows"]
        parts.append(orjson.dumps(shown)[1:-1])
        await asyncio.sleep(0)
    yield b'%b,"rows":[%b]}' % (orjson.dumps(head)[:-1], b",".join(parts))


async def _protobuf(form: Form, answer: Many) -> AsyncIterator[bytes]:
    """Every list is a message of its metadata in field 1 and its items in field 2."""
    kind = answer.kind
    version, name = _named(form, kind)
    meta: Object = {"resourceVersion": str(answer.revision)}
    if answer.more:
        meta |= {"continue": answer.more, "remainingItemCount": answer.remaining}
    item = _PARTIAL if form.shape else protobuf.name_of(kind.api_version, kind.kind)
    parts = [wire.field(1, wire.message(_LIST_META, meta))]
    for objects in _slices(kind, answer.records):
        for obj in objects:
            said = {"metadata": obj["metadata"]} if form.shape else _without_kind(obj)
            parts.append(wire.field(2, wire.message(item, said)))
        await asyncio.sleep(0)
    yield protobuf.envelope({"apiVersion": version, "kind": name}, b"".join(parts))


def _without_kind(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("apiVersion", "kind")}


def _slices(kind: Kind, records: list[Record]) -> Iterator[list[Object]]:
    for start in range(0, len(records), SLICE):
        yield [codec.view(kind, r) for r in records[start : start + SLICE]]


# Events of a watch


def event(form: Form, kind: str, obj: Object, cause: str = "") -> bytes:
    """An event whose object is already in its shape; in protobuf each has its length before it."""
    if form.media == PROTOBUF:
        said = wire.field(1, kind.encode()) + wire.field(2, wire.field(1, protobuf.encode(obj)))
        return len(said).to_bytes(4, "big") + said
    return encoding.event(kind, orjson.dumps(obj), cause)
