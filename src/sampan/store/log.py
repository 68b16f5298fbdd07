"""The log on disk: one SQLite table of writes. Everything here blocks, and runs in the threads of `sqlite`.

    log(revision, key, value, cause, time)    value is NULL for a delete; an index leads from key to its
    revisions floors(prefix, revision, done)            compactions: what was forgotten, and how far the rows
    are really gone

Write-ahead log with synchronous=FULL: a commit returns after fsync, and what a crash leaves torn is ignored
when the file is opened again. Sources: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from sampan.store.api import Entry, Event, Page, Record, StoreError
from sampan.store.encryption import NONE, Encryption
from sampan.store.state import prefix_end

APPLICATION = 0x53_4D_50_4E  # marks the file as ours
VERSION = 1
_STEP = 1000  # rows that one step of a compaction looks at, and pages that one gives back
_HIGHEST = chr(0x10FFFF) * 4  # above every key

_SCHEMA = """
CREATE TABLE log (
    revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, cause TEXT NOT NULL, time REAL NOT NULL);
CREATE INDEX log_key ON log (key, revision);
CREATE TABLE floors (prefix TEXT PRIMARY KEY, revision INTEGER NOT NULL, done INTEGER NOT NULL);
"""

Row = tuple[int, str, bytes | None, str, float]


class Log:
    """The file at `path`, made if it is not there, and locked: one process has it open. Raises StoreError.

    `append` and `compact` belong to one thread, the reads to another; each has its own connection.
    """

    def __init__(self, path: Path, encryption: Encryption = NONE) -> None:
        self.path = path
        self.encryption = encryption
        self._lock = self._take_lock()
        try:
            self._writer = self._open()
            self._reader = self._connect()
            self.floors: dict[str, int] = dict(self._reader.execute("SELECT prefix, revision FROM floors"))
        except sqlite3.DatabaseError as e:
            os.close(self._lock)
            raise self.damaged(e) from e
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        self._reader.close()
        with suppress(sqlite3.Error):  # the log is whole without it too: the next open reads it
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.close()
        os.close(self._lock)

    def damaged(self, error: Exception) -> StoreError:
        return StoreError(
            f"the store {self.path} cannot be read: {error}. Put back a copy of it, or move it and its -wal "
            "file away to begin with an empty cluster"
        )

    def _take_lock(self) -> int:
        name = f"{self.path}.lock"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise StoreError(f"cannot open the store: {e.strerror}: {name}") from e
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise StoreError(
                f"the store {self.path} is open in another process; end that one first"
            ) from None
        return fd

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        except sqlite3.OperationalError as e:
            raise StoreError(f"cannot open the store {self.path}: {e}") from e
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def _open(self) -> sqlite3.Connection:
        new = not self.path.exists() or not self.path.stat().st_size
        connection = self._connect()
        if new:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA journal_size_limit=33554432")
        if self.encryption is not NONE:
            connection.execute("PRAGMA secure_delete=ON")  # what was not sealed is overwritten when it goes
        application = _one(connection, "PRAGMA application_id")
        version = _one(connection, "PRAGMA user_version")
        if not application and not _one(connection, "SELECT count(*) FROM sqlite_master"):
            marks = f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION};"
            connection.executescript(f"BEGIN; {_SCHEMA} {marks} COMMIT;")
            os.chmod(self.path, 0o600)
            _sync_directory(self.path.parent)
        elif application != APPLICATION:
            raise StoreError(f"{self.path} is an SQLite file, but no store of ours")
        elif version != VERSION:
            raise StoreError(
                f"the store {self.path} has version {version}; this program reads version {VERSION}"
            )
        return connection

    # The writer's thread

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows in one transaction; they are durable when this returns. Raises sqlite3.Error."""
        connection = self._writer
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", map(self._sealed, rows))
            connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if not self._has(rows[-1][0]):
                raise

    def _sealed(self, row: Row) -> Row:
        revision, key, value, cause, time = row
        if value is None or self.encryption is NONE:
            return row
        return revision, key, self.encryption.seal(key, value), cause, time

    def _opened(self, key: str, value: bytes) -> bytes:
        return self.encryption.open(key, value) if value[:1] == b"k" else value  # JSON never begins so

    def begin_encryption(self, encryption: Encryption) -> None:
        """Seal what is written from now on as `encryption` says; `seal_anew` does the same for what is there."""
        self.encryption = encryption
        self._writer.execute("PRAGMA secure_delete=ON")

    def seal_anew(self, after: int) -> int:
        """One step of sealing as configured what is not; the revision that was reached, 0 at the end."""
        connection = self._writer
        rows = connection.execute(
            "SELECT revision, key, value FROM log WHERE revision > ? ORDER BY revision LIMIT ?",
            [after, _STEP],
        ).fetchall()
        new = [
            (self.encryption.seal(key, self.encryption.open(key, value)), revision)
            for revision, key, value in rows
            if value is not None and self.encryption.stale(key, value)
        ]
        if new:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("UPDATE log SET value = ? WHERE revision = ?", new)
            connection.execute("COMMIT")
        if rows:
            return int(rows[-1][0])
        self._note_sealed()
        return 0

    def _note_sealed(self) -> None:
        """Everything is sealed as configured; what held it otherwise goes from the write-ahead log too."""
        self._writer.execute("CREATE TABLE IF NOT EXISTS sealed (fingerprint TEXT NOT NULL)")
        self._writer.executescript("BEGIN; DELETE FROM sealed; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.execute("INSERT INTO sealed VALUES (?)", [self.encryption.fingerprint])

    def sealed_as_configured(self) -> bool:
        """Whether all was sealed by the configuration that holds now."""
        try:
            row = self._writer.execute("SELECT fingerprint FROM sealed").fetchone()
        except sqlite3.OperationalError:
            row = None  # nothing ever was
        return (row[0] if row else "") == self.encryption.fingerprint

    def _has(self, revision: int) -> bool:
        """Whether a commit that failed took effect all the same."""
        try:
            return bool(self._writer.execute("SELECT 1 FROM log WHERE revision = ?", [revision]).fetchone())
        except sqlite3.Error:
            return False

    def begin_compaction(self, prefix: str, revision: int) -> None:
        self._writer.execute(
            "INSERT INTO floors VALUES (?1, ?2, 0) ON CONFLICT DO UPDATE SET revision = max(revision, ?2)",
            [prefix, revision],
        )

    def compact(self, prefix: str) -> bool:
        """One step of removing what the floor of `prefix` forgets; whether there is more to do.

        Each row up to the floor makes those before it, of the same key, invisible; a delete makes itself so
        too.
        """
        connection = self._writer
        query = "SELECT revision, done FROM floors WHERE prefix = ?"
        floor, done = connection.execute(query, [prefix]).fetchone()
        low, high = _range(prefix)
        rows = connection.execute(
            "SELECT revision, key, value IS NULL FROM log"
            " WHERE revision > ? AND revision <= ? AND +key >= ? AND +key < ? ORDER BY revision LIMIT ?",
            [done, floor, low, high, _STEP],
        ).fetchall()
        done = rows[-1][0] if len(rows) == _STEP else floor
        before = [(key, revision + gone) for revision, key, gone in rows]
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("DELETE FROM log WHERE key = ? AND revision < ?", before)
            connection.execute("UPDATE floors SET done = ? WHERE prefix = ?", [done, prefix])
            connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return done < floor or self._give_back()

    def _give_back(self) -> bool:
        """Return some unused pages to the file system; whether there are more."""
        # As a script, because `execute` would take only the first of its many steps.
        self._writer.executescript(f"PRAGMA incremental_vacuum({_STEP})")
        return _one(self._writer, "PRAGMA freelist_count") > _STEP

    # The reader's thread

    def load(self) -> tuple[list[Record], int]:
        """The records now, in key order, and the latest revision."""
        # In the order of the table, which is twice as quick as in the order of keys.
        rows = self._reader.execute(
            "SELECT key, value, revision FROM log WHERE value IS NOT NULL"
            " AND revision IN (SELECT max(revision) FROM log GROUP BY key)"
        )
        found = (Record(key, self._opened(key, value), revision) for key, value, revision in rows)
        records = sorted(found, key=lambda record: record.key)
        last = self._reader.execute("SELECT max(revision) FROM log").fetchone()[0] or 0
        return records, max(last, *self.floors.values(), 0)

    def get(self, key: str, revision: int) -> Record | None:
        row = self._reader.execute(
            "SELECT key, value, revision FROM log WHERE key = ? AND revision <= ?"
            " ORDER BY revision DESC LIMIT 1",
            [key, revision],
        ).fetchone()
        return Record(key, self._opened(key, row[1]), row[2]) if row and row[1] is not None else None

    def page(self, prefix: str, after: str, limit: int, revision: int) -> Page:
        low, high = _range(prefix)
        rows = self._reader.execute(
            "SELECT l.key, l.revision FROM log AS l JOIN (SELECT max(revision) AS latest FROM log"
            " WHERE key >= ? AND key < ? AND key > ? AND revision <= ? GROUP BY key) ON l.revision = latest"
            " WHERE l.value IS NOT NULL ORDER BY l.key",
            [low, high, after, revision],
        ).fetchall()
        chosen = rows[:limit] if limit else rows
        query = "SELECT key, value, revision FROM log WHERE revision = ?"
        found = (self._reader.execute(query, [r]).fetchone() for _, r in chosen)
        records = [Record(key, self._opened(key, value), r) for key, value, r in found]
        return Page(records, revision, len(rows) - len(chosen))

    def events(self, prefix: str, after: int, until: int) -> tuple[list[Event], int]:
        """The first events after `after`, not beyond `until`, and the last revision that was looked at."""
        low, high = _range(prefix)
        rows: list[Row] = self._reader.execute(
            "SELECT revision, key, value, cause, time FROM log"
            " WHERE revision > ? AND revision <= ? AND +key >= ? AND +key < ? ORDER BY revision LIMIT ?",
            [after, until, low, high, _STEP],
        ).fetchall()
        events = [
            Event(k, r, value and self._opened(k, value), self.get(k, r - 1), cause, time)
            for r, k, value, cause, time in rows
        ]
        return events, rows[-1][0] if len(rows) == _STEP else until

    def cause(self, revision: int) -> str:
        row = self._reader.execute("SELECT cause FROM log WHERE revision = ?", [revision]).fetchone()
        return row[0] if row else ""

    def history(self, key: str) -> list[Entry]:
        rows = self._reader.execute(
            "SELECT key, revision, value, cause, time FROM log WHERE key = ? ORDER BY revision", [key]
        )
        return [self._entry(row) for row in rows]

    def _entry(self, row: tuple[str, int, bytes | None, str, float]) -> Entry:
        key, revision, value, cause, time = row
        return Entry(key, revision, value if value is None else self._opened(key, value), cause, time)

    def writes(self, after: int) -> list[Entry]:
        rows = self._reader.execute(
            "SELECT key, revision, value, cause, time FROM log WHERE revision > ? ORDER BY revision LIMIT ?",
            [after, _STEP],
        )
        return [self._entry(row) for row in rows]

    def revision_at(self, time: float) -> int:
        """The latest revision written at or before `time`:

        A binary search, since times grow with revisions.
        """
        low, high = 0, self._reader.execute("SELECT max(revision) FROM log").fetchone()[0] or 0
        query = "SELECT revision, time FROM log WHERE revision <= ? ORDER BY revision DESC LIMIT 1"
        while low < high:
            row = self._reader.execute(query, [(low + high + 1) // 2]).fetchone()
            if row and row[1] > time:
                high = row[0] - 1
            else:
                low = (low + high + 1) // 2
        row = self._reader.execute(query, [low]).fetchone()
        return int(row[0]) if row else 0

    def size(self) -> int:
        """The bytes in use in the file; what compaction has freed is not counted."""
        used = _one(self._reader, "PRAGMA page_count") - _one(self._reader, "PRAGMA freelist_count")
        return used * _one(self._reader, "PRAGMA page_size")


def _range(prefix: str) -> tuple[str, str]:
    return prefix, prefix_end(prefix) or _HIGHEST


def _one(connection: sqlite3.Connection, query: str, values: Iterable[object] = ()) -> int:
    return int(connection.execute(query, tuple(values)).fetchone()[0])


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
