"""Kubernetes' own values: quantities, versions, addresses and networks, and what an authorizer is asked.

Source: k8s.io/apiserver pkg/cel/library: quantity, semverlib, ip, cidr, authz.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import total_ordering
from typing import Any, Protocol

from sampan.machinery import quantities
from sampan.machinery.cel.errors import EvaluationError
from sampan.machinery.cel.standard import no_overload, whole
from sampan.machinery.cel.values import LARGEST, SMALLEST

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NANO = 10**9


@total_ordering
@dataclass(frozen=True, slots=True)
class Quantity:
    value: quantities.Quantity
    type_name = "kubernetes.Quantity"

    def __lt__(self, other: Quantity) -> bool:
        return self.value < other.value

    def __str__(self) -> str:
        return str(self.value)


def quantity(text: Any) -> Quantity:
    if not isinstance(text, str):
        raise no_overload("quantity")
    try:
        return Quantity(quantities.parse(text))
    except ValueError as e:
        raise EvaluationError(str(e)) from None


def _plain(found: Quantity) -> int | None:
    """The quantity as an integer, where it is one of 64 bits."""
    number, rest = divmod(found.value.nano, _NANO)
    return number if not rest and SMALLEST <= number <= LARGEST else None


def _integer(found: Quantity) -> int:
    number = _plain(found)
    if number is None:
        raise EvaluationError("cannot convert value to integer")
    return number


def _sum(sign: int) -> Callable[[Quantity, Any], Quantity]:
    def summed(found: Quantity, other: Any) -> Quantity:
        added = other.value if isinstance(other, Quantity) else quantities.Quantity(int(other) * _NANO)
        return Quantity(found.value + added if sign > 0 else found.value - added)

    return summed


# Versions

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)


@total_ordering
@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version; its build metadata counts for nothing."""

    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()
    type_name = "kubernetes.Semver"

    def _rank(self) -> tuple[Any, ...]:
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre)
        return (self.numbers, not self.pre, parts)

    def __lt__(self, other: Semver) -> bool:
        return self._rank() < other._rank()


def semver(text: Any, normalize: bool = False) -> Semver:
    if not isinstance(text, str):
        raise no_overload("semver")
    found = _SEMVER.fullmatch(_normalized(text) if normalize else text)
    pre = tuple((found[4] or "").split(".")) if found and found[4] else ()
    if not found or any(p.isdigit() and len(p) > 1 and p[0] == "0" for p in pre):
        raise EvaluationError(f'Invalid semantic version "{text}"')
    return Semver((int(found[1]), int(found[2]), int(found[3])), pre)


def _normalized(text: str) -> str:
    """Without a leading `v`, with a minor and patch, and without leading zeros."""
    core, mark, rest = re.match(r"([^-+]*)([-+]?)(.*)", text.removeprefix("v"), re.S).groups()  # type: ignore[union-attr]
    parts = [p.lstrip("0") or "0" if p.isdigit() else p for p in core.split(".")]
    return ".".join([*parts, "0", "0"][: max(3, len(parts))]) + mark + rest


# Addresses


