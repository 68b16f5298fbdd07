"""The rules as values: every change leads where it should, whatever came before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.network.machine import Machine, node, on_a_machine

from sampan.host import nft
from sampan.machinery.objects import Key
from sampan.network import ruleset, services
from sampan.network.book import Book, Endpoint, Service, ServicePort, Slice
from sampan.network.ruleset import Present, Ruleset

ADDRESSES = [f"10.64.0.{n}" for n in range(2, 8)]


def ports() -> st.SearchStrategy[ServicePort]:
    protocol = st.sampled_from(["tcp", "udp", "sctp"])
    return st.builds(
        ServicePort, st.just(""), protocol, st.integers(80, 83), st.sampled_from([0, 30080, 30081, 30082])
    )


def a_service(number: int) -> st.SearchStrategy[Service]:
    return st.builds(
        Service,
        st.just(Key("default", f"s{number}")),
        st.sampled_from([(f"10.65.0.{number + 20}",), ()]),
        st.lists(ports(), max_size=2, unique_by=lambda p: (p.protocol, p.port)).map(tuple),
        st.sampled_from([(), ("203.0.113.7",)]),
        st.sampled_from([0, 0, 60, 10800]),
        st.booleans(),
        st.booleans(),
    )


def endpoints() -> st.SearchStrategy[Endpoint]:
    nodes = st.sampled_from(["node", "other"])
    flags = st.booleans()
    return st.builds(Endpoint, st.sampled_from(ADDRESSES), nodes, st.just(""), flags, flags, flags)


@st.composite
def parts(draw: st.DrawFn, number: int = 0) -> Ruleset:
    """What one service with some endpoints needs."""
    service = draw(a_service(number))
    book = Book({service.key: service})
    number_there = {("", protocol): 8080 for protocol in ("tcp", "udp", "sctp")}
    slice_ = Slice(service.key, number_there, tuple(draw(st.lists(endpoints(), max_size=4))))
    book.slices[service.key] = {Key("default", "slice"): slice_}
    return services.decide(service, book, node())


@st.composite
def rulesets(draw: st.DrawFn) -> Ruleset:
    """What some services need together; they may claim the same external address or node port."""
    return ruleset.merge([draw(parts(number)) for number in range(draw(st.integers(0, 3)))])


def plain(rules: Ruleset) -> tuple[Any, ...]:
    return {k: v for k, v in rules.elements.items() if v}, dict(rules.chains), dict(rules.clients)


@given(rulesets(), rulesets())
def test_the_steps_between_two_rulesets_lead_from_one_to_the_other(old: Ruleset, new: Ruleset) -> None:
    assert plain(ruleset.apply(old, ruleset.diff(old, new))) == plain(new)
    assert ruleset.diff(new, new) == []


@given(parts())
def test_whatever_a_rule_refers_to_exists_and_nothing_else(rules: Ruleset) -> None:
    bodies = [line for chain in rules.chains.values() for line in chain]
    verdicts = [v for elements in rules.elements.values() for v in elements.values()]
    for text in (*bodies, *verdicts):
        for chain in services._GOTO.findall(text):
            assert chain in rules.chains or chain == "refuse"
    assert all(len(name) <= services.NAME_LIMIT for name in rules.chains)
    used = {c for text in (*bodies, *verdicts) for c in services._GOTO.findall(text)}
    assert set(rules.chains) <= used


@on_a_machine
async def test_nft_takes_every_step(machine: Machine) -> None:
    """The model and nft agree: after each change the kernel holds what the model says."""
    table = "t"
    nft.run(ruleset.replace(table, node(), Ruleset(), Present()))
    standing = Ruleset()

    @settings(max_examples=15, deadline=None, database=None)
    @given(rulesets())
    def change_to(new: Ruleset) -> None:
        nonlocal standing
        nft.run(ruleset.render(table, ruleset.diff(standing, new)))
        standing = new
        listing = nft.table(table) or []
        assert ruleset.present(listing) == Present(frozenset(new.chains), frozenset(new.clients))
        for name, elements in new.elements.items():
            found = next(v for i in listing for v in i.values() if v.get("name") == name and "type" in v)
            assert len(found.get("elem", ())) == len(elements)

    change_to()


@pytest.mark.parametrize("affinity", [0, 60])
def test_a_service_as_text(affinity: int) -> None:
    """What a node port's rules look like, whole."""
    key = Key("shop", "web")
    service = Service(key, ("10.65.0.20",), (ServicePort("", "tcp", 80, 30080),), affinity=affinity)
    book = Book({key: service})
    ready = tuple(Endpoint(a) for a in ADDRESSES[:2])
    book.slices[key] = {Key("shop", "web-1"): Slice(key, {("", "tcp"): 8080}, ready)}
    part = services.decide(service, book, node())
    any_, external = "any-85768b02d3-shop/web/tcp/80", "external-85768b02d3-shop/web/tcp/80"
    assert part.elements["services"] == {"10.65.0.20 . tcp . 80": f"goto {any_}"}
    assert part.elements["nodeports"] == {"tcp . 30080": f"goto {external}"}
    assert part.chains[external] == ("meta mark set meta mark | 0x2000", f"goto {any_}")
    if affinity:
        assert len(part.clients) == 2
        assert part.chains[any_][-1].startswith("numgen random mod 2 vmap { 0 : goto endpoint-")
    else:
        targets = "{ 0 : 10.64.0.2 . 8080, 1 : 10.64.0.3 . 8080 }"
        assert part.chains[any_] == (f"meta l4proto tcp dnat ip to numgen random mod 2 map {targets}",)
