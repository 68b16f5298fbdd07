"""Where registries are, as the operator says: `registries.yaml`, in the form that k3s reads.

    mirrors:
      docker.io:                                  # "*" stands for every registry
        endpoint: ["https://mirror.example.com"]  # asked in this order, before the registry itself
    configs:
      registry.example.com:5000:
        auth: {username: ann, password: secret}
        tls: {insecure_skip_verify: true}         # plain HTTP and certificates that nobody signed

It is read anew for each pull and push: a change needs no restart. The cluster's own, `registries.yaml` in its state
directory, comes before the machine's, `/etc/sampan/registries.yaml`. Source: k3s's documentation, "Private Registry
Configuration".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sampan.engine.images.credentials import Credentials
from sampan.engine.images.model import ImageError
from sampan.engine.images.registry import Registries

NAME = "registries.yaml"
MACHINE = Path("/etc/sampan") / NAME
_KNOWN = {"": {"mirrors", "configs"}, "mirrors": {"endpoint"}, "configs": {"auth", "tls"}}


def registries(images: Path) -> Registries:
    """Where registries are for the images kept in that directory. Blocks. Raises ImageError for a file in disorder."""
    for path in (images.parent / NAME, MACHINE):
        try:
            return parse(path.read_text(), str(path))
        except FileNotFoundError:
            continue
        except OSError as e:
            raise ImageError(f"cannot read {path}: {e.strerror}") from e
    return Registries()


def parse(text: str, name: str = NAME) -> Registries:
    """What the text of such a file says. Raises ImageError."""
    from sampan.machinery import yaml

    try:
        given = yaml.load(text) or {}
        _check(given, name)
    except ValueError as e:
        raise ImageError(f"{name} cannot be read: {e}") from e
    configs: dict[str, Any] = given.get("configs") or {}
    mirrors = {
        registry: tuple(str(url).rstrip("/") for url in wanted["endpoint"])
        for registry, wanted in (given.get("mirrors") or {}).items()
    }
    insecure = frozenset(
        host for host, config in configs.items() if (config.get("tls") or {}).get("insecure_skip_verify")
    )
    credentials = {
        host: Credentials.of({key: str(value) for key, value in config["auth"].items()})
        for host, config in configs.items()
        if config.get("auth")
    }
    return Registries(mirrors=mirrors, insecure=insecure, credentials=credentials)


def _check(given: Any, name: str) -> None:
    """Raises ValueError that says where something is that nobody would read."""
    if not isinstance(given, dict):
        raise ValueError("it is no mapping")
    for part, entry in [("", given), *_entries(given)]:
        kind = part.partition(".")[0]
        if not isinstance(entry, dict):
            raise ValueError(f"{part} is no mapping")
        if unknown := sorted(entry.keys() - _KNOWN[kind]):
            raise ValueError(f"unknown field {part + '.' if part else ''}{unknown[0]}")
        if kind == "mirrors" and not isinstance(entry.get("endpoint"), list):
            raise ValueError(f"{part}.endpoint is no list of URLs")


def _entries(given: Any) -> Iterator[tuple[str, Any]]:
    for kind in ("mirrors", "configs"):
        found = given.get(kind) or {}
        if not isinstance(found, dict):
            raise ValueError(f"{kind} is no mapping")
        for name, entry in found.items():
            yield f"{kind}.{name}", entry or {}
