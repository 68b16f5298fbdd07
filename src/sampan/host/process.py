"""Child processes, awaited with a deadline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Completed:
    """What a child left: its exit status (negative: the signal that ended it) and output."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


class ProcessError(Exception):
    """A child failed, or had not ended by its deadline; the message says which, with its last words."""

    def __init__(self, message: str, completed: Completed | None = None):
        super().__init__(message)
        self.completed = completed


async def run(
    *argv: str | os.PathLike[str],
    input: bytes = b"",
    timeout: float = 30.0,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a program to its end and return what it printed.

    Raises ProcessError when it cannot be started, exits with a status other than 0 (unless `check` is false) or
    is still running after `timeout` seconds, when it is killed.
    """
    words = tuple(os.fspath(a) for a in argv)
    try:
        child = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE if input else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
        )
    except OSError as e:
        raise ProcessError(f"cannot start {words[0]}: {e.strerror}") from e
    try:
        async with asyncio.timeout(timeout):
            out, err = await child.communicate(input or None)
    except BaseException as e:
        if child.returncode is None:
            child.kill()
            await child.wait()
        if isinstance(e, TimeoutError):
            raise ProcessError(
                f"{' '.join(words[:3])} had not ended after {timeout:g} s and was killed"
            ) from e
        raise
    done = Completed(words, child.returncode or 0, out, err)
    if check and done.status:
        said = (err or out).decode(errors="replace").strip()[-500:]
        raise ProcessError(f"{' '.join(words[:3])} exited with {done.status}: {said}", done)
    return done


async def stream(*argv: str | os.PathLike[str], output: Callable[[bytes], None]) -> int:
    """Run a program, hand on what it prints (both streams together) as it comes, and return its exit status.

    It has no deadline: cancel it to end it, when it is killed. Raises ProcessError when it cannot be started.
    """
    words = tuple(os.fspath(a) for a in argv)
    try:
        child = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as e:
        raise ProcessError(f"cannot start {words[0]}: {e.strerror}") from e
    try:
        assert child.stdout
        while piece := await child.stdout.read(1 << 16):
            output(piece)
        return await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
