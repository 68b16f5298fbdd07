"""Durable writes to the SQLite store: one writer that waits for each, and 32 at the same time."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.rows import Row
from bench.usage import own
from sampan.store import sqlite

SECONDS = 4.0
VALUE = b"x" * 1024  # about what a Pod takes


def run() -> Sequence[Row]:
    peers = {1: "", 32: "2,200 writes/s (etcd, on a day when ours gave 6,400)"}
    return [asyncio.run(_measure(writers, peer)) for writers, peer in peers.items()]


async def _measure(writers: int, peer: str) -> Row:
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as directory:
        store = await sqlite.open(Path(directory) / "store.db")
        done = 0

        async def write(writer: int) -> None:
            nonlocal done
            key = f"/core/pods/default/{writer}"
            revision = await store.create(key, VALUE)
            while time.perf_counter() < end:
                revision = await store.update(key, VALUE, revision)
                done += 1

        begun, spent = time.perf_counter(), own()
        end = begun + SECONDS
        await asyncio.gather(*(write(n) for n in range(writers)))
        taken, cpu = time.perf_counter() - begun, own() - spent
        await store.close()
    what = f"durable updates of 1 KiB, {writers} {'writer' if writers == 1 else 'writers'}"
    return Row(what, f"{done / taken:,.0f} writes/s", f"{cpu / done * 1e6:.0f} µs a write", peer)
