"""The trace context that every change carries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sampan.host import trace
from sampan.host.trace import Cause, Span


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    """The spans that end while a test runs, in order."""
    found: list[Span] = []
    trace.export_to(found.append)
    yield found
    trace.export_to(None)


def test_a_span_within_another_is_its_child(spans: list[Span]) -> None:
    with trace.span("apply", "kubectl") as outer, trace.span("create pods", "kube-apiserver"):
        pass
    inner = spans[0]
    assert inner.parent == outer.cause.span_id
    assert inner.cause.trace_id == outer.cause.trace_id
    assert inner.end >= inner.start > 0


def test_the_first_cause_becomes_the_parent_and_the_others_links(spans: list[Span]) -> None:
    first, second = Cause("a" * 32, "b" * 16), Cause("c" * 32, "d" * 16)
    with trace.span("reconcile", "replicaset-controller", causes=[first, second]):
        pass
    assert (spans[0].cause.trace_id, spans[0].parent) == (first.trace_id, first.span_id)
    assert spans[0].links == (second,)


async def test_a_task_inherits_the_span_it_was_started_in() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return trace.cause()

    with trace.span("outer", "test") as outer:
        task = asyncio.create_task(work())
    assert await task == str(outer.cause)
    assert trace.cause() == ""


def test_an_error_is_noted_and_goes_on(spans: list[Span]) -> None:
    with pytest.raises(ValueError), trace.span("fails", "test"):
        raise ValueError("no such image")
    assert spans[0].error == "ValueError: no such image"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-zz-aa-01",
        f"00-{'0' * 32}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-01",
        f"01-{'1' * 32}-{'1' * 16}-01",
    ],
)
def test_what_is_not_a_traceparent_is_no_cause(text: str) -> None:
    assert trace.parse(text) is None


def test_a_cause_is_written_as_it_is_read() -> None:
    text = f"00-{'ab' * 16}-{'cd' * 8}-01"
    assert str(trace.parse(text)) == text
