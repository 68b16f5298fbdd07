"""What the handlers share: the image store, where registries are, and who uses an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sampan.engine.images import snapshots
from sampan.engine.images.credentials import Credentials
from sampan.engine.images.model import Platform
from sampan.engine.images.progress import Report, quiet
from sampan.engine.images.pull import pull
from sampan.engine.images.registry import Registries
from sampan.engine.images.store import Image, ImageStore
from sampan.machinery.images import Reference


@dataclass
class Face:
    """`user` names a container that uses an image (by ID), or is empty; by default one with a snapshot of it."""

    store: ImageStore
    # None: as the operator's registries.yaml says.
    registries: Registries | None = None
    user: Callable[[str], str] | None = None

    def user_of(self, image_id: str) -> str:
        if self.user:
            return self.user(image_id)
        return next(iter(snapshots.image_users(self.store, image_id)), "")

    async def pull(
        self,
        reference: Reference,
        platform: Platform | None = None,
        credentials: Sequence[Credentials] = (),
        report: Report = quiet,
    ) -> Image:
        return await pull(
            self.store,
            reference,
            registries=self.registries,
            credentials=credentials,
            platform=platform,
            report=report,
        )
