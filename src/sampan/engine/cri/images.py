"""CRI: images, over the image store that all nodes of a machine share."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from sampan.engine.images import references
from sampan.engine.images.model import ImageError, ImageInUse, ImageNotFound
from sampan.engine.images.store import Image
from sampan.machinery.cri import CriError, messages

if TYPE_CHECKING:
    from sampan.engine.engine import Engine


def item(image: Image) -> Any:
    """An image as CRI shows it; its user is a number or a name."""
    user = image.config.user.partition(":")[0]
    return messages.Image(
        id=image.id,
        repo_tags=image.tags,
        repo_digests=image.digests,
        size=image.size,
        uid=messages.Int64Value(value=int(user)) if user.isdigit() else None,
        username="" if user.isdigit() else user,
        spec=messages.ImageSpec(image=image.tags[0] if image.tags else image.id),
    )


def _find(engine: Engine, name: str) -> Image | None:
    try:
        return engine.context.images.find(name)
    except (ImageNotFound, references.InvalidReference):
        return None


def _chosen(engine: Engine, wanted: Any) -> list[Any]:
    if wanted.image.image:
        found = _find(engine, wanted.image.image)
        return [item(found)] if found else []
    return [item(image) for image in engine.context.images.all()]


async def every(engine: Engine, request: Any) -> Any:
    return messages.ListImagesResponse(images=await asyncio.to_thread(_chosen, engine, request.filter))


async def stream(engine: Engine, request: Any) -> Any:
    return messages.StreamImagesResponse(images=await asyncio.to_thread(_chosen, engine, request.filter))


async def one(engine: Engine, request: Any) -> Any:
    """The image, or an empty answer where it is not here."""
    if not request.image.image:
        raise CriError("INVALID_ARGUMENT", "ImageStatus needs an image")
    found = await asyncio.to_thread(_find, engine, request.image.image)
    response = messages.ImageStatusResponse(image=item(found) if found else None)
    if found and request.verbose:
        from sampan.engine.engine import info

        response.info.update(info({"chainID": found.chain[-1:], "imageSpec": found.config.raw}))
    return response


async def pull(engine: Engine, request: Any) -> Any:
    from sampan.engine.images import credentials
    from sampan.engine.images import pull as pulling
    from sampan.engine.images.registry import Denied, NotThere, Unreachable

    auth = request.auth
    given = {
        "username": auth.username,
        "password": auth.password,
        "auth": auth.auth,
        "identitytoken": auth.identity_token,
        "registrytoken": auth.registry_token,
    }
    try:
        own = [credentials.Credentials.of(given)] if any(given.values()) else []
        image = await pulling.pull(
            engine.context.images,
            references.parse(request.image.image),
            credentials=own,
            registries=engine.registries,
        )
    except NotThere as e:
        raise CriError("NOT_FOUND", f"failed to pull and unpack image: {e}") from e
    except Denied as e:
        raise CriError("PERMISSION_DENIED", f"failed to pull and unpack image: {e}") from e
    except Unreachable as e:
        raise CriError("UNAVAILABLE", f"failed to pull and unpack image: {e}") from e
    except (ImageError, OSError) as e:
        raise CriError("UNKNOWN", f"failed to pull and unpack image: {e}") from e
    return messages.PullImageResponse(image_ref=image.id)


async def remove(engine: Engine, request: Any) -> Any:
    """Remove an image by any of its names, all of them with it, unless a container uses it. Idempotent."""
    store = engine.context.images

    def work() -> None:
        found = _find(engine, request.image.image)
        if found:
            store.remove(found.id, force=True, used_by=_user(engine))

    try:
        await asyncio.to_thread(work)
    except ImageInUse as e:
        raise CriError("FAILED_PRECONDITION", str(e)) from e
    except (ImageError, OSError) as e:
        raise CriError("UNKNOWN", f"failed to remove image: {e}") from e
    return messages.RemoveImageResponse()


def _user(engine: Engine) -> Any:
    from sampan.engine.images import snapshots

    return lambda image: next(iter(snapshots.image_users(engine.context.images, image)), "")


async def file_systems(engine: Engine, request: Any) -> Any:
    """What the file system that holds images and writable layers has in use."""
    root = engine.context.images.root
    found = await asyncio.to_thread(os.statvfs, root)
    usage = messages.FilesystemUsage(
        timestamp=time.time_ns(),
        fs_id=messages.FilesystemIdentifier(mountpoint=str(root)),
        used_bytes=messages.UInt64Value(value=(found.f_blocks - found.f_bfree) * found.f_frsize),
        inodes_used=messages.UInt64Value(value=found.f_files - found.f_ffree),
    )
    return messages.ImageFsInfoResponse(image_filesystems=[usage], container_filesystems=[usage])


METHODS = {
    "ListImages": every,
    "StreamImages": stream,
    "ImageStatus": one,
    "PullImage": pull,
    "RemoveImage": remove,
    "ImageFsInfo": file_systems,
}
