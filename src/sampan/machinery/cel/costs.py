"""What calls cost at run time, in units of which one is about 50 ns of the original's.

Sources: cel-go interpreter/runtimecost.go; k8s.io/apiserver pkg/cel/library/cost.go, CallCost. Both are part of what
users rely on: an expression that is within its limit there must be so here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from sampan.machinery.cel.kubernetes import Authorizer, Cidr, Decision, Ip, Quantity, Semver
from sampan.machinery.cel.text import Format, Url
from sampan.machinery.cel.values import size

IDENT, LIST, MAP, STRUCT = 1, 10, 30, 40
TRAVERSAL, REGEX = 0.1, 0.25
# What one check of an authorizer costs: an expression has room for two.
CHECK = 350_000
_REQUIREMENT = 25.0

Cost = Callable[[Sequence[Any], Any], int]
_UNIT_EQUALITY = (Quantity, Ip, Cidr, Format, Url, Semver, Authorizer, Decision)


def _up(value: float) -> int:
    return math.ceil(value)


def _first(factor: float) -> Cost:
    return lambda args, result: _up(size(args[0]) * factor)


def _pattern(args: Sequence[Any], result: Any) -> int:
    return _up((1.0 + size(args[0])) * TRAVERSAL) * _up(size(args[1]) * REGEX)


def _equality(args: Sequence[Any], result: Any) -> int:
    if isinstance(args[0], _UNIT_EQUALITY):
        return 1
    return _least(args, result)


def _least(args: Sequence[Any], result: Any) -> int:
    return _up(min(size(args[0]), size(args[1])) * TRAVERSAL)


def _ordering(args: Sequence[Any], result: Any) -> int:
    return _least(args, result) if isinstance(args[0], str | bytes) else 1


def _sum(args: Sequence[Any], result: Any) -> int:
    return _up((size(args[0]) + size(args[1])) * TRAVERSAL) if isinstance(args[0], str | bytes) else 1


def _items(args: Sequence[Any], result: Any) -> int:
    """One walk over a list, and over the texts in it."""
    found = size(args[0])
    if isinstance(args[0], list) and args[0] and isinstance(args[0][0], str | bytes):
        return _up(sum(size(i) for i in args[0]) * TRAVERSAL)
    return _up(found * TRAVERSAL) if isinstance(args[0], str | bytes) else found


def _contains_ip(args: Sequence[Any], result: Any) -> int:
    found = _up(size(args[0]) * 2 * TRAVERSAL)
    return found + (_up(size(args[1]) * TRAVERSAL) if isinstance(args[1], str) else 0)


def _contains_cidr(args: Sequence[Any], result: Any) -> int:
    return _contains_ip(args, result) + _up(size(args[0]) * TRAVERSAL) + 1


def _selector(args: Sequence[Any], result: Any) -> int:
    length = size(args[1])
    return LIST + _up(length * TRAVERSAL) + _up(_up(length * 0.5) * (LIST + STRUCT))


def _set(args: Sequence[Any], result: Any) -> int:
    return size(args[0]) * size(args[1]) + 1


def _same(args: Sequence[Any], result: Any) -> int:
    return 2 * size(args[0]) * size(args[1]) + 1


COSTS: dict[str, Cost] = {
    "_==_": _equality, "_!=_": _least, "_<_": _ordering, "_<=_": _ordering, "_>_": _ordering, "_>=_": _ordering,
    "_+_": _sum,
    "@in": lambda args, _: size(args[1]) if isinstance(args[1], list) else 1,
    "startsWith": lambda args, _: _up(size(args[1]) * TRAVERSAL),
    "endsWith": lambda args, _: _up(size(args[1]) * TRAVERSAL),
    "contains": lambda args, _: _up(size(args[0]) * TRAVERSAL) * _up(size(args[1]) * TRAVERSAL),
    "matches": _pattern, "find": _pattern, "findAll": _pattern,
    "bytes": lambda args, _: _up(size(args[0]) * TRAVERSAL) if isinstance(args[0], str) else 1,
    "string": lambda args, _: _up(size(args[0]) * TRAVERSAL) if isinstance(args[0], bytes) else 1,
    "strings.quote": _first(TRAVERSAL), "format": _first(TRAVERSAL),
    "check": lambda args, _: CHECK, "fieldSelector": _selector, "labelSelector": _selector,
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf", "includes"), _items),
    **dict.fromkeys(("url", "lowerAscii", "upperAscii", "substring", "trim", "jsonpatch.escapeKey"), _first(TRAVERSAL)),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), _first(2 * TRAVERSAL)),
    "join": lambda args, result: _up(size(result) * 2 * TRAVERSAL),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _first(TRAVERSAL)),
    "ip": lambda args, _: 1 if isinstance(args[0], Cidr) else _up(size(args[0]) * TRAVERSAL),
    "containsIP": _contains_ip, "containsCIDR": _contains_cidr,
    "validate": lambda args, _: _up((1.0 + size(args[1])) * TRAVERSAL) * _up(args[0].longest * REGEX),
    "sets.contains": _set, "sets.intersects": _set, "sets.equivalent": _same,
    "lists.range": lambda args, result: size(result) + LIST,
    **dict.fromkeys(("slice", "flatten", "reverse"), lambda args, result: size(result) + LIST),
    **dict.fromkeys(("distinct", "sort", "@sortByAssociatedKeys"), lambda args, _: size(args[0]) ** 2 + LIST),
}  # fmt: skip
