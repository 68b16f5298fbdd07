"""Watchers over HTTP in a process of their own, which only count and time what arrives.

`python -m bench.watchers SPEC` reads one JSON object: url, files, target, how many. It prints a line once all watch;
at a line on its standard input it prints how many events came in all, and the quantiles of how long each was on its
way, from the time that stands in the object (`"t":"NANOSECONDS"`) on.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from bench.load import Job, Outcome
from sampan.http.tls import client_context

_SENT = re.compile(rb'"t":"(\d+)"')
_BEGUN = b"transfer-encoding: chunked"


@dataclass
class Watching:
    """Watchers at work; `stop` ends them, and tells what they saw."""

    process: subprocess.Popen[str]

    def stop(self) -> Outcome:
        out, _ = self.process.communicate("\n", timeout=60)
        return Outcome(**json.loads(out))


@contextmanager
def watching(job: Job, count: int) -> Iterator[Watching]:
    words = [sys.executable, "-m", "bench.watchers", json.dumps({**asdict(job), "connections": count})]
    root, pipe = Path(__file__).parent.parent, subprocess.PIPE
    child = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=root)
    try:
        assert child.stdout
        child.stdout.readline()
        yield Watching(child)
    finally:
        child.kill()
        child.wait()


@dataclass
class _Seen:
    """What arrived: milliseconds of each event that tells when it was sent."""

    begun: int = 0
    latencies: list[float] = field(default_factory=list)
    all_begun: asyncio.Event = field(default_factory=asyncio.Event)


class _Watch(asyncio.Protocol):
    """Asks once, and reads what comes without taking it apart."""

    def __init__(self, job: Job, seen: _Seen):
        self._job, self._seen, self._begun = job, seen, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        head = f"GET {self._job.target} HTTP/1.1\r\nhost: bench\r\naccept: application/json\r\n\r\n"
        cast(asyncio.Transport, transport).write(head.encode())

    def data_received(self, data: bytes) -> None:
        now, seen = time.monotonic_ns(), self._seen
        if not self._begun and _BEGUN in data.lower():
            self._begun = True
            seen.begun += 1
            if seen.begun == self._job.connections:
                seen.all_begun.set()
        for sent in _SENT.findall(data):
            seen.latencies.append((now - int(sent)) / 1e6)


async def _work(job: Job) -> Outcome:
    loop, seen = asyncio.get_running_loop(), _Seen()
    tls = client_context(ca=Path(job.ca), pair=Path(job.certificate))
    port = int(job.url.rpartition(":")[2])
    for _ in range(job.connections):
        await loop.create_connection(lambda: _Watch(job, seen), "127.0.0.1", port, ssl=tls)
    async with asyncio.timeout(60):
        await seen.all_begun.wait()
    print("watching", flush=True)
    begun = time.perf_counter()
    await asyncio.to_thread(sys.stdin.readline)
    quantiles = statistics.quantiles(seen.latencies, n=100, method="inclusive")
    return Outcome(len(seen.latencies), time.perf_counter() - begun, quantiles[49], quantiles[98])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(_work(Job(**json.loads(sys.argv[1])))))))
