"""Records and objects: how the bytes of `machinery.encoding` become what readers get.

An object is encoded once. Its resourceVersion is the record's revision, spliced into the bytes whenever they are read,
and nothing is decoded to answer a read in JSON.
"""

from __future__ import annotations

import orjson

from sampan.kinds.kind import Kind
from sampan.machinery.encoding import encode, light, splice
from sampan.machinery.objects import Object
from sampan.store.api import Record


def decode(record: Record) -> Object:
    """A fresh object that the caller may change."""
    obj: Object = orjson.loads(record.value)
    obj["metadata"]["resourceVersion"] = str(record.revision)
    return obj


def decode_light(value: bytes, revision: int) -> Object:
    """A fresh object without managedFields, for who only looks at it."""
    obj: Object = orjson.loads(light(value))
    obj["metadata"]["resourceVersion"] = str(revision)
    return obj


def view(kind: Kind, record: Record) -> Object:
    """A fresh object in the form of `kind`, which may be another version than the stored one."""
    return kind.from_storage(decode(record))


def json(kind: Kind, record: Record) -> bytes:
    """The object's JSON in the form of `kind`."""
    return orjson.dumps(view(kind, record)) if kind.storage else splice(record.value, record.revision)


class Decoded:
    """Decoded objects by key, each kept while it is the latest seen there; shared, so never to be mutated. They lack
    managedFields, which a writer who leaves them out keeps.

    Holds at most `size` objects, for what is read again and again: namespaces, service accounts, selected lists.
    """

    def __init__(self, size: int = 2000):
        self._size = size
        self._kept: dict[str, tuple[int, Object]] = {}

    def __call__(self, record: Record) -> Object:
        found = self._kept.get(record.key)
        if found and found[0] == record.revision:
            return found[1]
        obj = decode_light(record.value, record.revision)
        if len(self._kept) >= self._size:
            del self._kept[next(iter(self._kept))]
        self._kept[record.key] = (record.revision, obj)
        return obj


def copied(obj: Object) -> Object:
    """A deep copy of plain JSON values; a JSON round trip is quicker than `copy.deepcopy`."""
    made: Object = orjson.loads(orjson.dumps(obj))
    return made


__all__ = ["Decoded", "copied", "decode", "decode_light", "encode", "json", "splice", "view"]
