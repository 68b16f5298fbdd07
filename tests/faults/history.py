"""Clients that write and read a few ConfigMaps through an API server, and write down what they asked and were told."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import orjson
from tests.faults.linearizability import ABSENT, Operation, Seen

from sampan.http.client import HttpClient

PATH = "/api/v1/namespaces/default/configmaps"
SECONDS = 4.0  # how long a client waits for an answer
LEAST = 300  # operations that a run has, however slow its machine
Connect = Callable[[], HttpClient]


class History:
    """What all clients of a run did and saw."""

    def __init__(self, keys: int = 4) -> None:
        self.keys = [f"key-{n}" for n in range(keys)]
        self.operations: list[Operation] = []
        self.watches: list[list[Seen]] = []
        self._values = (f"v{n}" for n in itertools.count(1))

    async def run(self, connects: list[Connect], *, clients: int, seconds: float, faults: Any = None) -> None:
        """Let `clients` work for a while, spread over what they may connect to, while `faults` does its worst."""
        ends = time.monotonic() + seconds
        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for connect in connects:
                group.create_task(self._watch(connect, done))
            workers = [
                group.create_task(self._client(connects[n % len(connects)], random.Random(n), ends))
                for n in range(clients)
            ]
            if faults is not None:
                group.create_task(faults(ends))
            await asyncio.wait(workers)
            await self._settled(connects)
            done.set()

    async def _settled(self, connects: list[Connect]) -> None:
        """A last write and its events: until the watchers have seen it, they may not have seen all."""
        client = connects[0]()
        self.until = 0
        while not self.until:
            name = f"last-{len(self.operations)}"
            self.until = (await self._write(client, "create", name, 0)).revision
        await client.close()
        async with asyncio.timeout(30):
            while not all(w and w[-1].revision >= self.until for w in self.watches):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    # Clients

    async def _client(self, connect: Connect, chance: random.Random, ends: float) -> None:
        """Read and write at random, each write from what was last known of the key."""
        client, known = connect(), dict.fromkeys(self.keys, 0)
        while time.monotonic() < ends or len(self.operations) < LEAST:
            key = chance.choice(self.keys)
            verb = chance.choice(("get", "get", "write", "write", "write", "delete"))
            if verb == "get":
                found = await self._get(client, key)
                known[key] = found.revision if found else known[key]
            else:
                verb = "create" if not known[key] else "update" if verb == "write" else "delete"
                op = await self._write(client, verb, key, known[key])
                known[key] = op.revision if op.verb != "delete" else 0
                if op.outcome in ("exists", "conflict", "unknown"):
                    found = await self._get(client, key)
                    known[key] = found.revision if found else 0
            await asyncio.sleep(chance.random() * 0.004)
        await client.close()

    async def _get(self, client: HttpClient, key: str) -> Operation | None:
        begun = time.monotonic()
        code, found = await _ask(client, "GET", f"{PATH}/{key}")
        ended = time.monotonic()
        if code == 200:
            op = Operation(
                key,
                "get",
                found["data"]["v"],
                0,
                "ok",
                int(found["metadata"]["resourceVersion"]),
                begun,
                ended,
            )
        elif code == 404:
            op = Operation(key, "get", outcome="missing", begun=begun, ended=ended)
        else:
            return None  # a read without an answer says nothing
        self.operations.append(op)
        return op

    async def _write(self, client: HttpClient, verb: str, key: str, expected: int) -> Operation:
        value = next(self._values) if verb != "delete" else ABSENT
        begun = time.monotonic()
        if verb == "delete":
            wanted = {"preconditions": {"resourceVersion": str(expected)}}
            code, found = await _ask(client, "DELETE", f"{PATH}/{key}", wanted)
        else:
            meta = {"name": key} | ({"resourceVersion": str(expected)} if expected else {})
            obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": value}}
            method, path = ("POST", PATH) if verb == "create" else ("PUT", f"{PATH}/{key}")
            code, found = await _ask(client, method, path, obj)
        outcome = _outcome(code, found)
        ended = time.monotonic() if outcome != "unknown" else float("inf")
        revision = 0
        if outcome == "ok" and verb != "delete":
            revision = int(found["metadata"]["resourceVersion"])
        op = Operation(key, verb, value, expected, outcome, revision, begun, ended)
        self.operations.append(op)
        return op

    # Watchers

    async def _watch(self, connect: Connect, done: asyncio.Event) -> None:
        """Watch all, from the beginning; after each break go on from what was last seen."""
        seen: list[Seen] = []
        self.watches.append(seen)
        while not done.is_set():
            client = connect()
            since = seen[-1].revision if seen else 1
            watching = asyncio.create_task(self._follow(client, since, seen))
            ended = asyncio.create_task(done.wait())
            await asyncio.wait({watching, ended}, return_when=asyncio.FIRST_COMPLETED)
            for task in (watching, ended):
                task.cancel()
            with suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
                await watching
            await client.close()
            await asyncio.sleep(0.05)

    async def _follow(self, client: HttpClient, since: int, seen: list[Seen]) -> None:
        target = f"{PATH}?watch=true&resourceVersion={since}"
        async with asyncio.timeout(SECONDS):
            response = await client.request("GET", target)
        rest = b""
        async for chunk in response.chunks(SECONDS):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                event = orjson.loads(line)
                obj = event["object"]
                if event["type"] == "ERROR" and obj["code"] == 503:
                    return  # the store was away: from what was seen last, again
                assert event["type"] in ("ADDED", "MODIFIED", "DELETED"), event
                meta = obj["metadata"]
                if not meta["name"].startswith(("key-", "last-")):
                    continue
                value = obj["data"]["v"] if event["type"] != "DELETED" else ABSENT
                seen.append(Seen(event["type"], meta["name"], value, int(meta["resourceVersion"])))


async def _ask(client: HttpClient, method: str, target: str, body: object = None) -> tuple[int, Any]:
    """The status and JSON of an answer; status 0 where none came."""
    data = orjson.dumps(body) if body is not None else b""
    headers = {"content-type": "application/json"} if data else {}
    try:
        async with asyncio.timeout(SECONDS):
            async with await client.request(method, target, headers=headers, body=data) as response:
                return response.status, orjson.loads(await response.read())
    except (ConnectionError, TimeoutError, orjson.JSONDecodeError):
        return 0, {}


def _outcome(code: int, found: Any) -> str:
    if code in (200, 201):
        return "ok"
    if code == 404:
        return "missing"
    if code == 409:
        return "exists" if found["reason"] == "AlreadyExists" else "conflict"
    return "unknown"


def spread(items: int, chance: random.Random, seconds: float) -> Iterator[float]:
    """Moments of faults, at random over a while."""
    yield from sorted(chance.random() * seconds for _ in range(items))
