"""From spans to operations and pictures: `kubectl apply` of a Deployment, told by hand-made spans."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest

from sampan.host.trace import Cause, Span
from sampan.http.messages import Peer
from sampan.tracing import mermaid, otlp, svg
from sampan.tracing.collector import Collector
from sampan.tracing.face import Face
from sampan.tracing.operations import operation
from sampan.tracing.sequence import sequence

TRACE = "a" * 32
MS = 1_000_000
T0 = 1_795_000_000_000 * MS


def span(number: int, parent: int, service: str, what: str, at: int, took: int, **attributes: str) -> Span:
    """A span of the trace, its times in milliseconds from the beginning."""
    return Span(
        name=what,
        service=service,
        cause=Cause(TRACE, f"{number:016x}"),
        parent=f"{parent:016x}" if parent else "",
        peer=attributes.pop("peer", ""),
        start=T0 + at * MS,
        end=T0 + (at + took) * MS,
        attributes=attributes,
    )


def apply() -> list[Span]:
    typed = {"kubectl.session": "s1", "kubectl.command": "kubectl apply", "user": "kubernetes-admin"}
    web = {"verb": "create", "resource": "deployments", "namespace": "default", "name": "web"}
    return [
        span(1, 0, "kube-apiserver", "create deployments.apps default/web", 0, 3, **typed, **web),
        span(2, 1, "deployment-controller", "reconcile deployments.apps default/web", 4, 5),
        span(3, 2, "kube-apiserver", "create replicasets.apps", 5, 2, verb="create"),
        span(4, 3, "kube-scheduler", "schedule default/web-1", 10, 1),
        span(5, 4, "kubelet", "sync pod default/web-1", 20, 60),
        span(6, 5, "engine", "runc create", 30, 30, peer="runc"),
    ]


def test_an_operation_is_called_what_was_typed_and_what_it_wrote() -> None:
    made = operation("s1", apply())
    assert made is not None
    assert made.title == "kubectl apply deployments/web"
    assert made.user == "kubernetes-admin"
    assert (made.end - made.start) / MS == 80
    assert made.services[:2] == ("kube-apiserver", "deployment-controller")


def test_the_sequence_tells_who_told_whom() -> None:
    drawn = sequence("apply", apply())
    told = [f"{m.source} {'~>' if m.told else '->'} {m.target}: {m.text}" for m in drawn.messages]
    assert told == [
        "kubectl -> kube-apiserver: create deployments.apps default/web",
        "kube-apiserver ~> deployment-controller: reconcile default/web",
        "deployment-controller -> kube-apiserver: create replicasets.apps",
        "kube-apiserver ~> kube-scheduler: schedule default/web-1",
        "kube-scheduler -> kubelet: sync pod default/web-1",
        "engine -> runc: runc create",
    ]
    assert drawn.messages[-1].at == 30


def test_a_peer_that_left_a_span_of_its_own_is_drawn_once() -> None:
    asked = span(1, 0, "kubelet", "RunPodSandbox", 0, 9, peer="engine")
    done = span(2, 1, "engine", "RunPodSandbox", 1, 8)
    assert [(m.source, m.target, m.took) for m in sequence("x", [asked, done]).messages] == [
        ("kubelet", "engine", 8)
    ]


def test_repetitions_are_folded_and_what_is_too_much_is_counted() -> None:
    spans = apply() + [span(10 + i, 5, "engine", "pull layer", 81 + i, 1) for i in range(5)]
    spans += [span(20 + i, 5, "engine", f"step {i}", 90 + i, 1) for i in range(30)]
    drawn = sequence("apply", spans, most=10)
    assert [m.times for m in drawn.messages if m.text == "pull layer"] == [5]
    assert len(drawn.messages) == 10
    assert drawn.left_out == 27


def test_mermaid_names_every_participant_and_message() -> None:
    text = mermaid.draw(sequence("apply; drop", apply()))
    assert text.startswith("sequenceDiagram\n  title apply  drop (80 ms)\n  participant p0 as kubectl\n")
    assert "p0->>p1: +0.0 ms create deployments.apps default/web" in text
    assert "p1--)p2: +4.0 ms reconcile default/web" in text


def test_svg_is_well_formed_and_escapes_what_users_wrote() -> None:
    text = svg.draw(sequence("<script>", apply()))
    root = ElementTree.fromstring(text)
    words = "".join(root.itertext())
    assert "kube-scheduler" in words
    assert "<script>" in words


def test_otlp_carries_every_field_both_ways() -> None:
    spans = apply()
    spans[3].links = (Cause("b" * 32, "c" * 16),)
    spans[3].error = "Conflict: try again"
    assert sorted(otlp.decode(otlp.encode(spans)), key=lambda s: s.start) == spans


class Get:
    """A request as the server hands it to a handler."""

    headers: Mapping[str, str] = {}
    peer = Peer("127.0.0.1")

    def __init__(self, target: str, body: bytes = b"") -> None:
        self.target, (self.path, _, self.query) = target, target.partition("?")
        self._body = body
        self.method = "POST" if body else "GET"

    async def body(self) -> bytes:
        return self._body


@pytest.mark.parametrize("part", ["the beginning", "all", "all but the beginning"])
async def test_a_torn_file_is_begun_anew(tmp_path: Path, part: str) -> None:
    path = tmp_path / "traces.db"
    spans = [replace(s, start=time.time_ns()) for s in apply()]
    collector = Collector(path)
    await collector.add(spans)
    await collector.close()
    whole = path.read_bytes()
    noise = os.urandom(len(whole))
    torn = {"the beginning": noise[:100] + whole[100:], "all": noise}
    path.write_bytes(torn.get(part, whole[:4096] + noise[4096:]))
    collector = Collector(path)
    await collector.add(spans)
    assert await collector.traces([TRACE])
    await collector.close()


@pytest.fixture
async def face(tmp_path: Path) -> AsyncIterator[Face]:
    collector = Collector(tmp_path / "traces.db")
    yield Face(collector)
    await collector.close()


async def ask(face: Face, target: str, body: bytes = b"") -> tuple[int, bytes]:
    response = await face.handle(None, Get(target, body))  # type: ignore[arg-type]
    assert isinstance(response.body, bytes)
    return response.status, response.body


async def test_spans_that_are_posted_become_an_operation_with_pictures(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: T0 / 1e9 + 60)
    await ask(face, "/v1/traces", orjson.dumps(otlp.encode(apply())))
    listed = orjson.loads((await ask(face, "/sampan/v1/operations"))[1])["operations"]
    assert [(o["id"], o["title"]) for o in listed] == [("s1", "kubectl apply deployments/web")]
    _, drawn = await ask(face, "/sampan/v1/operations/s1?format=mermaid")
    assert b"participant" in drawn
    target = "/sampan/v1/changes?resource=deployments&namespace=default&name=web"
    changes = orjson.loads((await ask(face, target))[1])
    assert changes["changes"][0]["operation"]["id"] == "s1"


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        ("/sampan/v1/operations/none", b"", 404),
        ("/sampan/v1/other", b"", 404),
        ("/v1/traces", b"[]", 400),
        ("/v1/traces", b"{", 400),
        ("/v1/traces", b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0"}]}]}]}', 400),
    ],
)
async def test_what_is_wrong_is_said_as_a_status(face: Face, target: str, body: bytes, code: int) -> None:
    status, said = await ask(face, target, body)
    assert (status, orjson.loads(said)["kind"]) == (code, "Status")
