"""The image endpoints."""

from __future__ import annotations

import asyncio
import calendar
import fnmatch
import time
from collections.abc import AsyncIterator, Iterator
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
from sampan.engine.images import archive, references
from sampan.engine.images.credentials import from_header
from sampan.engine.images.model import ImageError, Platform
from sampan.engine.images.progress import Progress
from sampan.engine.images.store import Image, short_history
from sampan.http.messages import Request, Response
from sampan.machinery.images import Reference


def seconds(created: str) -> int:
    """An RFC 3339 time in UTC as seconds since the epoch; 0 where there is none."""
    try:
        return calendar.timegm(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0


def familiar(names: tuple[str, ...]) -> list[str]:
    return [references.parse(n).familiar for n in names]


async def all(face: Face, request: Request) -> Response:
    """GET /images/json"""
    parameters = Parameters(request)
    filters = parameters.filters()
    unknown = set(filters) - {"reference", "dangling", "label", "before", "since", "until"}
    if unknown:
        raise BadRequest(f"invalid filter '{sorted(unknown)[0]}'")
    found = await asyncio.to_thread(face.store.all)
    return answer([_summary(i) for i in found if _chosen(i, filters)])


def _chosen(image: Image, filters: dict[str, list[str]]) -> bool:
    names = [*familiar(image.tags), *familiar(image.digests)]
    patterns = filters.get("reference", [])
    if patterns and not any(_names(name, p) for name in names for p in patterns):
        return False
    if dangling := filters.get("dangling"):
        wanted = dangling[0].lower() in ("true", "1")
        if wanted != (not image.tags and not image.digests):
            return False
    for label in filters.get("label", []):
        key, equals, value = label.partition("=")
        if key not in image.config.labels or (equals and image.config.labels[key] != value):
            return False
    return True


def _names(name: str, pattern: str) -> bool:
    repository = references.parse(name).familiar_name
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(repository, pattern)


def _summary(image: Image) -> dict[str, Any]:
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": familiar(image.tags) or (None if image.digests else ["<none>:<none>"]),
        "RepoDigests": familiar(image.digests) or (None if image.tags else ["<none>@<none>"]),
        "Created": seconds(image.config.created),
        "Size": image.size,
        "VirtualSize": image.size,
        "SharedSize": -1,
        "Labels": image.config.labels or None,
        "Containers": -1,
    }


