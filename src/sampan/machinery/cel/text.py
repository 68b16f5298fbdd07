"""Functions of text: cel-go's strings, and Kubernetes' regular expressions, URLs, named formats and JSON pointers.

Positions count characters. Regular expressions run in RE2, whose time is linear, since users write them.
Sources: cel-go ext/strings.go; k8s.io/apiserver pkg/cel/library: regex, urls, format, jsonpatch.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from urllib.parse import unquote, urlsplit

from sampan.machinery import names
from sampan.machinery.cel import standard, values
from sampan.machinery.cel.errors import EvaluationError
from sampan.machinery.cel.standard import double_text, no_overload
from sampan.machinery.cel.values import NONE, Duration, Optional, Timestamp

Function = Callable[..., Any]
_WIDE = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
_SPACES = " \t\n\v\f\r" + "".join(map(chr, _WIDE))


def _checked(value: Any) -> str:
    if not isinstance(value, str):
        raise no_overload()
    return value


def _in_range(text: str, place: int, most: int | None = None) -> int:
    if not 0 <= place <= (len(text) if most is None else most):
        raise EvaluationError(f"index out of range: {place}")
    return place


def char_at(text: str, place: int) -> str:
    _in_range(text, place)
    return text[place : place + 1]


def index_of(value: Any, wanted: Any, start: int = 0) -> int:
    if isinstance(value, list):
        return standard.list_place(value, wanted)
    return _checked(value).find(wanted, _in_range(value, start))


def last_index_of(value: Any, wanted: Any, end: int | None = None) -> int:
    if isinstance(value, list):
        return standard.last_list_place(value, wanted)
    if end is None:
        return _checked(value).rfind(wanted)
    return _checked(value).rfind(wanted, 0, _in_range(value, end) + len(wanted))


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    return _checked(text).replace(old, new, count)


def split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if not separator:
        parts = list(text)
        return (
            parts if count < 0 or len(parts) <= count else [*parts[: count - 1], "".join(parts[count - 1 :])]
        )
    return text.split(separator, count - 1 if count > 0 else -1)


def substring(text: str, start: int, end: int | None = None) -> str:
    if end is None:
        return text[_in_range(text, start) :]
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return text[_in_range(text, start) : _in_range(text, end)]


def quote(text: str) -> str:
    plain = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
             "\\": "\\\\", '"': '\\"'}  # fmt: skip
    return '"' + "".join(plain.get(c, c) for c in text) + '"'


def join(items: list[Any], separator: str = "") -> str:
    return separator.join(_checked(i) for i in items)


# format


_VERB = re.compile(r"%(?:(%)|(?:\.(\d+))?([a-zA-Z]))")


def format_(text: str, args: list[Any]) -> str:
    """`%s %d %f %e %b %x %X %o`, as cel-go has them. Raises EvaluationError."""
    left = iter(args)

    def put(match: re.Match[str]) -> str:
        if match[1]:
            return "%"
        try:
            return _formatted(match[3], int(match[2] or 6), next(left))
        except StopIteration:
            raise EvaluationError(f"index {len(args)} out of range") from None

    return _VERB.sub(put, text)


def _formatted(verb: str, precision: int, value: Any) -> str:
    number = values.number(value)
    match verb:
        case "s":
            return _shown(value)
        case "d" if number and not isinstance(value, float):
            return str(int(value))
        case "f" if number:
            return f"{value:.{precision}f}"
        case "e" if number:
            return f"{value:.{precision}e}"
        case "b" if isinstance(value, int):
            return f"{int(value):b}"
        case "o" if number and not isinstance(value, float):
            return f"{int(value):o}"
        case "x" | "X" if (number and not isinstance(value, float)) or isinstance(value, str | bytes):
            data = value.encode() if isinstance(value, str) else value
            shown = data.hex() if isinstance(data, bytes) else f"{int(data):x}"
            return shown.upper() if verb == "X" else shown
    if verb not in "sdfebxXo":
        raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
    raise EvaluationError(
        f"error during formatting: {verb} clause was given {values.type_of(value)}, which it does not take"
    )


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return standard.shown(value)
        case float():
            return double_text(value)
        case bytes():
            return value.decode(errors="replace")
        case list():
            return "[" + ", ".join(_shown(v) for v in value) + "]"
        case dict():
            return "{" + ", ".join(f"{_shown(k)}: {_shown(value[k])}" for k in sorted(value, key=str)) + "}"
        case str() | int() | Timestamp() | Duration() | values.TypeValue():
            return str(value)
    raise EvaluationError(f"error during formatting: string clause cannot take {values.type_of(value)}")


# Regular expressions


@lru_cache(1000)
def pattern(text: str) -> Any:
    """A compiled pattern. Raises EvaluationError, worded as Go words it as far as RE2 tells."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as e:
        why = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else str(e)
        raise EvaluationError(f"error parsing regexp: {why}: `{text}`") from None


def matches(text: str, expression: str) -> bool:
    return pattern(_checked(expression)).search(_checked(text)) is not None


def find(text: str, expression: str) -> str:
    found = pattern(expression).search(text)
    return found[0] if found else ""


