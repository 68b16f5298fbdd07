"""The Dockerfile's grammar, from text to instructions. No variables are expanded here, and no files touched.

Source: Dockerfile reference ("Format", "Parser directives", "Here-documents", each instruction).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from sampan.engine.images.model import ImageError

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.*?)\s*")
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?(?:\s+|$)")
_HEREDOC = re.compile(r"""(?<!<)<<(-?)\s*(['"]?)([a-zA-Z_][a-zA-Z0-9_.]*)\2(?=\s|$|[;&|>)])""")

# The flags each instruction takes; those that only BuildKit's own syntax has are refused by name.
FLAGS = {
    "FROM": {"platform"},
    "RUN": {"network"},
    "COPY": {"from", "chown", "chmod", "link"},
    "ADD": {"chown", "chmod", "link"},
    "HEALTHCHECK": {"interval", "timeout", "start-period", "start-interval", "retries"},
}
JSON_FORM = {"RUN", "CMD", "ENTRYPOINT", "COPY", "ADD", "VOLUME", "SHELL"}
KEYWORDS = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip
BUILDKIT = {
    ("RUN", "mount"),
    ("RUN", "security"),
    ("RUN", "device"),
    ("COPY", "parents"),
    ("COPY", "exclude"),
} | {("ADD", name) for name in ("checksum", "keep-git-dir", "exclude", "unpack")}


class DockerfileError(ImageError):
    """A Dockerfile is wrong; the message names the line and shows it."""

    def __init__(self, line: int, message: str, source: str = ""):
        super().__init__(
            f"dockerfile parse error on line {line}: {message}" + (f"\n{line} | {source}" if source else "")
        )
        self.line = line


@dataclass(frozen=True, slots=True)
class Heredoc:
    """Text given in place: its name, whether variables in it are expanded."""

    name: str
    text: str
    expand: bool


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `rest` is what follows keyword and flags; `words` its JSON form, where it has that."""

    line: int
    keyword: str
    flags: dict[str, str]
    rest: str
    words: tuple[str, ...] | None = None
    heredocs: tuple[Heredoc, ...] = ()
    source: str = ""

    def error(self, message: str) -> DockerfileError:
        """What to raise when this instruction cannot be carried out."""
        return DockerfileError(self.line, message, self.source)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    instructions: tuple[Instruction, ...]
    escape: str = "\\"
    directives: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> Dockerfile:
    """Raises DockerfileError."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    directives = _directives(lines)
    escape = directives.get("escape", "\\")
    found = []
    n = 0
    while n < len(lines):
        first = n
        if not lines[n].strip() or lines[n].lstrip().startswith("#"):
            n += 1
            continue
        logical, n = _join(lines, n, escape)
        if logical.strip():
            heredocs, n = _heredocs(logical, lines, n, first + 1)
            found.append(instruction(logical, first + 1, lines[first].strip(), heredocs))
    if not found:
        raise DockerfileError(1, "file with no instructions")
    if not any(i.keyword == "FROM" for i in found):
        raise DockerfileError(found[0].line, "no build stage in current context", found[0].source)
    _check_order(found)
    return Dockerfile(tuple(found), escape, directives)


def _check_order(found: list[Instruction]) -> None:
    """Only ARG may stand before the first FROM."""
    for each in found:
        if each.keyword == "FROM":
            return
        if each.keyword != "ARG":
            raise each.error("no build stage in current context")


def _directives(lines: list[str]) -> dict[str, str]:
    """The `# name=value` lines at the very top."""
    found: dict[str, str] = {}
    for n, line in enumerate(lines):
        match = _DIRECTIVE.fullmatch(line.strip())
        if not match:
            break
        name, value = match[1].lower(), match[2]
        if name not in ("escape", "syntax", "check"):
            break
        if name in found:
            raise DockerfileError(n + 1, f"only one {name} parser directive can be used", line)
        if name == "escape" and value not in ("\\", "`"):
            raise DockerfileError(n + 1, f"invalid ESCAPE {value!r} does not match ` or \\", line)
        found[name] = value
    return found


def _join(lines: list[str], n: int, escape: str) -> tuple[str, int]:
    """The logical line that begins at line n, and the number of the line behind it."""
    ends = re.compile(re.escape(escape) + r"[ \t]*$")
    pieces: list[str] = []
    while n < len(lines):
        line = lines[n]
        n += 1
        if pieces and (not line.strip() or line.lstrip().startswith("#")):
            continue
        if match := ends.search(line):
            pieces.append(line[: match.start()])
            continue
        pieces.append(line)
        break
    return "".join(pieces), n


def _heredocs(logical: str, lines: list[str], n: int, first: int) -> tuple[tuple[Heredoc, ...], int]:
    """The texts that `<<NAME` in RUN, COPY and ADD announce, taken from the lines that follow."""
    keyword = logical.split(None, 1)[0].upper()
    if keyword == "ONBUILD":
        keyword = logical.split(None, 2)[1].upper() if len(logical.split()) > 1 else ""
    if keyword not in ("RUN", "COPY", "ADD"):
        return (), n
    found = []
    for dash, quote, name in _HEREDOC.findall(logical):
        body: list[str] = []
        while True:
            if n >= len(lines):
                raise DockerfileError(first, f"unterminated heredoc {name}", logical)
            line = lines[n].lstrip("\t") if dash else lines[n]
            n += 1
            if line == name:
                break
            body.append(line + "\n")
        found.append(Heredoc(name, "".join(body), not quote))
    return tuple(found), n


def instruction(logical: str, line: int, source: str, heredocs: tuple[Heredoc, ...] = ()) -> Instruction:
    """One logical line. Raises DockerfileError."""
    keyword, _, rest = logical.strip().partition(" ") if " " in logical.strip() else _tabbed(logical.strip())
    keyword, rest = keyword.upper(), rest.strip()
    if keyword not in KEYWORDS:
        raise DockerfileError(line, f"unknown instruction: {keyword}", source)
    flags, rest = _flags(keyword, rest, line, source)
    if not rest:
        raise DockerfileError(line, f"{keyword} requires at least one argument", source)
    words = _json(rest) if keyword in JSON_FORM else None
    return Instruction(line, keyword, flags, rest, words, heredocs, source)


def _tabbed(text: str) -> tuple[str, str, str]:
    parts = text.split(None, 1)
    return parts[0], " ", parts[1] if len(parts) > 1 else ""


def _flags(keyword: str, rest: str, line: int, source: str) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    while match := _FLAG.match(rest):
        name = match[1]
        if (keyword, name) in BUILDKIT:
            raise DockerfileError(
                line, f"the --{name} option of {keyword} is not supported by this builder", source
            )
        if name not in FLAGS.get(keyword, ()):
            raise DockerfileError(line, f"unknown flag: --{name}", source)
        if match[2] is None and name != "link":
            raise DockerfileError(line, f"missing a value on flag: {name}", source)
        found[name] = match[2] if match[2] is not None else "true"
        rest = rest[match.end() :]
    return found, rest


def _json(rest: str) -> tuple[str, ...] | None:
    """The words of a JSON array of strings; None where it is none, which then is the shell's business."""
    if not rest.startswith("["):
        return None
    try:
        words = json.loads(rest)
    except ValueError:
        return None
    return tuple(words) if isinstance(words, list) and all(isinstance(w, str) for w in words) else None
