"""The spans of a cluster, in a SQLite file of their own that forgets what is old.

Spans are worth little singly and come by the hundred, so they are written in batches and without waiting for the
disk: a crash of the machine may lose the last second of them, never anything else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from sampan.host.trace import Cause, Span

log = logging.getLogger(__name__)

DAY = 86_400
LARGEST = 1 << 30
_SCHEMA = """
CREATE TABLE IF NOT EXISTS span (
  trace TEXT NOT NULL, id TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL, service TEXT NOT NULL,
  peer TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, error TEXT NOT NULL,
  session TEXT NOT NULL, object TEXT NOT NULL, attributes TEXT NOT NULL, links TEXT NOT NULL,
  PRIMARY KEY (trace, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS span_session ON span (session) WHERE session != '';
CREATE INDEX IF NOT EXISTS span_object ON span (object) WHERE object != '';
CREATE INDEX IF NOT EXISTS span_root ON span (start) WHERE parent = '';
CREATE INDEX IF NOT EXISTS span_start ON span (start);
"""
_MALFORMED = "malformed"
_COLUMNS = "trace, id, parent, name, service, peer, start, end, error, attributes, links"
# Reads that nobody typed, the heartbeat of nodes and leaders, and what is written about writing explain nothing.
_READS = ("get", "list", "watch")
_HEARTBEATS = ("leases.coordination.k8s.io", "events", "events.events.k8s.io")
_SERVER = "kube-apiserver"
# Probes come every few seconds; one that changes anything is told by the report that follows.
_PULSE = ("event ", "report node", "probe", "ExecSync", "runc exec")


def worth_keeping(span: Span) -> bool:
    """Whether a span can be part of an operation that someone asks about."""
    said = span.attributes
    if said.get("kubectl.session"):
        return said.get("verb") != "watch"
    if said.get("resource") in _HEARTBEATS or (span.name.startswith(_PULSE) and not span.error):
        return False
    if span.service == _SERVER and not said.get("resource"):
        return False
    return said.get("verb") not in _READS or (bool(span.parent) and bool(span.error))


class Collector:
    """Open it once in a process. Every method may be called from the loop; files are touched in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = self._open()
        self._lock = asyncio.Lock()
        self._forgotten = 0.0

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.DatabaseError as e:
            if not _torn(e):
                raise
            return self._anew(e)

    def _anew(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """An empty database in place of one that a power cut has torn."""
        log.warning("%s is torn (%s); traces begin anew", self._path, error)
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return _connect(self._path)

    async def add(self, spans: Iterable[Span]) -> None:
        kept = [s for s in spans if worth_keeping(s)]
        if not kept:
            return
        async with self._lock:
            await asyncio.to_thread(self._write, kept)

    def _write(self, spans: list[Span]) -> None:
        try:
            self._insert(spans)
        except sqlite3.DatabaseError as e:
            if not _torn(e):
                raise
            self._database.close()
            self._database = self._anew(e)
            self._insert(spans)

    def _insert(self, spans: list[Span]) -> None:
        with self._database:
            self._database.executemany(
                f"INSERT OR REPLACE INTO span ({_COLUMNS}, session, object) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                [_row(s) for s in spans],
            )
        if time.time() - self._forgotten > 600:
            self._forgotten = time.time()
            self._forget()

    def _forget(self) -> None:
        """Drop what is older than a day, and the older half when the file has grown too large."""
        pages, size = (
            self._database.execute(f"PRAGMA {p}").fetchone()[0] for p in ("page_count", "page_size")
        )
        before = (time.time() - DAY) * 1e9
        if pages * size > LARGEST:
            middle = self._database.execute("SELECT (min(start) + max(start)) / 2 FROM span").fetchone()[0]
            before = max(before, middle)
        with self._database:
            self._database.execute("DELETE FROM span WHERE start < ?", (int(before),))

    async def recent(self, limit: int) -> list[Span]:
        """The latest roots, newest first: spans that began a trace, or carry a session of kubectl."""
        return await self._read(
            f"SELECT {_COLUMNS} FROM span WHERE parent = '' AND start > ? ORDER BY start DESC LIMIT ?",
            ((time.time() - DAY) * 1e9, limit),
        )

    async def traces(self, ids: Iterable[str]) -> list[Span]:
        """All spans of these traces, in order of their beginning."""
        wanted = list(ids)
        marks = ",".join("?" * len(wanted))
        return await self._read(
            f"SELECT {_COLUMNS} FROM span WHERE trace IN ({marks}) ORDER BY start", tuple(wanted)
        )

    async def session(self, session: str) -> list[str]:
        """The traces that one kubectl command began."""
        spans = await self._read(f"SELECT {_COLUMNS} FROM span WHERE session = ? ORDER BY start", (session,))
        return list(dict.fromkeys(s.cause.trace_id for s in spans))

    async def changes(self, resource: str, namespace: str, name: str, limit: int) -> list[Span]:
        """The latest requests that wrote one object, newest first."""
        return await self._read(
            f"SELECT {_COLUMNS} FROM span WHERE object = ? AND error = '' ORDER BY start DESC LIMIT ?",
            (f"{resource}/{namespace}/{name}", limit),
        )

    async def _read(self, sql: str, parameters: tuple[object, ...]) -> list[Span]:
        async with self._lock:
            rows = await asyncio.to_thread(lambda: self._database.execute(sql, parameters).fetchall())
        return [_span(row) for row in rows]

    async def close(self) -> None:
        async with self._lock:
            self._database.close()


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _torn(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is damaged, and not the disk full or the file in use."""
    return any(words in str(error) for words in (_MALFORMED, "not a database"))


def _row(span: Span) -> tuple[object, ...]:
    return (
        span.cause.trace_id,
        span.cause.span_id,
        span.parent,
        span.name,
        span.service,
        span.peer,
        span.start,
        span.end,
        span.error,
        json.dumps(span.attributes),
        json.dumps([str(c) for c in span.links]),
        span.attributes.get("kubectl.session", ""),
        _written(span),
    )


def _written(span: Span) -> str:
    """What a request changed, as `pods/default/web`; empty for a read."""
    said = span.attributes
    if not said.get("name") or said.get("verb") in _READS:
        return ""
    return "/".join((said.get("resource", ""), said.get("namespace", ""), said["name"]))


def _span(row: tuple[object, ...]) -> Span:
    trace, id_, parent, name, service, peer, start, end, error, attributes, links = row
    causes = [str(c).split("-") for c in json.loads(str(links))]
    return Span(
        name=str(name),
        service=str(service),
        cause=Cause(str(trace), str(id_)),
        parent=str(parent),
        peer=str(peer),
        start=int(str(start)),
        end=int(str(end)),
        error=str(error),
        attributes=json.loads(str(attributes)),
        links=tuple(Cause(c[1], c[2]) for c in causes),
    )
