"""The gate before the server's work: in at once while there is room, else in turn, or 429.

There is room while the level has seats and the loop is not behind. Work here happens in one thread, so a burst of
requests that were all let in at once would be one long turn of the loop; instead each turn lets in so many
milliseconds' worth, and the rest wait where fairness decides who is next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from sampan.apiserver import errors
from sampan.apiserver.authorization import attributes
from sampan.apiserver.call import Answer, Call, prefix
from sampan.apiserver.fairness import levels, schemas, suggested
from sampan.apiserver.fairness.levels import Full, Level, Queue
from sampan.apiserver.fairness.schemas import FlowSchema
from sampan.client.api import ApiError
from sampan.http.messages import Response
from sampan.store.api import Compacted

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Next = Callable[[Call], Awaitable[Answer]]
log = logging.getLogger(__name__)
PREFIX = "/flowcontrol.apiserver.k8s.io/"
# All seats together, as upstream's 400 for reads and 200 for writes.
SEATS = 600
# How much work a turn of the loop lets in, and how long a request waits for its turn at most, in seconds.
TURN, PATIENCE = 0.002, 15.0
# How many of those that wait a turn lets in from each level.
A_TURN = 2
# A list of so many objects takes one seat more, up to so many.
OBJECTS_A_SEAT, WIDEST = 100, 10
_MOST_KNOWN = 10_000

Waiter = asyncio.Future[None]


@dataclass(slots=True)
class _Way:
    """Where a kind of request goes: its schema, its level, the name of its flow, and the headers that tell so."""

    level: Level[Waiter]
    flow: str
    headers: dict[str, str]


class Gate:
    def __init__(self, server: ApiServer):
        self._server = server
        self._schemas: list[FlowSchema] = []
        self.levels: dict[str, Level[Waiter]] = {}
        self._ways: dict[tuple[object, ...], _Way] = {}
        self._objects: dict[str, bytes] = {}
        self._turn = 0.0
        self._resting = True
        self.build()

    # Which way

    def _way(self, call: Call) -> _Way:
        kind = call.kind
        what = kind.resource if kind else call.path
        known = (call.user.name, call.user.groups, call.verb, what, call.subresource, call.namespace)
        found = self._ways.get(known)
        if found is None:
            if len(self._ways) >= _MOST_KNOWN:
                self._ways.clear()
            found = self._ways[known] = self._found(call)
        return found

    def _found(self, call: Call) -> _Way:
        asked = attributes(call)
        schema = schemas.match(self._schemas, call.user, asked) or self._schemas[-1]
        level = self.levels.get(schema.level) or self.levels[suggested.CATCH_ALL]
        flow = f"{schema.name}\n{schema.flow(call.user, asked)}"
        uids = {
            "x-kubernetes-pf-flowschema-uid": schema.uid,
            "x-kubernetes-pf-prioritylevel-uid": level.uid,
        }
        return _Way(level, flow, {name: uid for name, uid in uids.items() if uid})

    async def _width(self, call: Call) -> int:
        """How many seats a request takes: lists by what they may return."""
        if call.verb != "list" or not call.kind:
            return 1
        count = await self._server.store.count(prefix(call.kind, call.namespace))
        limit = call.parameter("limit")
        if limit.isdigit() and int(limit) and not call.parameter("labelSelector"):
            count = min(count, int(limit))
        return max(1, min(WIDEST, -(-count // OBJECTS_A_SEAT)))

    # In and out

    async def enter(self, call: Call, inner: Next) -> Answer:
        """Raises 429."""
        way = self._way(call)
        level = way.level
        if level.exempt:
            return _told(await inner(call), way)
        width = 1 if call.verb != "list" else await self._width(call)
        queue: Queue[Waiter] | None = None
        if level.waiting or not self._room(level, width) or self._behind():
            queue = await self._wait(way, width)
        level.sit(queue, width)
        begun = time.perf_counter()
        try:
            return _told(await inner(call), way)
        finally:
            level.stand(queue, width, time.perf_counter() - begun)
            if level.waiting:
                self._behind()

    def _room(self, level: Level[Waiter], width: int) -> bool:
        """Whether a level has seats left; a wide request may overdraw them, or it would never sit."""
        if level.used == 0 or level.used + width <= level.seats:
            return True
        others = (o for o in self.levels.values() if o is not level and o.used < o.seats)
        lent = sum(min(o.lendable, o.seats - o.used) for o in others)
        return level.used + width <= level.seats + lent

    def _behind(self) -> bool:
        """Whether this turn of the loop has let in enough; notes the beginning of each turn."""
        now = time.perf_counter()
        if self._resting:
            self._resting, self._turn = False, now
            asyncio.get_running_loop().call_soon(self._next_turn)
            return False
        return now - self._turn > TURN

    async def _wait(self, way: _Way, width: int) -> Queue[Waiter]:
        level = way.level
        turn: Waiter = asyncio.get_running_loop().create_future()
        try:
            queue = level.enqueue(way.flow, turn, width)
        except Full as e:
            raise _rejected() from e
        self._behind()  # so that there is a next turn
        try:
            async with asyncio.timeout(PATIENCE):
                await turn
        except TimeoutError as e:
            raise _rejected() from e
        finally:
            level.forget(queue, turn)
        return queue

    def _next_turn(self) -> None:
        """Let in those whose turn it is. While some come in, each round of the loop has a turn; after that, whoever
        leaves a seat begins the next.
        """
        self._resting = True
        if sum(self._let_in(level) for level in self.levels.values() if level.waiting):
            self._behind()

    def _let_in(self, level: Level[Waiter]) -> int:
        """How many of those that wait came in."""
        count = 0
        while count < A_TURN and self._room(level, count + 1) and (found := level.next()):
            if not found[0].done():
                found[0].set_result(None)
                count += 1
        return count

    # What the levels are

    def build(self) -> None:
        """Make the tables of what the store has; the mandatory ones are there in any case."""
        objects = [orjson.loads(value) for value in self._objects.values()]
        named = {(o["kind"], o["metadata"]["name"]): o for o in (*suggested.levels(), *suggested.schemas())}
        mandatory = {k: o for k, o in named.items() if k[1] in (suggested.EXEMPT, suggested.CATCH_ALL)}
        known = mandatory | {(o["kind"], o["metadata"]["name"]): o for o in objects}
        self._schemas = schemas.ordered(
            schemas.read(o) for (kind, _), o in known.items() if kind == "FlowSchema"
        )
        made: dict[str, Level[Waiter]] = levels.read(
            [o for (kind, _), o in known.items() if kind == "PriorityLevelConfiguration"], SEATS
        )
        for name, level in self.levels.items():
            if level.waiting and name in made:
                # Those who wait keep their places until the level is empty once.
                level.seats, level.lendable = made[name].seats, made[name].lendable
                made[name] = level
        self.levels = made
        self._ways.clear()

    async def run(self) -> None:
        """Follow the store for ever."""
        store = self._server.store
        while True:
            page = await store.list(PREFIX)
            self._objects = {r.key: r.value for r in page.records}
            self.build()
            try:
                async for batch in store.watch(PREFIX, page.revision):
                    for event in batch:
                        if event.value is None:
                            self._objects.pop(event.key, None)
                        else:
                            self._objects[event.key] = event.value
                    self.build()
                return
            except Compacted:
                log.warning("the flow schemas fell behind and are loaded anew")


def _told(answer: Answer, way: _Way) -> Answer:
    if isinstance(answer, Response):
        answer.headers.update(way.headers)
    return answer


def _rejected() -> ApiError:
    return errors.too_many_requests("too many requests, please try again later.", 1)


def fair(server: ApiServer, inner: Next) -> Next:
    """The step of the chain."""

    async def step(call: Call) -> Answer:
        return await server.gate.enter(call, inner)

    return step
