"""The engine's side of the shims: building the program, starting one, and speaking with it.

A shim (shim/shim.c, which tells the protocol) stays with one container or one exec session. The engine holds
a `Session` to each container's shim; after its own restart it connects again to the socket in the container's
directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.engine.seams import STDERR, STDOUT

SOURCE = Path(__file__).parent / "shim" / "shim.c"
SOCKET = "shim.sock"
LIMIT = 16384


class ShimError(Exception):
    """The runtime could not start a process, in its own words, or the shim died."""


@dataclass(frozen=True, slots=True)
class Start:
    """A process that runs: its number, and since when, in nanoseconds since the epoch."""

    pid: int
    time: int

    @classmethod
    def parse(cls, text: bytes) -> Start:
        """A shim that an older engine left behind may tell the number alone."""
        pid, _, begun = text.partition(b" ")
        return cls(int(pid), int(begun or time.time_ns()))


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended; `time` is nanoseconds since the epoch. `error` says why it never began."""

    status: int
    time: int
    signal: int = 0
    oom: bool = False
    error: str = ""
    pid: int = 0

    @classmethod
    def parse(cls, text: bytes | str) -> Exit:
        raw = json.loads(text)
        return cls(raw["status"], raw["time"], raw["signal"], raw["oom"], raw["error"], raw["pid"])


def read_exit(directory: Path) -> Exit | None:
    """What the shim wrote about a container's end; None while there is nothing, or nothing sensible."""
    try:
        return Exit.parse((directory / "exit").read_bytes())
    except (OSError, ValueError, KeyError):
        return None


def build(directory: Path) -> Path:
    """The shim program, compiled unless this very source has been before. Blocks for a third of a second.

    It is kept beside the source as Python keeps its bytecode, or in `directory` where that cannot be written
    to. Raises ShimError naming what to install.
    """
    name = f"shim-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    places = [SOURCE.parent / "__pycache__", directory]
    for place in places:
        if (place / name).exists():
            return place / name
    for place in places:
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place, prefix=".shim") as temporary:
                _compile(Path(temporary, name))
                Path(temporary, name).rename(place / name)
            return place / name
    raise ShimError(f"cannot build the container shim: neither {places[0]} nor {places[1]} can be written to")


def _compile(target: Path) -> None:
    """Raises ShimError."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if not compiler:
        raise ShimError("no C compiler to build the container shim: install the packages gcc and libc6-dev")
    said = ""
    for linking in (["-static"], []):
        argv = [compiler, "-Os", "-s", *linking, "-o", str(target), str(SOURCE)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return
        said = done.stderr.strip()[-500:]
    raise ShimError(f"cannot build the container shim (are gcc and libc6-dev installed?): {said}")


def listener(directory: Path) -> socket.socket:
    """The socket that a shim will listen on, bound before it starts so that it can be found from the first moment."""
    path = directory / SOCKET
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(directory) as short:
        made.bind(f"{short}/{SOCKET}")
    path.chmod(0o600)
    made.listen(16)
    return made


async def connect(directory: Path) -> Session | None:
    """A session with the shim that serves a container's directory; None when there is none (any more)."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(directory) as short:
            made.connect(f"{short}/{SOCKET}")
    except OSError:
        made.close()
        return None
    return await Session.open(made)


async def launch(
    program: Path,
    mode: str,
    directory: Path,
    options: Sequence[str],
    runtime: Sequence[str],
    *,
    listen: socket.socket | None = None,
) -> Session:
    """Start a shim (`mode` is run or exec) that starts `runtime`; see `Session.started` for what became of it."""
    ours, theirs = socket.socketpair()
    try:
        argv = [os.fspath(program), mode, os.fspath(directory), *options, "--", *runtime]
        await asyncio.to_thread(_spawn, argv, theirs.fileno(), listen.fileno() if listen else -1)
    except OSError as e:
        ours.close()
        raise ShimError(f"cannot start the container shim: {e.strerror}") from e
    finally:
        theirs.close()
        if listen:
            listen.close()
    return await Session.open(ours)


