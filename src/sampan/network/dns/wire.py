"""DNS messages as bytes: queries in, answers out. No sockets.

A name is text in lower case without the final dot, `""` for the root; a dot or backslash inside a label, and what is
not printable, is escaped as in a zone file. Source: RFC 1035 section 4, RFC 2782 (SRV), RFC 6891 (EDNS), RFC 4343.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

# Header flags.
RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = (
    0x8000,
    0x0400,
    0x0200,
    0x0100,
    0x0080,
)
CHECKING_DISABLED = 0x0010
_OPCODE = 0x7800

PLAIN_LIMIT = 512  # what a client that says nothing takes over UDP
OUR_LIMIT = 1232  # what we say we take, and the most we send in one datagram: it is never fragmented
TCP_LIMIT = 65535
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")


class Malformed(ValueError):
    """These bytes are no DNS message; the text says why."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question, as a client sent it. `question` is its own bytes, to be echoed as they are (with their case).

    `size` is how much the client takes over UDP; `edns` its EDNS version, or -1.
    """

    id: int
    flags: int
    name: str
    type: int
    klass: int
    question: bytes
    size: int = PLAIN_LIMIT
    edns: int = -1
    dnssec: bool = False

    @property
    def opcode(self) -> int:
        return (self.flags & _OPCODE) >> 11


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record of class IN; `data` is its RDATA, encoded and uncompressed."""

    name: str
    type: int
    ttl: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be said: `code` is the RCODE."""

    code: int = NOERROR
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authoritative: bool = True


def decode_query(data: bytes) -> Query:
    """Read a query. Raises Malformed; more than one question counts as that too."""
    if len(data) < 12:
        raise Malformed("shorter than a header")
    ident, flags, questions, answers, authority, additional = _HEADER.unpack_from(data)
    if questions != 1:
        raise Malformed(f"{questions} questions")
    name, end = decode_name(data, 12)
    if end + 4 > len(data):
        raise Malformed("the question ends early")
    kind, klass = struct.unpack_from("!HH", data, end)
    size, version, dnssec = _find_edns(data, end + 4, answers + authority + additional)
    return Query(ident, flags, name, kind, klass, data[12 : end + 4], size, version, dnssec)


def _find_edns(data: bytes, offset: int, records: int) -> tuple[int, int, bool]:
    for _ in range(records):
        offset = _skip_name(data, offset)
        if offset + 10 > len(data):
            raise Malformed("a record ends early")
        kind, klass, ttl, length = _RECORD.unpack_from(data, offset)
        offset += 10 + length
        if offset > len(data):
            raise Malformed("a record ends early")
        if kind == OPT:
            return max(klass, PLAIN_LIMIT), ttl >> 16 & 0xFF, bool(ttl & 0x8000)
    return PLAIN_LIMIT, -1, False


def decode_name(data: bytes, offset: int) -> tuple[str, int]:
    """The name at `offset`, and where what follows it begins. Pointers must point backwards."""
    labels: list[str] = []
    end, total = -1, 0
    while True:
        if offset >= len(data):
            raise Malformed("a name ends early")
        length = data[offset]
        if length & 0xC0 == 0xC0:
            target = int.from_bytes(data[offset : offset + 2], "big") & 0x3FFF
            end = offset + 2 if end < 0 else end
            if target >= offset or offset + 2 > len(data):
                raise Malformed("a name points forwards")
            offset = target
            continue
        if length & 0xC0:
            raise Malformed("a label of unknown kind")
        offset += 1
        if not length:
            return ".".join(labels), end if end >= 0 else offset
        total += length + 1
        if offset + length > len(data) or total > 254:
            raise Malformed("a name is too long")
        labels.append(_label(data[offset : offset + length]))
        offset += length


def _label(raw: bytes) -> str:
    text = raw.lower()
    if text.replace(b"-", b"").replace(b"_", b"").isalnum():
        return text.decode("ascii", "strict")
    return "".join(_escaped(c) for c in text)


def _escaped(code: int) -> str:
    if code in b".\\":
        return "\\" + chr(code)
    return chr(code) if 0x21 <= code <= 0x7E else f"\\{code:03d}"


def _skip_name(data: bytes, offset: int) -> int:
    while offset < len(data):
        length = data[offset]
        if length & 0xC0 == 0xC0:
            return offset + 2
        offset += 1 + length
        if not length:
            return offset
    raise Malformed("a name ends early")


def split_name(name: str) -> list[bytes]:
    """The labels of a name, with escapes resolved. Raises Malformed where a label or the name is too long."""
    if not name:
        return []
    labels = [p.encode("ascii", "strict") for p in name.split(".")] if "\\" not in name else _unescape(name)
    if any(not 0 < len(label) < 64 for label in labels) or sum(len(x) + 1 for x in labels) > 254:
        raise Malformed(f"not a name: {name!r}")
    return labels


def _unescape(name: str) -> list[bytes]:
    labels, current, i = [], bytearray(), 0
    while i < len(name):
        if name[i] == ".":
            labels.append(bytes(current))
            current.clear()
            i += 1
        elif name[i] == "\\" and name[i + 1 : i + 4].isdigit():
            current.append(int(name[i + 1 : i + 4]))
            i += 4
        else:
            i += name[i] == "\\"
            current.append(ord(name[i]))
            i += 1
    return [*labels, bytes(current)]


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(x)]) + x for x in split_name(name)) + b"\0"


def encode_query(ident: int, name: str, kind: int, *, flags: int = RECURSION_DESIRED, size: int = 0) -> bytes:
    """A query; with `size`, one that takes so many bytes over UDP."""
    opt = _opt(size) if size else b""
    header = _HEADER.pack(ident, flags, 1, 0, 0, 1 if opt else 0)
    return header + encode_name(name) + struct.pack("!HH", kind, IN) + opt


def encode_answer(query: Query, answer: Answer, limit: int) -> bytes:
    """The response to a query; where it exceeds `limit` bytes, empty but for the flag that sends the client to TCP."""
    flags = RESPONSE | RECURSION_AVAILABLE | query.flags & (_OPCODE | RECURSION_DESIRED | CHECKING_DISABLED)
    flags |= (AUTHORITATIVE if answer.authoritative else 0) | answer.code & 0xF
    opt = _opt(OUR_LIMIT, answer.code >> 4) if query.edns >= 0 else b""
    names = {query.name: 12}
    body = bytearray(query.question)
    for record in (*answer.answers, *answer.authority, *answer.additional):
        _append(body, record, names)
    counts = len(answer.answers), len(answer.authority), len(answer.additional) + bool(opt)
    if 12 + len(body) + len(opt) > limit:
        flags |= TRUNCATED
        body, counts = bytearray(query.question), (0, 0, int(bool(opt)))
    return _HEADER.pack(query.id, flags, 1, *counts) + body + opt


def _append(body: bytearray, record: Record, names: dict[str, int]) -> None:
    seen = names.get(record.name)
    if seen is None:
        if 12 + len(body) < 0x4000:
            names[record.name] = 12 + len(body)
        body += encode_name(record.name)
    else:
        body += struct.pack("!H", 0xC000 | seen)
    body += _RECORD.pack(record.type, IN, record.ttl, len(record.data)) + record.data


def _opt(size: int, code: int = 0) -> bytes:
    return b"\0" + _RECORD.pack(OPT, size, code << 24, 0)


def encode_error(data: bytes, code: int) -> bytes | None:
    """An answer to something that could not be read, or None where there is not even a header to answer to."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    ident, flags = struct.unpack_from("!HH", data)
    return _HEADER.pack(ident, RESPONSE | flags & (_OPCODE | RECURSION_DESIRED) | code, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Response:
    """A whole message, decoded; for tests, tools and following aliases."""

    id: int
    flags: int
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]

    @property
    def code(self) -> int:
        return self.flags & 0xF

    @property
    def truncated(self) -> bool:
        return bool(self.flags & TRUNCATED)


