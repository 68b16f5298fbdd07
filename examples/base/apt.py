"""How this machine's apt reaches the Debian archive, for images that are made from it. Plain functions, save `read`.

Source: sources.list(5), apt.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Entry:
    """An archive, its suites and components, as one line or stanza of apt's sources."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


@dataclass(frozen=True)
class Apt:
    """What an image needs: where the release's packages are, how to get there, and with which credentials."""

    mirror: str
    sources: str  # the text of a .sources file
    settings: str  # the text of a file in apt.conf.d
    credentials: str  # the text of a file in auth.conf.d


def parse_list(text: str) -> Iterator[Entry]:
    """The one-line form: `deb [options] uri suite component...`."""
    for line in text.splitlines():
        words = re.sub(r"\[[^\]]*\]", "", line.partition("#")[0]).split()
        if len(words) >= 4 and words[0] == "deb":
            yield Entry(words[1], (words[2],), tuple(words[3:]))


def parse_stanzas(text: str) -> Iterator[Entry]:
    """The deb822 form: stanzas of `Types`, `URIs`, `Suites`, `Components`."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", lines):
        fields = {
            k.lower(): v.split() for k, v in re.findall(r"^([\w-]+):\s*(.*(?:\n[ \t].*)*)", stanza, re.M)
        }
        if "deb" in fields.get("types", ()) and fields.get("enabled", ["yes"])[0].lower() != "no":
            for uri in fields.get("uris", ()):
                yield Entry(uri, tuple(fields.get("suites", ())), tuple(fields.get("components", ())))


def choose(entries: Iterable[Entry], codename: str, wanted: str, settings: str, credentials: str) -> Apt:
    """The archive's entries for this machine's release, rewritten for the wanted one.

    Raises ValueError where there is none.
    """
    found: list[str] = []
    mirror = ""
    for entry in entries:
        suites = [s for s in entry.suites if s.partition("-")[0] == codename and not s.endswith("-backports")]
        if not suites or "main" not in entry.components:
            continue
        suites = [s.replace(codename, wanted, 1) for s in suites]
        mirror = mirror or (entry.uri if wanted in suites else "")
        found.append(
            f"Types: deb\nURIs: {entry.uri}\nSuites: {' '.join(suites)}\nComponents: main\nSigned-By: {KEYRING}\n"
        )
    if not mirror:
        raise ValueError(
            f"apt has no source for Debian's {codename} main archive: see /etc/apt/sources.list.d"
        )
    return Apt(mirror, "\n".join(found), settings, credentials)


def read(wanted: str, root: Path = Path("/")) -> Apt:
    """From the machine's own configuration. `wanted` is the code name of the release to make."""
    directory = root / "etc/apt"
    entries: list[Entry] = []
    for path in sorted([directory / "sources.list", *(directory / "sources.list.d").glob("*")]):
        if path.suffix == ".list" and path.is_file():
            entries += parse_list(path.read_text())
        elif path.suffix == ".sources":
            entries += parse_stanzas(path.read_text())
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', (root / "etc/os-release").read_text(), re.M))
    settings = "".join(_fragments((directory / "apt.conf.d").glob("*"), directory / "apt.conf"))
    files = [directory / "auth.conf", *sorted((directory / "auth.conf.d").glob("*.conf"))]
    credentials = "".join(p.read_text() for p in files if p.is_file())
    return choose(entries, release.get("VERSION_CODENAME", wanted), wanted, settings, credentials)


def _fragments(paths: Iterable[Path], last: Path) -> Iterator[str]:
    """The statements that say how to acquire files; what runs programs or is about this machine stays out."""
    for path in [*sorted(paths), last]:
        if path.is_file():
            for line in path.read_text().splitlines():
                if re.match(r'\s*Acquire::[\w:.\-/]+\s+"[^"]*"\s*;\s*$', line) and "Languages" not in line:
                    yield line.strip() + "\n"
