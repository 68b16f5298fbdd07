"""Load over HTTP from a process of its own, so that what the server uses is the server's alone.

`python -m bench.load SPEC` reads one JSON object: url, files of the CA and the client's certificate, connections,
seconds or a number of requests, and the request: method, target, media type and body. In target and body, `{n}` is a
number that no other request has, `{m}` that number modulo `modulo`, and `{t}` the time now. It prints how many were
answered, the seconds that took, and the latencies' quantiles.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from sampan.http.client import HttpClient
from sampan.http.tls import client_context


@dataclass(frozen=True, slots=True)
class Job:
    url: str
    ca: str
    certificate: str
    method: str
    target: str
    body: str = ""
    connections: int = 32
    requests: int = 0
    seconds: float = 3.0
    first: int = 0
    media: str = "application/json"
    modulo: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """`p50` and `p99` are milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float


def put(job: Job) -> Outcome:
    """Run a job in a child process. Raises where any answer was no success."""
    words = [sys.executable, "-m", "bench.load", json.dumps(asdict(job))]
    root = Path(__file__).parent.parent
    done = subprocess.run(words, capture_output=True, text=True, cwd=root, timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Outcome(**json.loads(done.stdout))


async def work(job: Job) -> Outcome:
    tls = client_context(ca=Path(job.ca), pair=Path(job.certificate))
    client = HttpClient(job.url, tls=tls)
    numbers, latencies = itertools.count(job.first), list[float]()
    begun = time.perf_counter()
    until = begun + (60.0 if job.requests else job.seconds)
    last = job.first + job.requests if job.requests else 1 << 60
    headers = {"content-type": job.media} if job.body else None

    def filled(text: str, n: int) -> str:
        found = text.replace("{n}", str(n)).replace("{m}", str(n % job.modulo))
        return found.replace("{t}", str(time.monotonic_ns()))

    async def connection() -> None:
        while time.perf_counter() < until and (n := next(numbers)) < last:
            start = time.perf_counter()
            target, body = filled(job.target, n), filled(job.body, n).encode()
            async with await client.request(job.method, target, headers=headers, body=body) as response:
                answer = await response.read()
            if response.status >= 300:
                raise RuntimeError(f"{job.method} {target}: {response.status} {answer.decode()[:300]}")
            latencies.append((time.perf_counter() - start) * 1e3)

    async with asyncio.TaskGroup() as group:
        for _ in range(job.connections):
            group.create_task(connection())
    taken = time.perf_counter() - begun
    await client.close()
    quantiles = statistics.quantiles(latencies, n=100, method="inclusive")
    return Outcome(len(latencies), taken, quantiles[49], quantiles[98])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(work(Job(**json.loads(sys.argv[1])))))))
