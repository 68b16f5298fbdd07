"""What the names of a cluster mean."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.objects import Key
from sampan.network.book import Book, Endpoint, Service, ServicePort, Slice
from sampan.network.dns import wire
from sampan.network.dns.records import Zone
from sampan.network.dns.wire import Answer, Record

HTTP, DNS = ServicePort("http", "tcp", 80), ServicePort("dns", "udp", 53)


@pytest.fixture(scope="module")
def zone() -> Zone:
    book = Book()
    for service in (
        Service(Key("shop", "web"), ("10.65.0.20",), (HTTP, DNS)),
        Service(Key("shop", "db"), (), (ServicePort("sql", "tcp", 5432),)),
        Service(Key("shop", "out"), external_name="Example.org."),
        Service(Key("shop", "empty"), (), ()),
        Service(Key("shop", "early"), (), (ServicePort("", "tcp", 1),), not_ready=True),
    ):
        book.services[service.key] = service
    members = (
        Endpoint("10.64.0.5", hostname="db-0"),
        Endpoint("10.64.0.6"),
        Endpoint("10.64.0.7", hostname="db-2", ready=False),
    )
    book.slices[Key("shop", "db")] = {
        Key("shop", "db-x"): Slice(Key("shop", "db"), {("sql", "tcp"): 5432}, members)
    }
    late = (Endpoint("10.64.0.8", ready=False),)
    book.slices[Key("shop", "early")] = {
        Key("shop", "e"): Slice(Key("shop", "early"), {("", "tcp"): 1}, late)
    }
    return Zone(book, "cluster.local", ("10.64.0.0/16", "10.65.0.0/16"), "10.65.0.10")


def show(record: Record) -> str:
    match record.type:
        case wire.A:
            return str(IPv4Address(record.data))
        case wire.SRV:
            return f"{int.from_bytes(record.data[4:6], 'big')} {wire.decode_name(record.data, 6)[0]}"
        case wire.TXT:
            return record.data[1:].decode()
        case wire.SOA:
            return "soa"
        case _:
            return wire.decode_name(record.data, 0)[0]


D = "svc.cluster.local"
ANSWERS = [
    ("web.shop." + D, wire.A, ["10.65.0.20"]),
    ("db.shop." + D, wire.A, ["10.64.0.5", "10.64.0.6"]),  # headless: what is ready
    ("early.shop." + D, wire.A, ["10.64.0.8"]),  # publishNotReadyAddresses
    ("db-0.db.shop." + D, wire.A, ["10.64.0.5"]),
    ("10-64-0-6.db.shop." + D, wire.A, ["10.64.0.6"]),
    ("out.shop." + D, wire.A, ["example.org"]),
    ("out.shop." + D, wire.AAAA, ["example.org"]),
    ("_http._tcp.web.shop." + D, wire.SRV, ["80 web.shop." + D]),
    ("web.shop." + D, wire.SRV, ["80 web.shop." + D, "53 web.shop." + D]),
    ("_sql._tcp.db.shop." + D, wire.SRV, ["5432 db-0.db.shop." + D, "5432 10-64-0-6.db.shop." + D]),
    ("10-64-0-5.shop.pod.cluster.local", wire.A, ["10.64.0.5"]),
    ("dns-version.cluster.local", wire.TXT, ["1.1.0"]),
    ("cluster.local", wire.SOA, ["soa"]),
    ("cluster.local", wire.NS, ["ns.dns.cluster.local"]),
    ("ns.dns.cluster.local", wire.A, ["10.65.0.10"]),
    ("20.0.65.10.in-addr.arpa", wire.PTR, ["web.shop." + D]),
    ("5.0.64.10.in-addr.arpa", wire.PTR, ["db-0.db.shop." + D]),
    ("6.0.64.10.in-addr.arpa", wire.PTR, ["10-64-0-6.db.shop." + D]),
]


@pytest.mark.parametrize(("name", "kind", "expected"), ANSWERS)
def test_answers(zone: Zone, name: str, kind: int, expected: list[str]) -> None:
    assert zone.owns(name)
    answer = zone.answer(name, kind)
    assert sorted(map(show, answer.answers)) == sorted(expected)
    assert {r.name for r in answer.answers} == {name}
    assert answer.code == wire.NOERROR


def test_srv_brings_the_addresses_of_its_targets(zone: Zone) -> None:
    extra = zone.answer("_sql._tcp.db.shop." + D, wire.SRV).additional
    assert {(r.name, show(r)) for r in extra} == {
        ("db-0.db.shop." + D, "10.64.0.5"),
        ("10-64-0-6.db.shop." + D, "10.64.0.6"),
    }


EMPTY = [
    "web.shop." + D,
    "shop." + D,
    D,
    "cluster.local",
    "_tcp.web.shop." + D,
    "empty.shop." + D,
    "shop.pod.cluster.local",
    "10-64-0-5.shop.pod.cluster.local",
]


@pytest.mark.parametrize("name", EMPTY)
def test_what_exists_without_such_a_record_is_an_empty_answer(zone: Zone, name: str) -> None:
    answer = zone.answer(name, wire.AAAA)
    assert (answer.code, answer.answers, [r.type for r in answer.authority]) == (wire.NOERROR, (), [wire.SOA])


MISSING = [
    "nobody.shop." + D,
    "web.nowhere." + D,
    "nowhere." + D,
    "db-2.db.shop." + D,  # not ready
    "x.web.shop." + D,  # names below a service that is not headless
    "_ftp._tcp.web.shop." + D,
    "_http._udp.web.shop." + D,
    "_sctp.web.shop." + D,
    "a.b.c.web.shop." + D,
    "300-1-1-1.shop.pod.cluster.local",
    "other.cluster.local",
    "web.shop." + D + ".shop." + D,  # what search domains make of a full name
    "99.0.65.10.in-addr.arpa",
]


@pytest.mark.parametrize("name", MISSING)
def test_what_does_not_exist_is_nxdomain(zone: Zone, name: str) -> None:
    answer = zone.answer(name, wire.A)
    assert (answer.code, answer.answers, [r.type for r in answer.authority]) == (
        wire.NXDOMAIN,
        (),
        [wire.SOA],
    )


@pytest.mark.parametrize(
    "name", ["example.org", "xcluster.local", "local", "", "1.0.0.127.in-addr.arpa", "in-addr.arpa"]
)
def test_other_names_are_not_ours(zone: Zone, name: str) -> None:
    assert not zone.owns(name)


labels = st.sampled_from(
    ["_tcp", "_udp", "_", "_http", "web", "db", "shop", "svc", "pod", "10-64-0-5", "", "x"]
)


@given(st.lists(labels, max_size=7), st.sampled_from([wire.A, wire.SRV, wire.ANY, wire.PTR, 1000]))
def test_every_name_below_the_domain_has_an_answer(zone: Zone, words: list[str], kind: int) -> None:
    answer = zone.answer(".".join([*words, "cluster.local"]), kind)
    assert isinstance(answer, Answer)
    assert answer.code in (wire.NOERROR, wire.NXDOMAIN)
    assert bool(answer.answers) != bool(answer.authority)
