"""Short stable hashes of JSON values, for names and labels such as pod-template-hash.

The letters are those of upstream's generated names: no vowels, and no digits that look like letters, so that
no words come out.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def short(value: Any, length: int = 10) -> str:
    """A hash of a JSON value that does not depend on the order of keys. Null and absent fields are the same."""
    data = orjson.dumps(_without_nulls(value), option=orjson.OPT_SORT_KEYS)
    return safe(int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "big"), length)


def safe(number: int, length: int) -> str:
    """The last `length` digits of a number, written in that alphabet."""
    found = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        found.append(ALPHABET[digit])
    return "".join(reversed(found))


def generated(prefix: str, number: int) -> str:
    """The name for a `generateName`: the prefix, cut where it is too long, and five letters from a random
    number.
    """
    return prefix[:58] + safe(number, 5)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value
