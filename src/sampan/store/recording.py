"""Recordings of a store: lines of JSON, compressed, made by the API server and opened as a store of their own.

The first line says what it is a recording of: `{"sampan": "recording/v1", "time", "revision", "floors"}`. Each other is
a write: its revision `r`, key `k`, cause `c` and time `t`, and its value: `o` where that is an object, `b` where it is
other bytes, in base64, neither for a delete.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sampan.store.api import StoreError
from sampan.store.log import Log, Row

FORMAT = "recording/v1"
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Opened:
    """How far a recording was read: its last revision and when that was written."""

    revision: int
    time: float


def load(recording: Path, path: Path, wanted: Callable[[int, float], bool]) -> Opened:
    """Make a store at `path`, where none may be, of a recording's writes up to the first that is not `wanted`, of which
    revision and time are given. Blocks. Raises StoreError.
    """
    lines = _lines(recording)
    head = next(lines, {})
    if head.get("sampan") != FORMAT:
        raise StoreError(f"{recording} is no recording that this program reads; `sampan record` makes them")
    log = Log(path)
    try:
        last, rows = Opened(0, 0.0), list[Row]()
        for line in lines:
            row = _row(line)
            if not wanted(row[0], row[4]):
                break
            rows.append(row)
            last = Opened(row[0], row[4])
            if len(rows) == _BATCH:
                log.append(rows)
                rows.clear()
        if rows:
            log.append(rows)
        if not last.revision:
            raise StoreError(f"{recording} has nothing as of then")
        for prefix, floor in head["floors"].items():
            if floor:
                log.begin_compaction(prefix, min(floor, last.revision))
        return last
    except (KeyError, TypeError) as e:
        raise StoreError(f"{recording} is damaged: {e!r}") from e
    finally:
        log.close()


def _lines(recording: Path) -> Iterator[dict[str, Any]]:
    import io

    import zstandard

    try:
        with recording.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
            for line in io.BufferedReader(plain, 1 << 20):
                yield orjson.loads(line)
    except OSError as e:
        raise StoreError(f"{recording} cannot be read: {e.strerror}") from e
    except (zstandard.ZstdError, orjson.JSONDecodeError) as e:
        raise StoreError(f"{recording} is no whole recording: {e}") from e


def _row(line: dict[str, Any]) -> Row:
    value = orjson.dumps(line["o"]) if "o" in line else base64.b64decode(line["b"]) if "b" in line else None
    return line["r"], line["k"], value, line["c"], line["t"]
