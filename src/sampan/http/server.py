"""An HTTP/1.1 server: one protocol object for each connection, one task for each request.

httptools parses; this module keeps the order of pipelined requests, the limits, and the flow. A handler whose
client goes away is cancelled. Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httptools

from sampan.http.messages import BodyTooLarge, File, Handler, Peer, Response, Upgrade
from sampan.http.transport import HIGH_WATER, Inbox, Link, Raw, keep_alive

log = logging.getLogger(__name__)

HEAD_BYTES = 64 << 10
HEAD_COUNT = 128
_FILE_CHUNK = 1 << 20
_PHRASES = {s.value: s.phrase for s in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a client may take, in seconds, before it is answered 408 or cut off.

    `head`: to send a request's head once begun; `idle`: between requests; `body`: without sending any of a
    body that the handler waits for; `write`: without taking any of a response; `linger`: to stop sending a
    body nobody wants.
    """

    head: float = 15.0
    idle: float = 120.0
    body: float = 60.0
    write: float = 60.0
    linger: float = 2.0


class BadRequest(Exception):
    """What the client sent is not HTTP as RFC 9112 has it, or came too slowly; `status` is the answer."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def listen(address: str, port: int) -> socket.socket:
    """A TCP socket that listens on an IPv4 or IPv6 address; port 0 takes any."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(1024)
    except OSError as e:
        sock.close()
        raise OSError(e.errno, f"cannot listen on {address} port {port}: {e.strerror}") from e
    sock.setblocking(False)
    return sock


def listen_unix(path: str | os.PathLike[str], mode: int = 0o600) -> socket.socket:
    """A unix socket that listens at `path` with file mode `mode`, in place of one left by a dead process."""
    name = os.fspath(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    staged = f"{name}.{os.getpid()}"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)
        sock.bind(staged)
        os.chmod(staged, mode)
        sock.listen(1024)
        os.rename(staged, name)
    except OSError as e:
        sock.close()
        raise OSError(e.errno, f"cannot listen on {name}: {e.strerror}") from e
    sock.setblocking(False)
    return sock


async def serve(
    handler: Handler,
    *,
    sockets: Sequence[socket.socket],
    tls: ssl.SSLContext | None = None,
    limit: int = 16 << 20,
    timeouts: Timeouts | None = None,
) -> Server:
    """Serve on sockets that already listen. `limit` bounds what `Request.body` reads, in bytes.

    With `tls`, a client certificate that the context has verified is in `request.peer.certificate`.
    """
    server = Server(handler, limit, timeouts or Timeouts())
    await server.start(sockets, tls)
    return server


