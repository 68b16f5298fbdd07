"""Generated names, and the short hashes in labels such as pod-template-hash.

Their letters are upstream's: no vowels, and no digits that look like letters, so that no words form.
"""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
# How long a name may be before its generated end, and that end: 63 together, as a DNS label.
_STEM, _END = 58, 5


def code(*parts: Any, length: int = 10) -> str:
    """A short hash of JSON values, which does not depend on the order of keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[digit])
    return "".join(letters)


def name(base: str, *seed: Any) -> str:
    """A name that begins with `base`; a function of it and of `seed`, which are JSON values."""
    return base[:_STEM] + code(base, *seed, length=_END)


def random_name(base: str) -> str:
    """A name that begins with `base`, as for `generateName`."""
    return base[:_STEM] + "".join(random.choices(ALPHABET, k=_END))
