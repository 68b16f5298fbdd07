"""The paths of the API, and serving them on a unix socket."""

from __future__ import annotations

import asyncio
import os
import platform
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import sampan
from sampan.engine.docker import build, images
from sampan.engine.docker.answers import BadRequest, answer, failure
from sampan.engine.docker.face import Face
from sampan.engine.images.model import ImageError, host_platform
from sampan.host import trace
from sampan.http.messages import Request, Response
from sampan.http.server import Server, listen_unix
from sampan.http.server import serve as serve_http

API_VERSION, OLDEST = "1.41", "1.24"
_VERSION = re.compile(r"/v(\d+)\.(\d+)(/.*)")
_HEADERS = {
    "api-version": API_VERSION,
    "docker-experimental": "false",
    "ostype": "linux",
    "builder-version": "1",
    "server": f"Sampan/{sampan.__version__}",
}


async def _ping(face: Face, request: Request) -> Response:
    return Response(
        200, b"" if request.method == "HEAD" else b"OK", {"content-type": "text/plain; charset=utf-8"}
    )


async def _version(face: Face, request: Request) -> Response:
    details = {
        "ApiVersion": API_VERSION,
        "MinAPIVersion": OLDEST,
        "Os": "linux",
        "Arch": host_platform().architecture,
        "KernelVersion": platform.release(),
        "Experimental": "false",
    }
    return answer(
        {
            "Platform": {"Name": "Sampan"},
            "Components": [{"Name": "Engine", "Version": sampan.__version__, "Details": details}],
            "Version": sampan.__version__,
            **{k: v for k, v in details.items() if k != "Experimental"},
            "GitCommit": "",
            "GoVersion": "",
            "BuildTime": "",
        }
    )


Handle = Callable[..., Awaitable[Response]]
_ROUTES: list[tuple[str, re.Pattern[str], Handle]] = [
    (method, re.compile(pattern), handle)
    for method, pattern, handle in (
        ("GET|HEAD", r"/_ping", _ping),
        ("GET", r"/version", _version),
        ("POST", r"/build", build.build),
        ("POST", r"/build/prune", build.prune),
        ("GET", r"/images/json", images.all),
        ("GET", r"/images/get", images.save),
        ("POST", r"/images/create", images.create),
        ("POST", r"/images/load", images.load),
        ("POST", r"/images/prune", images.prune),
        ("GET", r"/images/(.+)/json", images.inspect),
        ("GET", r"/images/(.+)/history", images.history),
        ("GET", r"/images/(.+)/get", images.save),
        ("POST", r"/images/(.+)/tag", images.tag),
        ("POST", r"/images/(.+)/push", images.push),
        ("DELETE", r"/images/(.+)", images.remove),
    )
]


async def handle(face: Face, request: Request) -> Response:
    """Answer one request."""
    path = unquote(request.path)
    if match := _VERSION.fullmatch(path):
        asked = (int(match[1]), int(match[2]))
        if asked > tuple(map(int, API_VERSION.split("."))):
            said = f"client version {match[1]}.{match[2]} is too new. Maximum supported API version is {API_VERSION}"
            return _with_headers(answer({"message": said}, 400))
        path = match[3]
    for method, pattern, handler in _ROUTES:
        found = pattern.fullmatch(path)
        if found and request.method in method.split("|"):
            with trace.span(f"{request.method} {path}", "engine"):
                return _with_headers(await _answer(handler, face, request, found.groups()))
    return _with_headers(answer({"message": "page not found"}, 404))


async def _answer(handler: Handle, face: Face, request: Request, words: tuple[Any, ...]) -> Response:
    try:
        return await handler(face, request, *words)
    except (BadRequest, ImageError, OSError) as e:
        return failure(e)


def _with_headers(response: Response) -> Response:
    response.headers = {**_HEADERS, **response.headers}
    return response


def _clean(face: Face) -> None:
    if not face.store.scratch.alone():
        from sampan.engine.build.running import abandon

        face.store.clean(abandon)


async def serve(face: Face, path: str | os.PathLike[str], mode: int = 0o600) -> Server:
    """Serve at a unix socket, which only root may use unless told: who can build can become root.

    First ends what a process that was killed has left of its builds, pulls and loads.
    """
    await asyncio.to_thread(_clean, face)

    async def handler(request: Request) -> Response:
        return await handle(face, request)

    return await serve_http(handler, sockets=[listen_unix(Path(path), mode)])
