"""Answers as HTTP responses, in the form that was asked for (`representing`)."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import orjson

from sampan.apiserver import errors, representing
from sampan.apiserver.call import Answer, Call, Made, Many, One, Seen, Stream
from sampan.apiserver.negotiation import JSON, PROTOBUF, YAML, Form, form
from sampan.client.api import ApiError
from sampan.http.messages import Push, Response, Sink
from sampan.kinds.kind import Kind
from sampan.machinery import encoding, protobuf, tables
from sampan.machinery.objects import Object

# Answers at least this large are compressed for clients that take gzip, off the loop, as upstream's.
COMPRESSED_FROM = 128 * 1024
log = logging.getLogger(__name__)
CAUSES = "sampan-causes"

Next = Callable[[Call], Awaitable[Answer]]


def render(inner: Next) -> Next:
    """The step of the chain that makes responses of answers."""

    async def step(call: Call) -> Answer:
        return await respond(call, await inner(call))

    return step


async def respond(call: Call, answer: Answer) -> Response:
    """The response that renders an answer. Raises 406."""
    if isinstance(answer, Response):
        return answer
    wanted = _form(call, answer)
    headers = {"content-type": wanted.media}
    match answer:
        case One():
            response = Response(answer.code, representing.record(wanted, call, answer.record), headers)
        case Made():
            response = Response(answer.code, _made(call, wanted, answer.object), headers)
        case Many():
            response = Response(200, await _listed(call, wanted, answer), headers)
        case Stream():
            headers["content-type"] += ";stream=watch" if wanted.media == PROTOBUF else ""
            return _warned(
                call, Response(200, Push(lambda sink: _watched(call, wanted, answer, sink)), headers)
            )
    return await _compressed(call, _warned(call, response))


def _form(call: Call, answer: Answer) -> Form:
    """What is wanted, as far as the answer has that form."""
    accept = call.headers.get("accept", "")
    if PROTOBUF not in accept:
        found = form(accept)
    elif isinstance(answer, Made):
        obj = answer.object
        found = form(accept, protobuf.knows(str(obj.get("apiVersion", "")), str(obj.get("kind", ""))))
    else:
        kind = call.resource
        found = form(accept, kind.schema is None and protobuf.knows(kind.api_version, kind.kind))
    # Nobody reads a stream of YAML.
    return (
        Form(JSON, found.shape, found.version)
        if isinstance(answer, Stream) and found.media == YAML
        else found
    )


def _warned(call: Call, response: Response) -> Response:
    warned(call, response)
    return response


def warned(call: Call, response: Response) -> Response:
    """The response with what the client is warned of, in its headers."""
    for warning in dict.fromkeys(call.warnings):
        text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        before = response.headers.get("warning")
        response.headers["warning"] = f'{before}, 299 - "{text}"' if before else f'299 - "{text}"'
    return response


def refusal(error: ApiError, accept: str = "") -> Response:
    """A Status, in protobuf where that is wanted first; with Retry-After where it says when to come again."""
    media = JSON
    if PROTOBUF in accept:
        try:
            media = form(accept, True).media
        except ApiError:
            media = JSON
    headers = {"content-type": media}
    wait = (error.status.get("details") or {}).get("retryAfterSeconds")
    if wait:
        headers["retry-after"] = str(wait)
    if media == PROTOBUF:
        try:
            return Response(error.code, protobuf.encode(error.status), headers)
        except protobuf.ProtobufError:
            headers["content-type"] = JSON
    return Response(error.code, representing.encoded(Form(headers["content-type"]), error.status), headers)


def _made(call: Call, wanted: Form, obj: Object) -> bytes:
    if wanted.shape and call.kind and obj.get("kind") == call.kind.kind:
        obj = representing.shaped(wanted, call, obj)
    return representing.encoded(wanted, obj)


async def _listed(call: Call, wanted: Form, answer: Many) -> bytes | AsyncIterator[bytes]:
    """A list: bytes where it is one piece, else the pieces as they are made."""
    pieces = representing.pieces(wanted, call, answer)
    first = await anext(pieces)
    second = await anext(pieces, b"")
    if wanted.media == YAML:
        from sampan.machinery import yaml

        whole = b"".join([first, second, *[piece async for piece in pieces]])
        return await asyncio.to_thread(lambda: yaml.dump(orjson.loads(whole)).encode())
    return _chained(first, second, pieces) if second else first


async def _chained(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    yield second
    async for piece in rest:
        yield piece


async def _compressed(call: Call, response: Response) -> Response:
    data = response.body
    if "gzip" not in call.headers.get("accept-encoding", "") or "content-encoding" in response.headers:
        return response
    headers = {**response.headers, "content-encoding": "gzip", "vary": "accept-encoding"}
    if isinstance(data, bytes):
        if len(data) < COMPRESSED_FROM:
            return response
        return Response(response.status, await asyncio.to_thread(zlib.compress, data, 1, 31), headers)
    if isinstance(data, AsyncIterator):
        return Response(response.status, _compressed_pieces(data), headers)
    return response


async def _compressed_pieces(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    async for piece in pieces:
        if packed := await asyncio.to_thread(packer.compress, piece):
            yield packed
    yield packer.flush()


# Watches


async def _watched(call: Call, wanted: Form, answer: Stream, sink: Sink) -> None:
    out = _Encoder(call, wanted, answer.kind, sink)
    try:
        await answer.watching.push(out)
    except ConnectionError:
        raise
    except ApiError as e:
        sink.write(out.error(e))
    except Exception as e:
        log.exception("a watch of %s failed", answer.kind.resource)
        what = f"{type(e).__name__} while watching; the server's log says more"
        sink.write(out.error(errors.internal(what)))
    finally:
        if call.ended:
            call.ended()


class _Encoder:
    """Events as one watcher wants them (a `watching.Out`)."""

    def __init__(self, call: Call, wanted: Form, kind: Kind, sink: Sink):
        self.sink = sink
        self._call, self._kind, self._form = call, kind, wanted
        self._causes = call.headers.get(CAUSES) == "1"
        self._include = representing.include(call)
        self._stored = wanted.plain and not kind.storage and not kind.converted
        self._headed = False

    @property
    def key(self) -> object:
        """None where the next event is this watcher's alone: a table's first tells its columns."""
        if self._form.shape == "Table" and not self._headed:
            return None
        return (self._kind.resource, self._kind.version, self._form, self._causes, self._include)

    def encode(self, seen: Sequence[Seen]) -> bytes:
        return b"".join([self._event(s) for s in seen])

    def error(self, error: ApiError) -> bytes:
        return representing.event(self._form, "ERROR", error.status)

    def _event(self, seen: Seen) -> bytes:
        if seen.moment is None:
            annotations = {"k8s.io/initial-events-end": "true"} if seen.synced else None
            data = encoding.bookmark(self._kind.api_version, self._kind.kind, seen.revision, annotations)
            return representing.event(self._form, seen.type, self._shaped(orjson.loads(data)))
        cause = seen.moment.event.cause if self._causes else ""
        if self._stored:
            return encoding.event(seen.type, seen.moment.json, cause)
        obj = self._shaped(self._kind.from_storage(seen.moment.whole))
        return representing.event(self._form, seen.type, obj, cause)

    def _shaped(self, obj: Object) -> Object:
        if self._form.shape != "Table":
            return representing.shaped(self._form, self._call, obj)
        define, self._headed = not self._headed, True
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        columns = self._kind.columns
        return tables.table(
            columns, [obj], time.time(), metadata=metadata, include=self._include, define=define
        )
