"""A sequence diagram as data: who takes part, and who told whom what, in order of time.

From spans: a request is a message from who asked to the API server; another span whose parent ran elsewhere, from the
parent's service to its own; one with a peer, to the peer, unless the peer left a span of its own; any other, own work.
Equal neighbours are folded into one with a count;
reads are left out where the operation wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, replace

from sampan.host.trace import Span

PERSON = "you"
# CRI calls that change nothing.
LOOKS = ("PodSandboxStatus", "ContainerStatus", "ImageStatus", "Status", "Version")
SERVER = "kube-apiserver"


@dataclass(frozen=True, slots=True)
class Message:
    """`at` and `took` are milliseconds from the beginning of the operation; `source` equal to `target` is own work.

    `told` marks what the receiver learnt by watching, not by being asked. `times` counts folded repetitions.
    """

    source: str
    target: str
    text: str
    at: float
    took: float
    told: bool = False
    error: str = ""
    times: int = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    title: str
    participants: tuple[str, ...]
    messages: tuple[Message, ...]
    took: float
    left_out: int = 0


def sequence(title: str, spans: Iterable[Span], *, most: int = 60) -> Sequence:
    """The diagram of an operation, with at most `most` messages; `left_out` counts the rest."""
    ordered = sorted(spans, key=lambda s: (s.start, -s.end))
    if not ordered:
        return Sequence(title, (), (), 0.0)
    begun = ordered[0].start
    by_id = {s.cause.span_id: s for s in ordered}
    folded = fold(_message(s, by_id.get(s.parent), begun) for s in telling(ordered))
    shown = folded[:most]
    people = dict.fromkeys(name for m in shown for name in (m.source, m.target))
    ended = max(s.end for s in ordered)
    return Sequence(title, tuple(people), tuple(shown), (ended - begun) / 1e6, len(folded) - len(shown))


def telling(spans: Sequence_[Span]) -> list[Span]:
    """The spans worth a line: without requests that a peer's own span shows, and without reads beside writes."""
    services = {s.cause.span_id: s.service for s in spans}
    answered = {s.parent for s in spans if services.get(s.parent, s.service) != s.service}
    asked = [s for s in spans if not (s.peer and s.service != SERVER and s.cause.span_id in answered)]
    return [s for s in asked if not _reads(s)] or asked


def _reads(span: Span) -> bool:
    """Whether a span only looks: a GET or list of the API, or a query of the container runtime."""
    return (
        span.attributes.get("verb") in ("get", "list") or span.name in LOOKS or span.name.startswith("List")
    )


def _message(span: Span, parent: Span | None, begun: int) -> Message:
    source, target, told = _ends(span, parent)
    at, took = (span.start - begun) / 1e6, (span.end - span.start) / 1e6
    text = re.sub(r"^reconcile \S+ ", "reconcile ", span.name)  # the controller's name tells the kind
    return Message(source, target, text, at, took, told, span.error)


def _ends(span: Span, parent: Span | None) -> tuple[str, str, bool]:
    """Who turned to whom, and whether it was told by a watch."""
    if span.service == SERVER:
        return _asker(span, parent), SERVER, False
    if span.peer:
        return span.service, span.peer, False
    source = parent.service if parent else span.service
    return source, span.service, source == SERVER


def _asker(span: Span, parent: Span | None) -> str:
    """Who sent a request to the API server: the component whose work it was, else the person's tool, else the user."""
    if parent and parent.service != SERVER:
        return parent.service
    if span.attributes.get("kubectl.command"):
        return "kubectl"
    return span.peer or span.attributes.get("user", PERSON)


def fold(messages: Iterable[Message]) -> list[Message]:
    """Make one of neighbours that say the same between the same two, and of repetitions close by."""
    folded: list[Message] = []
    for message in messages:
        twin = next(
            (i for i in range(len(folded) - 1, max(-1, len(folded) - 4), -1) if _same(folded[i], message)),
            None,
        )
        if twin is None:
            folded.append(message)
        else:
            earlier = folded[twin]
            took = max(earlier.at + earlier.took, message.at + message.took) - earlier.at
            folded[twin] = replace(earlier, times=earlier.times + 1, took=took)
    return folded


def _same(a: Message, b: Message) -> bool:
    return (a.source, a.target, a.text, a.error) == (b.source, b.target, b.text, b.error)


def duration(milliseconds: float) -> str:
    """A short duration: 0.4 ms, 12 ms, 3.1 s."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
