"""Services as nftables rules: which rules there should be.

Pure. `decide` makes of one service its part of a `ruleset.Ruleset`. A connection is balanced when it begins and then
keeps its endpoint by connection tracking, so no change of rules disturbs it.

In the table, two verdict maps find a service: `services` by address, protocol and port, `nodeports` by protocol and
port. They lead to a chain for each port: `any-...` picks an endpoint, `local-...` one on this node, `external-...`
treats first what came from outside. Two more maps, `refused` and `refused-nodeports`, stop what has no endpoint.

Source: the Kubernetes documentation, Virtual IPs and Service Proxies; KEP-3866 (nftables), KEP-1669 (terminating
endpoints), KEP-2086 (internal traffic policy).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sampan.network.addresses import NodeNetwork
from sampan.network.book import Book, Endpoint, Service, ServicePort
from sampan.network.ground import MARK
from sampan.network.ruleset import MAPS, Ruleset

NAME_LIMIT = 120  # the kernel's is 127
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_GOTO = re.compile(r"goto ([^ ,}]+)")

# A target: the endpoint's address and port.
Target = tuple[str, int]


def decide(service: Service, book: Book, node: NodeNetwork) -> Ruleset:
    """The part of the ruleset that one service has on this node."""
    part = _Part()
    for port in service.ports:
        if service.addresses:
            _decide_port(part, service, port, book, node)
    return Ruleset(part.elements, part.chains, part.clients)


@dataclass(slots=True)
class _Part:
    """A ruleset being written."""

    elements: dict[str, dict[str, str]] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    clients: dict[str, int] = field(default_factory=dict)

    def element(self, name: str, key: str, verdict: str) -> None:
        self.elements.setdefault(name, {})[key] = verdict


def _decide_port(part: _Part, service: Service, port: ServicePort, book: Book, node: NodeNetwork) -> None:
    known = book.endpoints(service.key, port)
    everywhere = usable(near(known, node.name, book.zone), service.not_ready)
    here = usable([e for e in known if node.name and e[0].node == node.name], service.not_ready)
    for address, _ in (*everywhere, *here):
        part.element("hairpin", f"{address} . {address}", "")
    role, targets = ("local", here) if service.internal_local else ("any", everywhere)
    for address in service.addresses:
        lead = f"{address} . {port.protocol} . {port.port}"
        if targets:
            part.element("services", lead, f"goto {chain_name(role, service, port)}")
        elif address != node.ranges.dns:  # whose address every node has itself
            part.element("refused", lead, "drop" if everywhere else "goto refuse")
    external = _decide_external(part, service, port, everywhere, here, node)
    for role, targets, used in (
        ("any", everywhere, external or not service.internal_local),
        ("local", here, service.internal_local or (external and service.external_local)),
    ):
        if targets and used:
            part.chains[chain_name(role, service, port)] = tuple(_balance(part, service, port, targets))


def _decide_external(
    part: _Part,
    service: Service,
    port: ServicePort,
    everywhere: list[Target],
    here: list[Target],
    node: NodeNetwork,
) -> bool:
    """What comes from outside, to a node port or an external address; returns whether anything can."""
    leads = [("services", "refused", f"{a} . {port.protocol} . {port.port}") for a in service.external]
    if port.node_port:
        leads.append(("nodeports", "refused-nodeports", f"{port.protocol} . {port.node_port}"))
    external, anywhere = chain_name("external", service, port), chain_name("any", service, port)
    reached = here if service.external_local else everywhere
    for found, refused, lead in leads:
        if everywhere:
            part.element(found, lead, f"goto {external}")
        if not reached:
            part.element(refused, lead, "drop" if everywhere else "goto refuse")
    if not leads or not everywhere:
        return False
    part.chains[external] = (MARK, f"goto {anywhere}")
    if service.external_local:
        # The client's address stays, so only endpoints here will do; the cluster's own traffic may go anywhere.
        part.chains[external] = (
            f"ip saddr {node.ranges.pods} goto {anywhere}",
            f"fib saddr type local {MARK} goto {anywhere}",
            *((f"goto {chain_name('local', service, port)}",) if here else ()),
        )
    return True


def usable(known: Iterable[tuple[Endpoint, int]], not_ready: bool = False) -> list[Target]:
    """Where new connections go: what is ready, else what still serves while it terminates."""
    known = list(known)
    ready = [(e.address, number) for e, number in known if e.ready or not_ready]
    return ready or [(e.address, number) for e, number in known if e.serving and e.terminating]


def near(known: list[tuple[Endpoint, int]], node: str, zone: str) -> list[tuple[Endpoint, int]]:
    """The endpoints whose hints name this node, or else its zone; all where hints are missing or name others."""
    ready = [e for e, _ in known if e.ready]
    if ready and all(e.for_nodes for e in ready) and any(node in e.for_nodes for e in ready):
        return [found for found in known if node in found[0].for_nodes]
    if ready and all(e.for_zones for e in ready) and any(zone in e.for_zones for e in ready):
        return [found for found in known if zone in found[0].for_zones]
    return known


def _balance(part: _Part, service: Service, port: ServicePort, targets: list[Target]) -> Iterator[str]:
    """Rules that send a new connection to one of the targets, to the one it knows where there is affinity."""
    if not targets:
        return
    if not service.affinity:
        yield f"meta l4proto {port.protocol} {_dnat(targets)}"
        return
    chains = [_remember(part, service, port, target) for target in targets]
    for chain in chains:
        yield f"ip saddr @{chain} goto {chain}"
    verdicts = ", ".join(f"{i} : goto {c}" for i, c in enumerate(chains))
    yield f"numgen random mod {len(chains)} vmap {{ {verdicts} }}"


def _dnat(targets: list[Target]) -> str:
    if len(targets) == 1:
        address, number = targets[0]
        return f"dnat ip to {address}:{number}"
    choices = ", ".join(f"{i} : {a} . {n}" for i, (a, n) in enumerate(targets))
    return f"dnat ip to numgen random mod {len(targets)} map {{ {choices} }}"


def _remember(part: _Part, service: Service, port: ServicePort, target: Target) -> str:
    """A chain for one endpoint of a service with affinity, with a set of the same name of the clients it has."""
    name = chain_name("endpoint", service, port, f"{target[0]}/{target[1]}/{service.affinity}")
    part.clients[name] = service.affinity
    part.chains[name] = (f"update @{name} {{ ip saddr }}", f"meta l4proto {port.protocol} {_dnat([target])}")
    return name


def chain_name(role: str, service: Service, port: ServicePort, target: str = "") -> str:
    """A name that is unique, whole where it is short enough, and always begins with its role."""
    full = f"{service.key}/{port.protocol}/{port.port}" + (f"/{target}" if target else "")
    digest = hashlib.blake2s(full.encode(), digest_size=5).hexdigest()
    return f"{role}-{digest}-{full}"[:NAME_LIMIT]


def udp_leads(part: Ruleset) -> dict[str, frozenset[str]]:
    """For each UDP lead of a part (`10.0.0.1 . udp . 53`, or `udp . 30053`), the addresses it now goes to."""
    found: dict[str, frozenset[str]] = {}
    for name in MAPS:
        for lead, verdict in part.elements.get(name, {}).items():
            if "udp" in lead.split(" . "):
                reached = frozenset(_reached(part, verdict.removeprefix("goto ")))
                found[lead] = found.get(lead, frozenset()) | reached
    return found


def _reached(part: Ruleset, chain: str) -> Iterator[str]:
    for rule in part.chains.get(chain, ()):
        yield from _ADDRESS.findall(rule.partition("dnat")[2])
        for further in _GOTO.findall(rule):
            yield from _reached(part, further)
