"""SPDY/3.1 as Kubernetes clients use it: frames without I/O (`Codec`), and streams over a connection (`Session`).

There is no flow control by windows: the library in those clients neither sends nor awaits them. A reader that
is slow holds up the whole connection, as it does there.

Source: SPDY Protocol, draft 3.1 (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/),
section 2.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from sampan.http.messages import Connection
from sampan.http.transport import Pipe

_HEADERS_LIMIT = 64 << 10
_FRAME_LIMIT = 1 << 20
_STREAMS = 2000  # how many may be open at a time
_DATA = 32 << 10  # how much one data frame of ours carries
_FIN = 0x01
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8

# What the header compression starts from (section 2.6.10.1): words with their lengths, then plain text.
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TEXT = (
    b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    b"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    b"403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    b"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    b"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    b"text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = (word.replace("_", " ").encode() for word in _WORDS.split())
    return b"".join(struct.pack("!I", len(word)) + word for word in words) + _TEXT


class SpdyError(ConnectionError):
    """The peer broke the protocol."""


@dataclass(frozen=True, slots=True)
class SynStream:
    stream: int
    headers: dict[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class SynReply:
    stream: int
    headers: dict[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    stream: int
    status: int = 5  # CANCEL


@dataclass(frozen=True, slots=True)
class Ping:
    number: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last: int


Frame = SynStream | SynReply | Data | Reset | Ping | GoAway


class Codec:
    """Turns bytes into frames and back.

    The header compression has a state: encode in the order of sending.
    """

    def __init__(self) -> None:
        dictionary = _dictionary()
        self._inflate = zlib.decompressobj(zdict=dictionary)
        self._deflate = zlib.compressobj(zdict=dictionary)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """What these bytes complete; frames that ask for nothing are left out. Raises SpdyError."""
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= 8:
            length = int.from_bytes(self._buffer[5:8], "big")
            if length > _FRAME_LIMIT:
                raise SpdyError(f"a frame has {length} bytes")
            if len(self._buffer) < 8 + length:
                break
            head, body = bytes(self._buffer[:8]), bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            try:
                frame = self._decode(head, body)
            except (struct.error, zlib.error, UnicodeDecodeError) as e:
                raise SpdyError(f"a frame is malformed: {e}") from e
            if frame:
                frames.append(frame)
        return frames

    def _decode(self, head: bytes, body: bytes) -> Frame | None:
        word, kind = struct.unpack("!HH", head[:4])
        fin = bool(head[4] & _FIN)
        if not word & 0x8000:
            return Data(int.from_bytes(head[:4], "big"), body, fin)
        if word != 0x8003:
            raise SpdyError(f"a frame has version {word & 0x7FFF}, not 3")
        if kind == _SYN_STREAM:
            return SynStream(_number(body), self._headers(body[10:]), fin)
        if kind == _SYN_REPLY:
            return SynReply(_number(body), self._headers(body[4:]), fin)
        if kind == _HEADERS:
            self._headers(body[4:])  # for the state of the compression
            return None
        if kind == _RST_STREAM:
            return Reset(_number(body), _number(body[4:]))
        if kind == _PING:
            return Ping(_number(body))
        return GoAway(_number(body)) if kind == _GOAWAY else None

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block, _HEADERS_LIMIT)
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"a header block has more than {_HEADERS_LIMIT} bytes")
        headers, at = {}, 4
        for _ in range(_number(plain)):
            texts = []
            for _ in range(2):
                length = _number(plain[at:])
                texts.append(plain[at + 4 : at + 4 + length].decode())
                at += 4 + length
            headers[texts[0].lower()] = texts[1]
        return headers

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data(stream, data, fin):
                return struct.pack("!II", stream, (_FIN if fin else 0) << 24 | len(data)) + data
            case SynStream(stream, headers, fin):
                body = struct.pack("!IIH", stream, 0, 0) + self._block(headers)
                return _control(_SYN_STREAM, body, fin)
            case SynReply(stream, headers, fin):
                return _control(_SYN_REPLY, struct.pack("!I", stream) + self._block(headers), fin)
            case Reset(stream, status):
                return _control(_RST_STREAM, struct.pack("!II", stream, status))
            case Ping(number):
                return _control(_PING, struct.pack("!I", number))
            case GoAway(last):
                return _control(_GOAWAY, struct.pack("!II", last, 0))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack("!I", len(headers))
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                plain += struct.pack("!I", len(text)) + text
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, body: bytes, fin: bool = False) -> bytes:
    return struct.pack("!HHI", 0x8003, kind, (_FIN if fin else 0) << 24 | len(body)) + body


def _number(data: bytes) -> int:
    """The 31-bit number that `data` begins with."""
    return int(struct.unpack_from("!I", data)[0]) & 0x7FFFFFFF


class Stream:
    """One stream of a session: a `Connection` that carries the headers it was opened with."""

    def __init__(self, session: Session, number: int, headers: dict[str, str]) -> None:
        self.number = number
        self.headers = headers
        self.pipe = Pipe()
        self.gone = False  # reset by the peer, or lost with the connection
        self._session = session
        self._ended = False

    async def read(self) -> bytes:
        return await self.pipe.get()

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), _DATA):
            if self.gone or self._ended:
                raise ConnectionResetError("the stream is closed")
            await self._session.send(Data(self.number, data[at : at + _DATA]))

    async def end(self) -> None:
        if not self._ended and not self.gone:
            self._ended = True
            await self._session.send(Data(self.number, b"", True))

    async def close(self) -> None:
        """End our side; what the peer still sends is dropped."""
        self.pipe.drop()
        await self.end()
        self._session.streams.pop(self.number, None)


class Session:
    """SPDY streams over a connection.

    `run` reads until the connection ends and must run while streams are used.
    """

    def __init__(self, connection: Connection, *, client: bool = False) -> None:
        self.streams: dict[int, Stream] = {}
        self.ended = asyncio.Event()
        self._connection = connection
        self._codec = Codec()
        self._next = 1 if client else 2
        self._last = 0

    async def run(self, opened: Callable[[Stream], Awaitable[None]] | None = None) -> None:
        """Dispatch what arrives; `opened` is awaited for each stream that the peer opens, and should be quick."""
        try:
            while data := await self._connection.read():
                for frame in self._codec.feed(data):
                    await self._take(frame, opened)
        except ConnectionError:
            pass  # the streams tell their readers
        finally:
            self.ended.set()
            for stream in list(self.streams.values()):
                stream.gone = True
                stream.pipe.end()

    async def _take(self, frame: Frame, opened: Callable[[Stream], Awaitable[None]] | None) -> None:
        match frame:
            case SynStream(number, headers, fin):
                self._last = number
                if not opened or number in self.streams or len(self.streams) >= _STREAMS:
                    await self.send(Reset(number, 3))  # REFUSED_STREAM
                    return
                stream = self.streams[number] = Stream(self, number, headers)
                await self.send(SynReply(number, {}))
                if fin:
                    stream.pipe.end()
                await opened(stream)
            case Data(number, data, fin):
                if found := self.streams.get(number):
                    await found.pipe.put(data)
                    if fin:
                        found.pipe.end()
            case SynReply(number, _, True):
                if found := self.streams.get(number):
                    found.pipe.end()
            case Reset(number):
                if found := self.streams.pop(number, None):
                    found.gone = True
                    found.pipe.end()
            case Ping(number) if (number & 1) != (self._next & 1):
                await self.send(frame)

    async def open(self, headers: Mapping[str, str], *, fin: bool = False) -> Stream:
        """Open a stream; with `fin` we shall send nothing on it."""
        stream = Stream(self, self._next, dict(headers))
        self._next += 2
        self.streams[stream.number] = stream
        stream._ended = fin
        await self.send(SynStream(stream.number, dict(headers), fin))
        return stream

    async def send(self, frame: Frame) -> None:
        # Encoding and the first step of writing happen without a pause between, so frames keep their order.
        await self._connection.write(self._codec.encode(frame))

    async def close(self, *, timeout: float = 5.0) -> None:
        """Say that no more streams are taken, wait a while for the peer to close, and close the connection."""
        try:
            await self.send(GoAway(self._last))
            async with asyncio.timeout(timeout):
                await self.ended.wait()
        except (TimeoutError, ConnectionError):
            pass
        await self._connection.close()
