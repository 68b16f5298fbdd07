"""The table of the services as a value: what stands in it, and the smallest change from one state to another.

Pure. `merge` puts the parts of all services together; `diff` finds the steps from one ruleset to another; `render`
writes steps as one nft transaction; `replace` writes the transaction that makes the table right whatever stands in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sampan.network.addresses import NodeNetwork
from sampan.network.ground import MARK

# The table's fixed maps, and the set of pairs of equal addresses by which a pod that reaches itself is known.
MAPS = {
    "hairpin": "ipv4_addr . ipv4_addr",
    "services": "ipv4_addr . inet_proto . inet_service : verdict",
    "nodeports": "inet_proto . inet_service : verdict",
    "refused": "ipv4_addr . inet_proto . inet_service : verdict",
    "refused-nodeports": "inet_proto . inet_service : verdict",
}
_BY_ADDRESS = "ip daddr . meta l4proto . th dport vmap"
_BY_PORT = "fib daddr type local meta l4proto . th dport vmap"
AFFINITY_LIMIT = 65536  # clients that one endpoint remembers


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What stands in the table: elements of each map, rules of each chain, timeout of each set of known clients."""

    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clients: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One change to the thing called `name`. What `verb` may be:

    - `add-clients` (with `timeout`), `drop-clients`: a set of known clients;
    - `add-chain`, `drop-chain`: an empty chain; `fill-chain`: its rules from now on;
    - `add-elements`, `drop-elements`: of a map, as pairs of key and verdict.
    """

    verb: str
    name: str
    timeout: int = 0
    rules: tuple[str, ...] = ()
    elements: tuple[tuple[str, str], ...] = ()


def merge(parts: Iterable[Ruleset]) -> Ruleset:
    """All parts as one. Where two claim an element, such as the same external address and port, the first has it."""
    elements: dict[str, dict[str, str]] = {name: {} for name in MAPS}
    chains: dict[str, tuple[str, ...]] = {}
    clients: dict[str, int] = {}
    for part in parts:
        for name, own in part.elements.items():
            for lead, verdict in own.items():
                elements[name].setdefault(lead, verdict)
        chains.update(part.chains)
        clients.update(part.clients)
    return Ruleset(elements, chains, clients)


def diff(old: Ruleset, new: Ruleset) -> list[Step]:
    """The steps from one ruleset to another, in an order in which nothing refers to what does not exist."""
    fresh = [c for c in new.chains if c not in old.chains]
    changed = [c for c, rules in new.chains.items() if old.chains.get(c) != rules]
    gone = [c for c in old.chains if c not in new.chains]
    return [
        *(Step("add-clients", s, timeout=t) for s, t in new.clients.items() if s not in old.clients),
        *(Step("add-chain", c) for c in fresh),
        *(Step("fill-chain", c, rules=new.chains[c]) for c in changed),
        *_diff_elements(old, new),
        *(Step("fill-chain", c) for c in gone),
        *(Step("drop-chain", c) for c in gone),
        *(Step("drop-clients", s) for s in old.clients if s not in new.clients),
    ]


def _diff_elements(old: Ruleset, new: Ruleset) -> Iterator[Step]:
    for name in MAPS:
        before, after = old.elements.get(name, {}), new.elements.get(name, {})
        gone = tuple((k, v) for k, v in before.items() if after.get(k) != v)
        fresh = tuple((k, v) for k, v in after.items() if before.get(k) != v)
        if gone:
            yield Step("drop-elements", name, elements=gone)
        if fresh:
            yield Step("add-elements", name, elements=fresh)


def apply(ruleset: Ruleset, steps: Iterable[Step]) -> Ruleset:
    """What a ruleset becomes by some steps: the model of what nft does. Raises KeyError where nft would refuse."""
    elements = {name: dict(ruleset.elements.get(name, {})) for name in MAPS}
    chains, clients = dict(ruleset.chains), dict(ruleset.clients)
    for step in steps:
        name = step.name
        match step.verb:
            case "add-clients":
                clients[name] = step.timeout
            case "drop-clients":
                del clients[name]
            case "add-chain":
                chains[name] = ()
            case "fill-chain":
                del chains[name]  # which must exist
                chains[name] = step.rules
            case "drop-chain":
                del chains[name]
            case "drop-elements":
                for lead, _ in step.elements:
                    del elements[name][lead]
            case "add-elements":
                elements[name].update(step.elements)
    return Ruleset(elements, chains, clients)


def render(table: str, steps: Iterable[Step]) -> str:
    """The steps as an nft script."""
    return "".join(line + "\n" for step in steps for line in _render(f"ip {table}", step))


def _render(table: str, step: Step) -> Iterator[str]:
    name = step.name
    match step.verb:
        case "add-clients":
            flags = f"flags dynamic, timeout; timeout {step.timeout}s;"
            yield f"add set {table} {name} {{ type ipv4_addr; size {AFFINITY_LIMIT}; {flags} }}"
        case "drop-clients":
            yield f"delete set {table} {name}"
        case "add-chain":
            yield f"add chain {table} {name}"
        case "fill-chain":
            yield f"flush chain {table} {name}"
            yield from (f"add rule {table} {name} {rule}" for rule in step.rules)
        case "drop-chain":
            yield f"delete chain {table} {name}"
        case "drop-elements":
            yield f"delete element {table} {name} {{ {', '.join(lead for lead, _ in step.elements)} }}"
        case "add-elements":
            yield f"add element {table} {name} {{ {', '.join(f'{k} : {v}' if v else k for k, v in step.elements)} }}"


def skeleton(table: str, node: NodeNetwork) -> str:
    """The script that makes what never changes in the table: maps, and the chains in the kernel's hooks."""
    t, ranges = f"ip {table}", node.ranges
    unknown = f"ip daddr {ranges.services} ip daddr != {ranges.dns} goto refuse"
    find = (f"{_BY_ADDRESS} @services", f"{_BY_PORT} @nodeports")
    stop = (f"{_BY_ADDRESS} @refused", f"{_BY_PORT} @refused-nodeports")
    chains: dict[str, tuple[str, ...]] = {
        "refuse": ("", "meta l4proto tcp reject with tcp reset", "reject"),
        "prerouting": ("type nat hook prerouting priority dstnat; policy accept;", *find),
        "output": ("type nat hook output priority -100; policy accept;", *find),
        "filter-input": _new("input", *stop),
        # What is sent back to its own source must come back through here, or the answer would not fit the question.
        "filter-forward": _new("forward", f"ip saddr . ip daddr @hairpin {MARK}", stop[0], unknown),
        "filter-output": _new("output", *stop, unknown),
    }
    lines = [
        f"add table {t}",
        *(f"add {_kind(name)} {t} {name} {{ type {type}; }}" for name, type in MAPS.items()),
    ]
    for name, (base, *_) in chains.items():
        lines += [
            f"add chain {t} {name} {{ {base} }}" if base else f"add chain {t} {name}",
            f"flush chain {t} {name}",
        ]
    lines += [f"add rule {t} {name} {rule}" for name, (_, *body) in chains.items() for rule in body]
    return "\n".join(lines) + "\n"


