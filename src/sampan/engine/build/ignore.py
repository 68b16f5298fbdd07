""".dockerignore: which files of a context are left out.

Source: Dockerfile reference, ".dockerignore file": Go's filepath.Match, `**` for any depth, `!` to take back.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from functools import cache


def compile(text: str) -> Callable[[str], bool]:
    """A test for relative paths: whether the last pattern that matches a path, or one of its parents, excludes it."""
    rules: list[tuple[re.Pattern[str], bool]] = []
    for line in text.removeprefix("\ufeff").splitlines():
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        keep = pattern.startswith("!")
        pattern = posixpath.normpath(pattern.removeprefix("!").strip()).lstrip("/")
        if pattern != ".":
            rules.append((glob(pattern), keep))
    if not rules:
        return lambda path: False

    def ignored(path: str) -> bool:
        words = path.split("/")
        prefixes = ["/".join(words[: n + 1]) for n in range(len(words))]
        out = False
        for rule, keep in rules:
            if out == keep and any(rule.fullmatch(p) for p in prefixes):
                out = not keep
        return out

    return ignored


@cache
def glob(pattern: str) -> re.Pattern[str]:
    """Go's filepath.Match with `**`: `*` and `?` stop at slashes, `[a-z]` and `[^a]` are classes, `\\` quotes."""
    out, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if pattern.startswith("**", at - 1):
            at += 1
            if pattern.startswith("/", at):
                at += 1
                out += "(?:.*/)?"
            else:
                out += ".*"
        elif char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[" and (end := pattern.find("]", at + 1)) > 0:
            body = pattern[at:end].replace("\\", "\\\\")
            out += f"[{body}]" if not body.startswith("!") else f"[\\{body}]"
            at = end + 1
        elif char == "\\" and at < len(pattern):
            out += re.escape(pattern[at])
            at += 1
        else:
            out += re.escape(char)
    try:
        return re.compile(out, re.DOTALL)
    except re.error:
        return re.compile(re.escape(pattern))


def has_wildcard(text: str) -> bool:
    return any(c in text for c in "*?[")
