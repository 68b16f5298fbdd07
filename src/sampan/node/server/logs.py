"""Reading the logs that runtimes write for containers.

Each line is `2026-01-02T03:04:05.000000006Z stdout F text`; `P` in place of `F` says that the text goes on in
the next line. Source: the CRI's logging format, as documented in kubernetes/design-proposals-archive
(node/kubelet-cri-logging.md).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sampan.host import inotify
from sampan.machinery import times
from sampan.machinery.cri import CriError, messages

if TYPE_CHECKING:
    from sampan.node.kubelet import Kubelet
    from sampan.node.worker import Worker

PIECE = 1 << 16
IDLE = 1.0  # seconds between looks whether a followed container still runs, when nothing is written


@dataclass(frozen=True, slots=True)
class Options:
    """`tail` None: all lines. `since` is seconds since the epoch and nanoseconds; `limit` bytes to send at most."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: tuple[int, int] | None = None
    limit: int | None = None
    stream: str = ""


def options(given: Mapping[str, str], now: float | None = None) -> Options:
    """From the parameters of a request. Raises ValueError."""
    import time

    since = times.split(given["sinceTime"]) if given.get("sinceTime") else None
    if given.get("sinceSeconds"):
        since = (int((now or time.time()) - int(given["sinceSeconds"])), 0)
    stream = given.get("stream", "").lower()
    return Options(
        follow=_flag(given.get("follow")),
        previous=_flag(given.get("previous")),
        timestamps=_flag(given.get("timestamps")),
        tail=int(given["tailLines"]) if given.get("tailLines") else None,
        since=since,
        limit=int(given["limitBytes"]) if given.get("limitBytes") else None,
        stream="" if stream == "all" else stream,
    )


def _flag(text: str | None) -> bool:
    return text is not None and text.lower() in ("", "1", "t", "true")


@dataclass(frozen=True, slots=True)
class Source:
    """A log file; `running` tells whether more may come."""

    path: Path
    running: Callable[[], bool]


async def source(node: Kubelet, worker: Worker, name: str, previous: bool) -> Source:
    """The log of a container of a pod. Raises LookupError, worded as a kubelet does."""
    from sampan.node import pods

    meta = worker.pod["metadata"]
    if pods.named(worker.pod, name) is None:
        raise LookupError(f"container {name} is not valid for pod {meta['name']}")
    seen = worker.observed.of(name)
    if previous:
        ended = [c for c in (seen[1:] if seen and seen[0].state != "exited" else seen) if c.state == "exited"]
        # Of a container that waits to be started again, the newest that ended is also the current one.
        if not ended:
            raise LookupError(f'previous terminated container "{name}" in pod "{meta["name"]}" not found')
        found = (
            ended[1]
            if len(ended) > 1 and seen[0].state == "exited" and not _waits(worker, name)
            else ended[0]
        )
    elif not seen or seen[0].state == "created":
        raise LookupError(
            f'container "{name}" in pod "{meta["name"]}" is waiting to start: {_why(worker, name)}'
        )
    else:
        found = seen[0]
    if not found.log_path:
        raise LookupError(f'container "{name}" in pod "{meta["name"]}" has no log')

    def running() -> bool:
        now = next((c for c in worker.observed.containers if c.id == found.id), None)
        return now is not None and now.state == "running"

    await _reopen(node, found.id, Path(found.log_path), running())
    return Source(Path(found.log_path), running)


async def _reopen(node: Kubelet, id: str, path: Path, running: bool) -> None:
    """A log that was moved aside just when this process died is opened anew."""
    if running and not path.exists():
        try:
            await node.runtime.cri.call(
                "ReopenContainerLog", messages.ReopenContainerLogRequest(container_id=id)
            )
        except CriError:
            return


def _waits(worker: Worker, name: str) -> bool:
    return "waiting" in _state(worker, name)


def _state(worker: Worker, name: str) -> dict[str, dict[str, str]]:
    known = worker.reporter.reported
    for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for s in known.get(field) or ():
            if s["name"] == name:
                return dict(s.get("state") or {})
    return {}


