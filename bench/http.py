"""TLS keep-alive GET over 32 connections: our HTTP server, and a floor that only answers fixed bytes.

Server and client are a process each, and share the machine's cores; CPU is the server's.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvloop

from bench.load import Job, Outcome, put
from bench.rows import Row
from bench.usage import cpu
from sampan.host.pki import Pki
from sampan.http import server
from sampan.http.messages import Request, Response
from sampan.http.tls import server_context

BODY = b'{"kind":"Status"}' * 20
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)


def run() -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as directory:
        pki = Pki(Path(directory))
        pki.authority()
        pair, client = pki.server("server", ["127.0.0.1"]), pki.client("client", "bench")
        ours, ours_cpu = _measure("ours", pair, pki.ca, client)
        floor, floor_cpu = _measure("floor", pair, pki.ca, client)
    return [
        Row("GET, our HTTP server", _rate(ours), f"{ours_cpu:.0f} µs a request"),
        Row("GET, uvloop and TLS alone", _rate(floor), f"{floor_cpu:.0f} µs a request"),
    ]


def _measure(what: str, pair: Path, ca: Path, client: Path) -> tuple[Outcome, float]:
    with _serving(what, pair) as (pid, port):
        job = Job(f"https://127.0.0.1:{port}", str(ca), str(client), "GET", "/api", seconds=1.0)
        put(job)
        before = cpu(pid)
        outcome = put(Job(job.url, job.ca, job.certificate, job.method, job.target, seconds=4.0))
        return outcome, (cpu(pid) - before) / outcome.requests * 1e6


def _rate(found: Outcome) -> str:
    return f"{found.requests / found.seconds:,.0f}/s, p99 {found.p99:.1f} ms"


@contextmanager
def _serving(what: str, pair: Path) -> Iterator[tuple[int, int]]:
    words = [sys.executable, "-m", "bench.http", what, str(pair)]
    root = Path(__file__).parent.parent
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root)
    try:
        assert child.stdout
        yield child.pid, int(child.stdout.readline())
    finally:
        child.kill()
        child.wait()


async def _handler(request: Request) -> Response:
    return Response(body=BODY, headers={"content-type": "application/json"})


class _Floor(asyncio.Protocol):
    """Answers each request, which has no body and comes in one piece, without looking at it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_HEAD + BODY)


async def _serve(what: str, pair: str) -> None:
    listener = server.listen("127.0.0.1", 0)
    tls = server_context(pair)
    if what == "ours":
        await server.serve(_handler, sockets=[listener], tls=tls)
    else:
        await asyncio.get_running_loop().create_server(_Floor, sock=listener, ssl=tls)
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1], sys.argv[2]))
