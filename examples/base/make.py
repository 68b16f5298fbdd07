"""Have the base images here under the names people write: pulled where a registry can be reached, else made here.

python3 make.py --socket /run/sampan/default/sampan/engine.sock [--cache DIR] [NAME ...]
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import apt
import trees

from sampan.engine.docker.client import EngineClient
from sampan.engine.images.model import ImageError
from sampan.engine.images.registry import Registries
from sampan.host.process import ProcessError

HERE = Path(__file__).resolve().parent
REACH = 2.0  # seconds to wait for the registry's address to answer
Say = Callable[[str], None]


@dataclass(frozen=True)
class Base:
    """An image: the directory of its Dockerfile, the image it needs first, and what makes its `rootfs.tar`."""

    name: str
    directory: str
    needs: str = ""
    tree: Callable[[apt.Apt, Path, Say], Awaitable[None]] | None = None


async def _busybox(_: apt.Apt, target: Path, say: Say) -> None:
    await trees.busybox(target, say)


BASES = {
    base.name: base
    for base in (
        Base("busybox:latest", "busybox", tree=_busybox),
        Base("debian:12-slim", "debian", tree=trees.debian),
        Base("python:3.11-slim", "python", needs="debian:12-slim"),
        Base("postgres:15", "postgres", needs="debian:12-slim"),
    )
}


class Maker:
    """Makes images through one engine; `cache` keeps finished ones by a digest of what they are made from."""

    def __init__(self, client: EngineClient, cache: Path, say: Say):
        self.client, self.cache, self.say = client, cache, say
        self.apt: apt.Apt | None = None
        self.online: bool | None = None

    async def have(self, name: str) -> None:
        """See to it that the image is here. Raises MakingFailed, ImageError, ProcessError."""
        if await self._is_here(name):
            return
        if await self._reachable() and await self._pull(name):
            return
        base = BASES[name]
        kept = self.cache / f"{base.directory}-{self._key(base)}.tar"
        began = time.monotonic()
        if kept.exists():
            self.say(f"{name}: loading from {kept}")
            async for _ in self.client.load(kept):
                pass
        else:
            if base.needs:
                await self.have(base.needs)
            await self._make(base)
            self.cache.mkdir(parents=True, exist_ok=True)
            await self.client.save([name], kept)
        self.say(f"{name}: ready after {time.monotonic() - began:.1f} s")

    async def _is_here(self, name: str) -> bool:
        return any(name in (image["RepoTags"] or ()) for image in await self.client.images())

    async def _reachable(self) -> bool:
        """Whether the default registry answers at all; asked once."""
        if self.online is None:
            host = urlsplit(Registries().endpoints("docker.io")[0]).netloc
            try:
                async with asyncio.timeout(REACH):
                    _, writer = await asyncio.open_connection(host, 443)
                writer.close()
                self.online = True
            except (OSError, TimeoutError):
                self.online = False
                self.say(
                    "no image registry can be reached: making base images from this machine's Debian archive"
                )
        return self.online

    async def _pull(self, name: str) -> bool:
        try:
            async for document in self.client.pull(name):
                if not document.get("id"):
                    self.say(f"{name}: {document.get('status', '')}")
        except ImageError as e:
            self.say(f"{name}: {e}")
            return False
        return True

    def _configuration(self) -> apt.Apt:
        if self.apt is None:
            try:
                self.apt = apt.read(trees.RELEASE)
            except (OSError, ValueError) as e:
                raise trees.MakingFailed(str(e)) from e
        return self.apt

    def _key(self, base: Base) -> str:
        """A digest of everything the image is made from, packages excepted: those are as new as the cached image."""
        whole = hashlib.sha256()
        files = [*sorted((HERE / base.directory).iterdir()), HERE / "trees.py", HERE / "apt.py"]
        for path in files:
            whole.update(path.read_bytes())
        if base.directory != "busybox":
            whole.update(repr(self._configuration()).encode())
        return whole.hexdigest()[:16]

    async def _make(self, base: Base) -> None:
        with tempfile.TemporaryDirectory(prefix="sampan-base-") as directory:
            context = Path(directory) / "context"
            shutil.copytree(HERE / base.directory, context)

            def say(text: str) -> None:
                self.say(f"{base.name}: {text}")

            if base.tree:
                configuration = (
                    self._configuration() if base.directory != "busybox" else apt.Apt("", "", "", "")
                )
                await base.tree(configuration, context / "rootfs.tar", say)
            if base.directory == "python":
                _pip_settings(context / "machine")
            async for document in self.client.build(context, names=[base.name]):
                if document.get("stream", "").startswith("Step "):
                    say(document["stream"].splitlines()[0][:90])


def _pip_settings(target: Path) -> None:
    """How this machine's pip reaches its index, and the authorities it trusts."""
    (target / "etc").mkdir(parents=True)
    if Path("/etc/pip.conf").is_file():
        shutil.copy("/etc/pip.conf", target / "etc/pip.conf")
        if trees.CA_BUNDLE.is_file():
            certificates = target / trees.CA_BUNDLE.relative_to("/")
            certificates.parent.mkdir(parents=True)
            shutil.copy(trees.CA_BUNDLE, certificates)


async def make(socket: str, cache: Path, names: Sequence[str], say: Say) -> None:
    """Have all the images. Raises MakingFailed, ImageError, ProcessError."""
    unknown = [n for n in names if n not in BASES]
    if unknown:
        raise trees.MakingFailed(f"cannot make {unknown[0]}: one of {', '.join(BASES)}")
    async with EngineClient(socket) as client:
        maker = Maker(client, cache, say)
        for name in names or BASES:
            with _alone(cache):  # whoever comes second finds the first one's image in the cache
                await maker.have(name)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Keep others from making the same images at the same time."""
    cache.mkdir(parents=True, exist_ok=True)
    lock = os.open(cache / ".lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--socket", required=True, help="the engine's socket")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument(
        "--cache", type=Path, default=home / "sampan" / "base", help="where finished images are kept"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BASES)}; all by default")
    given = parser.parse_args()
    try:
        asyncio.run(make(given.socket, given.cache, given.names, lambda text: print(text, flush=True)))
    except (trees.MakingFailed, ImageError, ProcessError) as e:
        print(f"make.py: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
