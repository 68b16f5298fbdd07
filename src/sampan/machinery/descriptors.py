"""The protobuf descriptor sets that this package ships, as pools; `tools/descriptors.py` makes them.

Importing protobuf takes 20 ms, so it happens on the first use only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


@cache
def pool(name: str) -> Any:
    """The `DescriptorPool` of the set `name`: `cri`, `etcd` or `kubernetes`."""
    import zstandard
    from google.protobuf.descriptor_pool import DescriptorPool

    found = DescriptorPool()
    for file in _files(zstandard.decompress((DATA / f"{name}.binpb.zst").read_bytes())):
        found.AddSerializedFile(file)
    return found


def _files(data: bytes) -> Iterator[bytes]:
    """The encoded files of a FileDescriptorSet, which is field 1, repeated: tag, length, bytes."""
    at = 0
    while at < len(data):
        at += 1
        length = shift = 0
        while data[at] & 0x80:
            length |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
        length |= data[at] << shift
        at += 1
        yield data[at : at + length]
        at += length


def json(name: str) -> Any:
    """What stands beside the set `name` in JSON."""
    import orjson
    import zstandard

    return orjson.loads(zstandard.decompress((DATA / f"{name}.json.zst").read_bytes()))
