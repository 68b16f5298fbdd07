"""The HTTP face of the traces: taking spans in (OTLP) and giving operations out.

`POST /v1/traces` is OTLP/HTTP with JSON. Under `/sampan/v1/`: `operations`, `operations/ID` (JSON, or a picture with
`?format=text|mermaid|svg`), and `changes?resource=&namespace=&name=`. The API server authenticates and authorizes them
as non-resource URLs before they come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from sampan.host.trace import Cause, Span, parse
from sampan.http.messages import Request, Response, query
from sampan.tracing import mermaid, otlp, svg, text
from sampan.tracing.collector import Collector
from sampan.tracing.operations import Operation, changed_something, group, identity, operation
from sampan.tracing.sequence import sequence

COLLECT = "/v1/traces"
OPERATIONS = "/sampan/v1/operations"
CHANGES = "/sampan/v1/changes"
# How an operation may be drawn, and the media type of each drawing.
FORMS = {
    "text": (text.draw, "text/plain; charset=utf-8"),
    "mermaid": (mermaid.draw, "text/vnd.mermaid"),
    "svg": (svg.draw, "image/svg+xml"),
}


class Face:
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def handle(self, user: object, request: Request) -> Response:
        """Answer one request; `user` is already known to be allowed to ask."""
        parameters = {name: values[-1] for name, values in query(request.query).items()}
        if request.path == COLLECT and request.method == "POST":
            return await self._collect(await request.body())
        if request.method != "GET":
            return _problem(405, "only GET is served here")
        if request.path == OPERATIONS:
            return await self._list(_limit(parameters))
        if request.path.startswith(OPERATIONS + "/"):
            return await self._one(
                request.path.removeprefix(OPERATIONS + "/"), parameters.get("format", "json")
            )
        if request.path == CHANGES:
            return await self._changes(parameters)
        return _problem(404, f"there is nothing at {request.path}")

    async def _collect(self, body: bytes) -> Response:
        try:
            spans = list(otlp.decode(orjson.loads(body)))
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as e:
            return _problem(400, f"not an OTLP/JSON export of traces: {e}")
        await self._collector.add(spans)
        return _json({})

    async def _list(self, limit: int) -> Response:
        roots = await self._collector.recent(limit * 20)
        found = []
        for id_, traces in group(roots).items():
            made = operation(id_, await self._collector.traces(traces))
            if made and changed_something(made):
                found.append(made.summary())
            if len(found) == limit:
                break
        return _json({"operations": found})

    async def _one(self, id_: str, form: str) -> Response:
        made = await self._find(id_)
        if made is None:
            return _problem(404, f"no operation {id_!r} is kept; `sampan trace` lists those that are")
        if form == "json":
            return Response(200, otlp_json(made), {"content-type": "application/json"})
        if form not in FORMS:
            return _problem(400, f"format must be json, {' or '.join(FORMS)}, not {form!r}")
        draw, media = FORMS[form]
        return Response(200, draw(sequence(made.title, made.spans)).encode(), {"content-type": media})

    async def _find(self, id_: str) -> Operation | None:
        traces = await self._collector.session(id_) or [id_]
        return operation(id_, await self._collector.traces(traces))

    async def _changes(self, parameters: dict[str, str]) -> Response:
        spans = await self._collector.changes(
            parameters.get("resource", ""),
            parameters.get("namespace", ""),
            parameters.get("name", ""),
            _limit(parameters),
        )
        found = []
        for span in spans:
            roots = [s for s in await self._collector.traces([span.cause.trace_id]) if not s.parent] or [span]
            made = operation(identity(roots[0]), roots)
            found.append(
                {
                    "verb": span.attributes.get("verb", ""),
                    "by": span.attributes.get("user", ""),
                    "at": span.start,
                    "operation": made.summary() if made else None,
                }
            )
        return _json({"changes": found})

    async def origins(self, causes: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Who is behind each cause, and in which operation, as far as its spans are kept."""
        parsed = {c: found for c in causes if (found := parse(c))}
        spans = await self._collector.traces({c.trace_id for c in parsed.values()})
        traces: dict[str, list[Span]] = {}
        for span in spans:
            traces.setdefault(span.cause.trace_id, []).append(span)
        return {
            text: _origin(cause, of) for text, cause in parsed.items() if (of := traces.get(cause.trace_id))
        }


def _origin(cause: Cause, spans: Sequence[Span]) -> dict[str, Any]:
    """`by` is the user of the request that wrote, `operation` what it was part of."""
    users = [s.attributes.get("user", "") for s in spans if s.cause.span_id == cause.span_id]
    roots = [s for s in spans if not s.parent] or list(spans)
    made = operation(identity(roots[0]), spans)
    found: dict[str, Any] = {"by": users[0]} if users and users[0] else {}
    return found | ({"operation": {"id": made.id, "title": made.title}} if made else {})


def otlp_json(found: Operation) -> bytes:
    """An operation with its spans in OTLP's form, for other tools."""
    return orjson.dumps({**found.summary(), "otlp": otlp.encode(found.spans)})


def _limit(parameters: dict[str, str]) -> int:
    text = parameters.get("limit", "20")
    return min(int(text), 500) if text.isdigit() and int(text) else 20


def _json(value: object) -> Response:
    return Response(200, orjson.dumps(value), {"content-type": "application/json"})


def _problem(code: int, message: str) -> Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
    return Response(code, orjson.dumps(status), {"content-type": "application/json"})
