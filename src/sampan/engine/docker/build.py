"""POST /build: a context as a tar archive, an image out of it, and the classic builder's stream meanwhile."""

from __future__ import annotations

import asyncio
import base64
import binascii
import shutil
from pathlib import Path
from typing import Any

from sampan.engine.docker.answers import (
    BadRequest,
    Feed,
    Parameters,
    Say,
    answer,
    progress_line,
    read_in_thread,
    streamed,
)
from sampan.engine.docker.face import Face
from sampan.engine.images.compression import Decompressed
from sampan.engine.images.credentials import Credentials
from sampan.engine.images.model import ImageError, Platform, host_platform, parse
from sampan.engine.images.progress import Progress
from sampan.engine.images.store import Image
from sampan.engine.images.unpack import unpack
from sampan.http.messages import Request, Response
from sampan.machinery.images import Reference


async def build(face: Face, request: Request) -> Response:
    """Errors in the request come as such; what goes wrong later comes at the end of the stream."""
    from sampan.engine.build.builder import Options

    parameters = Parameters(request)
    if parameters.text("remote"):
        raise BadRequest("building from a URL is not supported; fetch it, and build from the directory")
    if parameters.text("version") == "2":
        raise BadRequest("BuildKit is not supported; set DOCKER_BUILDKIT=0")
    options = Options(
        dockerfile=parameters.text("dockerfile") or "Dockerfile",
        names=parameters.all("t"),
        target=parameters.text("target"),
        arguments={k: v for k, v in parameters.document("buildargs").items() if v is not None},
        labels=parameters.document("labels"),
        platform=Platform.parse(parameters.text("platform"))
        if parameters.text("platform")
        else host_platform(),
        no_cache=parameters.flag("nocache"),
        pull=parameters.flag("pull"),
        network=parameters.text("networkmode") != "none",
    )
    keyring = _keyring(request.headers.get("x-registry-config", ""))
    silent = parameters.flag("q")

    async def work(say: Say) -> None:
        context = face.store.scratch.new("context-")
        context.mkdir(mode=0o700)
        try:
            await read_in_thread(request, lambda feed: _open(feed, context))
            image = await _build(face, context, options, keyring, _quiet if silent else say)
            if silent:
                say({"stream": f"{image.id}\n"})
            else:
                say({"aux": {"ID": image.id}})
        finally:
            await asyncio.to_thread(shutil.rmtree, context, ignore_errors=True)

    return await streamed(work)


def _quiet(_: dict[str, Any]) -> None: ...


def _open(feed: Feed, context: Path) -> None:
    unpack(Decompressed(feed, hashed=False), context, whiteouts=False)


async def _build(face: Face, context: Path, options: Any, keyring: dict[str, Credentials], say: Say) -> Image:
    from sampan.engine.build import builder
    from sampan.engine.images.credentials import matching

    def report(step: Progress) -> None:
        say(progress_line(step))

    async def pull(reference: Reference, platform: Platform) -> Image:
        return await face.pull(reference, platform, matching(reference, [keyring]), report)

    return await builder.build(face.store, context, options, lambda text: say({"stream": text}), pull)


def _keyring(header: str) -> dict[str, Credentials]:
    """Credentials by registry from X-Registry-Config."""
    from sampan.engine.images.credentials import from_config
    from sampan.engine.images.model import dump

    if not header:
        return {}
    try:
        raw = parse(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)) or b"{}", "X-Registry-Config")
    except (binascii.Error, ImageError) as e:
        raise BadRequest(f"X-Registry-Config: {e}") from None
    return from_config(dump({"auths": raw}))


async def prune(face: Face, request: Request) -> Response:
    """POST /build/prune"""
    return answer({"CachesDeleted": [], "SpaceReclaimed": await asyncio.to_thread(face.store.forget_steps)})
