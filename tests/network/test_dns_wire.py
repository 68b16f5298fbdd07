"""DNS messages: what we write is what we read, and no bytes at all can upset the reader."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sampan.network.dns import wire
from sampan.network.dns.wire import Answer, Malformed, Query, Record

labels = st.binary(min_size=1, max_size=20).map(lambda b: wire._label(b))
names = st.lists(labels, max_size=6).map(".".join)
records = st.builds(
    Record, names, st.sampled_from([wire.A, wire.TXT, 99]), st.integers(0, 2**31 - 1), st.binary(max_size=30)
)
sections = st.lists(records, max_size=4).map(tuple)


def ask(name: str = "web.default", kind: int = wire.A, size: int = 0) -> Query:
    return wire.decode_query(wire.encode_query(1, name, kind, size=size))


@given(names)
@example("")
@example("a\\.b.c")
@example("\\000\\255\\\\.x")
def test_names_come_back(name: str) -> None:
    assert wire.decode_name(wire.encode_name(name), 0) == (name, len(wire.encode_name(name)))


@given(st.integers(0, 65535), names, st.integers(0, 65535), st.sampled_from([0, 512, 1232, 4096]))
def test_queries_come_back(ident: int, name: str, kind: int, size: int) -> None:
    query = wire.decode_query(wire.encode_query(ident, name, kind, size=size))
    assert (query.id, query.name, query.type, query.klass) == (ident, name, kind, wire.IN)
    assert (query.size, query.edns) == ((size, 0) if size else (wire.PLAIN_LIMIT, -1))


@given(names, sections, sections, sections, st.sampled_from([wire.NOERROR, wire.NXDOMAIN]), st.booleans())
def test_answers_come_back(
    name: str,
    answers: tuple[Record, ...],
    authority: tuple[Record, ...],
    extra: tuple[Record, ...],
    code: int,
    edns: bool,
) -> None:
    query = ask(name, size=1232 if edns else 0)
    data = wire.encode_answer(query, Answer(code, answers, authority, extra), wire.TCP_LIMIT)
    read = wire.decode_response(data)
    assert (read.id, read.code, read.truncated) == (1, code, False)
    assert (read.answers, read.authority) == (answers, authority)
    assert read.additional[: len(extra)] == extra
    assert [r.type for r in read.additional[len(extra) :]] == ([wire.OPT] if edns else [])
    offsets = wire.ttl_offsets(data)
    assert [struct.unpack_from("!I", data, o)[0] for o in offsets] == [
        r.ttl for r in (*answers, *authority, *extra)
    ]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (wire.decode_query, wire.decode_response):
        with suppress(Malformed):
            read(data)
    wire.encode_error(data, wire.FORMERR)


@given(st.data())
def test_a_damaged_message_is_read_or_refused(data: st.DataObject) -> None:
    good = wire.encode_answer(
        ask(size=1232),
        Answer(answers=(wire.srv("x", 5, 80, "a.b"), wire.cname("x", 5, "y"))),
        wire.TCP_LIMIT,
    )
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    for read in (wire.decode_query, wire.decode_response, wire.ttl_offsets):
        with suppress(Malformed):
            read(bytes(bad[: data.draw(st.integers(12, len(bad)))]))


def test_a_name_that_points_at_itself_is_refused() -> None:
    with pytest.raises(Malformed, match="forwards"):
        wire.decode_query(struct.pack("!HHHHHH", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\x01\0\x01")


def test_repeated_names_are_pointers() -> None:
    answer = Answer(answers=tuple(wire.a("web.default", 5, f"10.0.0.{i}") for i in range(9)))
    assert len(wire.encode_answer(ask(), answer, 512)) == 12 + 17 + 9 * 16


def test_what_does_not_fit_is_left_out_whole_and_marked() -> None:
    answer = Answer(answers=tuple(wire.a("web.default", 5, f"10.0.0.{i}") for i in range(40)))
    data = wire.encode_answer(ask(), answer, 512)
    assert len(data) <= 512
    assert wire.decode_response(data).truncated
    assert wire.decode_response(data).answers == ()


def test_the_question_is_echoed_with_its_case() -> None:
    raw = wire.encode_query(7, "web", wire.A).replace(b"web", b"wEb")
    query = wire.decode_query(raw)
    assert query.name == "web"
    assert b"wEb" in wire.encode_answer(query, Answer(), 512)


@pytest.mark.parametrize("name", ["a" * 64, ".".join(["a" * 60] * 5), "a..b"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(Malformed):
        wire.encode_name(name)
