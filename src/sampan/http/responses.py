"""Sending responses: a body of bytes, an iterator's pieces as chunks, or a file by the kernel.

Sources: RFC 9110 (semantics), RFC 9112, sections 6 and 7 (framing).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

from sampan.http.messages import File, Push, Response, Upgrade
from sampan.http.transport import PIECE, Link

_FILE_CHUNK = 1 << 20
_PHRASES = {s.value: s.phrase for s in HTTPStatus}


class Sender:
    """Sends responses on one connection; a client that takes nothing for `timeout` seconds is cut off."""

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout

    async def send(self, response: Response, *, method: str, version: str, keep: bool) -> bool:
        """Send a response to a request; return whether the connection can take another.

        `keep` says whether it could so far. Raises ConnectionError, and what an iterator raises.
        """
        body = response.body
        keep = keep and response.headers.get("connection", "").lower() != "close"
        extra = "" if keep else "connection: close\r\n"
        if keep and version == "1.0":
            extra = "connection: keep-alive\r\n"
        bare = method == "HEAD" or response.status < 200 or response.status in (204, 304)
        if isinstance(body, bytes):
            await self._send_bytes(response, body, extra, bare)
        elif isinstance(body, File):
            await self._send_file(response, body, extra, bare)
        elif isinstance(body, Push):
            keep = await self._send_pushed(response, body, extra, bare, version == "1.1") and keep
        elif isinstance(body, Upgrade):
            raise ValueError("the handler upgrades a request that does not ask for it")
        else:
            chunks = version == "1.1"
            keep = await self._send_chunks(response, body, extra, bare, chunks) and keep
        return keep

    async def _send_bytes(self, response: Response, body: bytes, extra: str, bare: bool) -> None:
        if (
            response.status >= 200
            and response.status not in (204, 304)
            and not has(response, "content-length")
        ):
            extra += f"content-length: {len(body)}\r\n"
        start = head(response, extra)
        if len(body) > PIECE and not bare:
            await self._link.send(start, self._timeout)
            await self._link.send(body, self._timeout)
        else:
            await self._link.send(start if bare else start + body, self._timeout)

    async def _send_chunks(
        self, response: Response, body: AsyncIterator[bytes], extra: str, bare: bool, chunks: bool
    ) -> bool:
        """Send what an iterator gives, as it comes; return whether the client knows where it ended."""
        sized = has(response, "content-length")
        chunked = not sized and chunks
        if chunked and not bare:
            extra += "transfer-encoding: chunked\r\n"
        elif not sized and not bare and "connection" not in extra:
            extra += "connection: close\r\n"
        try:
            await self._link.send(head(response, extra), self._timeout)
            if bare:
                return True
            async for data in body:
                if data:
                    await self._link.send(
                        b"%x\r\n%b\r\n" % (len(data), data) if chunked else data, self._timeout
                    )
            if chunked:
                await self._link.send(b"0\r\n\r\n", self._timeout)
        finally:
            if close := getattr(body, "aclose", None):
                await close()
        return chunked or sized

    async def _send_pushed(
        self, response: Response, body: Push, extra: str, bare: bool, chunked: bool
    ) -> bool:
        """Let a body be written by whoever has it; return whether the client knows where it ended."""
        if not bare:
            extra += "transfer-encoding: chunked\r\n" if chunked else "connection: close\r\n"
        await self._link.send(head(response, extra), self._timeout)
        if bare:
            return True
        await body.run(_Sink(self._link, self._timeout, chunked))
        if chunked:
            await self._link.send(b"0\r\n\r\n", self._timeout)
        return chunked

    async def _send_file(self, response: Response, file: File, extra: str, bare: bool) -> None:
        try:
            opened = await asyncio.to_thread(open, file.path, "rb")
        except FileNotFoundError:
            await self._send_bytes(plain(404, "not found"), b"not found\n", extra, bare)
            return
        with opened as source:
            size = os.fstat(source.fileno()).st_size
            length = max(0, size - file.offset) if file.length is None else file.length
            if not has(response, "content-length"):
                extra += f"content-length: {length}\r\n"
            start = head(response, extra)
            if bare:
                await self._link.send(start, self._timeout)
                return
            clear = self._link.transport.get_extra_info("ssl_object") is None
            self._link.flush_all()
            await self._link.send(start, self._timeout)
            await self._link.drain(self._timeout)
            send = self._sendfile if clear else self._copy
            await send(source.fileno(), file.offset, length, file.path)
            self._link.flush_some()

    async def _sendfile(self, source: int, offset: int, length: int, path: Path) -> None:
        """Let the kernel copy, in a thread because the disk may block, whenever the socket has room."""
        sock = self._link.transport.get_extra_info("socket")
        out = os.dup(sock.fileno())
        try:
            while length:
                try:
                    sent = await asyncio.to_thread(os.sendfile, out, source, offset, min(length, _FILE_CHUNK))
                except BlockingIOError:
                    await self._writable(out)
                    continue
                if not sent:
                    raise EOFError(f"{path} became shorter while it was being sent")
                offset, length = offset + sent, length - sent
        finally:
            os.close(out)

    async def _writable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(fd, _settle, ready)
        try:
            async with asyncio.timeout(self._timeout):
                await ready
        except TimeoutError:
            raise ConnectionAbortedError("the peer took no data") from None
        finally:
            loop.remove_writer(fd)

    async def _copy(self, source: int, offset: int, length: int, path: Path) -> None:
        while length:
            data = await asyncio.to_thread(os.pread, source, min(length, _FILE_CHUNK), offset)
            if not data:
                raise EOFError(f"{path} became shorter while it was being sent")
            await self._link.send(data, self._timeout)
            offset, length = offset + len(data), length - len(data)


class _Sink:
    """A `messages.Sink` on a connection."""

    __slots__ = ("_chunked", "_link", "_timeout")

    def __init__(self, link: Link, timeout: float, chunked: bool) -> None:
        self._link, self._timeout, self._chunked = link, timeout, chunked

    def write(self, data: bytes) -> None:
        link = self._link
        if data and not link.lost and not link.transport.is_closing():
            link.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    @property
    def full(self) -> bool:
        return self._link.stalled

    async def drain(self) -> None:
        if self._link.stalled:
            await self._link.drain(self._timeout)
        elif self._link.lost:
            raise ConnectionResetError("the peer closed the connection")


def has(response: Response, name: str) -> bool:
    """Whether the response has the field `name` (lower case)."""
    return name in response.headers or any(n.lower() == name for n in response.headers)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def plain(status: int, text: str) -> Response:
    """An error in plain words."""
    return Response(status, text.encode() + b"\n", {"content-type": "text/plain; charset=utf-8"})


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_date = (0, "")


def _http_date() -> str:
    """The time in the form of RFC 9110, section 5.6.7, made anew each second."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        t = time.gmtime(now)
        day = f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
        _date = (now, f"{day} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT")
    return _date[1]


def head(response: Response, extra: str) -> bytes:
    """Status line and fields. Raises ValueError where a field would break out of its line."""
    status = response.status
    fields = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
    if fields.count("\n") != len(response.headers) or fields.count("\r") != len(response.headers):
        raise ValueError("a response header has a line break in its name or value")
    date = "" if has(response, "date") else f"date: {_http_date()}\r\n"
    text = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n{date}{fields}{extra}\r\n"
    return text.encode("latin-1")