def _why(worker: Worker, name: str) -> str:
    waiting = _state(worker, name).get("waiting") or {}
    reason = waiting.get("reason", "ContainerCreating")
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        return "trying and failing to pull image"
    return reason


class Lines:
    """Turns the file's bytes into what is sent, keeping partial lines from one piece to the next."""

    def __init__(self, wanted: Options):
        self._wanted = wanted
        self._rest = b""
        self._begins = True
        self._shows = True

    def take(self, data: bytes) -> bytes:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return b"".join(self._line(line) for line in lines)

    def _line(self, line: bytes) -> bytes:
        stamp, _, rest = line.partition(b" ")
        stream, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        if stream not in (b"stdout", b"stderr"):
            return b""
        if self._begins:
            self._shows = self._passes(stamp, stream)
        begins, self._begins = self._begins, not tag.startswith(b"P")
        if not self._shows:
            return b""
        head = stamp + b" " if self._wanted.timestamps and begins else b""
        return head + text + (b"\n" if self._begins else b"")

    def _passes(self, stamp: bytes, stream: bytes) -> bool:
        if self._wanted.stream and stream.decode() != self._wanted.stream:
            return False
        if self._wanted.since is None:
            return True
        try:
            return times.split(stamp.decode()) >= self._wanted.since
        except ValueError:
            return True


def tail(file: BinaryIO, lines: int) -> int:
    """The offset at which the last so many full lines begin; lines that go on (`P`) count as one with what follows."""
    end = file.seek(0, os.SEEK_END)
    at, kept = end, b""
    while at > 0:
        step = min(PIECE, at)
        at -= step
        file.seek(at)
        kept = file.read(step) + kept
        starts = _starts(kept, at == 0)
        if len(starts) > lines:
            return at + starts[-lines] if lines else end
    starts = _starts(kept, True)
    return starts[-lines] if lines and len(starts) >= lines else (0 if lines else end)


def _starts(data: bytes, whole: bool) -> list[int]:
    """Where whole lines of the log begin in `data`; `whole`: its first byte begins one."""
    found: list[int] = []
    begins, at = whole, 0
    for line in data.split(b"\n")[:-1]:
        if begins:
            found.append(at)
        fields = line.split(b" ", 3)
        begins = not (len(fields) > 2 and fields[2].startswith(b"P"))
        at += len(line) + 1
    return found


async def read(log: Source, wanted: Options) -> AsyncIterator[bytes]:
    """The log as the options ask for it, in pieces."""
    left = wanted.limit
    async for piece in _pieces(log, wanted):
        if left is not None:
            piece = piece[:left]
            left -= len(piece)
        if piece:
            yield piece
        if left == 0:
            return


async def _pieces(log: Source, wanted: Options) -> AsyncIterator[bytes]:
    lines = Lines(wanted)
    try:
        file: BinaryIO = log.path.open("rb")
    except FileNotFoundError:
        return
    try:
        file.seek(await asyncio.to_thread(tail, file, wanted.tail) if wanted.tail is not None else 0)
        if not wanted.follow:
            while data := file.read(PIECE):
                yield lines.take(data)
            return
        with inotify.Watch(log.path.parent) as watch:
            while True:
                # Asked before reading, so that what a container wrote last is not missed.
                running = log.running()
                while data := file.read(PIECE):
                    yield lines.take(data)
                fresh = _turned(file, log.path)
                if fresh:
                    while data := file.read(PIECE):
                        yield lines.take(data)
                    file.close()
                    file = fresh
                    continue
                if not running:
                    return
                await watch.wait(IDLE)
    finally:
        file.close()


def _turned(file: BinaryIO, path: Path) -> BinaryIO | None:
    """The new file, where the log was turned over."""
    try:
        found = path.stat()
        if found.st_ino != os.fstat(file.fileno()).st_ino:
            return path.open("rb")
    except FileNotFoundError:
        return None
    return None
