"""Trace context: what every change carries of its cause.

A *span* is a piece of work with a name, a beginning and an end; spans of one trace share its `trace_id`. The
current span is a context variable, so it follows `await` and tasks. Its W3C form, `traceparent`, travels in HTTP
requests, stands beside each revision in the store, and comes back in watch events, where it is called a *cause*.

Source: W3C Trace Context (https://www.w3.org/TR/trace-context/), sections 3.2 and 4.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Cause:
    """The span that made something happen; `str()` gives its traceparent."""

    trace_id: str
    span_id: str

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


@dataclass(slots=True)
class Span:
    """A piece of work. Times are nanoseconds since the epoch; `end` is 0 while it runs.

    `service` is the component that did it, such as `kube-scheduler`; `peer`, where there is one, the component
    that was asked. `links` are further causes, for work that coalesced several changes.
    """

    name: str
    service: str
    cause: Cause
    parent: str = ""
    peer: str = ""
    start: int = 0
    end: int = 0
    error: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    links: tuple[Cause, ...] = ()


_current: ContextVar[Span | None] = ContextVar("span", default=None)
_exporter: Callable[[Span], None] | None = None


def export_to(exporter: Callable[[Span], None] | None) -> None:
    """Hand every span that ends in this process to `exporter`, which must neither block nor raise."""
    global _exporter
    _exporter = exporter


def parse(traceparent: str) -> Cause | None:
    """The cause that a traceparent names, or None where it is malformed or all zeros."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if not match or not match[1].strip("0") or not match[2].strip("0"):
        return None
    return Cause(match[1], match[2])


def current() -> Span | None:
    """The span this code runs in, if any."""
    return _current.get()


def cause() -> str:
    """The traceparent of the current span, or the empty string outside any."""
    span = _current.get()
    return str(span.cause) if span else ""


@contextmanager
def span(
    name: str,
    service: str,
    *,
    causes: Iterable[Cause] = (),
    peer: str = "",
    attributes: dict[str, str] | None = None,
) -> Iterator[Span]:
    """Run a block as a span: a child of the first of `causes`, else of the current span, else a new trace.

    The rest of `causes` become links. An exception is noted as the span's error and goes on.
    """
    given = tuple(causes)
    outer = _current.get()
    parent = given[0] if given else outer.cause if outer else None
    own = Cause(parent.trace_id if parent else os.urandom(16).hex(), os.urandom(8).hex())
    made = Span(
        name,
        service,
        own,
        parent=parent.span_id if parent else "",
        peer=peer,
        start=time.time_ns(),
        attributes=attributes or {},
        links=given[1:],
    )
    token = _current.set(made)
    try:
        yield made
    except BaseException as e:
        made.error = f"{type(e).__name__}: {e}"
        raise
    finally:
        _current.reset(token)
        made.end = time.time_ns()
        if _exporter:
            _exporter(made)