async def inspect(face: Face, request: Request, name: str) -> Response:
    """GET /images/{name}/json"""
    image = await asyncio.to_thread(face.store.find, name)
    config = image.config
    return answer(
        {
            "Id": image.id,
            "RepoTags": familiar(image.tags),
            "RepoDigests": familiar(image.digests),
            "Parent": "",
            "Comment": (config.raw.get("history") or [{}])[-1].get("comment", ""),
            "Created": config.created or "0001-01-01T00:00:00Z",
            "DockerVersion": "",
            "Author": config.raw.get("author", ""),
            "Config": config.run,
            "Architecture": config.platform.architecture,
            "Variant": config.platform.variant,
            "Os": config.platform.os,
            "Size": image.size,
            "VirtualSize": image.size,
            "GraphDriver": {
                "Name": "overlay2",
                "Data": {"LowerDir": ":".join(str(face.store.layers.path(c)) for c in reversed(image.chain))},
            },
            "RootFS": {"Type": "layers", "Layers": config.diff_ids},
            "Metadata": {"LastTagTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(image.loaded))},
        }
    )


async def history(face: Face, request: Request, name: str) -> Response:
    """GET /images/{name}/history"""
    image = await asyncio.to_thread(face.store.find, name)
    sizes = [face.store.layers.size(c) for c in image.chain]
    steps = short_history(image.config, sizes)
    return answer(
        [
            {
                "Id": image.id if n == 0 else "<missing>",
                "Created": seconds(step.get("created", "")),
                "CreatedBy": step.get("created_by", ""),
                "Tags": familiar(image.tags) or None if n == 0 else None,
                "Size": step["size"],
                "Comment": step.get("comment", ""),
            }
            for n, step in enumerate(steps)
        ]
    )


async def create(face: Face, request: Request) -> Response:
    """POST /images/create: pull, or import with fromSrc"""
    parameters = Parameters(request)
    if parameters.text("fromSrc"):
        return await _import(face, request, parameters)
    name, tag = parameters.text("fromImage"), parameters.text("tag")
    if not name:
        raise BadRequest("invalid reference format: no image is named")
    if tag:
        name += ("@" if tag.startswith("sha256:") else ":") + tag
    reference = references.parse(name)
    credentials = from_header(request.headers.get("x-registry-auth", ""))
    platform = Platform.parse(parameters.text("platform")) if parameters.text("platform") else None

    async def work(say: Say) -> None:
        def report(step: Progress) -> None:
            say(progress_line(step))

        await face.pull(reference, platform, [credentials] if credentials else [], report)

    return await streamed(work)


async def _import(face: Face, request: Request, parameters: Parameters) -> Response:
    if parameters.text("fromSrc") != "-":
        raise BadRequest(
            "importing from a URL is not supported; download the archive and import it from standard input"
        )
    if parameters.all("changes"):
        raise BadRequest("changes to an imported image are not supported; build from it instead")
    repository, tag = parameters.text("repo"), parameters.text("tag")
    names = [repository + (f":{tag}" if tag else "")] if repository else []

    async def work(say: Say) -> None:
        image = await read_in_thread(request, lambda feed: archive.single_layer(face.store, feed, names))
        say({"status": image.id})

    return await streamed(work)


async def load(face: Face, request: Request) -> Response:
    """POST /images/load"""
    quiet = Parameters(request).flag("quiet")

    async def work(say: Say) -> None:
        def report(name: str, total: int, done: int) -> None:
            if not quiet:
                short = name.removesuffix("/layer.tar").rpartition("/")[2][:12]
                say(progress_line(Progress("Loading layer", short, done, total)))

        def run(feed: Feed) -> list[archive.Loaded]:
            return archive.load(face.store, feed, report)

        for loaded in await read_in_thread(request, run):
            for name in loaded.names:
                say({"stream": f"Loaded image: {name}\n"})
            if not loaded.names:
                say({"stream": f"Loaded image ID: {loaded.image.id}\n"})

    return await streamed(work)


async def save(face: Face, request: Request, name: str = "") -> Response:
    """GET /images/{name}/get and GET /images/get?names="""
    names = [name] if name else [n for text in Parameters(request).all("names") for n in text.split(",")]
    if not names:
        raise BadRequest("no image is named")
    pieces = await asyncio.to_thread(archive.save, face.store, names)
    first = await asyncio.to_thread(next, pieces)
    return Response(200, _body(first, pieces), {"content-type": "application/x-tar"})


async def _body(first: bytes, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        if piece:
            yield piece


async def remove(face: Face, request: Request, name: str) -> Response:
    """DELETE /images/{name}"""
    force = Parameters(request).flag("force")
    removed = await asyncio.to_thread(face.store.remove, name, force=force, used_by=face.user_of)
    return answer(
        [{"Untagged": references.parse(n).familiar} for n in removed.untagged]
        + [{"Deleted": i} for i in removed.deleted]
    )


async def tag(face: Face, request: Request, name: str) -> Response:
    """POST /images/{name}/tag"""
    parameters = Parameters(request)
    target = parameters.text("repo") + (f":{parameters.text('tag')}" if parameters.text("tag") else "")
    await asyncio.to_thread(face.store.tag, name, target)
    return Response(201)


async def push(face: Face, request: Request, name: str) -> Response:
    """POST /images/{name}/push; without a tag, every tag of the repository"""
    given = Parameters(request).text("tag")
    reference = references.parse(name, default_tag="")
    if given:
        reference = reference.tagged(given)
    wanted = [reference] if reference.version else await asyncio.to_thread(_tags, face, reference)
    if not wanted:
        raise ImageError(f"An image does not exist locally with the tag: {reference.familiar_name}")
    credentials = from_header(request.headers.get("x-registry-auth", ""))

    async def work(say: Say) -> None:
        from sampan.engine.images.push import push as send

        for each in wanted:
            await send(
                face.store,
                each,
                registries=face.registries,
                credentials=credentials,
                report=lambda step: say(progress_line(step)),
            )

    return await streamed(work)


def _tags(face: Face, reference: Reference) -> list[Reference]:
    stem = f"{reference.registry}/{reference.repository}:"
    return [references.parse(n) for n in sorted(face.store.names()) if n.startswith(stem)]


async def prune(face: Face, request: Request) -> Response:
    """POST /images/prune: images without a name; with dangling=false every image that no container uses"""
    filters = Parameters(request).filters()
    every = filters.get("dangling", ["true"])[0].lower() in ("false", "0")
    gone, freed = await asyncio.to_thread(_prune, face, every)
    return answer({"ImagesDeleted": [{"Deleted": i} for i in gone] or None, "SpaceReclaimed": freed})


def _prune(face: Face, every: bool) -> tuple[list[str], int]:
    gone: list[str] = []
    if every:
        for image in face.store.all():
            if not face.user_of(image.id):
                for name in [*image.tags, *image.digests]:
                    face.store.remove(name, collect=False)
                gone.append(image.id)
    more, freed = face.store.prune()
    return [*gone, *(i for i in more if i not in gone)], freed
