"""An HTTP/1.1 client for one server: pooled connections over TCP, TLS or a unix socket.

A pooled connection may have been closed by the server just as we wrote to it. A request that may be repeated
(RFC 9110, section 9.2.2, and its body is at hand) is then sent once more, on a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from urllib.parse import unquote, urlsplit

import httptools

from sampan.http.messages import Connection
from sampan.http.transport import Inbox, Link, Raw, keep_alive

# A header with several values is sent once for each.
Headers = Mapping[str, str | tuple[str, ...]]
IDLE_CONNECTIONS = 32
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})


class HttpClient:
    """A client of the server at `base`: `https://host:port`, `http://host:port` or `unix:///path.sock`.

    `headers` go with every request. A connection unused for `idle` seconds is not used again. With `at_once`, so many
    requests at most wait for their response's head; more wait for their turn, where each would open a connection of
    its own. The server's certificate must be for `server_name` where one is given, else for the host. Everything here
    raises ConnectionError where there is no answer, and TimeoutError where there is none in time.
    """

    def __init__(
        self,
        base: str,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float = 30.0,
        idle: float = 60.0,
        headers: Mapping[str, str] | None = None,
        at_once: int = 0,
        server_name: str = "",
    ) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https", "unix"):
            raise ValueError(f"{base}: the scheme is none of http, https and unix")
        self.base = base
        self.timeout = timeout
        self._path = unquote(parts.path) if parts.scheme == "unix" else ""
        self._host = parts.hostname or "localhost"
        self._name = server_name or self._host
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._headers = {"host": parts.netloc.rpartition("@")[2] or "localhost", **(headers or {})}
        self._turn = asyncio.Semaphore(at_once) if at_once else contextlib.nullcontext()
        self._keep_idle = idle
        self._idle: list[_ClientConnection] = []
        self._busy: set[_ClientConnection] = set()
        self._closed = False

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Headers | None = None,
        body: bytes | AsyncIterator[bytes] = b"",
        timeout: float | None = None,
    ) -> ClientResponse:
        """Send a request and return once the response's head is there, within `timeout` seconds.

        An iterator as `body` is sent chunked, and may go on after the response has begun.
        """
        repeatable = isinstance(body, bytes) and method in _IDEMPOTENT
        async with asyncio.timeout(self.timeout if timeout is None else timeout), self._turn:
            connection = self._take() or await self._connect()
            reused = connection.used
            try:
                return await connection.exchange(method, target, self._fields(headers), body)
            except ConnectionError:
                if not (reused and repeatable):
                    raise
            connection = await self._connect()
            return await connection.exchange(method, target, self._fields(headers), body)

    async def upgrade(
        self, method: str, target: str, headers: Headers, timeout: float | None = None
    ) -> tuple[ClientResponse, Connection | None]:
        """Ask to upgrade, on a connection of its own; `headers` name the protocol in `upgrade`.

        The connection is None where the server answered something else than 101.
        """
        fields = self._fields({"connection": "Upgrade", **headers})
        async with asyncio.timeout(self.timeout if timeout is None else timeout):
            connection = await self._connect()
            response = await connection.exchange(method, target, fields, b"")
        return response, connection.raw

    @property
    def busy(self) -> bool:
        """Whether any connection is in use."""
        return bool(self._busy)

    async def close(self) -> None:
        """Close every connection, also those in use."""
        self._closed = True
        for connection in [*self._idle, *self._busy]:
            connection.transport.abort()
        self._idle.clear()
        await asyncio.sleep(0)

    def _fields(self, headers: Headers | None) -> Headers:
        return {**self._headers, **{k.lower(): v for k, v in headers.items()}} if headers else self._headers

    def _take(self) -> _ClientConnection | None:
        """The connection used last, if it is still good."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost and not connection.transport.is_closing():
                if now - connection.since < self._keep_idle:
                    self._busy.add(connection)
                    return connection
                connection.transport.close()
        return None

    async def _connect(self) -> _ClientConnection:
        if self._closed:
            raise ConnectionError(f"the client of {self.base} is closed")
        loop = asyncio.get_running_loop()
        try:
            if self._path:
                _, connection = await loop.create_unix_connection(lambda: _ClientConnection(self), self._path)
            else:
                _, connection = await loop.create_connection(
                    lambda: _ClientConnection(self),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._name if self._tls else None,
                )
        except TimeoutError:
            raise
        except OSError as e:
            raise ConnectionError(f"cannot connect to {self.base}: {e.strerror or e}") from e
        self._busy.add(connection)
        return connection

    def give_back(self, connection: _ClientConnection) -> None:
        """Take a connection into the pool after a complete exchange."""
        self._busy.discard(connection)
        if self._closed or len(self._idle) >= IDLE_CONNECTIONS:
            connection.transport.close()
        else:
            connection.since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def forget(self, connection: _ClientConnection) -> None:
        self._busy.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)


