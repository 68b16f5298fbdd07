"""Any sequence of writes, against a plain list of states:

Reads as of revisions, watches, compaction, reopening.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store import etcd_server

from sampan.store import etcd, sqlite
from sampan.store.api import Compacted, Event, Store
from sampan.store.memory import Memory

KEYS = ["/a/x", "/a/y", "/a", "/b/x", "/\u00e9", "/\U0001f6a4"]
PREFIXES = ["", "/", "/a", "/a/", "/b/x", "/\U0001f6a4", "/none"]

Operation = tuple[str, str, int]
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.integers(0, 99)),
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.integers(0, 99)),
        st.tuples(st.just("delete"), st.sampled_from(KEYS), st.just(0)),
        st.tuples(st.just("compact"), st.sampled_from(["", "", "/a"]), st.integers(0, 5)),
        st.tuples(st.just("reopen"), st.just(""), st.just(0)),
    ),
    max_size=25,
)


class Model:
    """The state after every revision, and the floors of compaction."""

    def __init__(self) -> None:
        self.states: list[dict[str, tuple[bytes, int]]] = [{}]
        self.writes: list[tuple[str, bytes | None]] = []
        self.floors: dict[str, int] = {}

    @property
    def now(self) -> dict[str, tuple[bytes, int]]:
        return self.states[-1]

    def write(self, key: str, value: bytes | None) -> None:
        state = {k: v for k, v in self.now.items() if k != key}
        if value is not None:
            state[key] = (value, len(self.states))
        self.states.append(state)
        self.writes.append((key, value))

    def floor(self, prefix: str) -> int:
        touching = [f for p, f in self.floors.items() if p.startswith(prefix) or prefix.startswith(p)]
        return max(touching, default=0)


async def play(store: Any, operation: Operation, model: Model, path: Path) -> Any:
    kind, key, number = operation
    if kind == "put":
        value = b"%d" % number
        found = model.now.get(key)
        write = store.update(key, value, found[1]) if found else store.create(key, value)
        model.write(key, value)
        assert await write == len(model.writes)
    elif kind == "delete" and key in model.now:
        revision = model.now[key][1]
        model.write(key, None)
        assert await store.delete(key, revision) == len(model.writes)
    elif kind == "compact":
        floor = max(0, len(model.writes) - number)
        model.floors[key] = max(floor, model.floors.get(key, 0))
        await store.compact(floor, key)
    elif kind == "reopen" and not isinstance(store, Memory):
        await store.close()
        if not isinstance(store, etcd.Etcd):
            return await sqlite.open(path)
        # A prefix that is compacted further is only not shown, by that process.
        model.floors = {prefix: floor for prefix, floor in model.floors.items() if not prefix}
        return await etcd.open(store.address)
    return store


async def check_reads(store: Store, model: Model) -> None:
    assert store.revision == len(model.writes)
    for revision, state in enumerate(model.states[1:], 1):
        for prefix in PREFIXES:
            if revision < model.floor(prefix):
                with pytest.raises(Compacted):
                    await store.list(prefix, revision=revision)
                continue
            page = await store.list(prefix, revision=revision)
            wanted = [(k, *state[k]) for k in sorted(state) if k.startswith(prefix)]
            assert [(r.key, r.value, r.revision) for r in page.records] == wanted
            part = await store.list(prefix, after="/a", limit=2, revision=revision)
            rest = [w for w in wanted if w[0] > "/a"]
            assert [r.key for r in part.records] == [w[0] for w in rest[:2]]
            assert part.remaining == len(rest[2:])
    for prefix in PREFIXES:
        assert await store.count(prefix) == sum(k.startswith(prefix) for k in model.now)


async def check_watches(store: Store, model: Model) -> None:
    """From every revision still kept, a watch gives exactly the later writes, with what each replaced."""
    for prefix in PREFIXES:
        for after in range(model.floor(prefix), len(model.writes) + 1):
            wanted = [
                (r, key, value, model.states[r - 1].get(key))
                for r, (key, value) in enumerate(model.writes, 1)
                if r > after and key.startswith(prefix)
            ]
            watch = store.watch(prefix, after)
            got: list[Event] = []
            while len(got) < len(wanted):
                got += await anext(aiter(watch))
            watch.close()
            assert [
                (e.revision, e.key, e.value, e.previous and (e.previous.value, e.previous.revision))
                for e in got
            ] == wanted


async def run(kind: str, script: list[Operation], path: Path) -> None:
    if kind == "etcd":
        with etcd_server.etcd(path) as server:
            await run_in(await etcd.open(etcd.parse(server.url)), script, path)
    else:
        await run_in(Memory() if kind == "memory" else await sqlite.open(path), script, path)


async def run_in(store: Any, script: list[Operation], path: Path) -> None:
    model = Model()
    live, seen = store.watch("", 0), 0
    try:
        for operation in script:
            before = store
            store = await play(store, operation, model, path)
            if store is not before:
                live, seen = store.watch("", store.revision), store.revision
            while seen < store.revision:
                for event in await anext(aiter(live)):
                    seen += 1
                    assert event.revision == seen
        await check_reads(store, model)
        await check_watches(store, model)
    finally:
        await store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=60, deadline=None)
@given(script=operations)
def test_a_store_behaves_like_the_model(kind: str, script: list[Operation]) -> None:
    # A window of three events, so that most of what is read as of the past comes from the log.
    with tempfile.TemporaryDirectory() as directory, patch.object(sqlite, "WINDOW_EVENTS", 3):
        asyncio.run(run(kind, script, Path(directory) / "store.db"))


@settings(max_examples=10, deadline=None)
@given(script=operations)
def test_etcd_behaves_like_the_model(script: list[Operation]) -> None:
    with tempfile.TemporaryDirectory() as directory, patch.object(etcd, "WINDOW_EVENTS", 3):
        asyncio.run(run("etcd", script, Path(directory) / "etcd"))