def decode_response(data: bytes) -> Response:
    """Read a response. Names inside the RDATA of CNAME, NS, PTR and SRV are uncompressed. Raises Malformed."""
    if len(data) < 12:
        raise Malformed("shorter than a header")
    ident, flags, questions, *counts = _HEADER.unpack_from(data)
    offset = 12
    for _ in range(questions):
        offset = _skip_name(data, offset) + 4
    sections = []
    for count in counts:
        section = []
        for _ in range(count):
            record, offset = _decode_record(data, offset)
            section.append(record)
        sections.append(tuple(section))
    return Response(ident, flags, *sections)


def _decode_record(data: bytes, offset: int) -> tuple[Record, int]:
    name, offset = decode_name(data, offset)
    if offset + 10 > len(data):
        raise Malformed("a record ends early")
    kind, _, ttl, length = _RECORD.unpack_from(data, offset)
    begin, end = offset + 10, offset + 10 + length
    if end > len(data):
        raise Malformed("a record ends early")
    body = data[begin:end]
    fixed = {CNAME: 0, NS: 0, PTR: 0, SRV: 6}.get(kind)
    if fixed is not None:
        body = body[:fixed] + encode_name(decode_name(data, begin + fixed)[0])
    return Record(name, kind, ttl, body), end


def ttl_offsets(data: bytes) -> list[int]:
    """Where in a response the times to live of its records stand, so that a cache can count them down."""
    _, _, questions, *counts = _HEADER.unpack_from(data)
    offset, found = 12, []
    for _ in range(questions):
        offset = _skip_name(data, offset) + 4
    for _ in range(sum(counts)):
        offset = _skip_name(data, offset)
        if offset + 10 > len(data):
            raise Malformed("a record ends early")
        kind, _, _, length = _RECORD.unpack_from(data, offset)
        if kind != OPT:
            found.append(offset + 4)
        offset += 10 + length
    return found


def a(name: str, ttl: int, address: str) -> Record:
    return Record(name, A, ttl, IPv4Address(address).packed)


def cname(name: str, ttl: int, target: str) -> Record:
    return Record(name, CNAME, ttl, encode_name(target))


def ptr(name: str, ttl: int, target: str) -> Record:
    return Record(name, PTR, ttl, encode_name(target))


def srv(name: str, ttl: int, port: int, target: str, *, priority: int = 0, weight: int = 100) -> Record:
    return Record(name, SRV, ttl, struct.pack("!HHH", priority, weight, port) + encode_name(target))


def txt(name: str, ttl: int, text: str) -> Record:
    raw = text.encode()
    return Record(name, TXT, ttl, bytes([len(raw)]) + raw)


def soa(zone: str, ttl: int, primary: str, mailbox: str, numbers: Sequence[int]) -> Record:
    """`numbers`: serial, refresh, retry, expire, and the time to live of negative answers."""
    data = encode_name(primary) + encode_name(mailbox) + struct.pack("!IIIII", *numbers)
    return Record(zone, SOA, ttl, data)


def addresses(records: Iterable[Record]) -> list[str]:
    """The IPv4 addresses among some records."""
    return [str(IPv4Address(r.data)) for r in records if r.type == A]
