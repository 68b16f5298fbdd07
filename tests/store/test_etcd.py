"""What only etcd has: several processes over it, other keys beside ours, servers that die, pause and lose answers."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.store.etcd_server import EtcdServer, etcd

from sampan.host.pki import Pki
from sampan.http.tls import client_context
from sampan.store import etcd as stores
from sampan.store import rpc
from sampan.store.api import Compacted, Conflict, Event, Exists, Future, StoreError, Watch
from sampan.store.etcd import Address, Etcd


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    with etcd(tmp_path / "etcd") as made:
        yield made


@asynccontextmanager
async def opened(where: str | Address, tls: ssl.SSLContext | None = None) -> AsyncIterator[Etcd]:
    store = await stores.open(stores.parse(where) if isinstance(where, str) else where, tls)
    try:
        yield store
    finally:
        await store.close()


async def put(server: EtcdServer, key: str) -> None:
    """A write of somebody else's."""
    client = rpc.Client([("127.0.0.1", server.port)])
    await client.call("Txn", rpc.message("TxnRequest")(success=[{"request_put": {"key": key.encode()}}]))
    client.close()


async def test_what_one_writes_the_other_reads_once_it_asks(server: EtcdServer) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        for n in range(20):
            revision = await one.create(f"/{n}", b"1")
            await other.sync()
            record = await other.get(f"/{n}")
            assert record
            assert record.revision == revision
        await other.sync(revision)
        with pytest.raises(Future):
            await other.sync(revision + 1)


async def test_of_writers_in_several_processes_one_wins(server: EtcdServer) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        tries = [s.create("/a", name) for s, name in ((one, b"one"), (other, b"other"))]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sorted(type(o).__name__ for o in outcomes) == ["Exists", "int"]
        revision = next(o for o in outcomes if isinstance(o, int))
        changes = [s.update("/a", b"new", revision) for s in (one, other) for _ in range(5)]
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        assert sum(isinstance(o, int) for o in outcomes) == 1
        assert sum(isinstance(o, Conflict) for o in outcomes) == 9


async def test_two_prefixes_in_one_etcd_do_not_meet(server: EtcdServer) -> None:
    async with opened(f"{server.url}/a") as one, opened(f"{server.url}/a-b") as other:
        await one.create("/k", b"1")
        await other.create("/k", b"2")
        await put(server, "/a.b/k")
        await put(server, "/somebody/else")
        await one.sync()
        assert [r.value for r in (await one.list("/")).records] == [b"1"]
        assert await other.update("/k", b"3", other.revision)
        assert [e.value for e in await other.history("/k")] == [b"2", b"3"]


async def test_other_keys_leave_gaps_that_nobody_waits_for(server: EtcdServer) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        first = await one.create("/a", b"1", "one")
        for n in range(5):
            await put(server, f"/foreign/{n}")
        await other.sync(first + 5)
        second = await one.update("/a", b"2", first, "two")
        assert second == first + 6
        await other.sync()
        assert [await other.cause(r) for r in (first, first + 1, second)] == ["one", "", "two"]
        page = await other.list("/", revision=first + 3)
        assert [r.value for r in page.records] == [b"1"]
        watch = other.watch("/", 0)
        assert [e.revision for e in await anext(aiter(watch))] == [first, second]


async def taken(store: Etcd, after: int, until: int) -> list[Event]:
    """The events up to revision `until`."""
    events: list[Event] = []
    async with asyncio.timeout(30):
        async for batch in store.watch("/", after):
            events += batch
            if events[-1].revision >= until:
                return events
    raise AssertionError("the watch ended")


async def to_the_end(watch: Watch) -> None:
    async with asyncio.timeout(20):
        async for _ in watch:
            pass


async def test_etcd_is_killed_and_nothing_is_missed(server: EtcdServer) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        watching = asyncio.create_task(taken(other, 0, 4))
        assert await one.create("/a", b"1") == 1
        await one.create("/b", b"1")
        server.signal(signal.SIGKILL)
        await asyncio.sleep(0.2)
        server.start()
        assert await one.update("/a", b"2", 1) == 3
        assert await one.delete("/b", 2) == 4
        assert [(e.key, e.value) for e in await watching] == [
            ("/a", b"1"),
            ("/b", b"1"),
            ("/a", b"2"),
            ("/b", None),
        ]


async def test_a_paused_etcd_is_told(server: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "ATTEMPT_SECONDS", 0.2)
    monkeypatch.setattr(rpc, "CALL_SECONDS", 0.6)
    async with opened(server.url) as store:
        await store.create("/a", b"1")
        server.signal(signal.SIGSTOP)
        with pytest.raises(rpc.Unsure, match=r"did not say whether it wrote: no answer within 0.2 s"):
            await store.update("/a", b"2", 1)
        with pytest.raises(StoreError, match=r"127.0.0.1:\d+ cannot be reached: no answer"):
            await store.sync()
        server.signal(signal.SIGCONT)
        await store.sync()
        record = await store.get("/a")
        assert record
        # The attempts that waited in a paused etcd took effect once, or not at all.
        assert (record.value, record.revision) in ((b"1", 1), (b"2", 2))