def find_all(text: str, expression: str, most: int = -1) -> list[str]:
    found = [m[0] for m in pattern(expression).finditer(text)]
    return found if most < 0 else found[:most]


# URLs


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URI or an absolute path, taken apart."""

    text: str
    type_name = "kubernetes.URL"

    @property
    def parts(self) -> Any:
        return urlsplit(self.text)

    @property
    def hostname(self) -> str:
        host = self.host
        if host.startswith("["):
            return host[1 : host.find("]")]
        return host.partition(":")[0]

    @property
    def host(self) -> str:
        return str(self.parts.netloc.rpartition("@")[2])

    @property
    def port(self) -> str:
        found = re.search(r":(\d*)$", self.host)
        return found[1] if found else ""


_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


def url_fault(text: str) -> str:
    """What Go's url.ParseRequestURI says of a text, or the empty string."""
    begin = f'parse "{text}": '
    if not text:
        return f"{begin}empty url"
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        return f"{begin}net/url: invalid control character in URL"
    scheme, colon, rest = text.partition(":")
    named = bool(colon) and re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme) is not None
    if not text.startswith("/") and not named:
        if text.startswith(":"):
            return f"{begin}missing protocol scheme"
        return f"{begin}invalid URI for request"
    if named and not rest.startswith("/"):
        return f"{begin}invalid URI for request"
    if found := _BAD_ESCAPE.search(text):
        return f'{begin}invalid URL escape "{text[found.start() : found.start() + 3]}"'
    if " " in urlsplit(text).netloc:
        return f'{begin}invalid character " " in host name'
    host = urlsplit(text).netloc.rpartition("@")[2]
    after = host.rpartition("]")[2] if host.startswith("[") else host
    if ":" in after and not re.fullmatch(r"[^:]*:\d*", after):
        return f'{begin}invalid port ":{after.partition(":")[2]}" after host'
    return ""


def url(text: str) -> Url:
    if fault := url_fault(_checked(text)):
        raise EvaluationError(f"URL parse error during conversion from string: {fault}")
    return Url(text)


def _query(value: Url) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in str(value.parts.query).split("&"):
        if part:
            name, _, given = part.replace("+", " ").partition("=")
            found.setdefault(unquote(name), []).append(unquote(given))
    return found


# Named formats


@dataclass(frozen=True, slots=True)
class Format:
    """A format by name; `longest` is about how long its pattern is, which its cost is computed from."""

    name: str
    check: Callable[[str], list[str]]
    longest: int
    type_name = "kubernetes.NamedFormat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Format) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _when(good: Callable[[str], bool], fault: str) -> Callable[[str], list[str]]:
    return lambda text: [] if good(text) else [fault]


_UUID = re.compile(r"(?i)[0-9A-F]{8}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{12}")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == 10


def is_instant(text: str) -> bool:
    return _INSTANT.fullmatch(text) is not None and is_date(text[:10])


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("dns1123Label", names.dns_label, 30),
        Format("dns1123Subdomain", names.dns_subdomain, 60),
        Format("dns1035Label", names.service_name, 30),
        Format("qualifiedName", names.qualified, 60),
        Format("dns1123LabelPrefix", names.for_generation(names.dns_label), 30),
        Format("dns1123SubdomainPrefix", names.for_generation(names.dns_subdomain), 60),
        Format("dns1035LabelPrefix", names.for_generation(names.service_name), 30),
        Format("labelValue", names.label_value, 40),
        Format("uri", lambda t: [fault for fault in (url_fault(t),) if fault], 2000),
        Format("uuid", _when(is_uuid, "does not match the UUID format"), 80),
        Format("byte", _when(is_base64, "invalid base64"), 90),
        Format("date", _when(is_date, "invalid date"), 140),
        Format("datetime", _when(is_instant, "invalid datetime"), 140),
    )
}


def validate(found: Format, text: str) -> Optional:
    faults = found.check(text)
    return Optional(faults) if faults else NONE


def _same(found: Format) -> Format:
    return found


FUNCTIONS: dict[str, Function] = {
    "charAt": char_at, "indexOf": index_of, "lastIndexOf": last_index_of,
    "lowerAscii": lambda t: "".join(c.lower() if c.isascii() else c for c in t),
    "upperAscii": lambda t: "".join(c.upper() if c.isascii() else c for c in t),
    "replace": replace, "split": split, "substring": substring, "trim": lambda t: t.strip(_SPACES),
    "format": format_, "strings.quote": quote, "join": join,
    "matches": matches, "find": find, "findAll": find_all,
    "url": url, "isURL": lambda t: not url_fault(_checked(t)),
    "getScheme": lambda u: u.parts.scheme, "getHost": lambda u: u.host, "getHostname": lambda u: u.hostname,
    "getPort": lambda u: u.port, "getEscapedPath": lambda u: u.parts.path, "getQuery": _query,
    "format.named": lambda n: Optional(FORMATS[n]) if n in FORMATS else NONE, "validate": validate,
    "jsonpatch.escapeKey": lambda t: t.replace("~", "~0").replace("/", "~1"),
    **{f"format.{n}": partial(_same, f) for n, f in FORMATS.items()},
}  # fmt: skip
