"""Bootstrap tokens: what a machine that joins shows at first, `ID.SECRET`, kept as a Secret in kube-system.

Source: the reference's page "Authenticating with Bootstrap Tokens".
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import time
from typing import TYPE_CHECKING

from sampan.apiserver.call import User
from sampan.machinery import times
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.codec import Decoded
    from sampan.store.api import Store

TYPE = "bootstrap.kubernetes.io/token"
PREFIX = "bootstrap-token-"
GROUP = "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})", re.ASCII)
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]", re.ASCII)


class BootstrapTokens:
    def __init__(self, store: Store, decoded: Decoded):
        self._store, self._decoded = store, decoded

    async def user(self, token: str) -> User | None:
        """Whose token it is, or None where it is no bootstrap token, or not a good one."""
        match = _TOKEN.fullmatch(token)
        if not match:
            return None
        record = await self._store.get(f"/core/secrets/kube-system/{PREFIX}{match[1]}")
        secret = self._decoded(record) if record else None
        if secret is None or "deletionTimestamp" in secret["metadata"]:
            return None
        return good(secret, match[1], match[2], time.time())


def good(secret: Object, id: str, key: str, now: float) -> User | None:
    """The user, where a Secret says that the token is good now."""
    data = plain(secret)
    matches = hmac.compare_digest(data.get("token-secret", "").encode(), key.encode())
    if secret.get("type") != TYPE or data.get("token-id") != id or not matches:
        return None
    if data.get("usage-bootstrap-authentication") != "true" or _expired(data.get("expiration", ""), now):
        return None
    extra = [g for g in data.get("auth-extra-groups", "").split(",") if g]
    if not all(_GROUP.fullmatch(g) for g in extra):
        return None
    return User(f"system:bootstrap:{id}", (GROUP, *extra, "system:authenticated"))


def _expired(text: str, now: float) -> bool:
    """What cannot be read as a time is over."""
    try:
        return bool(text) and times.seconds(text) <= now
    except ValueError:
        return True


def plain(secret: Object) -> dict[str, str]:
    """The Secret's data as text; what is none is left out."""
    found = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            found[name] = base64.b64decode(value).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return found
