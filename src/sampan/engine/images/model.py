"""What an image is made of: descriptors, manifests and configurations, as values read from JSON.

Source: OCI image specification v1.1 (descriptor.md, manifest.md, image-index.md, config.md), Docker image
manifest version 2 schema 2. Fields that are not read here are kept: the JSON documents stay as they came, since
their digest names them.
"""

from __future__ import annotations

import hashlib
import json
import platform as machine
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ImageError(Exception):
    """Something about an image is wrong; the message says what, and of which image."""


class ImageNotFound(ImageError):
    """No image or content of that name is here."""


class ImageInUse(ImageError):
    """It cannot be removed while something uses it."""


def digest_of(data: bytes) -> str:
    """`sha256:` and the hex digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hex_of(digest: str) -> str:
    """The hex part of a sha256 digest. Raises ImageError for anything else, so that it is safe in a path."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ImageError(f"{digest!r} is not a sha256 digest")
    return digest[7:]


def dump(document: Any) -> bytes:
    """The JSON bytes of a document that we make: compact, key order kept."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def parse(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `data`. Raises ImageError that says what it should have been."""
    try:
        document = json.loads(data)
    except ValueError as e:
        raise ImageError(f"{what} is not JSON: {e}") from None
    if not isinstance(document, dict):
        raise ImageError(f"{what} is not a JSON object")
    return document


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and processor, such as linux/arm64/v8."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    @classmethod
    def parse(cls, text: str) -> Platform:
        """From `os/architecture[/variant]`, or an architecture alone. Raises ImageError."""
        words = text.strip().lower().split("/")
        if len(words) == 1:
            words = ["linux", words[0]]
        if len(words) > 3 or not all(re.fullmatch(r"[a-z0-9_.-]+", w) for w in words):
            raise ImageError(f'"{text}" is not a platform: write os/architecture or os/architecture/variant')
        words[1] = _ARCHITECTURES.get(words[1], words[1])
        return cls(*words)

    def accepts(self, other: Platform) -> bool:
        """Whether an image for `other` runs here; a variant matters only where both name one."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and (not self.variant or not other.variant or self.variant == other.variant)


_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "i386": "386",
}


def host_platform() -> Platform:
    """This machine's."""
    name = machine.machine().lower()
    return Platform("linux", _ARCHITECTURES.get(name, name), "v8" if name == "aarch64" else "")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Content by type, digest and size."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: Any) -> Descriptor:
        """From its JSON form. Raises ImageError."""
        if not isinstance(raw, dict) or not isinstance(raw.get("size"), int):
            raise ImageError(f"{raw!r} is not a content descriptor")
        hex_of(raw.get("digest", ""))
        where = raw.get("platform")
        platform = None
        if isinstance(where, dict):
            platform = Platform(where.get("os", ""), where.get("architecture", ""), where.get("variant", ""))
        return cls(
            raw.get("mediaType", ""), raw["digest"], raw["size"], platform, raw.get("annotations") or {}
        )

    def json(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image's manifest: its configuration and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """From its JSON bytes. Raises ImageError."""
        raw = parse(data, "an image manifest")
        if raw.get("schemaVersion") != 2 or "config" not in raw:
            raise ImageError("unsupported image manifest: neither an OCI manifest nor Docker's schema 2")
        layers = tuple(Descriptor.of(x) for x in raw.get("layers") or ())
        return cls(raw.get("mediaType") or OCI_MANIFEST, Descriptor.of(raw["config"]), layers)


def make_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """The bytes of an OCI manifest."""
    return dump(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.json(),
            "layers": [x.json() for x in layers],
        }
    )


def choose(index: bytes, platform: Platform) -> Descriptor:
    """The manifest of an index that suits a platform: one for the same variant first, else the first that runs.

    Raises ImageError, worded as Docker's, when there is none.
    """
    raw = parse(index, "an image index")
    entries = [Descriptor.of(x) for x in raw.get("manifests") or ()]
    fit = [x for x in entries if x.platform is None or platform.accepts(x.platform)]
    fit.sort(key=lambda x: x.platform is None or x.platform.variant != platform.variant)
    if not fit:
        raise ImageError(f"no matching manifest for {platform} in the manifest list entries")
    return fit[0]


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain ID of each layer: what it is together with all below it (config.md, "Layer ChainID")."""
    chain: list[str] = []
    for diff_id in diff_ids:
        hex_of(diff_id)
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


@dataclass(frozen=True)
class ImageConfig:
    """An image's configuration, read from the JSON document that its ID is the digest of."""

    raw: dict[str, Any]

    @classmethod
    def parse(cls, data: bytes) -> ImageConfig:
        """Raises ImageError."""
        raw = parse(data, "an image configuration")
        rootfs = raw.get("rootfs")
        if not isinstance(rootfs, dict) or not isinstance(rootfs.get("diff_ids") or [], list):
            raise ImageError("an image configuration has no rootfs.diff_ids")
        return cls(raw)

    @property
    def diff_ids(self) -> list[str]:
        return list(self.raw["rootfs"].get("diff_ids") or [])

    @cached_property
    def chain(self) -> list[str]:
        return chain_ids(self.diff_ids)

    @property
    def run(self) -> dict[str, Any]:
        """The `config` part: how its containers run, by the names `Env`, `Cmd`, `User` and so on."""
        return self.raw.get("config") or {}

    @property
    def env(self) -> list[str]:
        return list(self.run.get("Env") or [])

    @property
    def command(self) -> list[str]:
        return list(self.run.get("Cmd") or [])

    @property
    def workdir(self) -> str:
        return self.run.get("WorkingDir") or "/"

    @property
    def user(self) -> str:
        """`USER[:GROUP]`, names or numbers; empty for root."""
        return self.run.get("User") or ""

    @property
    def volumes(self) -> list[str]:
        return sorted(self.run.get("Volumes") or {})

    @property
    def stop_signal(self) -> str:
        return self.run.get("StopSignal") or ""

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.run.get("Labels") or {})

    @property
    def created(self) -> str:
        """RFC 3339; empty where the image does not say."""
        return self.raw.get("created") or ""

    @property
    def platform(self) -> Platform:
        return Platform(
            self.raw.get("os", "linux"), self.raw.get("architecture", ""), self.raw.get("variant", "")
        )
