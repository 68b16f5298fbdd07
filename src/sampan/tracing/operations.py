"""Operations: what somebody did, and all that followed from it.

An operation is one kubectl command (its requests share a session), or else one trace: a request of another client, or
something that happened by itself, such as a container that exited. Its spans come from all processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sampan.host.trace import Span


@dataclass(frozen=True, slots=True)
class Operation:
    """`id` is the kubectl session or the trace id; times are nanoseconds since the epoch."""

    id: str
    title: str
    user: str
    start: int
    end: int
    services: tuple[str, ...]
    errors: int
    spans: tuple[Span, ...] = field(default=(), repr=False)

    def summary(self) -> dict[str, object]:
        """Everything but the spans, as JSON."""
        return {
            "id": self.id,
            "title": self.title,
            "user": self.user,
            "start": self.start,
            "end": self.end,
            "services": list(self.services),
            "errors": self.errors,
            "spans": len(self.spans),
        }


def identity(span: Span) -> str:
    """The operation that a root span belongs to."""
    return span.attributes.get("kubectl.session") or span.cause.trace_id


def group(roots: Iterable[Span]) -> dict[str, list[str]]:
    """The trace ids of each operation, by its identity, in the order of `roots`."""
    found: dict[str, list[str]] = {}
    for root in roots:
        traces = found.setdefault(identity(root), [])
        if root.cause.trace_id not in traces:
            traces.append(root.cause.trace_id)
    return found


def operation(id: str, spans: Iterable[Span]) -> Operation | None:
    """An operation made of its spans; None where there are none."""
    ordered = sorted(spans, key=lambda s: (s.start, s.end))
    if not ordered:
        return None
    return Operation(
        id=id,
        title=title(ordered),
        user=next((s.attributes["user"] for s in ordered if s.attributes.get("user")), ""),
        start=ordered[0].start,
        end=max(s.end for s in ordered),
        services=tuple(dict.fromkeys(s.service for s in ordered)),
        errors=sum(bool(s.error) for s in ordered if wrote(s) or not s.attributes.get("verb")),
        spans=tuple(ordered),
    )


def title(ordered: list[Span]) -> str:
    """The command that was typed with what it wrote, or the name of the first span."""
    roots = [s for s in ordered if not s.parent] or ordered[:1]
    command = next(
        (s.attributes["kubectl.command"] for s in roots if s.attributes.get("kubectl.command")), ""
    )
    if not command:
        return roots[0].name
    objects = dict.fromkeys(_object(s) for s in roots if s.attributes.get("name") and wrote(s))
    shown = list(objects)[:3]
    more = f" and {len(objects) - 3} more" if len(objects) > 3 else ""
    return f"{command} {', '.join(shown)}{more}".strip()


def _object(span: Span) -> str:
    return f"{span.attributes.get('resource', '')}/{span.attributes['name']}"


def wrote(span: Span) -> bool:
    """Whether a span is a request that changes something; that a read finds nothing is no error either."""
    return span.attributes.get("verb", "get") not in ("get", "list", "watch")


def changed_something(found: Operation) -> bool:
    """Whether an operation wrote anything: those are what a list of operations is about."""
    return any(wrote(s) for s in found.spans)
