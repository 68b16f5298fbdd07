"""Image names, as people write them and in full.

`busybox` means `docker.io/library/busybox:latest`. Source: the grammar of the distribution project's `reference`
package, and Docker's rules for familiar names: the part before the first slash is a registry where it has a dot or a
colon, is `localhost`, or has an upper-case letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

DEFAULT_REGISTRY = "docker.io"
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
    r"|\[[0-9a-fA-F:.]+\])(?::[0-9]+)?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


class InvalidReference(ValueError):
    """A name that no image can have; worded as Docker's."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's full name. With a digest, the tag is only a comment."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self._with(f"{self.registry}/{self.repository}")

    @property
    def familiar(self) -> str:
        """The shortest form that means the same, as Docker prints it."""
        return self._with(self.familiar_name)

    @property
    def familiar_name(self) -> str:
        """The same without tag and digest."""
        if self.registry != DEFAULT_REGISTRY:
            return f"{self.registry}/{self.repository}"
        return (
            self.repository.removeprefix("library/") if self.repository.count("/") == 1 else self.repository
        )

    @property
    def version(self) -> str:
        """What to ask the registry for: the digest, else the tag."""
        return self.digest or self.tag

    def _with(self, name: str) -> str:
        return name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def at(self, digest: str) -> Reference:
        """The same repository at a digest, without tag."""
        return replace(self, tag="", digest=digest)

    def tagged(self, tag: str) -> Reference:
        return replace(self, tag=tag, digest="")


def parse(text: str, *, default_tag: str = "latest") -> Reference:
    """The full name for what a person wrote; `default_tag` where there is neither tag nor digest.

    Raises InvalidReference.
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidReference(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    rest, _, digest = text.partition("@")
    if "@" in text and not _DIGEST.fullmatch(digest):
        raise InvalidReference(f'invalid reference format: "{text}"')
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag = rest, ""
    elif not _TAG.fullmatch(tag):
        raise InvalidReference(f'invalid reference format: "{text}"')
    registry, repository = _split(head)
    if repository != repository.lower():
        raise InvalidReference("invalid reference format: repository name must be lowercase")
    if not _PATH.fullmatch(repository) or not _HOST.fullmatch(registry) or len(repository) > 255:
        raise InvalidReference(f'invalid reference format: "{text}"')
    if not tag and not digest:
        tag = default_tag
    return Reference(registry, repository, tag, digest)


def _split(name: str) -> tuple[str, str]:
    """Registry and repository of a name without tag."""
    first, slash, rest = name.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not is_host:
        registry, repository = DEFAULT_REGISTRY, name
    else:
        registry, repository = first, rest
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def tag(text: str) -> str:
    """The tag of an image's name, `latest` where it has neither tag nor digest; empty for what is no name."""
    try:
        return parse(text).tag
    except InvalidReference:
        return ""
