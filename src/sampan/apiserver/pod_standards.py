"""Which Pod Security Standards hold in a namespace, as its labels say. Plain functions.

Sources: the concepts' page "Pod Security Admission"; k8s.io/pod-security-admission api/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from sampan.kinds import faults
from sampan.kinds.kind import Invalid

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)", re.ASCII)


class Standard(NamedTuple):
    """`version` is `latest` or `v1.N`."""

    level: str = "privileged"
    version: str = "latest"

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    @property
    def rank(self) -> int:
        """How strict it is."""
        return LEVELS.index(self.level)


class Policy(NamedTuple):
    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()


class Exempt(NamedTuple):
    """Whom no policy concerns."""

    namespaces: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()


def policy(labels: Mapping[str, str], defaults: Policy) -> tuple[Policy, list[Invalid]]:
    """What a namespace's labels ask for, and what is wrong with them.

    An enforced level that is none is restricted; those that only tell fail open. Warnings follow what is enforced,
    unless they say otherwise.
    """
    found: list[Invalid] = []
    chosen: dict[str, Standard] = {}
    for mode, default in zip(Policy._fields, defaults, strict=True):
        level, version = labels.get(PREFIX + mode), labels.get(f"{PREFIX}{mode}-version")
        standard = default
        if level is not None:
            standard = standard._replace(level=level if level in LEVELS else _worst(mode))
            if level not in LEVELS:
                found.append(_wrong(mode, level, f"must be one of {', '.join(LEVELS)}"))
        if version is not None:
            valid = version == "latest" or _VERSION.fullmatch(version)
            standard = standard._replace(version=version if valid else "latest")
            if not valid:
                found.append(_wrong(f"{mode}-version", version, 'must be "latest" or "v1.x"'))
        chosen[mode] = standard
    enforce, warn = chosen["enforce"], chosen["warn"]
    if (
        labels.get(PREFIX + "enforce") in LEVELS
        and PREFIX + "warn" not in labels
        and enforce.rank > warn.rank
    ):
        version = warn.version if f"{PREFIX}warn-version" in labels else enforce.version
        chosen["warn"] = Standard(enforce.level, version)
    return Policy(**chosen), found


def _worst(mode: str) -> str:
    return "restricted" if mode == "enforce" else "privileged"


def _wrong(name: str, value: str, why: str) -> Invalid:
    return faults.invalid(f"metadata.labels[{PREFIX}{name}]", value, why)