class ClientResponse:
    """A response whose head is there.

    Read it to its end or close it; as a context manager it closes itself.
    """

    def __init__(self, connection: _ClientConnection, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.inbox = Inbox(connection)
        self._connection = connection

    async def read(self, timeout: float | None = None) -> bytes:
        """The whole body, within `timeout` seconds (by default the client's)."""
        async with asyncio.timeout(self._connection.client.timeout if timeout is None else timeout):
            return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self, timeout: float | None = None) -> AsyncIterator[bytes]:
        """The body as it comes; each piece must come within `timeout` seconds."""
        try:
            while True:
                async with asyncio.timeout(timeout):
                    chunk = await self.inbox.get()
                if not chunk:
                    return
                yield chunk
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the connection: back to the pool after a whole body, else it is cut."""
        self._connection.done(self)

    async def __aenter__(self) -> ClientResponse:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _ClientConnection(Link):
    """One connection: at most one exchange at a time."""

    def __init__(self, client: HttpClient) -> None:
        super().__init__()
        self.client = client
        self.used = False
        self.since = 0.0
        self.raw: Raw | None = None
        self._head: asyncio.Future[ClientResponse] | None = None
        self._response: ClientResponse | None = None
        self._sender: asyncio.Task[None] | None = None
        self._bare = False
        self._keep = False
        self._parser = httptools.HttpResponseParser(self)
        self._new_head()

    # Exchanges

    async def exchange(
        self, method: str, target: str, headers: Headers, body: bytes | AsyncIterator[bytes]
    ) -> ClientResponse:
        """Send a request and wait for the response's head; on any failure the connection is cut."""
        self._head = asyncio.get_running_loop().create_future()
        self._bare = method == "HEAD"
        try:
            await self._send_request(method, target, headers, body)
            response = await self._head
        except BaseException:
            self._abort()
            raise
        finally:
            self._head = None
        self.used = True
        return response

    async def _send_request(
        self, method: str, target: str, headers: Headers, body: bytes | AsyncIterator[bytes]
    ) -> None:
        if isinstance(body, bytes):
            extra = f"content-length: {len(body)}\r\n" if body or method in ("POST", "PUT", "PATCH") else ""
            if self.lost or self.transport.is_closing():
                raise ConnectionResetError(f"{self.client.base} closed the connection")
            self.transport.write(_request_head(method, target, headers, extra) + body)
        else:
            extra = "" if "content-length" in headers else "transfer-encoding: chunked\r\n"
            await self.send(_request_head(method, target, headers, extra))
            self._sender = asyncio.get_running_loop().create_task(self._send_body(body, not extra))

    async def _send_body(self, body: AsyncIterator[bytes], plain: bool) -> None:
        try:
            async for data in body:
                if data:
                    await self.send(data if plain else b"%x\r\n%b\r\n" % (len(data), data))
            if not plain:
                await self.send(b"0\r\n\r\n")
        except ConnectionError:
            pass  # the server may have answered before it closed: what arrives decides
        except Exception as e:
            self._fail(ConnectionError(f"the request's body failed: {e}"))
            self._abort()
        finally:
            if close := getattr(body, "aclose", None):
                await close()

    def done(self, response: ClientResponse) -> None:
        """The reader is done with `response`."""
        if response is not self._response:
            return
        if not response.inbox.ended or not self._keep or (self._sender and not self._sender.done()):
            if not self.raw:
                self._abort()
            return
        response.inbox.discard()
        self._response = self._sender = None
        self.client.give_back(self)

    def _abort(self) -> None:
        self._response = None
        if self._sender:
            self._sender.cancel()
        if not self.lost:
            self.transport.abort()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if sock := transport.get_extra_info("socket"):
            keep_alive(sock)

    def data_received(self, data: bytes) -> None:
        if self.raw:
            self.raw.inbox.feed(data)
            return
        if not self._head and not self._response:
            self.transport.abort()  # a response that nobody asked for
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as e:
            self.raw = Raw(self, data[e.args[0] :])
            self._ready()
        except httptools.HttpParserError as e:
            self._fail(ConnectionError(f"{self.client.base} did not answer in HTTP/1.1: {e}"))
            self.transport.abort()

    def eof_received(self) -> bool | None:
        if self.raw:
            self.raw.inbox.end()
            return self.transport.can_write_eof()
        return None

    def gone(self) -> None:
        self.client.forget(self)
        if self._sender:
            self._sender.cancel()
        if self.raw:
            self.raw.inbox.end()
        headers = self._response.headers if self._response else {}
        if self._response and not ({"content-length", "transfer-encoding"} & headers.keys()):
            self._response.inbox.end()  # such a body ends with the connection
        self._fail(ConnectionResetError(f"{self.client.base} closed the connection"))

    def _fail(self, error: Exception) -> None:
        if self._head and not self._head.done():
            self._head.set_exception(error)
        if self._response:
            self._response.inbox.end(error)

    # What the parser calls

    def _new_head(self) -> None:
        self._headers: dict[str, str] = {}

    def on_message_begin(self) -> None:
        self._new_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        self._response = ClientResponse(self, status, self._headers)
        self._keep = self._parser.should_keep_alive() and status != 101
        if self._bare or status in (204, 304):
            # The parser does not know that this response has no body: it starts anew with the next.
            self._response.inbox.end()
            self._parser = httptools.HttpResponseParser(self)
        if status != 101:
            self._ready()

    def _ready(self) -> None:
        if self._head and not self._head.done() and self._response:
            self._head.set_result(self._response)

    def on_body(self, data: bytes) -> None:
        if self._response:
            self._response.inbox.feed(data)

    def on_message_complete(self) -> None:
        if self._response and self._response.status != 101:
            self._response.inbox.end()


def _request_head(method: str, target: str, headers: Headers, extra: str) -> bytes:
    """Request line and fields. Raises ValueError where one would break out of its line."""
    each = [(n, v) for n, found in headers.items() for v in ((found,) if isinstance(found, str) else found)]
    fields = "".join([f"{name}: {value}\r\n" for name, value in each])
    head = f"{method} {target} HTTP/1.1\r\n{fields}{extra}\r\n"
    if head.count("\n") != len(each) + extra.count("\n") + 2 or " " in target:
        raise ValueError("the request's target or a header has a space or line break where none may be")
    return head.encode("latin-1")
