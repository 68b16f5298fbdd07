"""Who we are to a registry: from a Docker configuration, image pull secrets, or what a client sends.

Source: Docker's config.json; Kubernetes, "Pull an Image from a Private Registry" (how names match, globs included);
Docker Engine API, "Authentication" (the X-Registry-Auth header).
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.engine.images.model import ImageError, parse
from sampan.machinery.images import DEFAULT_REGISTRY, Reference


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and password, or a token: `identity` is exchanged for one, `bearer` is sent as it is."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The Authorization header's value for the Basic scheme."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Credentials:
        """From one entry of a config.json, or the JSON of an X-Registry-Auth header. Raises ImageError."""
        username, password = raw.get("username") or "", raw.get("password") or ""
        if raw.get("auth") and not username:
            try:
                username, _, password = base64.b64decode(raw["auth"]).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise ImageError("registry credentials: auth is not base64 of user:password") from None
        return cls(
            username, password.rstrip("\0"), raw.get("identitytoken") or "", raw.get("registrytoken") or ""
        )


def from_header(value: str) -> Credentials | None:
    """From an X-Registry-Auth header; None where it is empty. Raises ImageError."""
    if not value:
        return None
    try:
        data = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except binascii.Error:
        raise ImageError("X-Registry-Auth is not base64") from None
    raw = parse(data or b"{}", "X-Registry-Auth")
    found = Credentials.of(raw)
    return found if found != Credentials() else None


def from_config(data: bytes) -> dict[str, Credentials]:
    """By pattern, from a config.json (`{"auths": {...}}`) or the older .dockercfg. Raises ImageError."""
    raw = parse(data, "a Docker configuration")
    auths = raw.get("auths") if "auths" in raw else raw
    return {_pattern(k): Credentials.of(v) for k, v in (auths or {}).items() if isinstance(v, dict) and v}


def _pattern(text: str) -> str:
    """A key of `auths` as registry and path: no scheme, no version path, Docker Hub under its one name."""
    text = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = text.partition("/")
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = DEFAULT_REGISTRY
    return host if path in ("", "v1", "v2") else f"{host}/{path}"


def matching(reference: Reference, keyrings: Iterable[Mapping[str, Credentials]]) -> list[Credentials]:
    """The credentials to try for an image, the longest pattern first, as the kubelet does."""
    found: list[tuple[int, Credentials]] = []
    for ring in keyrings:
        found += [(-len(pattern), c) for pattern, c in ring.items() if _matches(pattern, reference)]
    return [c for _, c in sorted(found, key=lambda pair: pair[0])]


def _matches(pattern: str, reference: Reference) -> bool:
    host, _, path = pattern.partition("/")
    name, _, port = reference.registry.partition(":")
    wanted, _, wanted_port = host.partition(":")
    theirs, ours = wanted.split("."), name.split(".")
    if wanted_port != port or len(theirs) != len(ours):
        return False
    if not all(fnmatch.fnmatchcase(a, b) for a, b in zip(ours, theirs, strict=True)):
        return False
    return reference.repository.startswith(path)
