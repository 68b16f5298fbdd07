"""The tree of an expression, after macros are expanded. `at` is the offset of a node in the source text.

Source: the CEL language definition; its `syntax.proto`, whose shapes these are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False, slots=True)
class Literal:
    at: int
    value: Any


@dataclass(eq=False, slots=True)
class Ident:
    at: int
    name: str


@dataclass(eq=False, slots=True)
class Select:
    """`operand.field`; with `test` it is `has(operand.field)`."""

    at: int
    operand: Node
    field: str
    test: bool = False


@dataclass(eq=False, slots=True)
class Call:
    """Operators are calls of functions such as `_+_`; `target` is what a member function is called on."""

    at: int
    function: str
    args: list[Node]
    target: Node | None = None


@dataclass(eq=False, slots=True)
class ListOf:
    """`optional` has the indexes of elements written `?x`."""

    at: int
    items: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(eq=False, slots=True)
class Entry:
    key: Node
    value: Node
    optional: bool = False


@dataclass(eq=False, slots=True)
class MapOf:
    at: int
    entries: list[Entry]


@dataclass(eq=False, slots=True)
class Struct:
    """`Name{field: value}`; an optional field is written `?field`."""

    at: int
    name: str
    fields: list[tuple[str, Node, bool]]


@dataclass(eq=False, slots=True)
class Fold:
    """What macros become: for each of `range`, while `condition`, `accu` is `step`; then it is all `result`."""

    at: int
    range: Node
    var: str
    var2: str
    accu: str
    init: Node
    condition: Node
    step: Node
    result: Node
    hidden: bool = field(default=False)


Node = Literal | Ident | Select | Call | ListOf | MapOf | Struct | Fold
