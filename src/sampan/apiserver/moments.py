"""Store events as watchers see them: decoded at most once and encoded at most once, however many watch."""

from __future__ import annotations

from dataclasses import replace

import orjson

from sampan.apiserver import codec
from sampan.machinery.objects import Object
from sampan.store.api import Event


class Moment:
    """One event of the store. Its objects are shared by all who watch, so nobody mutates them."""

    __slots__ = ("_before", "_json", "_now", "event")

    def __init__(self, event: Event):
        self.event = event
        self._now: Object | None = None
        self._before: Object | None = None
        self._json: bytes | None = None

    @property
    def gone(self) -> bool:
        return self.event.value is None

    @property
    def object(self) -> Object:
        """The object after the write, less managedFields; after a delete its last state, at the delete's revision."""
        if self._now is None:
            self._now = codec.decode_light(self._value, self.event.revision)
        return self._now

    @property
    def whole(self) -> Object:
        """The object with managedFields, decoded anew."""
        obj: Object = orjson.loads(self.json)
        return obj

    @property
    def before(self) -> Object | None:
        """The object before the write, without managedFields, or None where it is new."""
        if self._before is None and self.event.previous:
            self._before = codec.decode_light(self.event.previous.value, self.event.previous.revision)
        return self._before

    @property
    def json(self) -> bytes:
        """The object's JSON, spliced once."""
        if self._json is None:
            self._json = codec.splice(self._value, self.event.revision)
        return self._json

    def departed(self) -> Moment:
        """The event as a watcher sees it whose selector the object no longer meets: its last state, deleted."""
        return Moment(replace(self.event, value=None))

    @property
    def _value(self) -> bytes:
        if self.event.value is not None:
            return self.event.value
        assert self.event.previous is not None, "a delete has a previous record"
        return self.event.previous.value


class Moments:
    """The latest moments by revision, shared among watchers."""

    def __init__(self, size: int = 500):
        self._size = size
        self._kept: dict[int, Moment] = {}

    def of(self, event: Event) -> Moment:
        found = self._kept.get(event.revision)
        if found is None:
            if len(self._kept) >= self._size:
                del self._kept[next(iter(self._kept))]
            found = self._kept[event.revision] = Moment(event)
        return found
