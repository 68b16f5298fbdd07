"""Reads and writes through real API servers are linearizable and watches complete, under kill -9 and pauses.

The checker itself is tested first: what it must refuse, by hand, and on a server whose store was made to lie.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.faults.history import History
from tests.faults.linearizability import Operation, Seen, broken, explained, resolved, unexplained
from tests.store.etcd_server import EtcdServer, etcd

from sampan.apiserver.server import ApiServer
from sampan.apiserver.settings import Settings
from sampan.client import kubeconfig
from sampan.host.pki import Pki
from sampan.http import server as http
from sampan.http.client import HttpClient
from sampan.http.tls import client_context, server_context
from sampan.store.api import Event, Record
from sampan.store.memory import Memory

# The checker


def op(verb: str, value: str = "", begun: float = 0, ended: float = 0, **more: Any) -> Operation:
    return Operation("k", verb, value, begun=begun, ended=ended, **more)


CREATED = op("create", "a", 0, 1, revision=1)
UPDATED = op("update", "b", 2, 5, expected=1, revision=2)
EXPLAINED = {
    "a read beside a write sees either": [CREATED, UPDATED, op("get", "a", 3, 4, revision=1)],
    "or the other": [CREATED, UPDATED, op("get", "b", 3, 4, revision=2)],
    "a lost answer may mean that it was written": [
        CREATED,
        op("update", "b", 2, float("inf"), expected=1, outcome="unknown"),
        op("get", "b", 3, 4, revision=7),
    ],
    "or that it was not": [
        CREATED,
        op("update", "b", 2, float("inf"), expected=1, outcome="unknown"),
        op("get", "a", 30, 40, revision=1),
    ],
    "or that it was written much later": [
        CREATED,
        op("update", "b", 2, float("inf"), expected=1, outcome="unknown"),
        op("get", "a", 30, 40, revision=1),
        op("get", "b", 50, 60, revision=9),
    ],
    "a conflict with a write whose answer was lost": [
        CREATED,
        op("update", "b", 2, float("inf"), expected=1, outcome="unknown"),
        op("update", "c", 6, 7, expected=1, outcome="conflict"),
    ],
}
REFUSED = {
    "a stale read": [CREATED, UPDATED, op("get", "a", 6, 7, revision=1)],
    "a value back from the past": [
        CREATED,
        UPDATED,
        op("get", "b", 3, 3.5, revision=2),
        op("get", "a", 4, 4.5, revision=1),
    ],
    "a lost update": [CREATED, UPDATED, op("update", "c", 6, 7, expected=1, revision=3)],
    "a second create": [CREATED, op("create", "b", 2, 3, revision=2)],
    "a write that was acknowledged, and is gone": [CREATED, op("get", "", 2, 3, outcome="missing")],
    "a value that nobody wrote": [CREATED, op("get", "z", 2, 3, revision=1)],
    "a conflict with nothing": [CREATED, op("update", "c", 2, 3, expected=1, outcome="conflict")],
    "an older revision for a newer value": [CREATED, op("update", "b", 2, 3, expected=1, revision=1)],
    "a read after the delete": [
        CREATED,
        op("delete", "", 2, 3, expected=1),
        op("get", "a", 4, 5, revision=1),
    ],
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_has_an_order_is_explained(name: str) -> None:
    assert explained(EXPLAINED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_order_is_refused(name: str) -> None:
    assert not explained(REFUSED[name])


def test_broken_watches_are_told() -> None:
    written = [CREATED, UPDATED, op("delete", "", 6, 7, expected=2, revision=3)]
    whole = [Seen("ADDED", "k", "a", 1), Seen("MODIFIED", "k", "b", 2), Seen("DELETED", "k", "", 3)]
    assert broken(whole, written, 0, 3) == []
    added, modified, deleted = whole
    for events, fault in (
        ([added, deleted], "was seen as None"),
        ([modified, added, deleted], "came after"),
        ([added, modified, modified, deleted], "came after revision 2"),
        ([added, Seen("MODIFIED", "k", "z", 2), deleted], "was never written"),
        ([added, Seen("ADDED", "k", "b", 2), deleted], "came after"),
    ):
        assert any(fault in told for told in broken(events, written, 0, 3))


# A server whose store lies


class Lying(Memory):
    """A store that does one thing wrong, now and then."""

    def __init__(self, lie: str) -> None:
        super().__init__()
        self._lie, self._chance = lie, random.Random(1)
        self._before: dict[str, Record] = {}
        self._in_vain = False

    def _now(self, lie: str, key: str) -> bool:
        return self._lie == lie and "configmaps/default/key" in key and self._chance.random() < 0.05

    async def get(self, key: str, revision: int = 0) -> Record | None:
        if key in self._before and self._now("stale read", key):
            return self._before[key]
        return await super().get(key, revision)

    async def update(self, key: str, value: bytes, expected: int, cause: str = "") -> int:
        found = await super().get(key)
        if found:
            self._before[key] = found
        if found and self._now("forgotten write", key):
            return self.revision + 1
        return await super().update(key, value, expected, cause)

    async def delete(self, key: str, expected: int, cause: str = "") -> int:
        if self._now("forgotten delete", key):
            return self.revision + 1
        return await super().delete(key, expected, cause)

    def _write(self, key: str, value: bytes | None, previous: Record | None, cause: str) -> int:
        if self._now("lost event", key):
            apply = self._state.apply

            def silently(events: list[Event]) -> None:
                watches, self._state._watches = self._state._watches, {}
                try:
                    apply(events)
                finally:
                    self._state._watches = watches

            self._state.apply = silently  # type: ignore[method-assign, assignment]
            try:
                return super()._write(key, value, previous, cause)
            finally:
                self._state.apply = apply  # type: ignore[method-assign]
        return super()._write(key, value, previous, cause)


@asynccontextmanager
async def serving(store: Memory, pki: Pki) -> AsyncIterator[Callable[[], HttpClient]]:
    """An API server in this process over `store`; gives what connects to it."""
    sock = http.listen("127.0.0.1", 0)
    api = ApiServer(store, Settings())
    await api.start()
    pair = pki.server("apiserver", ["127.0.0.1"])
    listener = await http.serve(api.handler, sockets=[sock], tls=server_context(pair, client_ca=pki.ca))
    admin = pki.client("admin", "admin", ["system:masters"])
    tls = client_context(ca=pki.ca, pair=admin)
    try:
        yield lambda: HttpClient(f"https://127.0.0.1:{sock.getsockname()[1]}", tls=tls)
    finally:
        await listener.close(grace=0.2)
        await api.close()
        await store.close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def faults(history: History) -> list[str]:
    """All that is wrong with a run."""
    operations = resolved(history.operations, history.watches[0])
    found = [f"no order explains {key}" for key in unexplained(operations)]
    for seen in history.watches:
        found += broken(seen, history.operations, 1, history.until)
    return found


async def test_a_server_that_tells_the_truth_is_believed(pki: Pki) -> None:
    history = History()
    async with serving(Memory(), pki) as connect:
        await history.run([connect], clients=6, seconds=1.5)
    assert len(history.operations) > 300
    assert faults(history) == []


@pytest.mark.parametrize("lie", ["stale read", "forgotten write", "forgotten delete", "lost event"])
async def test_a_server_that_lies_is_found_out(pki: Pki, lie: str) -> None:
    history = History()
    async with serving(Lying(lie), pki) as connect:
        await history.run([connect], clients=6, seconds=1.5)
    assert faults(history) != []


# Real servers, killed and paused


class Server:
    """`sampan run control`, started again on the same port whenever it was killed."""

    def __init__(self, directory: Path, name: str, pki: Path, *flags: str) -> None:
        self._state, self._pki, self._flags = directory / name, pki, flags
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port = int(sock.getsockname()[1])
        self._log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["run", "control", "--state", str(self._state), "--pki", str(self._pki)]
        words += ["--listen", f"127.0.0.1:{self.port}", *self._flags]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "sampan.cli", *words], stderr=log)

    async def ready(self) -> None:
        client = None
        async with asyncio.timeout(30):
            while client is None:
                try:
                    client = self.connect()
                    async with await client.request("GET", "/readyz") as response:
                        if response.status == 200:
                            break
                except (ConnectionError, OSError, kubeconfig.KubeconfigError):
                    pass
                client = None
                await asyncio.sleep(0.05)

    def connect(self) -> HttpClient:
        return kubeconfig.load(self._state / "admin.kubeconfig").http

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


@contextmanager
def servers(directory: Path, count: int, *flags: str) -> Iterator[list[Server]]:
    with ExitStack() as ends:
        made = [Server(directory, f"server-{n}", directory / "pki", *flags) for n in range(count)]
        for server in made:
            ends.callback(server.stop)
            server.start()
        yield made


Victim = Server | EtcdServer


def tormenting(victims: list[Victim], seed: int) -> Callable[[float], Awaitable[None]]:
    """Kills and pauses of the victims, one after the other, until a moment."""

    async def torment(ends: float) -> None:
        chance = random.Random(seed)
        while time.monotonic() < ends - 1.5:
            await asyncio.sleep(0.3 + chance.random() * 0.5)
            victim = chance.choice(victims)
            if chance.random() < 0.5:
                victim.signal(signal.SIGKILL)
                await asyncio.sleep(chance.random() * 0.2)
                await asyncio.to_thread(victim.start)
                if isinstance(victim, Server):
                    await victim.ready()
            else:
                victim.signal(signal.SIGSTOP)
                await asyncio.sleep(chance.random() * 0.8)
                victim.signal(signal.SIGCONT)

    return torment


async def tormented(made: list[Server], victims: list[Victim], seconds: float, seed: int) -> History:
    for server in made:
        await server.ready()
    history = History()
    await history.run([s.connect for s in made], clients=6, seconds=seconds, faults=tormenting(victims, seed))
    return history


async def over_sqlite(directory: Path, seconds: float, seed: int) -> None:
    with servers(directory, 1) as made:
        history = await tormented(made, [*made], seconds, seed)
    assert sum(op.outcome == "ok" for op in history.operations) > 20
    assert faults(history) == []


async def two_over_etcd(directory: Path, seconds: float, seed: int) -> None:
    with (
        etcd(directory / "etcd") as store,
        servers(directory, 2, "--store", store.url) as made,
    ):
        history = await tormented(made, [*made, store], seconds, seed)
    assert sum(op.outcome == "ok" for op in history.operations) > 20
    assert faults(history) == []


async def test_over_sqlite(tmp_path: Path) -> None:
    await over_sqlite(tmp_path, 4.0, 0)


async def test_two_servers_over_etcd(tmp_path: Path) -> None:
    await two_over_etcd(tmp_path, 4.0, 0)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("run", [over_sqlite, two_over_etcd])
async def test_for_longer(tmp_path: Path, run: Any, seed: int) -> None:
    await run(tmp_path, 20.0, seed)
