"""Words and variables: how instructions other than RUN, CMD and ENTRYPOINT read their text.

Source: Dockerfile reference, "Environment replacement"; its forms of POSIX parameter expansion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*|[0-9]|[@*#]")


class WordError(ValueError):
    """A quote or brace is missing, or a variable that must be set is not."""


class _Reader:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str):
        self.text, self.at = text, 0
        self.variables, self.escape = variables, escape

    @property
    def char(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def variable(self) -> str:
        """What stands behind a `$`, expanded; a lone `$` stays."""
        if self.char == "{":
            return self.braces()
        match = _NAME.match(self.text, self.at)
        if not match:
            return "$"
        self.at = match.end()
        return self.variables.get(match[0], "")

    def braces(self) -> str:
        """`${name}`, with `:-`, `-`, `:+`, `+`, `:?` and `?`."""
        self.at += 1
        match = _NAME.match(self.text, self.at)
        if not match:
            raise WordError("bad substitution")
        self.at = match.end()
        name = match[0]
        operator = ""
        while (
            self.char and self.char in ":-+?" and len(operator) < 2 and not operator.endswith(("-", "+", "?"))
        ):
            operator += self.take()
        if operator not in ("", "-", "+", "?", ":-", ":+", ":?"):
            raise WordError(f"unsupported modifier ({operator}) in substitution")
        word = self.until_brace()
        if not operator and word:
            raise WordError(f"unsupported modifier ({word[0]}) in substitution")
        value = self.variables.get(name)
        there = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("-"):
            return (value or "") if there else word
        if operator.endswith("+"):
            return word if there else ""
        if operator.endswith("?") and not there:
            raise WordError(f"{name}: {word or 'not set'}")
        return value or ""

    def until_brace(self) -> str:
        out = ""
        while self.char != "}":
            if not self.char:
                raise WordError("syntax error: missing '}'")
            out += self.piece()
        self.at += 1
        return out

    def piece(self) -> str:
        """One character, quoted string, escape or variable; quotes go."""
        char = self.take()
        if char == "$":
            return self.variable()
        if char == "'":
            end = self.text.find("'", self.at)
            if end < 0:
                raise WordError("unexpected end of statement while looking for matching single-quote")
            out, self.at = self.text[self.at : end], end + 1
            return out
        if char == '"':
            return self.double()
        if char == self.escape:
            return self.take() if self.char else char
        return char

    def double(self) -> str:
        out = ""
        while self.char != '"':
            if not self.char:
                raise WordError("unexpected end of statement while looking for matching double-quote")
            char = self.take()
            if char == "$":
                out += self.variable()
            elif char == self.escape and self.char and self.char in '"$' + self.escape:
                out += self.take()
            else:
                out += char
        self.at += 1
        return out


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """The text as one word: variables replaced, quotes removed. Raises WordError."""
    reader = _Reader(text, variables, escape)
    out = ""
    while reader.char:
        out += reader.piece()
    return out


def split(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """The text as words, separated by blanks outside quotes. Raises WordError."""
    reader = _Reader(text, variables, escape)
    found: list[str] = []
    word: str | None = None
    while reader.char:
        if reader.char in " \t":
            reader.at += 1
            if word is not None:
                found.append(word)
            word = None
            continue
        quoted = reader.char in "'\""
        piece = reader.piece()
        if word is not None or piece or quoted:
            word = (word or "") + piece
    return found if word is None else [*found, word]


def pairs(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[tuple[str, str]]:
    """`A=b C="d e"`, or the old form `A the whole rest`. Raises WordError."""
    first = re.match(r"[^\s='\"]+|'[^']*'|\"[^\"]*\"", text)
    if first and first.end() < len(text) and text[first.end()] in " \t" and "=" not in text[: first.end()]:
        name = expand(first[0], variables, escape)
        return [(name, expand(text[first.end() :].strip(), variables, escape))]
    found = []
    for word in split(text, variables, escape):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise WordError(f"can't find = in {word!r}. Must be of the form: name=value")
        found.append((name, value))
    return found


def expand_text(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """A here-document: variables replaced, everything else, quotes too, left as it is."""
    out = []
    reader = _Reader(text, variables, escape)
    while reader.char:
        char = reader.take()
        if char == "$":
            out.append(reader.variable())
        elif char == escape and reader.char == "$":
            out.append(reader.take())
        else:
            out.append(char)
    return "".join(out)
