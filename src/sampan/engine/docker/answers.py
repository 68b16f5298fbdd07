"""What Docker's API answers with: JSON bodies, error bodies, and streams of JSON lines."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from sampan.engine.images.model import ImageError, ImageInUse, ImageNotFound
from sampan.engine.images.progress import Progress
from sampan.engine.images.references import InvalidReference
from sampan.engine.images.registry import Denied, NotThere
from sampan.host import heap
from sampan.http.messages import Request, Response, query

Result = TypeVar("Result")
Say = Callable[[dict[str, Any]], None]
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (ImageNotFound, 404),
    (NotThere, 404),
    (Denied, 404),  # Docker does not tell whether a repository is private or missing
    (ImageInUse, 409),
    (InvalidReference, 400),
    (ImageError, 500),
)


class BadRequest(Exception):
    """The request itself is wrong."""


def answer(document: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(document).encode(), {"content-type": "application/json"})


def failure(error: Exception) -> Response:
    """Docker's error body for what went wrong."""
    if isinstance(error, BadRequest):
        return answer({"message": str(error)}, 400)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    return answer({"message": str(error)}, status)


class Parameters:
    """A request's query parameters, by Docker's conventions."""

    def __init__(self, request: Request):
        self._found = query(request.query)

    def text(self, name: str, default: str = "") -> str:
        return self._found.get(name, [default])[0]

    def all(self, name: str) -> list[str]:
        return self._found.get(name, [])

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.text(name, "1" if default else "").strip().lower()
        return value not in ("", "0", "no", "false", "none")

    def document(self, name: str) -> dict[str, Any]:
        """A parameter that is JSON itself. Raises BadRequest."""
        try:
            found = json.loads(self.text(name) or "{}")
        except ValueError as e:
            raise BadRequest(f"invalid {name}: {e}") from None
        if not isinstance(found, dict):
            raise BadRequest(f"invalid {name}: not an object")
        return found

    def filters(self) -> dict[str, list[str]]:
        """The `filters` parameter, in its newer form (`{"a": {"b": true}}`) or its older (`{"a": ["b"]}`)."""
        return {k: list(v) for k, v in self.document("filters").items()}


async def streamed(work: Callable[[Say], Awaitable[None]]) -> Response:
    """Run `work` and send what it says as JSON lines; a failure before the first line is an ordinary error.

    The work is cancelled when the client goes away.
    """
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def say(document: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, json.dumps(document).encode() + b"\r\n")

    async def run() -> None:
        try:
            await work(say)
        finally:
            loop.call_soon_threadsafe(lines.put_nowait, None)

    task = loop.create_task(run())
    try:
        first = await lines.get()
    except asyncio.CancelledError:
        task.cancel()
        raise
    if first is None and (problem := await _problem(task)):
        return failure(problem)
    return Response(200, _lines(first, lines, task), {"content-type": "application/json"})


async def _problem(task: asyncio.Task[None]) -> Exception | None:
    try:
        await task
    except (ImageError, BadRequest, OSError) as e:
        return e
    return None


async def _lines(
    first: bytes | None, lines: asyncio.Queue[bytes | None], task: asyncio.Task[None]
) -> AsyncIterator[bytes]:
    try:
        line = first
        while line is not None:
            yield line
            line = await lines.get()
        if problem := await _problem(task):
            detail: dict[str, Any] = {"message": str(problem)}
            if status := getattr(problem, "status", 0):
                detail["code"] = status
            yield json.dumps({"errorDetail": detail, "error": str(problem)}).encode() + b"\r\n"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ImageError, OSError):
            await task


def progress_line(step: Progress) -> dict[str, Any]:
    """A step of progress as Docker's clients draw it."""
    line: dict[str, Any] = {"status": step.status}
    if step.id:
        line["id"] = step.id
    if step.total:
        line["progressDetail"] = {"current": step.current, "total": step.total}
        line["progress"] = bar(step.current, step.total)
    elif step.id:
        line["progressDetail"] = {}
    return line


def bar(current: int, total: int) -> str:
    """`[=====>     ]  1.5MB/3MB`, as older clients print it."""
    done = min(50 * current // max(total, 1), 50)
    drawn = "=" * max(done - 1, 0) + ">" * (done > 0)
    return f"[{drawn:<50}]  {size(current)}/{size(total)}"


def size(count: float) -> str:
    """Bytes as people read them: four digits at most, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.4g}{unit}"


class Feed:
    """A request's body as a file that a thread reads, while the loop goes on filling it."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes] = queue.Queue(8)
        self._rest = b""
        self._closed = False
        self._broken = False

    def read(self, size: int, /) -> bytes:
        while len(self._rest) < size and not self._closed:
            piece = self._pieces.get()
            if not piece:
                self._closed = True
                if self._broken:
                    raise ImageError("the client went away in the middle of the body")
            self._rest = self._rest + piece if self._rest else piece
        out, self._rest = self._rest[:size], self._rest[size:]
        return out

    async def fill(self, request: Request) -> None:
        """Hand over the body in pieces of about a megabyte, waiting while the reader is behind."""
        waiting: list[bytes] = []
        held = 0
        try:
            async for chunk in request.chunks():
                waiting.append(chunk)
                held += len(chunk)
                if held >= 1 << 20:
                    await self._put(b"".join(waiting))
                    waiting, held = [], 0
        except BaseException:
            self._broken = True
            raise
        finally:
            await asyncio.shield(self._put(b"".join(waiting)))
            if held:
                await asyncio.shield(self._put(b""))

    async def _put(self, piece: bytes) -> None:
        try:
            self._pieces.put_nowait(piece)
        except queue.Full:
            await asyncio.to_thread(self._pieces.put, piece)

    def drain(self) -> None:
        """Let the filler end where the reader has stopped early. In a thread."""
        while not self._closed:
            self._closed = not self._pieces.get()


async def read_in_thread(request: Request, work: Callable[[Feed], Result]) -> Result:
    """Run `work` in a thread on the request's body."""
    feed = Feed()

    def run() -> Result:
        try:
            return work(feed)
        finally:
            feed.drain()

    filling = asyncio.create_task(feed.fill(request))
    try:
        return await asyncio.to_thread(run)
    finally:
        await asyncio.shield(
            asyncio.to_thread(heap.trim)
        )  # bodies are large, and most of the time there is none
        filling.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await filling