class Server:
    """A running server; `close` ends it."""

    def __init__(self, handler: Handler, limit: int, timeouts: Timeouts) -> None:
        self.handler = handler
        self.limit = limit
        self.timeouts = timeouts
        self.closing = False
        self.connections: set[_Connection] = set()
        self._servers: list[asyncio.AbstractServer] = []
        self._empty = asyncio.Event()

    async def start(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        handshake = self.timeouts.head if tls else None
        for sock in sockets:
            create: Any = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            made = await create(
                lambda: _Connection(self), sock=sock, ssl=tls, backlog=1024, ssl_handshake_timeout=handshake
            )
            self._servers.append(made)

    async def close(self, grace: float = 5.0) -> None:
        """Stop listening, let requests in progress end for `grace` seconds, then cancel what is left."""
        self.closing = True
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.emptied()
        for connection in list(self.connections):
            connection.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self.emptied()

    async def emptied(self) -> None:
        """Wait until no connection is left."""
        """Wait until no connection is left."""
        while self.connections:
            self._empty.clear()
            await self._empty.wait()

    def left(self, connection: _Connection) -> None:
        self.connections.discard(connection)
        self._empty.set()


class _Request:
    """A request whose head is parsed (the contract is `messages.Request`)."""

    __slots__ = (
        "_connection",
        "headers",
        "inbox",
        "keep",
        "method",
        "path",
        "peer",
        "query",
        "target",
        "version",
    )

    def __init__(self, connection: _Connection, method: str, target: str, headers: dict[str, str]) -> None:
        self.method = method
        self.target = target
        path, _, self.query = target.partition("?")
        if not path.startswith("/") and "://" in path:
            path = "/" + path.split("://", 1)[1].partition("/")[2]
        self.path = unquote(path) if "%" in path else path
        self.headers = headers
        self.peer = connection.peer
        self.inbox = Inbox(connection)
        self.keep = True
        self.version = "1.1"
        self._connection = connection

    async def body(self) -> bytes:
        limit = self._connection.server.limit
        length = self.headers.get("content-length", "0")
        if int(length) > limit:
            raise BodyTooLarge(f"the body has {length} bytes; the limit is {limit}")
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge(f"the body has more than {limit} bytes")
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        if not self.inbox.ended and self.headers.get("expect", "").lower() == "100-continue":
            del self.headers["expect"]
            await self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self.inbox.at_end:
            try:
                async with asyncio.timeout(self._connection.server.timeouts.body):
                    chunk = await self.inbox.get()
            except TimeoutError:
                raise BadRequest(408, "the body came too slowly") from None
            if chunk:
                yield chunk
            else:
                return


class _Connection(Link):
    """One client connection: parses requests, runs them in order, sends the responses.

    While a request is being answered, at most one chunk of pipelined requests is parsed ahead; then reading
    pauses.
    """

    peer: Peer

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._parsed: _Request | None = None
        self._refusal: BadRequest | None = None
        self._halted = False  # an upgrade is asked for: what follows is held until the handler has answered
        self._held = bytearray()
        self._raw: Raw | None = None
        self._lingering = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._new_parser()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        name = transport.get_extra_info("peername")
        tls = transport.get_extra_info("ssl_object")
        if sock:
            keep_alive(sock)
        self.peer = Peer(str(name[0]) if isinstance(name, tuple) else "unix", tls and tls.getpeercert(True))
        self.server.connections.add(self)
        self._expire_in(self.server.timeouts.head)

    def data_received(self, data: bytes) -> None:
        if self._raw:
            self._raw.inbox.feed(data)
        elif self._halted:
            self._held += data
            if len(self._held) > HIGH_WATER:
                self.hold("upgrade")
        elif not self._lingering and not self._refusal:
            self._parse(data)

    def eof_received(self) -> bool | None:
        if self._raw:
            # The peer may go on reading: an upgraded connection closes each direction by itself.
            self._raw.inbox.end()
            return self.transport.can_write_eof()
        return None

    def gone(self) -> None:
        self.server.left(self)
        if self._timer:
            self._timer.cancel()
        error = ConnectionResetError("the client closed the connection")
        if self._parsed:
            self._parsed.inbox.end(error)
        if self._raw:
            self._raw.inbox.end()
        elif self._task:
            self._task.cancel()

    # Deadlines: one lazy timer, moved only when it fires or must fire earlier

    def _expire_in(self, seconds: float | None) -> None:
        if seconds is None:
            self._deadline = None
            return
        self._deadline = self._loop.time() + seconds
        if self._timer and self._timer.when() > self._deadline + 0.001:
            self._timer.cancel()
            self._timer = None
        if not self._timer:
            self._timer = self._loop.call_at(self._deadline, self._expired)

    def _expired(self) -> None:
        self._timer = None
        if self._deadline is None or self.lost:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._expired)
        elif self._head_bytes and not self._lingering:
            self._refuse(BadRequest(408, "the request's head came too slowly"))
        else:
            self.transport.abort()

    # What the parser calls

    def _new_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self._in_head = False

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as e:
            self._halted = True
            self._held += data[e.args[0] :]
        except httptools.HttpParserError as e:
            self._refuse(BadRequest(400, f"the request is not HTTP/1.1: {e}"))
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(BadRequest(431, f"the head has more than {HEAD_BYTES} bytes"))
            elif not self._task and not self._refusal and self._head_bytes == len(data):
                self._expire_in(self.server.timeouts.head)
        else:
            self._head_bytes = 0
        if self._queue:
            self.hold("pipeline")

    def on_message_begin(self) -> None:
        self._in_head = True
        self._target = b""
        self._headers: dict[str, str] = {}
        self._counted = self._sized = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._counted += 1
        self._sized += len(name) + len(value)
        if key in self._headers:
            text = f"{self._headers[key]}{'; ' if key == 'cookie' else ', '}{text}"
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        self._in_head = False
        parser = self._parser
        target = self._target.decode("latin-1")
        request = _Request(self, parser.get_method().decode("ascii"), target, self._headers)
        request.keep = parser.should_keep_alive()
        request.version = parser.get_http_version()
        self._parsed = request
        if self._counted > HEAD_COUNT or self._sized + len(target) > HEAD_BYTES:
            self._refuse(BadRequest(431, f"the head has more than {HEAD_BYTES} bytes or {HEAD_COUNT} fields"))
        elif request.version == "1.1" and "host" not in self._headers:
            self._refuse(BadRequest(400, "the request has no Host field"))
        if self._refusal:
            return
        if self._task:
            self._queue.append(request)
        else:
            self._start(request)

    def on_body(self, data: bytes) -> None:
        if self._parsed:
            self._parsed.inbox.feed(data)

    def on_message_complete(self) -> None:
        if self._parsed:
            self._parsed.inbox.end()
        self._parsed = None

    # Requests, one after the other

    def _start(self, request: _Request) -> None:
        self._expire_in(None)
        self._task = self._loop.create_task(self._answer(request))

    def _refuse(self, refusal: BadRequest) -> None:
        """Answer with an error once the requests before are answered, then close."""
        if self._refusal:
            return
        self._refusal = refusal
        running, self._parsed = self._parsed, None
        if running and not running.inbox.ended:
            running.inbox.end(refusal)
        if not self._task:
            self._task = self._loop.create_task(self._send_refusal(refusal))

    async def _send_refusal(self, refusal: BadRequest) -> None:
        with contextlib.suppress(ConnectionError):
            body = f"{refusal}\n".encode()
            await self._send_bytes(_plain(refusal.status, ""), body, "connection: close\r\n", False)
            self._linger()

    async def _answer(self, request: _Request) -> None:
        keep = False
        try:
            response = await self._handle(request)
            keep = await self._send(request, response)
        except ConnectionError:
            self.transport.abort()
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception:
            # The head is sent, so the only way to tell the client is to break off.
            log.exception("%s %s failed while its response was being sent", request.method, request.target)
            self.transport.abort()
        finally:
            self._task = None
        if not self.lost:
            self._answered(request, keep)

    async def _handle(self, request: _Request) -> Response:
        try:
            return await self.server.handler(request)
        except BodyTooLarge as e:
            return _plain(413, str(e))
        except BadRequest as e:
            request.keep = False
            return _plain(e.status, str(e))
        except asyncio.CancelledError:
            if self.lost or self.transport.is_closing():
                raise
            log.exception("%s %s was cancelled by its own handler", request.method, request.target)
            return _plain(500, "internal server error")
        except ConnectionError:
            if self.lost:
                raise
            log.exception("%s %s failed", request.method, request.target)
            return _plain(500, "internal server error")
        except Exception:
            log.exception("%s %s failed", request.method, request.target)
            return _plain(500, "internal server error")

    def _answered(self, request: _Request, keep: bool) -> None:
        """Go on with the next request on this connection, or close it."""
        if not keep:
            self._linger() if not request.inbox.ended else self.transport.close()
            return
        if self._halted and not self._queue:
            self._resume_after_upgrade()
        if self._task:
            return
        if self._queue:
            self._start(self._queue.popleft())
            if not self._queue:
                self.release("pipeline")
        elif self._refusal:
            self._task = self._loop.create_task(self._send_refusal(self._refusal))
        elif self.server.closing:
            self.transport.close()
        else:
            self._expire_in(self.server.timeouts.head if self._in_head else self.server.timeouts.idle)

    def _resume_after_upgrade(self) -> None:
        """The handler answered without upgrading: what was held is HTTP after all."""
        held, self._held = bytes(self._held), bytearray()
        self._halted = False
        self._new_parser()
        self.release("upgrade")
        if held:
            self._parse(held)

    def _linger(self) -> None:
        """Close without destroying the response that is on its way: first let the client stop sending."""
        if self.lost or self.transport.is_closing():
            return
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingering = True
        for reason in list(self._holds):
            self.release(reason)
        self.transport.write_eof()
        self._expire_in(self.server.timeouts.linger)

    def close_if_idle(self) -> None:
        if not self._task and not self._raw:
            self.transport.close()

    # Responses

    async def _send(self, request: _Request, response: Response) -> bool:
        """Send a response; return whether the connection can take another request."""
        body = response.body
        if isinstance(body, Upgrade):
            await self._upgrade(response, body)
            return False
        keep = request.keep and not self.server.closing and request.inbox.ended
        keep = keep and response.headers.get("connection", "").lower() != "close"
        extra = "" if keep else "connection: close\r\n"
        if keep and request.version == "1.0":
            extra = "connection: keep-alive\r\n"
        bare = request.method == "HEAD" or response.status < 200 or response.status in (204, 304)
        if isinstance(body, bytes):
            await self._send_bytes(response, body, extra, bare)
        elif isinstance(body, File):
            await self._send_file(response, body, extra, bare)
        else:
            keep = await self._send_chunks(request, response, body, extra, bare) and keep
        return keep

    async def _send_bytes(self, response: Response, body: bytes, extra: str, bare: bool) -> None:
        if response.status >= 200 and response.status != 204 and "content-length" not in response.headers:
            extra += f"content-length: {len(body)}\r\n"
        head = _head(response, extra)
        await self.send(head if bare else head + body, self.server.timeouts.write)

    async def _send_chunks(
        self, request: _Request, response: Response, body: AsyncIterator[bytes], extra: str, bare: bool
    ) -> bool:
        """Send what an iterator gives, as it comes; return whether the client knows where it ended."""
        timeout = self.server.timeouts.write
        sized = any(name.lower() == "content-length" for name in response.headers)
        chunked = not sized and request.version == "1.1"
        if chunked and not bare:
            extra += "transfer-encoding: chunked\r\n"
        elif not sized and not bare and "connection" not in extra:
            extra += "connection: close\r\n"
        try:
            await self.send(_head(response, extra), timeout)
            if bare:
                return True
            async for data in body:
                if data:
                    await self.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data, timeout)
            if chunked:
                await self.send(b"0\r\n\r\n", timeout)
        finally:
            if close := getattr(body, "aclose", None):
                await close()
        return chunked or sized

    async def _send_file(self, response: Response, file: File, extra: str, bare: bool) -> None:
        timeout = self.server.timeouts.write
        with await asyncio.to_thread(open, file.path, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            length = max(0, size - file.offset) if file.length is None else file.length
            head = _head(response, extra + f"content-length: {length}\r\n")
            if bare:
                await self.send(head, timeout)
                return
            plain = self.transport.get_extra_info("ssl_object") is None
            self.flush_all()
            await self.send(head, timeout)
            await self.drain(timeout)
            send = self._sendfile if plain else self._copy
            await send(source.fileno(), file.offset, length, file.path)
            self.flush_some()

    async def _sendfile(self, source: int, offset: int, length: int, path: Path) -> None:
        """Let the kernel copy, in a thread because the disk may block, whenever the socket has room."""
        sock = self.transport.get_extra_info("socket")
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
        ready = self._loop.create_future()
        self._loop.add_writer(fd, _settle, ready)
        try:
            async with asyncio.timeout(self.server.timeouts.write):
                await ready
        except TimeoutError:
            raise ConnectionAbortedError("the peer took no data") from None
        finally:
            self._loop.remove_writer(fd)

    async def _copy(self, source: int, offset: int, length: int, path: Path) -> None:
        while length:
            data = await asyncio.to_thread(os.pread, source, min(length, _FILE_CHUNK), offset)
            if not data:
                raise EOFError(f"{path} became shorter while it was being sent")
            await self.send(data, self.server.timeouts.write)
            offset, length = offset + len(data), length - len(data)

    async def _upgrade(self, response: Response, upgrade: Upgrade) -> None:
        if not self._halted:
            raise ValueError("the handler upgrades a request that does not ask for it")
        response.status = 101
        has = {name.lower() for name in response.headers}
        await self.send(_head(response, "" if "connection" in has else "connection: Upgrade\r\n"))
        self._raw = raw = Raw(self, bytes(self._held))
        self._held.clear()
        self.release("upgrade")
        try:
            await upgrade.run(raw)
        except ConnectionError as e:
            log.debug("an upgraded connection broke: %s", e)
        finally:
            self.transport.close()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _plain(status: int, text: str) -> Response:
    return Response(status, text.encode() + b"\n", {"content-type": "text/plain; charset=utf-8"})


_date = (0, "")


def _http_date() -> str:
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]


def _head(response: Response, extra: str) -> bytes:
    """Status line and fields. Raises ValueError where a field would break out of its line."""
    status = response.status
    fields = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
    if fields.count("\n") != len(response.headers) or fields.count("\r") != len(response.headers):
        raise ValueError("a response header has a line break in its name or value")
    head = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\ndate: {_http_date()}\r\n{fields}{extra}\r\n"
    return head.encode("latin-1")
