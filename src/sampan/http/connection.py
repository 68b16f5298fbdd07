"""One connection of the server: requests are parsed, handled one after the other, and answered.

httptools parses; here are the order of pipelined requests, the limits and the deadlines. A handler whose
client goes away is cancelled. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import unquote

import httptools

from sampan.http.messages import BodyTooLarge, Handler, Peer, Response, Upgrade
from sampan.http.responses import Sender, head, plain
from sampan.http.transport import HIGH_WATER, Inbox, Link, Raw, keep_alive

log = logging.getLogger(__name__)

HEAD_BYTES = 64 << 10
HEAD_COUNT = 128


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


@dataclass(slots=True, eq=False)
class Service:
    """What all connections of a server share."""

    handler: Handler
    limit: int
    timeouts: Timeouts
    closing: bool = False
    connections: set[ServerConnection] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def left(self, connection: ServerConnection) -> None:
        self.connections.discard(connection)
        self.changed.set()


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

    def __init__(
        self, connection: ServerConnection, method: str, target: str, headers: dict[str, str]
    ) -> None:
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
        limit = self._connection.service.limit
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
                async with asyncio.timeout(self._connection.service.timeouts.body):
                    chunk = await self.inbox.get()
            except TimeoutError:
                raise BadRequest(408, "the body came too slowly") from None
            if chunk:
                yield chunk
            else:
                return


class ServerConnection(Link):
    """One client connection: parses requests, runs them in order, sends the responses.

    While a request is being answered, at most one chunk of pipelined requests is parsed ahead; then reading
    pauses.
    """

    peer: Peer

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Request] = deque()
        self.task: asyncio.Task[None] | None = None
        self._parsed: _Request | None = None
        self._refusal: BadRequest | None = None
        self._halted = False  # an upgrade is asked for: what follows is held until the handler has answered
        self._held = bytearray()
        self._raw: Raw | None = None
        self._lingering = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sender = Sender(self, service.timeouts.write)
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
        self.service.connections.add(self)
        self._expire_in(self.service.timeouts.head)

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
        self.service.left(self)
        if self._timer:
            self._timer.cancel()
        error = ConnectionResetError("the client closed the connection")
        if self._parsed:
            self._parsed.inbox.end(error)
        if self._raw:
            self._raw.inbox.end()
        elif self.task:
            self.task.cancel()

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
            elif not self.task and not self._refusal and self._head_bytes == len(data):
                self._expire_in(self.service.timeouts.head)
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
        if self.task:
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
        self.task = self._loop.create_task(self._answer(request))

    def _refuse(self, refusal: BadRequest) -> None:
        """Answer with an error once the requests before are answered, then close."""
        if self._refusal:
            return
        self._refusal = refusal
        running, self._parsed = self._parsed, None
        if running and not running.inbox.ended:
            running.inbox.end(refusal)
        if not self.task:
            self.task = self._loop.create_task(self._send_refusal(refusal))

    async def _send_refusal(self, refusal: BadRequest) -> None:
        with contextlib.suppress(ConnectionError):
            response = plain(refusal.status, str(refusal))
            await self._sender.send(response, method="GET", version="1.1", keep=False)
            self._linger()

    async def _answer(self, request: _Request) -> None:
        keep = False
        try:
            response = await self._handle(request)
            if isinstance(response.body, Upgrade) and self._halted:
                await self._upgrade(response, response.body)
            else:
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
            self.task = None
        if not self.lost:
            self._answered(request, keep)

    async def _handle(self, request: _Request) -> Response:
        try:
            return await self.service.handler(request)
        except BodyTooLarge as e:
            return plain(413, str(e))
        except BadRequest as e:
            request.keep = False
            return plain(e.status, str(e))
        except asyncio.CancelledError:
            if self.lost or self.transport.is_closing():
                raise
            log.exception("%s %s was cancelled by its own handler", request.method, request.target)
            return plain(500, "internal server error")
        except ConnectionError:
            if self.lost:
                raise
            log.exception("%s %s failed", request.method, request.target)
            return plain(500, "internal server error")
        except Exception:
            log.exception("%s %s failed", request.method, request.target)
            return plain(500, "internal server error")

    def _answered(self, request: _Request, keep: bool) -> None:
        """Go on with the next request on this connection, or close it."""
        if not keep:
            self._linger() if not request.inbox.ended else self.transport.close()
            return
        if self._halted and not self._queue:
            self._resume_after_upgrade()
        if self.task:
            return
        if self._queue:
            self._start(self._queue.popleft())
            if not self._queue:
                self.release("pipeline")
        elif self._refusal:
            self.task = self._loop.create_task(self._send_refusal(self._refusal))
        elif self.service.closing:
            self.transport.close()
        else:
            self._expire_in(self.service.timeouts.head if self._in_head else self.service.timeouts.idle)

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
        self._lingering = True
        for reason in list(self._holds):
            self.release(reason)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._expire_in(self.service.timeouts.linger)

    def close_if_idle(self) -> None:
        if not self.task and not self._raw:
            self.transport.close()

    async def _send(self, request: _Request, response: Response) -> bool:
        keep = request.keep and not self.service.closing and request.inbox.ended
        return await self._sender.send(response, method=request.method, version=request.version, keep=keep)

    async def _upgrade(self, response: Response, upgrade: Upgrade) -> None:
        response.status = 101
        has = {name.lower() for name in response.headers}
        await self.send(head(response, "" if "connection" in has else "connection: Upgrade\r\n"))
        self._raw = raw = Raw(self, bytes(self._held))
        self._held.clear()
        self.release("upgrade")
        try:
            await upgrade.run(raw)
        except ConnectionError as e:
            log.debug("an upgraded connection broke: %s", e)
        finally:
            self.transport.close()