def _kind(name: str) -> str:
    return "map" if "verdict" in MAPS[name] else "set"


def _new(hook: str, *rules: str) -> tuple[str, ...]:
    """A filter chain that looks only at the first packet of a connection."""
    base = f"type filter hook {hook} priority filter; policy accept;"
    return (base, *(f"ct state new {rule}" for rule in rules))


FIXED = frozenset({"refuse", "prerouting", "output", "filter-input", "filter-forward", "filter-output"})


@dataclass(frozen=True, slots=True)
class Present:
    """What is already in the table."""

    chains: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()


def replace(table: str, node: NodeNetwork, new: Ruleset, present: Present) -> str:
    """The script that makes the table what it should be, whatever stands in it; known clients are kept.

    `present` are the names of the chains and of the sets of clients that stand there, beside the skeleton.
    """
    t = f"ip {table}"
    keep = set(new.clients) & present.clients
    gone = present.chains - set(new.chains)
    lines = [skeleton(table, node), *(f"flush {_kind(name)} {t} {name}\n" for name in MAPS)]
    lines += [f"flush chain {t} {c}\n" for c in sorted(present.chains)]
    lines += [f"delete chain {t} {c}\n" for c in sorted(gone)]
    lines += [f"delete set {t} {s}\n" for s in sorted(present.clients - keep)]
    old = Ruleset(chains=dict.fromkeys(present.chains - gone, ()), clients={s: new.clients[s] for s in keep})
    return "".join(lines) + render(table, diff(old, new))


def present(listing: Iterable[Mapping[str, Mapping[str, object]]]) -> Present:
    """What stands in the table by nft's listing of it."""
    listing = list(listing)
    chains = {str(i["chain"]["name"]) for i in listing if "chain" in i}
    clients = {str(i["set"]["name"]) for i in listing if "set" in i} - set(MAPS)
    return Present(frozenset(chains - FIXED), frozenset(clients))
