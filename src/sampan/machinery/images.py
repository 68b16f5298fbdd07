"""Names of container images: `registry/repository:tag@digest`.

Source: the distribution project's reference grammar, with Docker's short names.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
DEFAULT_REGISTRY = "docker.io"


class Name(NamedTuple):
    """A name in full; `tag` and `digest` are empty where the text has none."""

    registry: str
    repository: str
    tag: str
    digest: str

    def __str__(self) -> str:
        tag, digest = self.tag and f":{self.tag}", self.digest and f"@{self.digest}"
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse(text: str) -> Name:
    """The name that `text` stands for: `nginx` is `docker.io/library/nginx`, without a tag. Raises
    ValueError.
    """
    rest, _, digest = text.partition("@")
    head, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    registry, repository = _split(f"{head}{slash}{last}")
    wrong = (
        ("@" in text and not _DIGEST.fullmatch(digest))
        or (":" in rest.rpartition("/")[2] and not _TAG.fullmatch(tag))
        or not _REPOSITORY.fullmatch(repository)
        or not _REGISTRY.fullmatch(registry)
    )
    if wrong:
        raise ValueError(f'couldn\'t parse image name "{text}": invalid reference format')
    return Name(registry, repository, tag, digest)


def _split(path: str) -> tuple[str, str]:
    """Registry and repository: the first part is a registry where it looks like a host."""
    first, slash, rest = path.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, repository = ("docker.io" if first == "index.docker.io" else first), rest
    else:
        registry, repository = DEFAULT_REGISTRY, path
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def tag(text: str) -> str:
    """The tag of an image's name, `latest` where it has neither tag nor digest; empty for what is no name."""
    try:
        name = parse(text)
    except ValueError:
        return ""
    return name.tag or ("" if name.digest else "latest")
