"""What an expression may cost at the least and at the most, whatever its variables hold.

Sizes of variables come from their types (`Type.most`), which come from a schema's limits. Whether a rule is accepted
in a CustomResourceDefinition hangs on these figures, so they are the original's to the unit.
Sources: cel-go checker/cost.go; k8s.io/apiserver pkg/cel/library/cost.go, EstimateCallCost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from sampan.machinery.cel import costs
from sampan.machinery.cel.ast import Call, Fold, Ident, ListOf, Literal, MapOf, Node, Select, Struct
from sampan.machinery.cel.checker import Checked
from sampan.machinery.cel.costs import REGEX, TRAVERSAL
from sampan.machinery.cel.macros import ACCU
from sampan.machinery.cel.types import Type

MOST = (1 << 64) - 1
_SCALARS = frozenset({"bool", "double", "duration", "int", "timestamp", "uint"})


class Range(NamedTuple):
    """The least and the most of a cost or a size; what does not fit 64 bits is the most there is."""

    least: int
    most: int

    def plus(self, other: Range) -> Range:
        return Range(min(self.least + other.least, MOST), min(self.most + other.most, MOST))

    def times(self, other: Range) -> Range:
        return Range(min(self.least * other.least, MOST), min(self.most * other.most, MOST))

    def by(self, factor: float) -> Range:
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.least, other.least), max(self.most, other.most))


def _scaled(value: int, factor: float) -> int:
    return MOST if value * factor >= MOST else math.ceil(float(value) * factor)


def fixed(value: int) -> Range:
    return Range(value, value)


ZERO, ONE, UNKNOWN = fixed(0), fixed(1), Range(0, MOST)


def estimate(checked: Checked) -> Range:
    """The cost of one evaluation."""
    return _Estimator(checked).cost(checked.root)


class _Estimator:
    def __init__(self, checked: Checked):
        self._checked = checked
        self._sizes: dict[int, Range] = {}
        # The sizes of the elements of lists and of the values of maps that expressions make.
        self._inner: dict[int, Range] = {}
        # Variables of loops: whether the name stands for a part of a variable, and the size of its values.
        self._locals: dict[str, list[tuple[bool, Range | None, Range | None]]] = {}

    def cost(self, node: Node) -> Range:
        match node:
            case Literal():
                return ZERO
            case Ident():
                return ONE
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListOf():
                return self._list(node)
            case MapOf():
                return self._map(node)
            case Struct():
                return self._all([v for _, v, _ in node.fields]).plus(fixed(costs.STRUCT))
            case Fold():
                return self._fold(node)

    def _all(self, nodes: list[Node]) -> Range:
        found = ZERO
        for node in nodes:
            found = found.plus(self.cost(node))
        return found

    def _select(self, node: Select) -> Range:
        if id(node.operand) not in self._checked.types:
            return ONE
        inner = self.cost(node.operand)
        if node.test:
            return inner
        operand = self._checked.of(node.operand)
        counted = operand.fields is not None or operand.name in ("map", "dyn")
        return inner.plus(ONE) if counted and operand.name != "dyn" else inner

    def _list(self, node: ListOf) -> Range:
        size = Range(MOST if node.items else 0, 0)
        found = fixed(costs.LIST)
        for item in node.items:
            found = found.plus(self.cost(item))
            size = size.union(self.size(item))
        self._inner[id(node)] = size
        return found

    def _map(self, node: MapOf) -> Range:
        found = fixed(costs.MAP)
        size = Range(MOST if node.entries else 0, 0)
        for entry in node.entries:
            found = found.plus(self.cost(entry.key)).plus(self.cost(entry.value))
            size = size.union(self.size(entry.value))
        self._inner[id(node)] = size
        return found

    # Sizes

    def size(self, node: Node) -> Range:
        return self._known(node) or UNKNOWN

    def _known(self, node: Node) -> Range | None:
        if id(node) in self._sizes:
            return self._sizes[id(node)]
        if found := _literal_size(node):
            return found
        type_ = self._checked.types.get(id(node))
        if type_ is not None and type_.most is not None and self._rooted(node):
            return Range(0, type_.most)
        if type_ is not None and _scalar(type_):
            return ONE
        if isinstance(node, Ident) and (scope := self._locals.get(node.name)):
            return scope[-1][1]
        return None

    def _rooted(self, node: Node) -> bool:
        """Whether a node is a variable or a part of one, so that the schema bounds it."""
        match node:
            case Ident():
                scope = self._locals.get(node.name)
                return scope[-1][0] if scope else node.name != ACCU
            case Select():
                return not node.test and self._rooted(node.operand)
            case Call(function="_[_]"):
                return self._rooted(node.args[0])
        return False

    def _elements(self, node: Node) -> Range | None:
        if id(node) in self._inner:
            return self._inner[id(node)]
        if isinstance(node, Ident) and (scope := self._locals.get(node.name)):
            return scope[-1][2]
        return None

    # Calls

    def _call(self, node: Call) -> Range:
        if node.function == "dyn":
            inner = self.cost(node.args[0])
            if found := self._known(node.args[0]):
                self._sizes[id(node)] = found
            return inner.plus(ONE)
        arguments = [self.cost(a) for a in node.args]
        begin = self.cost(node.target) if node.target is not None else ZERO
        found = Range(MOST, 0)
        size: Range | None = None
        for overload in self._checked.overloads.get(id(node), ()):
            cost, result = self._overload(node, overload, arguments)
            found = found.union(cost)
            if result is not None:
                size = result if size is None else size.union(result)
        if node.function == "_[_]":
            size = self._elements(node.args[0]) or size
        size = size or self._known(node)
        if size is not None:
            self._sizes[id(node)] = size
        return begin.plus(found)

    def _overload(self, node: Call, overload: str, arguments: list[Range]) -> tuple[Range, Range | None]:
        """The cost of a call with its arguments, and the size of what it gives."""
        together = ZERO
        for cost in arguments:
            together = together.plus(cost)
        if node.function in ("_&&_", "_||_"):
            return Range(arguments[0].least, arguments[0].plus(arguments[1]).most), None
        if node.function == "_?_:_":
            size = self.size(node.args[1]).union(self.size(node.args[2]))
            one, other = self._elements(node.args[1]), self._elements(node.args[2])
            if one and other:
                self._inner[id(node)] = one.union(other)
            return arguments[0].plus(arguments[1].union(arguments[2])), size
        known = _ESTIMATES.get(node.function)
        made = known(self, node, overload) if known else None
        if made is None:
            return ONE.plus(together), None
        return made[0].plus(together), made[1]

    def joined(self, node: Call) -> Range:
        """The size of a sum of texts or lists."""
        one, other = self._elements(node.args[0]), self._elements(node.args[1])
        if one and other:
            self._inner[id(node)] = one.union(other)
        return self.size(node.args[0]).plus(self.size(node.args[1]))

    def type(self, node: Node) -> Type:
        return self._checked.of(node)

    def rooted(self, node: Node) -> bool:
        return self._rooted(node)

    # Loops

    def _fold(self, node: Fold) -> Range:
        found = self.cost(node.range).plus(self.cost(node.init))
        rooted = self._rooted(node.init)
        self._push(node.accu, rooted, self._known(node.init), self._elements(node.init))
        if node.accu != ACCU:
            return self._bound(node, found)
        inside, is_list = self._rooted(node.range), self._checked.of(node.range).name == "list"
        elements = self._elements(node.range)
        if node.var2:
            self._push(node.var, inside, ONE if elements and is_list else None, None)
            self._push(node.var2, inside, elements, None)
        else:
            self._push(node.var, inside, elements if is_list else None, None)
        loop = self.cost(node.condition)
        step = self.cost(node.step)
        for name in (node.var, node.var2):
            if name:
                self._locals[name].pop()
        found = found.plus(self.cost(node.result))
        self._locals[node.accu].pop()
        count = self.size(node.range)
        if isinstance(node.init, Literal):
            self._sizes[id(node)] = self.size(node.init)
        elif isinstance(node.init, ListOf | MapOf):
            self._sizes[id(node)] = count
            if kept := self._elements(node.step):
                self._inner[id(node)] = kept
        return found.plus(count.times(step.plus(loop)))

    def _bound(self, node: Fold, found: Range) -> Range:
        found = found.plus(self.cost(node.result))
        self._locals[node.accu].pop()
        if size := self._known(node.result):
            self._sizes[id(node)] = size
        if inner := self._elements(node.result):
            self._inner[id(node)] = inner
        return found

    def _push(self, name: str, rooted: bool, size: Range | None, inner: Range | None) -> None:
        self._locals.setdefault(name, []).append((rooted, size, inner))


def _scalar(type_: Type) -> bool:
    return type_.name in _SCALARS or (type_.name == "optional_type" and _scalar(type_.params[0]))


def _literal_size(node: Node) -> Range | None:
    match node:
        case Literal():
            return fixed(len(node.value)) if isinstance(node.value, str | bytes) else ONE
        case ListOf():
            return fixed(len(node.items))
        case MapOf():
            return fixed(len(node.entries))
    return None


Estimate = Callable[["_Estimator", Call, str], "tuple[Range, Range | None] | None"]


def _walk(place: int, factor: float = TRAVERSAL, same: bool = True) -> Estimate:
    """One walk over an argument; `place` -1 is the target. The result is as large where `same`."""

    def made(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
        size = e.size(_argument(node, place))
        return size.by(factor), size if same else None

    return made


def _argument(node: Call, place: int) -> Node:
    if place < 0:
        return node.target if node.target is not None else node.args[0]
    return node.args[place]


def _nominal(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    return ONE, None


def _items(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None] | None:
    """A walk over a list with one comparison for each item, which walks a text."""
    target = _argument(node, -1)
    type_ = e.type(target)
    size = e.size(target)
    if type_.name != "list":
        return (size.times(ONE), None) if node.function == "includes" else (size.by(TRAVERSAL), None)
    item = ONE
    if type_.params[0].name in ("string", "bytes"):
        most = type_.params[0].most
        bound = Range(0, most) if most is not None and e.rooted(target) else UNKNOWN
        item = item.plus(bound.by(TRAVERSAL))
    return size.times(item), None


def _replace(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    size, old, new = e.size(_argument(node, -1)), e.size(node.args[0]), e.size(node.args[1])
    kept = least = most = 0
    if old.least == 0:
        most, kept = min(size.most + 1, MOST), size.most
    elif new.most <= old.least:
        kept = size.most
    else:
        most = math.ceil(size.most / old.least)
    shortest = 0
    if old.most == 0:
        least, shortest = min(size.least + 1, MOST), size.least
    elif old.most <= new.least:
        shortest = size.least
    else:
        least = math.ceil(size.least / old.most)
    result = Range(least, most).times(new).plus(Range(shortest, kept))
    return size.by(2 * TRAVERSAL), result


def _split(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    size = e.size(_argument(node, -1))
    most = size.most
    if len(node.args) > 1 and isinstance(node.args[1], Literal) and type(node.args[1].value) is int:
        most = node.args[1].value % (1 << 64)
    return size.by(2 * TRAVERSAL), Range(0, most)


def _join(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    target = _argument(node, -1)
    items, type_ = e.size(target), e.type(target)
    most = type_.params[0].most if type_.name == "list" else None
    each = Range(0, most) if most is not None and e.rooted(target) else UNKNOWN
    size = items.times(each)
    if node.args:
        separators = Range(max(items.least - 1, 0), max(items.most - 1, 0))
        size = size.plus(e.size(node.args[0]).times(separators))
    return size.by(TRAVERSAL), size


def _find(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    size = e.size(_argument(node, -1))
    cost = size.plus(ONE).by(TRAVERSAL).times(e.size(node.args[0]).by(REGEX))
    return cost, Range(0, size.most)


def _matches(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    text, pattern = (node.target, node.args[0]) if node.target is not None else (node.args[0], node.args[1])
    return e.size(text).plus(ONE).by(TRAVERSAL).times(e.size(pattern).by(REGEX)), None


def _ip(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    return (ONE, None) if overload == "cidr_ip" else (e.size(node.args[0]).by(TRAVERSAL), None)


def _contains_ip(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    cost = Range(8, 32).by(TRAVERSAL)
    if overload.endswith("_string"):
        cost = cost.plus(e.size(node.args[0]).by(TRAVERSAL))
    return cost, None


def _contains_cidr(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    return _contains_ip(e, node, overload)[0].plus(Range(4, 16).by(TRAVERSAL)).plus(ONE), None


def _validate(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    return e.size(node.args[0]).by(TRAVERSAL).by(128 * REGEX), None


_CONSTANT_EQUALITY = frozenset({
    "net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck", "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck", "kubernetes.authorization.Decision",
})  # fmt: skip


def _equality(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    one, other = e.type(node.args[0]), e.type(node.args[1])
    if node.function == "_==_" and one == other and one.name in _CONSTANT_EQUALITY:
        return ONE, None
    if node.function == "_==_" and one == other and one.name == "kubernetes.NamedFormat":
        return Range(1, 64).by(TRAVERSAL), None
    return _least(e, node, overload)


def _least(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    most = min(e.size(node.args[0]).most, e.size(node.args[1]).most)
    return Range(min(most, 1), most).by(TRAVERSAL), None


def _ordering(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    return _least(e, node, overload) if overload.endswith(("_string", "_bytes")) else (ONE, None)


def _sum(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None] | None:
    if overload == "add_list":
        return ONE, e.joined(node)
    if overload in ("add_string", "add_bytes"):
        size = e.joined(node)
        return size.by(TRAVERSAL), size
    return None


def _in(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    return (e.size(node.args[1]), None) if overload == "in_list" else (ONE, None)


def _contains(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    size = e.size(_argument(node, -1)).by(TRAVERSAL)
    return size.times(e.size(node.args[0]).by(TRAVERSAL)), None


def _to_bytes(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    size = e.size(node.args[0])
    return (
        (size.by(TRAVERSAL), Range(size.least, min(size.most * 4, MOST)))
        if "string" in overload
        else (ONE, None)
    )


def _to_string(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    size = e.size(node.args[0])
    return (size.by(TRAVERSAL), Range(size.least // 4, size.most)) if "bytes" in overload else (ONE, None)


def _quote(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    size = e.size(node.args[0])
    return size.by(TRAVERSAL), Range(size.least + 2, min(size.most * 2 + 2, MOST))


def _selector(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    length = e.size(node.args[0])
    return fixed(costs.LIST).plus(length.by(TRAVERSAL)).plus(
        length.by(0.5).by(costs.LIST + costs.STRUCT)
    ), None


def _allocating(factor: float, size: Range) -> tuple[Range, Range | None]:
    return size.by(factor).plus(fixed(1 + costs.LIST)), size


def _number(node: Node, unknown: int) -> int:
    return node.value if isinstance(node, Literal) and type(node.value) is int else unknown


def _slice(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    start, end = _number(node.args[0], 0), _number(node.args[1], e.size(_argument(node, -1)).most)
    return _allocating(1, fixed((end - start) % (1 << 64)))


def _flatten(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    return _allocating(_number(node.args[0], MOST) if node.args else 1, e.size(_argument(node, -1)))


def _range(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    return _allocating(1, fixed(_number(node.args[0], MOST)))


def _compared(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
    """distinct and sort compare every item with every other."""
    size = e.size(node.args[0] if node.function.startswith("@") else _argument(node, -1))
    texts = overload.startswith(("list_string_", "list_bytes_"))
    return _allocating(2.0 + (TRAVERSAL if texts else 0), size.times(size))


def _sets(factor: float) -> Estimate:
    def made(e: _Estimator, node: Call, overload: str) -> tuple[Range, Range | None]:
        return e.size(node.args[0]).times(e.size(node.args[1])).by(factor).plus(ONE), None

    return made


_NOMINAL = (
    "serviceAccount", "path", "group", "resource", "subresource", "namespace", "name", "allowed", "reason", "error",
    "errored", "masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast",
    "isLinkLocalUnicast", "isGlobalUnicast", "format.named", "sign", "asInteger", "isInteger", "asApproximateFloat",
    "isGreaterThan", "isLessThan", "compareTo", "add", "sub", "major", "minor", "patch", "getScheme", "getHostname",
    "getHost", "getPort", "getEscapedPath", "getQuery",
)  # fmt: skip
_ESTIMATES: dict[str, Estimate] = {
    **dict.fromkeys(_NOMINAL, _nominal),
    "check": lambda e, node, overload: (fixed(costs.CHECK), None),
    "fieldSelector": _selector, "labelSelector": _selector,
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf", "includes"), _items),
    "url": _walk(0), "jsonpatch.escapeKey": _walk(0), "lowerAscii": _walk(-1), "upperAscii": _walk(-1),
    "substring": _walk(-1), "trim": _walk(-1), "replace": _replace, "split": _split, "join": _join,
    "find": _find, "findAll": _find, "matches": _matches, "format": _walk(-1, same=False), "strings.quote": _quote,
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _walk(0, same=False)),
    "ip": _ip, "ip.isCanonical": _walk(0, 2 * TRAVERSAL, same=False), "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr, "validate": _validate,
    "_==_": _equality, "_!=_": _least, "_<_": _ordering, "_<=_": _ordering, "_>_": _ordering, "_>=_": _ordering,
    "_+_": _sum, "@in": _in, "contains": _contains, "startsWith": _walk(0, same=False),
    "endsWith": _walk(0, same=False), "bytes": _to_bytes, "string": _to_string,
    "slice": _slice, "flatten": _flatten, "lists.range": _range,
    "reverse": lambda e, node, overload: _allocating(1, e.size(_argument(node, -1))),
    "distinct": _compared, "sort": _compared, "@sortByAssociatedKeys": _compared,
    "sets.contains": _sets(1), "sets.intersects": _sets(1), "sets.equivalent": _sets(2),
}  # fmt: skip
