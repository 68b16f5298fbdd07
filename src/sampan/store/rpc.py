"""Calls on an etcd cluster over gRPC: several endpoints, failover, a deadline for everything.

A call goes to the endpoint that answered last, and to the next one when that fails before it was sent; what failed
after it was sent may have been carried out, so only calls that may be repeated are. Messages are made from the
descriptor set that `tools/descriptors.py` compiles from go.etcd.io/etcd/api/v3.
Source: etcd's api/etcdserverpb/rpc.proto and docs, "etcd API guarantees".
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from sampan.machinery import descriptors
from sampan.store.api import StoreError

# How long one attempt may take, and all attempts of one call together.
ATTEMPT_SECONDS, CALL_SECONDS = 3.0, 10.0
# A watch that says nothing for PROBE_SECONDS is asked for its progress; after so many in vain it is given up.
PROBE_SECONDS, PROBES = 5.0, 3
# Each call's service and messages.
_CALLS = {
    "Range": ("KV", "RangeRequest", "RangeResponse"),
    "Txn": ("KV", "TxnRequest", "TxnResponse"),
    "Compact": ("KV", "CompactionRequest", "CompactionResponse"),
    "Status": ("Maintenance", "StatusRequest", "StatusResponse"),
}


class Unsure(StoreError):
    """The connection failed after a write was sent: it may have been carried out."""


class Refused(StoreError):
    """etcd answered with an error; `code` is the name of its gRPC status."""

    def __init__(self, code: str, message: str):
        super().__init__(f"etcd refused: {message}")
        self.code = code


class Stale(StoreError):
    """A watch began where the history is compacted; `oldest` is etcd's revision that it is compacted to."""

    def __init__(self, oldest: int):
        super().__init__(f"etcd has compacted its history up to revision {oldest}")
        self.oldest = oldest


@cache
def message(name: str) -> Any:
    """The class of a message of etcd's API, such as `RangeRequest`."""
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(descriptors.pool("etcd").FindMessageTypeByName(f"etcdserverpb.{name}"))


class Client:
    """Calls on whichever of `endpoints` (host and port) answers."""

    def __init__(self, endpoints: Sequence[tuple[str, int]], tls: ssl.SSLContext | None = None) -> None:
        self._endpoints = list(endpoints)
        self._tls = tls
        self._at = 0
        self._channel: Any = None
        self._closed = False

    @property
    def name(self) -> str:
        return ", ".join(f"{host}:{port}" for host, port in self._endpoints)

    async def call(self, name: str, request: Any, *, repeat: bool = True) -> Any:
        """The response. Raises Refused, Unsure (never with `repeat`), StoreError where no endpoint answers in time."""
        from grpclib.client import UnaryUnaryMethod

        service, takes, gives = _CALLS[name]
        until = time.monotonic() + CALL_SECONDS
        failure: BaseException | None = None
        attempt = 0
        while time.monotonic() < until and not self._closed:
            channel, sent = self._current(), False
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    await channel.__connect__()
                    sent = True
                    method = UnaryUnaryMethod(
                        channel, f"/etcdserverpb.{service}/{name}", message(takes), message(gives)
                    )
                    return await method(request)
            except Exception as e:
                failure = _worth_another(e)
            self._give_up(channel)
            if sent and not repeat:
                raise Unsure(f"etcd at {self.name} did not say whether it wrote: {_said(failure)}")
            attempt += 1
            if attempt % len(self._endpoints) == 0:
                await asyncio.sleep(min(1.0, 0.05 * 2 ** (attempt // len(self._endpoints))))
        raise StoreError(f"etcd at {self.name} cannot be reached: {_said(failure)}")

    async def watch(self, create: Any) -> AsyncGenerator[Any, None]:
        """The responses of one watch, for ever. Raises Stale, Refused, and StoreError when the connection ends."""
        from grpclib.client import StreamStreamMethod

        request = message("WatchRequest")
        channel = self._current()
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await channel.__connect__()
            method = StreamStreamMethod(
                channel, "/etcdserverpb.Watch/Watch", request, message("WatchResponse")
            )
            # Without a leader a member's watches would be silent, and look alive.
            async with method.open(metadata={"hasleader": "true"}) as stream:
                try:
                    await stream.send_message(request(create_request=create))
                    async for response in _responses(stream, request):
                        yield response
                finally:
                    with suppress(Exception):
                        await stream.cancel()
        except StoreError:
            raise
        except Exception as e:
            failure = _worth_another(e)
            self._give_up(channel)
            raise StoreError(f"the watch of etcd at {self.name} broke: {_said(failure)}") from e

    def _current(self) -> Any:
        if self._channel is None:
            from grpclib.client import Channel
            from grpclib.config import Configuration

            host, port = self._endpoints[self._at]
            window = Configuration(http2_connection_window_size=16 << 20, http2_stream_window_size=8 << 20)
            self._channel = Channel(host, port, ssl=self._tls, config=window)
        return self._channel

    def _give_up(self, channel: Any) -> None:
        """Go on with the next endpoint; whoever else still uses this one fails, and does the same."""
        if channel is not None and channel is self._channel:
            self._channel = None
            self._at = (self._at + 1) % len(self._endpoints)
            channel.close()

    def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            self._channel.close()
            self._channel = None


async def _responses(stream: Any, request: Any) -> AsyncGenerator[Any, None]:
    silent = 0
    reader = asyncio.ensure_future(stream.recv_message())
    try:
        while True:
            done, _ = await asyncio.wait({reader}, timeout=PROBE_SECONDS)
            if not done:
                silent += 1
                if silent > PROBES:
                    raise TimeoutError(f"no sign of life for {PROBES * PROBE_SECONDS:g} s")
                await stream.send_message(request(progress_request={}))
                continue
            silent = 0
            response = reader.result()
            if response is None:
                raise ConnectionError("etcd ended the watch")
            if response.compact_revision:
                raise Stale(response.compact_revision)
            if response.canceled:
                raise ConnectionError(response.cancel_reason or "etcd cancelled the watch")
            yield response
            reader = asyncio.ensure_future(stream.recv_message())
    finally:
        reader.cancel()
        with suppress(BaseException):
            await reader


def _worth_another(error: Exception) -> Exception:
    """The error, where another attempt may succeed; raises it as Refused where it is etcd's answer."""
    from grpclib.const import Status
    from grpclib.exceptions import GRPCError

    if isinstance(error, GRPCError) and error.status not in (
        Status.UNAVAILABLE,
        Status.DEADLINE_EXCEEDED,
        Status.CANCELLED,
    ):
        raise Refused(error.status.name, error.message or error.status.name) from error
    return error


def _said(error: BaseException | None) -> str:
    if isinstance(error, TimeoutError):
        return str(error) or f"no answer within {ATTEMPT_SECONDS:g} s"
    return str(getattr(error, "message", None) or error or "it is closed")
