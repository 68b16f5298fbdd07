"""What the SQLite store acknowledged outlives a power cut at any moment: a disk that drops what was not synced.

kill -9 cannot show that, since the kernel keeps what was written. Here a shim writes down every write and sync of a
store at work; then the disk is made as cuts would have left it, at many moments and with different luck, and opened.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.power.journal import Disk, Record, read

from sampan.store import sqlite
from sampan.store.api import StoreError

SHIM = Path(__file__).parent / "power" / "shim.c"
# Eight writers say what is acknowledged; now and then the log is compacted, and its file checkpointed.
WRITERS = """
import asyncio, sys
from pathlib import Path
from sampan.store import log, sqlite

async def writer(store, name, count):
    revision = 0
    for n in range(count):
        if n % 7 == 6:
            await store.delete(name, revision)
            revision = 0
        else:
            value = b"%d " % n * (n % 5 * 300 + 1)
            revision = await (store.update(name, value, revision) if revision else store.create(name, value))
        print(name, n, flush=True)

async def main():
    store = await sqlite.open(Path(sys.argv[1]))
    SABOTAGE
    for _ in range(3):
        async with asyncio.TaskGroup() as group:
            for i in range(8):
                group.create_task(writer(store, f"/{_}/{i}", 12))
        await store.compact(store.revision - 40)
    await store.close()

asyncio.run(main())
"""
CUTS = 120


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, SHIM, "-ldl", "-pthread"], check=True)
    return made


def journal(shim: Path, directory: Path, sabotage: str = "") -> list[Record]:
    """What the writers did to an empty directory."""
    written, where = directory / "journal", directory / "disk"
    where.mkdir()
    environment = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "POWER_JOURNAL": str(written),
        "POWER_DIRECTORY": str(where),
    }
    program = WRITERS.replace("SABOTAGE", sabotage or "pass")
    command = [sys.executable, "-c", program, str(where / "store.db")]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return list(read(written))


async def lost(disk: Disk, directory: Path, chance: random.Random, keep: float) -> list[str]:
    """Which acknowledged writes are not there after a cut."""
    directory.mkdir()
    disk.left(directory, chance, keep)
    try:
        store = await sqlite.open(directory / "store.db")
    except StoreError as e:
        return [str(e)]
    missing = []
    latest = dict(line.split() for line in disk.acknowledged)
    for key, said in latest.items():
        record = await store.get(key)
        found = int(record.value.split()[0]) if record else None
        # The next write may have come to the disk, and its word not to us.
        allowed = {n if n % 7 != 6 else None for n in (int(said), int(said) + 1)}
        if found not in allowed:
            missing.append(f"{key}: {said} was acknowledged, {found} is there")
    await store.close()
    return missing


async def cuts(records: list[Record], directory: Path, seed: int) -> list[str]:
    """What is lost by cuts at moments spread over the whole of a journal."""
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(1, len(records) + 1), min(CUTS, len(records))))
    disk, done, missing = Disk(), 0, list[str]()
    for number, moment in enumerate(moments):
        for record in records[done:moment]:
            disk.do(record)
        done = moment
        missing += await lost(disk, directory / str(number), chance, (0.0, 0.5, 0.9)[number % 3])
    return missing


async def test_what_is_acknowledged_outlives_a_power_cut(shim: Path, tmp_path: Path) -> None:
    records = await asyncio.to_thread(journal, shim, tmp_path)
    assert sum(r.kind == "S" for r in records) > 20
    assert sum(r.kind == "A" for r in records) > 100
    assert await cuts(records, tmp_path, 1) == []


async def test_a_store_that_does_not_sync_is_found_out(shim: Path, tmp_path: Path) -> None:
    """The test above can fail."""
    sabotage = 'store._log._writer.execute("PRAGMA synchronous=OFF")'
    records = await asyncio.to_thread(journal, shim, tmp_path, sabotage)
    assert await cuts(records, tmp_path, 1) != []
