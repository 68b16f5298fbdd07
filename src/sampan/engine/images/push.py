"""Push an image: the layers the registry lacks, then the manifest.

A layer that another repository of the same registry has is mounted from there instead of sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sampan.engine.images import configured, references
from sampan.engine.images.compression import gzipped
from sampan.engine.images.content import CHUNK
from sampan.engine.images.credentials import Credentials
from sampan.engine.images.model import (
    OCI_LAYER,
    Descriptor,
    ImageError,
    ImageNotFound,
    Manifest,
    make_manifest,
)
from sampan.engine.images.progress import Progress, Report, quiet, short
from sampan.engine.images.pull import adding, together
from sampan.engine.images.registry import Registries, Repository
from sampan.engine.images.store import ImageStore
from sampan.host import trace
from sampan.machinery.images import Reference

_AT_ONCE = 3


async def push(
    store: ImageStore,
    reference: Reference,
    *,
    registries: Registries | None = None,
    credentials: Credentials | None = None,
    report: Report = quiet,
) -> str:
    """Send the image of that name to its registry; returns the manifest's digest. Raises ImageError.

    Layers that are here uncompressed are sent with gzip; the manifest that says so is kept for the next push.
    """
    try:
        image = await asyncio.to_thread(store.find, str(reference))
    except ImageNotFound:
        raise ImageNotFound(
            f"An image does not exist locally with the tag: {reference.familiar_name}"
        ) from None
    where = await asyncio.to_thread(configured.registries, store.root) if registries is None else registries
    credentials = credentials or where.credentials.get(reference.registry)
    report(Progress(f"The push refers to repository [{reference.registry}/{reference.repository}]"))
    with trace.span(f"push {reference.familiar}", "engine", peer=reference.registry):
        async with adding(store), Repository(reference, where, credentials, push=True) as repository:
            known = await asyncio.to_thread(_manifest_for, store, image.id, image.manifest_digest)
            digest = await asyncio.to_thread(_compressed, store, known, report)
            data = await asyncio.to_thread(store.blobs.read, digest)
            manifest = Manifest.parse(data)
            others = await asyncio.to_thread(_elsewhere, store, reference)
            await _send_all(store, repository, manifest, others, report)
            version = reference.tag or digest
            await repository.put_manifest(version, manifest.media_type, data)
            await asyncio.to_thread(store.put, digest, [reference, reference.at(digest)])
    report(Progress(f"{version}: digest: {digest} size: {len(data)}"))
    return digest


def _manifest_for(store: ImageStore, identity: str, default: str) -> str:
    """A manifest of the image that an earlier push has made, else the image's own."""
    for name in store.names():
        pushed = store.manifest_of(name)
        if "@" in name and pushed and Manifest.parse(store.blobs.read(pushed)).config.digest == identity:
            return pushed
    return default


def _compressed(store: ImageStore, digest: str, report: Report) -> str:
    """The digest of a manifest like this one whose layers are all compressed."""
    manifest = Manifest.parse(store.blobs.read(digest))
    if not any(_is_plain(x) for x in manifest.layers):
        return digest
    layers = []
    for layer in manifest.layers:
        if _is_plain(layer):
            report(Progress("Preparing", short(layer.digest)))
            made, size = store.blobs.put_from(gzipped(_pieces(store, layer.digest)))
            layer = Descriptor(OCI_LAYER + "+gzip", made, size)
        layers.append(layer)
    config = replace(manifest.config, media_type="application/vnd.oci.image.config.v1+json")
    return store.blobs.put(make_manifest(config, layers)).digest


def _is_plain(layer: Descriptor) -> bool:
    return layer.media_type.endswith(".tar")


def _pieces(store: ImageStore, digest: str) -> Iterator[bytes]:
    with store.blobs.open(digest) as f:
        while piece := f.read(CHUNK):
            yield piece


def _elsewhere(store: ImageStore, reference: Reference) -> dict[str, str]:
    """Layers that other repositories of the same registry are known to have: by digest, the repository."""
    found: dict[str, str] = {}
    for name in store.names():
        other = references.parse(name)
        if (
            not other.digest
            or other.registry != reference.registry
            or other.repository == reference.repository
        ):
            continue
        try:
            manifest = Manifest.parse(store.blobs.read(store.manifest_of(name)))
        except ImageError:
            continue
        found.update(dict.fromkeys((x.digest for x in manifest.layers), other.repository))
    return found


async def _send_all(
    store: ImageStore, repository: Repository, manifest: Manifest, others: dict[str, str], report: Report
) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(part: Descriptor, speak: Report) -> None:
        async with places:
            await _send(store, repository, part, others.get(part.digest, ""), speak)

    async with together() as group:
        for layer in _once(manifest.layers):
            group.create_task(one(layer, report))
        group.create_task(one(manifest.config, quiet))


def _once(parts: Sequence[Descriptor]) -> list[Descriptor]:
    return list({p.digest: p for p in parts}.values())


async def _send(
    store: ImageStore, repository: Repository, part: Descriptor, source: str, report: Report
) -> None:
    name = short(part.digest)
    if await repository.has_blob(part.digest):
        report(Progress("Layer already exists", name))
        return
    if source and await repository.mount(part.digest, source):
        report(Progress(f"Mounted from {source}", name))
        return
    report(Progress("Pushing", name, 0, part.size))
    path = store.blobs.path(part.digest)
    await repository.upload(part.digest, path, lambda n: report(Progress("Pushing", name, n, part.size)))
    report(Progress("Pushed", name))