@dataclass(frozen=True, slots=True)
class Ip:
    address: Address
    type_name = "net.IP"

    @property
    def cel_size(self) -> int:
        return self.address.max_prefixlen // 8

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Cidr:
    """An address with the length of its prefix; `network` has no bits beyond that."""

    address: Address
    length: int
    type_name = "net.CIDR"

    @property
    def cel_size(self) -> int:
        return -(-self.length // 8)

    @property
    def network(self) -> Network:
        return ipaddress.ip_network((self.address, self.length), strict=False)

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


def ip(value: Any) -> Ip:
    if isinstance(value, Cidr):
        return Ip(value.address)
    if not isinstance(value, str):
        raise no_overload("ip")
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        begin = f'IP Address "{value}" parse error during conversion from string'
        raise EvaluationError(f'{begin}: ParseAddr("{value}"): unable to parse IP') from None
    if "%" in value:
        raise EvaluationError(f'IP address "{value}" with zone value is not allowed')
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{value}" is not allowed')
    return Ip(found)


def cidr(value: Any) -> Cidr:
    if not isinstance(value, str):
        raise no_overload("cidr")
    begin = "network address parse error during conversion from string: "
    address, slash, length = value.partition("/")
    try:
        found = ipaddress.ip_address(address)
        plain = length.isascii() and length.isdigit() and str(int(length)) == length
        if not slash or not plain or int(length) > found.max_prefixlen or "%" in address:
            raise ValueError(value)
    except ValueError:
        raise EvaluationError(f'{begin * 2}netip.ParsePrefix("{value}"): unable to parse') from None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        raise EvaluationError(f'{begin}IPv4-mapped IPv6 address "{value}" is not allowed')
    return Cidr(found, int(length))


def _holds(found: Cidr, other: Any) -> bool:
    address = other.address if isinstance(other, Ip) else ip(other).address
    return address.version == found.address.version and address in found.network


def _holds_all(found: Cidr, other: Any) -> bool:
    inner = other if isinstance(other, Cidr) else cidr(other)
    return found.length <= inner.length and _holds(found, Ip(inner.address))


def _can(make: Callable[..., Any]) -> Callable[..., bool]:
    """Whether a text can be converted."""

    def asked(*args: Any) -> bool:
        if not isinstance(args[0], str):
            raise no_overload()
        try:
            make(*args)
        except EvaluationError:
            return False
        return True

    return asked


# The authorizer


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str = ""
    error: str = ""
    type_name = "kubernetes.authorization.Decision"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of an authorizer; with a path, it is no resource. `account` is a service account's whole name."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    account: str = ""
    fields: str = ""
    labels: str = ""


class Authority(Protocol):
    def __call__(self, asked: Question) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Authorizer:
    """An authorizer, and the question that is being put together for it."""

    ask: Authority
    asked: Question = Question()
    type_name: str = "kubernetes.authorization.Authorizer"

    def with_(self, type_name: str = "", **said: str) -> Authorizer:
        return Authorizer(self.ask, replace(self.asked, **said), type_name or self.type_name)


def _path(found: Authorizer, path: str) -> Authorizer:
    if not path:
        raise EvaluationError("path must not be empty")
    return found.with_("kubernetes.authorization.PathCheck", path=path)


def _account(found: Authorizer, namespace: str, name: str) -> Authorizer:
    from sampan.machinery import names

    if names.dns_subdomain(name):
        raise EvaluationError("Invalid service account name")
    if names.dns_label(namespace):
        raise EvaluationError("Invalid service account namespace")
    return found.with_(account=f"system:serviceaccount:{namespace}:{name}")


def _resource(found: Authorizer, resource: str) -> Authorizer:
    if not resource:
        raise EvaluationError("resource must not be empty")
    return found.with_("kubernetes.authorization.ResourceCheck", resource=resource)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "quantity": quantity, "isQuantity": _can(quantity), "asInteger": _integer,
    "isInteger": lambda q: _plain(q) is not None, "asApproximateFloat": lambda q: q.value.number,
    "sign": lambda q: (q.value.nano > 0) - (q.value.nano < 0), "add": _sum(1), "sub": _sum(-1),
    "isGreaterThan": lambda a, b: a > b, "isLessThan": lambda a, b: a < b,
    "compareTo": lambda a, b: (a > b) - (a < b),
    "semver": semver, "isSemver": _can(semver), "major": lambda v: whole(v.numbers[0]),
    "minor": lambda v: whole(v.numbers[1]), "patch": lambda v: whole(v.numbers[2]),
    "ip": ip, "isIP": _can(ip), "ip.isCanonical": lambda t: str(ip(t)) == t,
    "family": lambda i: i.address.version, "isUnspecified": lambda i: i.address.is_unspecified,
    "isLoopback": lambda i: i.address.is_loopback,
    "isLinkLocalMulticast": lambda i: i.address in ipaddress.ip_network(
        "224.0.0.0/24" if i.address.version == 4 else "ff02::/16"
    ),
    "isLinkLocalUnicast": lambda i: i.address.is_link_local,
    "isGlobalUnicast": lambda i: not (
        i.address.is_unspecified or i.address.is_loopback or i.address.is_multicast or i.address.is_link_local
        or str(i.address) == "255.255.255.255"
    ),
    "cidr": cidr, "isCIDR": _can(cidr), "containsIP": _holds, "containsCIDR": _holds_all,
    "prefixLength": lambda c: c.length, "masked": lambda c: Cidr(c.network.network_address, c.length),
    "path": _path, "serviceAccount": _account, "resource": _resource,
    "group": lambda a, group: a.with_("kubernetes.authorization.GroupCheck", group=group),
    "subresource": lambda a, name: a.with_(subresource=name), "namespace": lambda a, name: a.with_(namespace=name),
    "name": lambda a, name: a.with_(name=name), "fieldSelector": lambda a, text: a.with_(fields=text),
    "labelSelector": lambda a, text: a.with_(labels=text), "check": lambda a, verb: a.ask(replace(a.asked, verb=verb)),
    "errored": lambda d: bool(d.error), "error": lambda d: d.error, "allowed": lambda d: d.allowed,
    "reason": lambda d: d.reason,
}  # fmt: skip
