"""What the names of a cluster mean: a plain function from a question to an answer.

With the domain cluster.local:

    SERVICE.NAMESPACE.svc.cluster.local                its ClusterIP; each endpoint's address where it is headless
    HOST.SERVICE.NAMESPACE.svc.cluster.local           one endpoint of a headless service
    _PORT._PROTOCOL.SERVICE.NAMESPACE.svc...           SRV: the port, and the names above
    A-B-C-D.NAMESPACE.pod.cluster.local                the address in the name
    D.C.B.A.in-addr.arpa                               the name of a service or endpoint with that address

What exists but has no record of the type asked for is an empty answer, what does not exist is NXDOMAIN; both come with
the zone's SOA. Source: Kubernetes DNS-Based Service Discovery, schema version 1.1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from sampan.machinery.objects import Key
from sampan.network.book import Book, Endpoint, Service
from sampan.network.dns import wire
from sampan.network.dns.wire import Answer, Record

TTL = 5  # seconds; short, for endpoints come and go
SCHEMA_VERSION = "1.1.0"
REVERSE = "in-addr.arpa"


class Zone:
    """The cluster's names. `book` is read at each question; call `changed` when it did."""

    def __init__(self, book: Book, domain: str, ranges: Iterable[str], dns: str) -> None:
        self.domain = domain.lower().rstrip(".")
        self._book = book
        self._ranges = [IPv4Network(r) for r in ranges]
        self._dns = dns
        self._reverse: dict[str, tuple[str, ...]] | None = None
        self._namespaces: set[str] | None = None

    def changed(self) -> None:
        self._reverse = self._namespaces = None

    def owns(self, name: str) -> bool:
        """Whether a name is ours to answer: below the cluster's domain, or an address of the cluster."""
        if name == self.domain or name.endswith(f".{self.domain}"):
            return True
        address = reversed_address(name)
        return address is not None and any(address in r for r in self._ranges)

    def answer(self, name: str, kind: int) -> Answer:
        """The answer to a question for which `owns` holds."""
        if not name.endswith(self.domain):
            found, zone = self._pointers(name), REVERSE
        else:
            found, zone = self._find(name, kind), self.domain
        if found is None:
            return Answer(wire.NXDOMAIN, authority=(self._soa(zone),))
        kinds = {kind, wire.CNAME} if kind != wire.ANY else {r.type for r in found}
        answers = tuple(r for r in found if r.type in kinds)
        if not answers:
            return Answer(authority=(self._soa(zone),))
        return Answer(answers=answers, additional=tuple(r for r in found if r.type not in kinds))

    def _soa(self, zone: str) -> Record:
        return wire.soa(
            zone, TTL, f"ns.dns.{self.domain}", f"hostmaster.{self.domain}", (1, 7200, 1800, 86400, TTL)
        )

    def _find(self, name: str, kind: int) -> list[Record] | None:
        """Records at `name`: those of the type asked for, and further ones that help; None where it does not exist."""
        labels = name[: -len(self.domain)].rstrip(".").split(".")
        match labels:
            case [""]:
                return [
                    self._soa(self.domain),
                    Record(name, wire.NS, TTL, wire.encode_name(f"ns.dns.{self.domain}")),
                ]
            case ["svc"] | ["pod"] | ["dns"]:
                return []
            case ["dns-version"]:
                return [wire.txt(name, TTL, SCHEMA_VERSION)]
            case ["ns", "dns"]:
                return [wire.a(name, TTL, self._dns)]
            case [namespace, "svc"]:
                return [] if namespace in self._known_namespaces() else None
            case [_, "pod"]:
                return []
            case [dashed, _, "pod"]:
                return _dashed(name, dashed)
            case [*inner, service, namespace, "svc"] if len(inner) <= 2:
                known = self._book.services.get(Key(namespace, service))
                return self._service(name, kind, known, inner) if known else None
        return None

    def _service(self, name: str, kind: int, service: Service, inner: list[str]) -> list[Record] | None:
        match inner:
            case [] if service.external_name:
                return [wire.cname(name, TTL, service.external_name.lower().rstrip("."))]
            case [] if kind == wire.SRV:
                return self._ports(name, service, None, None) or []
            case []:
                addresses = service.addresses or [e.address for e in self._endpoints(service)]
                return [wire.a(name, TTL, a) for a in dict.fromkeys(addresses)]
            case [protocol] if protocol in ("_tcp", "_udp", "_sctp"):
                return [] if any(f"_{p.protocol}" == protocol for p in service.ports) else None
            case [host] if service.headless:
                return [
                    wire.a(name, TTL, e.address) for e in self._endpoints(service) if host_label(e) == host
                ] or None
            case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
                return self._ports(name, service, port[1:], protocol[1:])
        return None

    def _ports(
        self, name: str, service: Service, port: str | None, protocol: str | None
    ) -> list[Record] | None:
        """SRV records for one port, or for all where none is named, each with its target's address."""
        own = self._service_name(service.key)
        found: dict[Record, None] = {}
        ports = [p for p in service.ports if port is None or (p.name == port and p.protocol == protocol)]
        if port == "":
            return None
        for p in ports:
            if service.addresses:
                found[wire.srv(name, TTL, p.port, own)] = None
                found |= dict.fromkeys(wire.a(own, TTL, a) for a in service.addresses)
                continue
            for endpoint, number in self._book.endpoints(service.key, p):
                if endpoint.ready or service.not_ready:
                    target = f"{host_label(endpoint)}.{own}"
                    found[wire.srv(name, TTL, number, target)] = None
                    found[wire.a(target, TTL, endpoint.address)] = None
        return list(found) if ports else None

    def _endpoints(self, service: Service) -> Iterator[Endpoint]:
        for part in self._book.slices.get(service.key, {}).values():
            yield from (e for e in part.endpoints if e.ready or service.not_ready)

    def _service_name(self, service: Key) -> str:
        return f"{service.name}.{service.namespace}.svc.{self.domain}"

    def _known_namespaces(self) -> set[str]:
        if self._namespaces is None:
            self._namespaces = {k.namespace for k in self._book.services}
        return self._namespaces

    def _pointers(self, name: str) -> list[Record] | None:
        if self._reverse is None:
            found: dict[str, list[str]] = {}
            for address, target in self._names():
                found.setdefault(address, []).append(target)
            self._reverse = {a: tuple(dict.fromkeys(targets)) for a, targets in found.items()}
        targets = self._reverse.get(str(reversed_address(name)))
        return [wire.ptr(name, TTL, t) for t in targets] if targets else None

    def _names(self) -> Iterator[tuple[str, str]]:
        """Every address that has a name, with that name."""
        for service in self._book.services.values():
            own = self._service_name(service.key)
            yield from ((a, own) for a in service.addresses)
            if service.headless:
                yield from ((e.address, f"{host_label(e)}.{own}") for e in self._endpoints(service))


def host_label(endpoint: Endpoint) -> str:
    """The name of an endpoint within its service: its hostname, else its address with dashes."""
    return endpoint.hostname or endpoint.address.replace(".", "-")


def reversed_address(name: str) -> IPv4Address | None:
    """The address that a name below in-addr.arpa stands for."""
    head, dot, tail = name.partition(f".{REVERSE}")
    if not dot or tail:
        return None
    try:
        return IPv4Address(".".join(reversed(head.split("."))))
    except AddressValueError:
        return None


def _dashed(name: str, label: str) -> list[Record] | None:
    try:
        return [wire.a(name, TTL, str(IPv4Address(label.replace("-", "."))))]
    except AddressValueError:
        return None
