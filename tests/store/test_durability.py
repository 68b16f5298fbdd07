"""What the SQLite store keeps when its process is killed, its disk is full, or its file is torn."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.store import sqlite
from sampan.store.api import StoreError

# Eight writers create, update and delete keys, and say on standard output what is acknowledged.
WRITERS = """
import asyncio, sys
from pathlib import Path
from sampan.store import sqlite

async def writer(store, name):
    revision, n = 0, 0
    record = await store.get(name)
    if record:
        revision, n = record.revision, int(record.value)
    while True:
        n += 1
        if revision and n % 10 == 0:
            await store.delete(name, revision)
            revision = 0
            print(name, n, "deleted", flush=True)
        else:
            value = b"%d" % n
            revision = await (store.update(name, value, revision) if revision else store.create(name, value))
            print(name, n, revision, flush=True)

async def main():
    store = await sqlite.open(Path(sys.argv[1]))
    async with asyncio.TaskGroup() as group:
        for i in range(8):
            group.create_task(writer(store, f"/key/{i}"))
        while True:
            await asyncio.sleep(0.05)
            await store.compact(store.revision - 20)

asyncio.run(main())
"""


async def test_no_acknowledged_write_is_lost_by_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    rng = random.Random(3)
    revision = 0
    for _ in range(6):
        child = _start_writers(path)
        assert child.stdout
        said = [child.stdout.readline()]
        timer = asyncio.get_running_loop().call_later(
            0.05 + rng.random() * 0.3, child.send_signal, signal.SIGKILL
        )
        said += (await asyncio.to_thread(child.stdout.read)).splitlines()
        child.wait()
        child.stdout.close()
        timer.cancel()
        acknowledged = {
            key: (int(n), what) for key, n, what in (line.split() for line in said if line.count(" ") == 2)
        }
        store = await sqlite.open(path)
        assert store.revision >= revision
        revision = store.revision
        assert acknowledged
        for key, (n, what) in acknowledged.items():
            record = await store.get(key)
            # The writer may have been one write further than what it could still tell.
            if record is None:
                assert what == "deleted" or (n + 1) % 10 == 0
            else:
                assert int(record.value) in (n, n + 1)
        await store.close()


def _start_writers(path: Path) -> subprocess.Popen[str]:
    source = Path(__file__).parent.parent.parent / "src"
    command = [sys.executable, "-c", WRITERS, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(source)})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "sampan-test", where], check=True)
    yield where
    subprocess.run(["umount", where], check=True)


@pytest.mark.root
async def test_a_full_disk_refuses_writes_and_loses_nothing(small_disk: Path) -> None:
    store = await sqlite.open(small_disk / "store.db")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))

    async def fill() -> None:
        for n in range(1000):
            await store.create(f"/{n}", bytes(4000))

    with pytest.raises(StoreError, match=r"cannot write to the store .*full; free some space"):
        await fill()
    written = store.revision
    assert written
    # Again and again, also many at once; reads go on.
    outcomes = await asyncio.gather(
        *(store.create(f"/more/{n}", bytes(50_000)) for n in range(5)), return_exceptions=True
    )
    assert all(type(o) is StoreError for o in outcomes)
    assert store.revision == written == await store.count("/")
    ballast.unlink()
    assert await store.create("/after", b"") == written + 1
    await store.close()
    again = await sqlite.open(small_disk / "store.db")
    assert (again.revision, await again.count("")) == (written + 1, written + 1)
    await again.close()


async def _filled(path: Path, records: int = 200) -> None:
    store = await sqlite.open(path)
    await asyncio.gather(*(store.create(f"/{n:04}", os.urandom(500)) for n in range(records)))
    await store.close()


@pytest.mark.parametrize("tear", ["cut", "zeros", "text"])
async def test_a_torn_file_says_what_to_do(tmp_path: Path, tear: str) -> None:
    path = tmp_path / "store.db"
    await _filled(path)
    if tear == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        with path.open("r+b") as file:
            file.seek(4096 if tear == "zeros" else 0)
            file.write(bytes(40960) if tear == "zeros" else b"not a store at all" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"cannot be read: .*move it"):
        await sqlite.open(path)
    assert path.read_bytes() == before


async def test_a_torn_end_of_the_write_ahead_log_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await sqlite.open(path)
    await store.create("/a", b"1")
    wal = Path(f"{path}-wal")
    whole, length = wal.read_bytes(), wal.stat().st_size
    await store.create("/b", b"2")
    torn = wal.read_bytes()[: length + 1000]
    main = path.read_bytes()
    await store.close()
    crashed = tmp_path / "crashed.db"
    crashed.write_bytes(main)
    Path(f"{crashed}-wal").write_bytes(torn)
    assert torn.startswith(whole)
    again = await sqlite.open(crashed)
    assert again.revision == 1
    assert await again.create("/b", b"3") == 2
    await again.close()


async def test_a_store_is_open_in_one_process(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await sqlite.open(path)
    with pytest.raises(StoreError, match="is open in another process"):
        await sqlite.open(path)
    await store.close()
    await (await sqlite.open(path)).close()


async def test_files_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(StoreError, match="no store of ours"):
        await sqlite.open(other)
    with pytest.raises(StoreError, match="cannot open the store"):
        await sqlite.open(Path("/proc/nowhere/store.db"))


async def test_compaction_gives_space_back_and_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await sqlite.open(path)
    revision = await store.create("/a", b"")
    for _ in range(300):
        revision = await store.update("/a", os.urandom(5000), revision)
    await store.create("/gone", b"")
    await store.delete("/gone", store.revision)
    before = await store.size()
    await store.compact(store.revision)
    assert await store.size() < before / 10
    latest = store.revision
    await store.close()
    assert path.stat().st_size < before / 10
    again = await sqlite.open(path)
    assert (again.revision, again.oldest, await again.count("")) == (latest, latest, 1)
    assert await again.create("/gone", b"") == latest + 1
    await again.close()


async def test_closing_finishes_what_was_begun(tmp_path: Path) -> None:
    store = await sqlite.open(tmp_path / "store.db")
    writes = [asyncio.create_task(store.create(f"/{n}", b"")) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert sorted(await asyncio.gather(*writes)) == list(range(1, 51))
    with pytest.raises(StoreError, match="closed"):
        await store.create("/late", b"")
