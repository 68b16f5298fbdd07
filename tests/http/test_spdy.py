"""SPDY frames by themselves, and streams between two sessions."""

from __future__ import annotations

import asyncio
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.http import spdy
from sampan.http.spdy import (
    Codec,
    Data,
    Frame,
    GoAway,
    Ping,
    Reset,
    Session,
    SpdyError,
    Stream,
    SynReply,
    SynStream,
)
from sampan.http.transport import Pipe

numbers = st.integers(1, 2**31 - 1)
headers = st.dictionaries(st.sampled_from(["streamtype", "port", "requestid"]), st.text(max_size=30))
frames = st.lists(
    st.one_of(
        st.builds(SynStream, numbers, headers, st.booleans()),
        st.builds(SynReply, numbers, headers, st.booleans()),
        st.builds(Data, numbers, st.binary(max_size=100), st.booleans()),
        st.builds(Reset, numbers, st.integers(1, 11)),
        st.builds(Ping, numbers),
        st.builds(GoAway, numbers),
    ),
    max_size=10,
)


def test_the_dictionary_is_the_specification_s() -> None:
    # The checksum that every zlib stream of SPDY/3 carries in its head.
    assert zlib.adler32(spdy._dictionary()) == 0xE3C6A7C2


@given(sent=frames, step=st.integers(1, 40))
def test_what_one_side_encodes_the_other_decodes(sent: list[Frame], step: int) -> None:
    sender, receiver = Codec(), Codec()
    data = b"".join(sender.encode(frame) for frame in sent)
    assert [f for at in range(0, len(data), step) for f in receiver.feed(data[at : at + step])] == sent


@pytest.mark.parametrize(
    "wrong",
    [
        bytes.fromhex("8002000100000000"),  # version 2
        bytes.fromhex("00000001007fffffff")[:8] + bytes(10),  # a frame of 8 MiB
        bytes.fromhex("8003000100000004") + bytes(4),  # cut off
        bytes.fromhex("800300010000000e") + bytes(14),  # headers that are not compressed
    ],
)
def test_what_breaks_the_protocol(wrong: bytes) -> None:
    with pytest.raises(SpdyError):
        Codec().feed(wrong.replace(b"\x00\x7f\xff\xff", b"\x00\xff\xff\xff"))


def test_headers_that_unpack_to_too_much_are_refused() -> None:
    bomb = Codec().encode(SynStream(1, {"a": "x" * 1_000_000}))
    assert len(bomb) < 10_000
    with pytest.raises(SpdyError, match="header block"):
        Codec().feed(bomb)


class End:
    """One end of a connection in memory."""

    def __init__(self, inbox: Pipe, outbox: Pipe) -> None:
        self.inbox, self.outbox = inbox, outbox

    async def read(self) -> bytes:
        return await self.inbox.get()

    async def write(self, data: bytes) -> None:
        await self.outbox.put(data)

    async def end(self) -> None:
        self.outbox.end()

    async def close(self) -> None:
        self.outbox.end()
        self.inbox.drop()


async def test_streams_both_ways() -> None:
    one, two = Pipe(), Pipe()
    client, server = Session(End(one, two), client=True), Session(End(two, one))
    echoes: list[asyncio.Task[None]] = []

    async def echo(stream: Stream) -> None:
        while data := await stream.read():
            await stream.write(data.upper())
        await stream.close()

    async def opened(stream: Stream) -> None:
        echoes.append(asyncio.create_task(echo(stream)))

    running = [asyncio.create_task(client.run()), asyncio.create_task(server.run(opened))]
    streams = [await client.open({"Name": str(n)}) for n in range(3)]
    for stream in reversed(streams):
        await stream.write(b"hello" * 20_000)
        await stream.end()
    for stream in streams:
        got = b""
        while data := await stream.read():
            got += data
        assert got == b"HELLO" * 20_000
    assert server.streams == {}
    await client.send(Ping(1))
    with pytest.raises(ConnectionError):
        await streams[0].write(b"late")
    await client.close(timeout=0.01)
    await asyncio.gather(*running, *echoes)
