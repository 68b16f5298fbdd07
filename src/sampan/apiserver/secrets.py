"""Secret values as they are shown where the past is: by a hash, which tells whether they changed and not what they are.

The hash is keyed by this cluster's own key, so that nobody can try likely values against it elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import orjson

from sampan.machinery.objects import Object
from sampan.store.api import Record

PREFIX = "/core/secrets/"
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Redaction:
    def __init__(self, key: bytes):
        self._key = hashlib.sha256(b"sampan redaction" + key).digest()

    def value(self, key: str, value: bytes) -> bytes:
        """A stored value as it may be shown."""
        return orjson.dumps(self.shown(key, orjson.loads(value))) if key.startswith(PREFIX) else value

    def record(self, record: Record) -> Record:
        if not record.key.startswith(PREFIX):
            return record
        return Record(record.key, self.value(record.key, record.value), record.revision)

    def shown(self, key: str, obj: Object) -> Object:
        """The object stored at `key`, which may be changed, as it may be shown."""
        if key.startswith(PREFIX):
            for name, value in (obj.get("data") or {}).items():
                obj["data"][name] = base64.b64encode(self._hash(value)).decode()
            annotations: dict[str, Any] = (obj.get("metadata") or {}).get("annotations") or {}
            if _APPLIED in annotations:
                annotations[_APPLIED] = self._hash(annotations[_APPLIED]).decode()
        return obj

    def _hash(self, value: object) -> bytes:
        digest = hmac.new(self._key, str(value).encode(), "sha256").hexdigest()
        return f"hmac-sha256:{digest[:16]}".encode()
