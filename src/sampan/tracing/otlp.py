"""Spans as OTLP/JSON, the form in which processes hand them to a collector.

Source: OpenTelemetry Protocol 1.3, JSON Protobuf encoding (https://opentelemetry.io/docs/specs/otlp/#otlphttp).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sampan.host.trace import Cause, Span

# Where a span's peer is kept, after OpenTelemetry's semantic conventions.
_PEER = "peer.service"
_ERROR = 2


def encode(spans: Iterable[Span]) -> dict[str, Any]:
    """An ExportTraceServiceRequest with one resource for each service."""
    services: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        services.setdefault(span.service, []).append(_span(span))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_attribute("service.name", service)]},
                "scopeSpans": [{"scope": {"name": "sampan"}, "spans": found}],
            }
            for service, found in services.items()
        ]
    }


def _span(span: Span) -> dict[str, Any]:
    attributes = {**span.attributes, **({_PEER: span.peer} if span.peer else {})}
    return {
        "traceId": span.cause.trace_id,
        "spanId": span.cause.span_id,
        "parentSpanId": span.parent,
        "name": span.name,
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": [_attribute(k, v) for k, v in attributes.items()],
        "links": [{"traceId": c.trace_id, "spanId": c.span_id} for c in span.links],
        "status": {"code": _ERROR, "message": span.error} if span.error else {},
    }


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def decode(request: dict[str, Any]) -> Iterator[Span]:
    """The spans of an ExportTraceServiceRequest. Raises KeyError, TypeError or ValueError where it is malformed."""
    for resource in request["resourceSpans"]:
        service = _attributes(resource.get("resource", {})).get("service.name", "unknown")
        for scope in resource["scopeSpans"]:
            for raw in scope["spans"]:
                yield _decoded(service, raw)


def _decoded(service: str, raw: dict[str, Any]) -> Span:
    attributes = _attributes(raw)
    return Span(
        name=raw["name"],
        service=service,
        cause=Cause(_hex(raw["traceId"], 32), _hex(raw["spanId"], 16)),
        parent=raw.get("parentSpanId", ""),
        peer=attributes.pop(_PEER, ""),
        start=int(raw["startTimeUnixNano"]),
        end=int(raw["endTimeUnixNano"]),
        error=raw.get("status", {}).get("message", ""),
        attributes=attributes,
        links=tuple(Cause(_hex(x["traceId"], 32), _hex(x["spanId"], 16)) for x in raw.get("links", ())),
    )


def _hex(text: str, length: int) -> str:
    if len(text) != length or int(text, 16) == 0:
        raise ValueError(f"{text!r} is not an id of {length} hexadecimal digits")
    return text.lower()


def _attributes(carrier: dict[str, Any]) -> dict[str, str]:
    return {a["key"]: str(next(iter(a["value"].values()))) for a in carrier.get("attributes", ())}