async def test_the_next_endpoint_serves_when_one_does_not(
    server: EtcdServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "CALL_SECONDS", 1.0)
    with etcd(tmp_path / "closed") as closed:
        port = closed.port
    async with opened(Address((("127.0.0.1", port), ("127.0.0.1", server.port)))) as store:
        assert await store.create("/a", b"1") == 1
    with pytest.raises(StoreError, match="cannot be reached"):
        await stores.open(Address((("127.0.0.1", port),)))


class LossyProxy:
    """Passes connections on to etcd; once told so, it drops the next answer with its connection."""

    def __init__(self, port: int) -> None:
        self._to, self.port = port, 0
        self.losing = False
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """End all connections, and take no more."""
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._to)
        self._open |= {writer, ours}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, ours, False))
                group.create_task(self._pass(theirs, writer, True))
        finally:
            for end in (ours, writer):
                self._open.discard(end)
                end.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool) -> None:
        while data := await source.read(65536):
            if answers and self.losing:
                self.losing = False
                sink.transport.abort()
                return
            sink.write(data)
            await sink.drain()
        sink.close()


async def test_a_write_whose_answer_is_lost_is_found_again(server: EtcdServer) -> None:
    proxy = LossyProxy(server.port)
    await proxy.start()
    async with opened(f"etcd://127.0.0.1:{proxy.port}") as store:
        revision = await store.create("/a", b"0")
        for n in range(1, 6):
            proxy.losing = True
            revision = await store.update("/a", b"%d" % n, revision)
            record = await store.get("/a")
            assert record
            assert (record.value, record.revision) == (b"%d" % n, revision)
        proxy.losing = True
        await store.delete("/a", revision)
        assert await store.get("/a") is None
        assert [e.value for e in await store.history("/a")] == [b"0", b"1", b"2", b"3", b"4", b"5", None]
    await proxy.stop()


async def test_a_lost_answer_is_found_also_where_the_watch_was_quicker(
    server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(server.url) as store:
        call, lost = store._client.call, False

        async def losing(name: str, request: Any, *, repeat: bool = True) -> Any:
            nonlocal lost
            answer = await call(name, request, repeat=repeat)
            if name == "Txn" and not lost:
                lost = True
                await asyncio.sleep(0.2)  # the watch tells of the write meanwhile
                raise rpc.Unsure("the answer is lost")
            return answer

        monkeypatch.setattr(store._client, "call", losing)
        assert await store.create("/a", b"1") == 1
        assert lost
        with pytest.raises(Exists):
            await store.create("/a", b"1")


async def test_a_copy_that_compaction_overtook_begins_anew(server: EtcdServer) -> None:
    """What one server compacts, another may not have seen."""
    proxy = LossyProxy(server.port)
    await proxy.start()
    async with opened(server.url) as one, opened(f"etcd://127.0.0.1:{proxy.port}") as slow:
        await one.create("/a", b"0")
        await slow.sync()
        watch = slow.watch("/", 0)
        await proxy.stop()
        for n in range(1, 10):
            await one.update("/a", b"%d" % n, n)
        await one.compact(9)
        await proxy.start()
        with pytest.raises(Compacted):
            await to_the_end(watch)
        assert slow.oldest == 9
        assert (await slow.list("/")).records[0].value == b"9"
        await slow.update("/a", b"10", 10)
        with pytest.raises(Exists):
            await slow.create("/a", b"")
    await proxy.stop()


async def test_only_who_shows_a_certificate_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "CALL_SECONDS", 1.0)
    pki = Pki(tmp_path / "pki")
    pki.authority()
    pair, client = pki.server("etcd", ("127.0.0.1",)), pki.client("api", "api", [])
    flags = ("--cert-file", str(pair), "--key-file", str(pair), "--client-cert-auth")
    with etcd(tmp_path / "etcd", *flags, "--trusted-ca-file", str(pki.ca), scheme="https") as server:
        tls = client_context(ca=pki.ca, pair=client)
        tls.set_alpn_protocols(["h2"])
        async with opened(server.url, tls) as store:
            assert await store.create("/a", b"1") == 1
        stranger = client_context(ca=pki.ca)
        stranger.set_alpn_protocols(["h2"])
        with pytest.raises(StoreError):
            await stores.open(stores.parse(server.url), stranger)


@pytest.mark.parametrize("url", ["etcd://", "http://a:1", "etcd://a:x", "etcd://user@a:1", "etcd://a:1,:2"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        stores.parse(url)


def test_an_address_names_servers_and_a_prefix() -> None:
    assert stores.parse("etcd://a:1,b,[::1]:3/x/y/") == Address((("a", 1), ("b", 2379), ("::1", 3)), "/x/y")
    assert stores.parse("etcd://a").prefix == "/sampan"