def pause(program: Path, directory: Path) -> int:
    """Start the process that holds a shared PID namespace, in the namespaces kept in `directory`; its pid.
    Blocks briefly.

    Raises ShimError.
    """
    read, write = os.pipe()
    try:
        _spawn([os.fspath(program), "pause", os.fspath(directory)], write, -1)
    finally:
        os.close(write)
        with open(read) as answer:
            said = answer.read()
    if not said.strip().isdigit():
        raise ShimError("cannot start the process that holds the pod's PID namespace")
    return int(said)


def _spawn(argv: list[str], control: int, listen: int) -> None:
    """Run the shim with its descriptors in place, and see its first process off; the second is nobody's child."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (control, listen) if fd >= 0]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, fd in enumerate(high)]
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    finally:
        for fd in high:
            os.close(fd)
    _, status = os.waitpid(pid, 0)
    if status:
        raise ShimError(f"the container shim ended with status {os.waitstatus_to_exitcode(status)}")


class _short:
    """A short name for a directory while a socket in it is bound or connected to: socket paths end at 107 bytes."""

    def __init__(self, directory: Path):
        self._directory = directory

    def __enter__(self) -> str:
        self._fd = os.open(self._directory, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class Session:
    """A connection to a shim; fulfils seams.Process. Reading output begins with `subscribe` (exec: at once)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader, self._writer = reader, writer
        loop = asyncio.get_running_loop()
        self._started: asyncio.Future[Start] = loop.create_future()
        self._ended: asyncio.Future[Exit | None] = loop.create_future()
        # A queue's worth of output, then the connection fills and the process waits.
        self._output: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(16)
        self._task = loop.create_task(self._receive(), name="shim session")

    @classmethod
    async def open(cls, sock: socket.socket) -> Session:
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=4 * LIMIT))

    async def started(self, timeout: float) -> Start:
        """The process, as soon as it runs.

        Raises ShimError with the runtime's words, or TimeoutError.
        """
        async with asyncio.timeout(timeout):
            return await asyncio.shield(self._started)

    async def ended(self) -> Exit | None:
        """How the process ended, once it has; None when the shim went away without telling."""
        return await asyncio.shield(self._ended)

    async def subscribe(self) -> None:
        await self._send(b"a")

    async def reopen_log(self) -> None:
        await self._send(b"l")

    async def read(self) -> tuple[int, bytes] | None:
        piece = await self._output.get()
        if piece is None:
            self._output.put_nowait(None)
        return piece

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), LIMIT):
            await self._send(b"i", data[at : at + LIMIT])

    async def close_stdin(self) -> None:
        await self._send(b"c")

    async def resize(self, width: int, height: int) -> None:
        await self._send(b"r", struct.pack(">HH", height, width))

    async def signal(self, number: int) -> None:
        try:
            await self._send(b"k", bytes([number]))
        except ConnectionError:
            return

    async def wait(self) -> int:
        found = await self.ended()
        return found.status if found else 137

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        # Whoever still reads is at the end now.
        while not self._output.empty():
            self._output.get_nowait()
        self._output.put_nowait(None)

    async def _send(self, kind: bytes, data: bytes = b"") -> None:
        self._writer.write(kind + len(data).to_bytes(4, "big") + data)
        await self._writer.drain()

    async def _receive(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(5)
                await self._take(head[:1], await self._reader.readexactly(int.from_bytes(head[1:], "big")))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writer.close()
            self._finish()
        await self._output.put(None)

    async def _take(self, kind: bytes, data: bytes) -> None:
        match kind:
            case b"o":
                await self._output.put((STDOUT, data))
            case b"e":
                await self._output.put((STDERR, data))
            case b"s" if not self._started.done():
                self._started.set_result(Start.parse(data))
            case b"f" if not self._started.done():
                self._started.set_exception(ShimError(data.decode(errors="replace")))
            case b"x" if not self._ended.done():
                self._ended.set_result(Exit.parse(data))

    def _finish(self) -> None:
        """Whatever was not told by now will not be; nobody may wait for ever, or hear of an unread exception."""
        if not self._started.done():
            self._started.set_exception(ShimError("the container shim ended unexpectedly"))
        self._started.exception()
        if not self._ended.done():
            self._ended.set_result(None)
