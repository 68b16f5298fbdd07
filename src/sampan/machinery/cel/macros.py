"""Macros: calls that become other expressions before anything is checked.

Sources: the CEL language definition, "Macros"; cel-go's `optMap` and `optFlatMap`, and its comprehensions with two
variables.
"""

from __future__ import annotations

from collections.abc import Callable

from sampan.machinery.cel.ast import Call, Fold, Ident, ListOf, Literal, MapOf, Node, Select

# No user's name can begin so.
ACCU = "@result"


class MacroError(Exception):
    def __init__(self, at: int, message: str):
        self.at = at
        super().__init__(message)


def expand(call: Call) -> Node:
    """What a call stands for; itself where it is no macro. Raises MacroError."""
    made = _MACROS.get((call.function, call.target is not None, len(call.args)))
    return made(call) if made else call


def _has(call: Call) -> Node:
    operand = call.args[0]
    if not isinstance(operand, Select) or operand.test:
        raise MacroError(call.at, "invalid argument to has() macro")
    return Select(call.at, operand.operand, operand.field, True)


def _name(call: Call, index: int = 0) -> str:
    found = call.args[index]
    if not isinstance(found, Ident):
        raise MacroError(found.at, "argument must be a simple name")
    if found.name == ACCU:
        raise MacroError(found.at, "iteration variable overwrites accumulator variable")
    return found.name


def _names(call: Call, two: bool) -> tuple[str, str]:
    if not two:
        return _name(call), ""
    first, second = _name(call), _name(call, 1)
    if first == second:
        raise MacroError(call.args[1].at, f"duplicate variable name: {first}")
    return first, second


def _fold(call: Call, two: bool, init: Node, condition: Node, step: Node, result: Node | None = None) -> Node:
    assert call.target is not None
    first, second = _names(call, two)
    return Fold(
        call.at, call.target, first, second, ACCU, init, condition, step, result or Ident(call.at, ACCU)
    )


def _all(two: bool) -> Callable[[Call], Node]:
    def expanded(call: Call) -> Node:
        at = call.at
        going = Call(at, "@not_strictly_false", [Ident(at, ACCU)])
        step = Call(at, "_&&_", [Ident(at, ACCU), call.args[-1]])
        return _fold(call, two, Literal(at, True), going, step)

    return expanded


def _exists(two: bool) -> Callable[[Call], Node]:
    def expanded(call: Call) -> Node:
        at = call.at
        going = Call(at, "@not_strictly_false", [Call(at, "!_", [Ident(at, ACCU)])])
        step = Call(at, "_||_", [Ident(at, ACCU), call.args[-1]])
        return _fold(call, two, Literal(at, False), going, step)

    return expanded


def _exists_one(two: bool) -> Callable[[Call], Node]:
    def expanded(call: Call) -> Node:
        at = call.at
        counted = Call(at, "_+_", [Ident(at, ACCU), Literal(at, 1)])
        step = Call(at, "_?_:_", [call.args[-1], counted, Ident(at, ACCU)])
        result = Call(at, "_==_", [Ident(at, ACCU), Literal(at, 1)])
        return _fold(call, two, Literal(at, 0), Literal(at, True), step, result)

    return expanded


def _listed(two: bool, filtered: bool) -> Callable[[Call], Node]:
    """`map`, and `transformList` with two variables."""

    def expanded(call: Call) -> Node:
        at = call.at
        step: Node = Call(at, "_+_", [Ident(at, ACCU), ListOf(at, [call.args[-1]])])
        if filtered:
            step = Call(at, "_?_:_", [call.args[-2], step, Ident(at, ACCU)])
        return _fold(call, two, ListOf(at, []), Literal(at, True), step)

    return expanded


def _filter(call: Call) -> Node:
    at = call.at
    added = Call(at, "_+_", [Ident(at, ACCU), ListOf(at, [call.args[0]])])
    step = Call(at, "_?_:_", [call.args[1], added, Ident(at, ACCU)])
    return _fold(call, False, ListOf(at, []), Literal(at, True), step)


def _mapped(filtered: bool, entries: bool) -> Callable[[Call], Node]:
    """`transformMap` keeps the keys, `transformMapEntry` makes whole entries."""

    def expanded(call: Call) -> Node:
        at = call.at
        accu = Ident(at, ACCU)
        if entries:
            step: Node = Call(at, "cel.@mapInsert", [accu, call.args[-1]])
        else:
            step = Call(at, "cel.@mapInsert", [accu, Ident(at, _name(call)), call.args[-1]])
        if filtered:
            step = Call(at, "_?_:_", [call.args[-2], step, Ident(at, ACCU)])
        return _fold(call, True, MapOf(at, []), Literal(at, True), step)

    return expanded


def _opt(flat: bool) -> Callable[[Call], Node]:
    """`optMap` and `optFlatMap`: the value, if there is one, bound to a name."""

    def expanded(call: Call) -> Node:
        assert call.target is not None
        at, target = call.at, call.target
        value = Call(at, "value", [], target)
        bound = Fold(
            at, ListOf(at, []), "#unused", "", _name(call), value, Literal(at, False),
            Ident(at, _name(call)), call.args[1],
        )  # fmt: skip
        made: Node = bound if flat else Call(at, "optional.of", [bound])
        return Call(at, "_?_:_", [Call(at, "hasValue", [], target), made, Call(at, "optional.none", [])])

    return expanded


def _sort_by(call: Call) -> Node:
    """A list sorted by a key of each of its items, the list itself bound to a name."""
    assert call.target is not None
    at, given = call.at, "@input"
    keys = expand(Call(at, "map", [call.args[0], call.args[1]], Ident(at, given)))
    ordered = Call(at, "@sortByAssociatedKeys", [keys], Ident(at, given))
    return Fold(
        at, ListOf(at, []), "#unused", "", given, call.target, Literal(at, False), Ident(at, given), ordered
    )


_MACROS: dict[tuple[str, bool, int], Callable[[Call], Node]] = {
    ("has", False, 1): _has,
    ("all", True, 2): _all(False),
    ("all", True, 3): _all(True),
    ("exists", True, 2): _exists(False),
    ("exists", True, 3): _exists(True),
    ("exists_one", True, 2): _exists_one(False),
    ("existsOne", True, 2): _exists_one(False),
    ("exists_one", True, 3): _exists_one(True),
    ("existsOne", True, 3): _exists_one(True),
    ("map", True, 2): _listed(False, False),
    ("map", True, 3): _listed(False, True),
    ("filter", True, 2): _filter,
    ("transformList", True, 3): _listed(True, False),
    ("transformList", True, 4): _listed(True, True),
    ("transformMap", True, 3): _mapped(False, False),
    ("transformMap", True, 4): _mapped(True, False),
    ("transformMapEntry", True, 3): _mapped(False, True),
    ("transformMapEntry", True, 4): _mapped(True, True),
    ("sortBy", True, 2): _sort_by,
    ("optMap", True, 2): _opt(False),
    ("optFlatMap", True, 2): _opt(True),
}
