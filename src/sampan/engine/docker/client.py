"""The other end of the socket, for the command line: images and builds in a few calls.

What takes long gives Docker's stream of documents, which `Screen` shows as the docker client does.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, urlencode

from sampan.engine.images.model import ImageError
from sampan.http.client import ClientResponse, HttpClient

_DEADLINE = 3600.0  # for the head of an answer: a load answers once it is done
Documents = AsyncIterator[dict[str, Any]]


class EngineClient:
    """A client of the engine at a unix socket. Use as an async context manager. Calls raise ImageError."""

    def __init__(self, socket: str | os.PathLike[str]):
        self._socket = os.fspath(socket)
        self._http = HttpClient(f"unix://{self._socket}", timeout=_DEADLINE)

    async def __aenter__(self) -> EngineClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def images(self) -> list[dict[str, Any]]:
        """All images, as GET /images/json."""
        found: list[dict[str, Any]] = await self._json("GET", "/images/json")
        return found

    async def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._json("GET", f"/images/{quote(name)}/json")
        return found

    async def remove(self, name: str, *, force: bool = False) -> list[dict[str, str]]:
        """What was untagged and deleted."""
        found: list[dict[str, str]] = await self._json("DELETE", f"/images/{quote(name)}?force={int(force)}")
        return found

    async def tag(self, name: str, target: str) -> None:
        await (await self._ask("POST", f"/images/{quote(name)}/tag?{urlencode({'repo': target})}")).close()

    def load(self, archive: Path) -> Documents:
        """Load the archive in a file."""
        return self._stream(
            "POST", "/images/load?quiet=0", _pieces(archive), {"content-type": "application/x-tar"}
        )

    async def save(self, names: Sequence[str], archive: Path) -> None:
        """Write images into a file, replaced at once when it is whole."""
        new = archive.with_name(archive.name + ".new")
        async with await self._ask(
            "GET", "/images/get?" + urlencode([("names", n) for n in names])
        ) as response:
            with open(new, "wb") as f:
                async for piece in response.chunks():
                    f.write(piece)
        os.replace(new, archive)

    def pull(self, name: str, credentials: Mapping[str, str] | None = None) -> Documents:
        return self._stream(
            "POST", "/images/create?" + urlencode({"fromImage": name}), b"", _auth(credentials)
        )

    def push(self, name: str, credentials: Mapping[str, str] | None = None) -> Documents:
        return self._stream("POST", f"/images/{quote(name)}/push", b"", _auth(credentials))

    def build(
        self,
        directory: Path,
        *,
        names: Sequence[str] = (),
        dockerfile: str = "Dockerfile",
        target: str = "",
        arguments: Mapping[str, str] | None = None,
        no_cache: bool = False,
        pull: bool = False,
    ) -> Documents:
        """Build from a directory; `dockerfile` is relative to it."""
        query = [("t", n) for n in names]
        query += [
            ("dockerfile", dockerfile),
            ("target", target),
            ("buildargs", json.dumps(dict(arguments or {}))),
        ]
        query += [("nocache", str(int(no_cache))), ("pull", str(int(pull)))]
        body = context(directory, dockerfile)
        return self._stream("POST", "/build?" + urlencode(query), body, {"content-type": "application/x-tar"})

    async def _ask(
        self,
        method: str,
        target: str,
        body: bytes | AsyncIterator[bytes] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> ClientResponse:
        try:
            response = await self._http.request(method, target, headers=headers, body=body)
        except (OSError, TimeoutError) as e:
            raise ImageError(
                f"cannot reach the engine at {self._socket}: {e}; is it up? Try: sampan status"
            ) from None
        if response.status >= 400:
            data = await response.read()
            try:
                said = json.loads(data)["message"]
            except (ValueError, KeyError, TypeError):
                said = data.decode(errors="replace") or f"status {response.status}"
            raise ImageError(said)
        return response

    async def _json(self, method: str, target: str) -> Any:
        async with await self._ask(method, target) as response:
            return json.loads(await response.read())

    async def _stream(
        self, method: str, target: str, body: bytes | AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> Documents:
        async with await self._ask(method, target, body, headers) as response:
            rest = b""
            async for piece in response.chunks():
                *lines, rest = (rest + piece).split(b"\n")
                for line in filter(None, map(bytes.strip, lines)):
                    document = json.loads(line)
                    if "error" in document:
                        raise ImageError(document["error"])
                    yield document


def _auth(credentials: Mapping[str, str] | None) -> dict[str, str]:
    if not credentials:
        return {}
    return {"x-registry-auth": base64.urlsafe_b64encode(json.dumps(dict(credentials)).encode()).decode()}


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    import asyncio

    with open(path, "rb") as f:
        while piece := await asyncio.to_thread(f.read, 1 << 20):
            yield piece


async def context(directory: Path, dockerfile: str = "Dockerfile") -> AsyncIterator[bytes]:
    """A directory as the archive that a build takes: without what .dockerignore leaves out, owned by root.

    Raises ImageError.
    """
    import asyncio

    from sampan.engine.build import copying
    from sampan.engine.build.ignore import compile as compile_ignore

    if not directory.is_dir():
        raise ImageError(f"the build context {directory} is not a directory")
    ignore = directory / f"{dockerfile}.dockerignore"
    ignore = ignore if ignore.is_file() else directory / ".dockerignore"
    ignored = compile_ignore(ignore.read_text(errors="surrogateescape") if ignore.is_file() else "")
    always = {dockerfile, ".dockerignore", f"{dockerfile}.dockerignore"}
    from sampan.engine.images import tar

    def out(name: str) -> bool:
        return name not in always and ignored(name)

    for path, name in await asyncio.to_thread(lambda: list(copying.walk(directory, "", out))):
        if name:
            for piece in _member(path, name):
                yield piece
    yield tar.END


def _member(path: Path, name: str) -> list[bytes]:
    """One entry of a context, whole."""
    from sampan.engine.build import diff
    from sampan.engine.images import tar

    info = path.lstat()
    kind = tar.kind_of(info.st_mode)
    if kind not in (tar.FILE, tar.DIRECTORY, tar.SYMLINK):
        return []
    entry = diff.described(path, name, kind, info)
    entry.uid = entry.gid = 0
    entry.xattrs = {}
    return [tar.header(entry), *(diff.data(path, entry.size) if entry.size else ())]


class Screen:
    """Shows a stream: text as it comes, and on a terminal one line for each layer, kept up to date."""

    def __init__(self, out: TextIO):
        self._out = out
        self._live = out.isatty()
        self._lines: dict[str, int] = {}
        self._seen: set[tuple[str, str]] = set()

    def show(self, document: Mapping[str, Any]) -> None:
        if "stream" in document:
            self._out.write(document["stream"])
        elif "status" in document:
            self._status(document)
        self._out.flush()

    def _status(self, document: Mapping[str, Any]) -> None:
        name, status = document.get("id", ""), document["status"]
        text = f"{name}: {status}" if name else status
        if not self._live or not name:
            if (name, status) not in self._seen:  # without a terminal each state once, without the bars
                self._seen.add((name, status))
                self._out.write(text + "\n")
            self._lines = {k: v + 1 for k, v in self._lines.items()}
            return
        text += f" {document['progress']}" if document.get("progress") else ""
        if name not in self._lines:
            self._lines = {k: v + 1 for k, v in self._lines.items()} | {name: 1}
            self._out.write(text + "\n")
        else:
            up = self._lines[name]
            self._out.write(f"\x1b[{up}A\r\x1b[2K{text}\x1b[{up}B\r")
