"""Continue tokens: where a list goes on that was limited, and as of which revision.

Every page of a list shows the same revision. A list that stands still for too long is not continued as it was: its
token then answers 410 with another one, which goes on from the same object in what there is by now. (The log keeps
revisions for much longer, but who pages so slowly mostly wants the present, and clients are written for this.)
Source: the API concepts' page on retrieving large results in chunks.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import orjson

from sampan.apiserver import errors
from sampan.client.api import ApiError

# Seconds that a token is good for: as long as upstream leaves between two compactions.
LIFETIME = 300.0
NOW = -1
TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class Position:
    """After which key a list goes on, as of which revision (0: the latest), and when its first page was given."""

    after: str = ""
    revision: int = 0
    begun: float = 0.0

    def token(self, after: str, revision: int, now: float) -> str:
        """The token for the page that follows the key `after` of a page that showed `revision`."""
        return _encode(after, revision, self.begun or now)


def parse(token: str, within: str, now: float) -> Position:
    """Where a token goes on, in the list of the keys that begin with `within`. Raises 400, 410."""
    try:
        said = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        after, revision, begun = str(said["start"]), int(said["rv"]), float(said["t"])
    except (binascii.Error, ValueError, KeyError, TypeError) as e:
        raise errors.bad_request("continue key is not valid") from e
    if not after.startswith(within) or not (revision > 0 or revision == NOW):
        raise errors.bad_request("continue key is not valid")
    if revision == NOW:
        return Position(after)
    if now - begun > LIFETIME:
        raise expired(after)
    return Position(after, revision, begun)


def expired(after: str) -> ApiError:
    """410, with the token that goes on in what there is now."""
    found = errors.expired(TOO_OLD)
    found.status["metadata"] = {"continue": _encode(after, NOW, 0.0)}
    return found


def _encode(after: str, revision: int, begun: float) -> str:
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": after, "t": round(begun)})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()
