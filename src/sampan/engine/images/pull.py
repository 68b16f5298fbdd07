"""Pull an image: its manifest, then its layers side by side, each unpacked as soon as all below it are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager

from sampan.engine.images import configured
from sampan.engine.images.content import CHUNK, Ingest
from sampan.engine.images.credentials import Credentials
from sampan.engine.images.model import (
    INDEXES,
    Descriptor,
    ImageConfig,
    ImageError,
    Manifest,
    Platform,
    chain_ids,
    choose,
    host_platform,
)
from sampan.engine.images.progress import Progress, Report, quiet, short
from sampan.engine.images.registry import Denied, NotThere, Registries, RegistryError, Repository, Unreachable
from sampan.engine.images.store import Image, ImageStore
from sampan.host import trace
from sampan.machinery.images import Reference

_AT_ONCE = 3
_ATTEMPTS = 5
_PAUSE = 0.5  # seconds before the first retry of a download, doubled each time


async def pull(
    store: ImageStore,
    reference: Reference,
    *,
    registries: Registries | None = None,
    credentials: Sequence[Credentials] = (),
    platform: Platform | None = None,
    report: Report = quiet,
) -> Image:
    """Bring an image here and give it its name, trying mirrors first and each of the credentials.

    Raises NotThere, Denied, Unreachable or another ImageError, of the last attempt.
    """
    where = await asyncio.to_thread(configured.registries, store.root) if registries is None else registries
    urls = [*where.before(reference.registry), ""]
    own = [*credentials, where.credentials.get(reference.registry)]
    problem: ImageError | None = None
    with trace.span(f"pull {reference.familiar}", "engine", peer=reference.registry):
        for url in urls:
            for mine in own if not url else [where.of_mirror(url)]:
                async with Repository(reference, where, mine, url=url) as repository, adding(store):
                    try:
                        return await _pull(store, repository, platform or host_platform(), report)
                    except Denied as e:
                        problem = problem if isinstance(problem, Denied) else e
                    except (NotThere, Unreachable) as e:
                        problem = e
                        if not url:
                            raise
                        break  # the next mirror, or the registry itself
        raise problem or Unreachable(f"no registry to pull {reference} from")


@asynccontextmanager
async def adding(store: ImageStore) -> AsyncIterator[None]:
    """`store.adding()` for a coroutine: the waiting happens in a thread."""
    stack = ExitStack()
    await asyncio.to_thread(stack.enter_context, store.adding())
    try:
        yield
    finally:
        await asyncio.shield(asyncio.to_thread(stack.close))


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose first failure is raised as it is, not wrapped in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as e:
        raise e.exceptions[0] from e


async def _pull(store: ImageStore, repository: Repository, platform: Platform, report: Report) -> Image:
    reference = repository.reference
    media_type, named, data = await repository.manifest(reference.version)
    report(Progress(f"Pulling from {reference.repository}", reference.tag or reference.digest))
    if media_type in INDEXES:
        media_type, _, data = await repository.manifest(choose(data, platform).digest)
    manifest = Manifest.parse(data)
    config = await _config(store, repository, manifest)
    await _layers(store, repository, manifest, config, report)
    stored = await asyncio.to_thread(store.blobs.put, data)
    names = [reference.at(named)]
    if reference.tag and not reference.digest:
        names.append(reference)
    before = (
        reference.tag
        and not reference.digest
        and await asyncio.to_thread(_has, store, reference, stored.digest)
    )
    image = await asyncio.to_thread(store.put, stored.digest, names)
    report(Progress(f"Digest: {named}"))
    state = "Image is up to date for" if before else "Downloaded newer image for"
    report(Progress(f"Status: {state} {reference.familiar}"))
    return image


def _has(store: ImageStore, reference: Reference, manifest: str) -> bool:
    return store.has(str(reference)) and store.find(str(reference)).manifest_digest == manifest


async def _config(store: ImageStore, repository: Repository, manifest: Manifest) -> ImageConfig:
    if not store.blobs.has(manifest.config.digest):
        await _download(store, repository, manifest.config, quiet)
    config = ImageConfig.parse(await asyncio.to_thread(store.blobs.read, manifest.config.digest))
    if len(config.diff_ids) != len(manifest.layers):
        raise ImageError(
            f"{repository.reference}: {len(manifest.layers)} layers, but {len(config.diff_ids)} diff IDs"
        )
    return config


async def _layers(
    store: ImageStore, repository: Repository, manifest: Manifest, config: ImageConfig, report: Report
) -> None:
    """Download what is missing, a few at once, and unpack in order."""
    chain = chain_ids(config.diff_ids)
    places = asyncio.Semaphore(_AT_ONCE)
    ready = [asyncio.Event() for _ in chain]

    async def fetch(n: int) -> None:
        layer = manifest.layers[n]
        if store.blobs.has(layer.digest):
            report(
                Progress(
                    "Already exists" if store.layers.has(chain[n]) else "Download complete",
                    short(layer.digest),
                )
            )
        else:
            report(Progress("Pulling fs layer", short(layer.digest)))
            async with places:
                await _download(store, repository, layer, report)
        ready[n].set()

    async with together() as group:
        for n in range(len(chain)):
            group.create_task(fetch(n))
        for n, layer in enumerate(manifest.layers):
            await ready[n].wait()
            if not store.layers.has(chain[n]):
                report(Progress("Extracting", short(layer.digest), 0, layer.size))
                await asyncio.to_thread(
                    store.layers.unpack_one, chain[: n + 1], config.diff_ids[n], layer.digest
                )
                report(Progress("Pull complete", short(layer.digest)))


async def _download(store: ImageStore, repository: Repository, part: Descriptor, report: Report) -> None:
    """Fetch a blob; a connection that breaks is taken up where it broke."""
    with await asyncio.to_thread(store.blobs.ingest) as blob:
        for attempt in range(_ATTEMPTS):
            try:
                await _receive(repository, part, blob, report)
                break
            except (ConnectionError, TimeoutError, OSError) as e:
                if isinstance(e, OSError) and not isinstance(e, ConnectionError | TimeoutError):
                    raise
                if attempt == _ATTEMPTS - 1:
                    why = str(e) or "no data in time"
                    raise RegistryError(
                        f"{repository.reference}: the download of {part.digest} broke off {_ATTEMPTS} times: {why}"
                    ) from e
                report(Progress(f"Retrying in {_PAUSE * 2**attempt:g} seconds", short(part.digest)))
                await asyncio.sleep(_PAUSE * 2**attempt)
        report(Progress("Verifying Checksum", short(part.digest)))
        await asyncio.to_thread(blob.commit, part.digest, part.size)
        report(Progress("Download complete", short(part.digest)))


async def _receive(repository: Repository, part: Descriptor, blob: Ingest, report: Report) -> None:
    """Read on from where the blob stands, in pieces of a megabyte."""
    waiting: list[bytes] = []
    held = 0
    try:
        async for piece in repository.blob(part.digest, blob.size):
            waiting.append(piece)
            held += len(piece)
            if blob.size + held > part.size:
                raise RegistryError(f"{repository.reference}: {part.digest} is larger than its manifest says")
            if held >= CHUNK:
                await asyncio.to_thread(blob.write, b"".join(waiting))
                waiting, held = [], 0
                report(Progress("Downloading", short(part.digest), blob.size, part.size))
    finally:
        blob.write(b"".join(waiting))
    if blob.size < part.size:
        raise ConnectionError("the registry closed the connection too early")
