"""Text to tokens. Source: the CEL language definition, "Syntax"."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from sampan.machinery.cel.errors import CompileError, Issue
from sampan.machinery.cel.values import UInt

RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
})  # fmt: skip


class Token(NamedTuple):
    """`kind` is `ident`, `literal`, `end`, or the operator itself; `value` is that of a literal."""

    kind: str
    text: str
    at: int
    value: Any = None


_PREFIX = r"(?P<prefix>[rR][bB]?|[bB][rR]?)?"
_TOKEN = re.compile(
    r"(?P<space>[ \t\n\f\r]+|//[^\n]*)"
    rf'|(?P<text>{_PREFIX}(?:"""(?P<t1>(?:\\.|[^\\])*?)"""|\'\'\'(?P<t2>(?:\\.|[^\\])*?)\'\'\''
    r'|"(?P<s1>(?:\\.|[^"\\\n\r])*)"|\'(?P<s2>(?:\\.|[^\'\\\n\r])*)\'))'
    r"|(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)"
    r"|(?P<int>(?:0x[0-9a-fA-F]+|\d+)[uU]?)"
    r"|(?P<quoted>`[a-zA-Z0-9_.\-/ ]+`)"
    r"|(?P<ident>[_a-zA-Z][_a-zA-Z0-9]*)"
    r"|(?P<op>==|!=|<=|>=|&&|\|\||[-+*/%!<>?:.,()\[\]{}])",
    re.S,
)
_RAW = re.compile(
    rf'{_PREFIX}(?:"""(?P<t1>.*?)"""|\'\'\'(?P<t2>.*?)\'\'\'|"(?P<s1>[^"\n\r]*)"|\'(?P<s2>[^\'\n\r]*)\')',
    re.S,
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))",
    re.S,
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}


def tokens(source: str) -> list[Token]:
    """Raises CompileError for what is no token."""
    found: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match and match["text"] is not None and "r" in (match["prefix"] or "").lower():
            match = _RAW.match(source, at)
        if not match:
            raise CompileError(
                source, [Issue(at, f"Syntax error: token recognition error at: '{source[at]}'")]
            )
        if token := _token(source, match):
            found.append(token)
        at = match.end()
    found.append(Token("end", "<EOF>", len(source)))
    return found


def _token(source: str, match: re.Match[str]) -> Token | None:
    at, text, groups = match.start(), match[0], match.groupdict()
    if groups.get("space") is not None:
        return None
    if groups.get("float") is not None:
        return Token("literal", text, at, float(text))
    if groups.get("int") is not None:
        return Token("literal", text, at, _number(source, text, at))
    if groups.get("quoted") is not None:
        return Token("quoted", text[1:-1], at)
    if groups.get("ident") is not None:
        if text in _CONSTANTS:
            return Token("literal", text, at, _CONSTANTS[text])
        return Token("in" if text == "in" else "ident", text, at)
    if groups.get("op") is not None:
        return Token(text, text, at)
    return Token("literal", text, at, _text(source, match))


def _number(source: str, text: str, at: int) -> int:
    plain = text.rstrip("uU")
    value = int(plain, 16 if plain.startswith("0x") else 10)
    if plain != text:
        if value >= 1 << 64:
            raise CompileError(source, [Issue(at, "invalid uint literal")])
        return UInt(value)
    # The smallest int is written as a negated literal, which is one too large by itself.
    if value > 1 << 63:
        raise CompileError(source, [Issue(at, "invalid int literal")])
    return value


def _text(source: str, match: re.Match[str]) -> str | bytes:
    inner = next(t for t in (match["t1"], match["t2"], match["s1"], match["s2"]) if t is not None)
    prefix = (match["prefix"] or "").lower()
    inner = inner.replace("\r\n", "\n")
    if "b" not in prefix:
        return inner if "r" in prefix else _ESCAPE.sub(lambda m: _unescaped(source, match.start(), m), inner)
    if "r" in prefix:
        return inner.encode()
    parts: list[bytes] = []
    at = 0
    for found in _ESCAPE.finditer(inner):
        parts.append(inner[at : found.start()].encode())
        parts.append(_unescaped_bytes(source, match.start(), found))
        at = found.end()
    return b"".join([*parts, inner[at:].encode()])


def _unescaped(source: str, at: int, match: re.Match[str]) -> str:
    plain, small, large, four, eight, octal, wrong = match.groups()
    if plain is not None:
        return _PLAIN.get(plain, plain)
    code = small or large or four or eight
    value = int(code, 16) if code else int(octal, 8) if octal else -1
    if wrong is not None or value > 0x10FFFF or 0xD800 <= value < 0xE000:
        raise CompileError(source, [Issue(at, f"Syntax error: token recognition error at: '{match[0]}'")])
    return chr(value)


def _unescaped_bytes(source: str, at: int, match: re.Match[str]) -> bytes:
    _, small, large, _, _, octal, _ = match.groups()
    if small or large or octal:
        return bytes([int(small or large, 16) if small or large else int(octal, 8)])
    return _unescaped(source, at, match).encode()
