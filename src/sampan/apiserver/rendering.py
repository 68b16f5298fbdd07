"""Answers as HTTP responses, in the form that was asked for.

The plain form, JSON, is put together from stored bytes. All others decode, a slice at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from sampan.apiserver import codec, errors
from sampan.apiserver.call import Answer, Call, Made, Many, One, Seen, Stream
from sampan.apiserver.negotiation import JSON, YAML, Form, form
from sampan.apiserver.reading import SLICE
from sampan.client.api import ApiError
from sampan.http.messages import Push, Response, Sink
from sampan.kinds.kind import Kind
from sampan.machinery import encoding, tables
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
    match answer:
        case Response():
            return answer
        case One():
            response = _one(call, answer)
        case Made():
            response = _made(call, answer)
        case Many():
            response = Response(200, await _many(call, answer), {"content-type": JSON})
        case Stream():
            response = Response(200, Push(lambda sink: _watched(call, answer, sink)), {"content-type": JSON})
    form_wanted = _form(call)
    if form_wanted.media == YAML and isinstance(response.body, bytes):
        response = as_yaml(response)
    for warning in call.warnings:
        text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        before = response.headers.get("warning")
        response.headers["warning"] = f'{before}, 299 - "{text}"' if before else f'299 - "{text}"'
    return await _compressed(call, response)


def refusal(error: ApiError) -> Response:
    """A Status; with Retry-After where it says when to come again."""
    headers = {"content-type": JSON}
    wait = (error.status.get("details") or {}).get("retryAfterSeconds")
    if wait:
        headers["retry-after"] = str(wait)
    return Response(error.code, orjson.dumps(error.status), headers)


def as_yaml(response: Response) -> Response:
    from sampan.machinery import yaml

    assert isinstance(response.body, bytes)
    text = yaml.dump(orjson.loads(response.body))
    return Response(response.status, text.encode(), {**response.headers, "content-type": YAML})


def _form(call: Call) -> Form:
    return form(call.headers.get("accept", ""))


def _one(call: Call, answer: One) -> Response:
    wanted = _form(call)
    if not wanted.shape:
        return Response(answer.code, codec.json(call.resource, answer.record), {"content-type": JSON})
    obj = codec.view(call.resource, answer.record)
    return Response(answer.code, orjson.dumps(_shaped(call, wanted, obj)), {"content-type": JSON})


def _made(call: Call, answer: Made) -> Response:
    wanted = _form(call)
    obj = answer.object
    if wanted.shape and call.kind and obj.get("kind") == call.kind.kind:
        obj = _shaped(call, wanted, obj)
    return Response(answer.code, orjson.dumps(obj), {"content-type": JSON})


def _shaped(call: Call, wanted: Form, obj: Object) -> Object:
    kind = call.resource
    if wanted.shape == "Table":
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return tables.table(kind.columns, [obj], time.time(), metadata=metadata, include=_include(call))
    return tables.partial(obj) if wanted.shape.startswith("Partial") else obj


def _include(call: Call) -> str:
    return call.parameter("includeObject") or "Metadata"


async def _many(call: Call, answer: Many) -> bytes:
    kind, wanted = answer.kind, _form(call)
    if wanted.shape == "Table":
        return await _table(call, answer)
    items: list[bytes] = []
    for n, record in enumerate(answer.records):
        if n % (SLICE if wanted.shape else SLICE * 100) == SLICE - 1:
            await asyncio.sleep(0)
        if wanted.shape:
            items.append(orjson.dumps(tables.partial(codec.view(kind, record))))
        else:
            items.append(codec.json(kind, record))
    version, name = kind.api_version, kind.list_kind or f"{kind.kind}List"
    if wanted.shape:
        version, name = tables.API_VERSION, "PartialObjectMetadataList"
    return encoding.list_of(
        version, name, items, answer.revision, continue_=answer.more, remaining=answer.remaining
    )


async def _table(call: Call, answer: Many) -> bytes:
    now, include, kind = time.time(), _include(call), answer.kind
    meta: Object = {"resourceVersion": str(answer.revision)}
    if answer.more:
        meta |= {"continue": answer.more, "remainingItemCount": answer.remaining}
    rows: list[bytes] = []
    for start in range(0, len(answer.records), SLICE):
        objects = [codec.view(kind, r) for r in answer.records[start : start + SLICE]]
        shown = tables.table(kind.columns, objects, now, include=include, define=False)["rows"]
        rows.append(orjson.dumps(shown)[1:-1])
        await asyncio.sleep(0)
    head = tables.table(kind.columns, [], now, metadata=meta)
    del head["rows"]
    return b'%b,"rows":[%b]}' % (orjson.dumps(head)[:-1], b",".join(rows))


# Watches


async def _watched(call: Call, answer: Stream, sink: Sink) -> None:
    out = _Encoder(call, answer.kind, sink)
    try:
        await answer.watching.push(out)
    except ConnectionError:
        raise
    except ApiError as e:
        sink.write(_error(e))
    except Exception as e:
        log.exception("a watch of %s failed", answer.kind.resource)
        sink.write(_error(errors.internal(f"{type(e).__name__} while watching; the server's log says more")))


def _error(e: ApiError) -> bytes:
    return encoding.event("ERROR", orjson.dumps(e.status))


class _Encoder:
    """Events as one watcher wants them (a `watching.Out`)."""

    def __init__(self, call: Call, kind: Kind, sink: Sink):
        self.sink = sink
        self._call = call
        self._kind = kind
        self._form = _form(call)
        self._causes = call.headers.get(CAUSES) == "1"
        self._headed = False

    @property
    def key(self) -> object:
        """None where the next event is this watcher's alone: a table's first tells its columns."""
        if self._form.shape == "Table" and not self._headed:
            return None
        return (self._kind.resource, self._kind.version, self._form, self._causes, _include(self._call))

    def encode(self, seen: Sequence[Seen]) -> bytes:
        return b"".join([self._event(s) for s in seen])

    def _event(self, seen: Seen) -> bytes:
        cause = ""
        if seen.moment is None:
            data = self._bookmark(seen)
        else:
            cause = seen.moment.event.cause if self._causes else ""
            if self._form.shape or self._kind.storage:
                data = orjson.dumps(self._object(self._kind.from_storage(seen.moment.whole)))
            else:
                data = seen.moment.json
        return encoding.event(seen.type, data, cause)

    def _bookmark(self, seen: Seen) -> bytes:
        annotations = {"k8s.io/initial-events-end": "true"} if seen.synced else None
        data = encoding.bookmark(self._kind.api_version, self._kind.kind, seen.revision, annotations)
        return orjson.dumps(self._object(orjson.loads(data))) if self._form.shape else data

    def _object(self, obj: Object) -> Object:
        if self._form.shape == "Table":
            define, self._headed = not self._headed, True
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            include = _include(self._call)
            return tables.table(
                self._kind.columns, [obj], time.time(), metadata=metadata, include=include, define=define
            )
        return tables.partial(obj) if self._form.shape.startswith("Partial") else obj


async def _compressed(call: Call, response: Response) -> Response:
    data: Any = response.body
    if not isinstance(data, bytes) or len(data) < COMPRESSED_FROM:
        return response
    if "gzip" not in call.headers.get("accept-encoding", "") or "content-encoding" in response.headers:
        return response
    body = await asyncio.to_thread(zlib.compress, data, 1, 31)
    headers = {**response.headers, "content-encoding": "gzip", "vary": "accept-encoding"}
    return Response(response.status, body, headers)
