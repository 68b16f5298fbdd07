"""The OCI runtime's command line:

runc, crun or youki. Starting goes through a shim (shims.py); the rest is here.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from sampan.host import process, trace

SERVICE = "engine"


class Runtime:
    """A runtime program, and the directory where it keeps its own state."""

    def __init__(self, command: str, root: Path):
        self.command, self.root = command, root

    def argv(self, *words: str) -> list[str]:
        # Without a log of its own the runtime complains on standard error, where the shim picks it up.
        return [self.command, "--root", str(self.root), "--log", "/dev/null", *words]

    def run_argv(self, name: str, bundle: Path, *, tty: bool) -> list[str]:
        """Create and start the container of a bundle, detached; the shim has made the bundle its working directory."""
        return self.argv("run", "--detach", "--bundle", str(bundle), *self._files(tty), name)

    def exec_argv(self, name: str, *, tty: bool) -> list[str]:
        """Start the process that `process.json` in the working directory tells of."""
        return self.argv("exec", "--detach", "--process", "process.json", *self._files(tty), name)

    @staticmethod
    def _files(tty: bool) -> list[str]:
        return ["--pid-file", "pid", *(("--console-socket", "console.sock") if tty else ())]

    def known(self) -> set[str]:
        """The containers that the runtime keeps state of."""
        return {entry.name for entry in self.root.iterdir()} if self.root.is_dir() else set()

    async def delete(self, name: str) -> None:
        """Kill what lives of a container and forget it, its cgroups too. Idempotent. Raises ProcessError."""
        if not await asyncio.to_thread((self.root / name).exists):
            return
        with trace.span(f"{self.command} delete", SERVICE, peer=self.command, attributes={"container": name}):
            await process.run(*self.argv("delete", "--force", name), timeout=30)

    async def version(self) -> str:
        """What the program says of itself, such as 1.1.5. Raises ProcessError."""
        said = (await process.run(self.command, "--version", timeout=10)).stdout.decode().split()
        return said[said.index("version") + 1] if "version" in said[:-1] else " ".join(said[:3])
