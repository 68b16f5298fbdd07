"""Types of a tree's nodes, from the types of variables; and every fault that they show.

Source: the CEL language definition, "Gradual Type Checking"; messages are worded as cel-go's (checker/errors.go).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sampan.machinery.cel import types
from sampan.machinery.cel.ast import Call, Fold, Ident, ListOf, Literal, MapOf, Node, Select, Struct
from sampan.machinery.cel.declarations import Overload, overloads
from sampan.machinery.cel.errors import CompileError, Issue
from sampan.machinery.cel.types import Bindings, Type
from sampan.machinery.cel.values import Duration, Timestamp, UInt

_LITERALS: dict[type, Type] = {
    bool: types.BOOL, int: types.INT, UInt: types.UINT, float: types.DOUBLE, str: types.STRING, bytes: types.BYTES,
    type(None): types.NULL, Timestamp: types.TIMESTAMP, Duration: types.DURATION,
}  # fmt: skip
# The names of types, which are values too.
TYPE_NAMES = {
    "bool": types.BOOL, "int": types.INT, "uint": types.UINT, "double": types.DOUBLE, "string": types.STRING,
    "bytes": types.BYTES, "list": types.list_of(types.DYN), "map": types.map_of(types.DYN, types.DYN),
    "null_type": types.NULL, "type": types.TYPE, "optional_type": types.optional_of(types.DYN),
    "google.protobuf.Timestamp": types.TIMESTAMP, "google.protobuf.Duration": types.DURATION,
    "kubernetes.Quantity": Type("kubernetes.Quantity"), "kubernetes.URL": Type("kubernetes.URL"),
    "kubernetes.Semver": Type("kubernetes.Semver"), "net.IP": Type("net.IP"), "net.CIDR": Type("net.CIDR"),
}  # fmt: skip


@dataclass(slots=True)
class Checked:
    """A tree with what was found out of its nodes, by identity: types, overloads, and names that are type values."""

    source: str
    root: Node
    type: Type
    types: dict[int, Type] = field(default_factory=dict)
    overloads: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def of(self, node: Node) -> Type:
        return self.types[id(node)]


def check(
    source: str,
    root: Node,
    variables: Mapping[str, Type],
    structs: Callable[[str], Type | None] = lambda name: None,
) -> Checked:
    """`structs` gives the type of an object that `Name{...}` makes. Raises CompileError."""
    checker = _Checker(variables, structs)
    found = checker.type(root)
    if checker.issues:
        raise CompileError(source, sorted(checker.issues, key=lambda i: i.at))
    resolved = {k: checker.bindings.resolved(t, True) for k, t in checker.types.items()}
    return Checked(source, root, checker.bindings.resolved(found, True), resolved, checker.overloads)


class _Checker:
    def __init__(self, variables: Mapping[str, Type], structs: Callable[[str], Type | None]):
        self._scopes: list[Mapping[str, Type]] = [variables]
        self._structs = structs
        self.bindings = Bindings()
        self.types: dict[int, Type] = {}
        self.overloads: dict[int, tuple[str, ...]] = {}
        self.issues: list[Issue] = []

    def type(self, node: Node) -> Type:
        found = self._type(node)
        self.types[id(node)] = found
        return found

    def _fault(self, node: Node, message: str) -> Type:
        self.issues.append(Issue(node.at, message))
        return types.ERROR

    def _shown(self, type_: Type) -> str:
        return str(self.bindings.resolved(type_, True))

    def _type(self, node: Node) -> Type:
        match node:
            case Literal():
                return _LITERALS[type(node.value)]
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListOf():
                return self._list(node)
            case MapOf():
                return self._map(node)
            case Struct():
                return self._struct(node)
            case Fold():
                return self._fold(node)

    def _variable(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        if name in TYPE_NAMES:
            return Type("type", (TYPE_NAMES[name],))
        return None

    def _ident(self, node: Ident) -> Type:
        found = self._variable(node.name)
        return found or self._fault(node, f"undeclared reference to '{node.name}' (in container '')")

    def _select(self, node: Select) -> Type:
        name = qualified(node)
        if name and not node.test and (found := self._variable(name)):
            return found
        operand = self.bindings.resolved(self.type(node.operand))
        inner = operand.params[0] if operand.name == "optional_type" else operand
        found = self._field(node, inner)
        if node.test:
            return types.BOOL
        return found if inner is operand else types.optional_of(found)

    def _field(self, node: Select, operand: Type) -> Type:
        if operand.name in ("dyn", "!error!"):
            return types.DYN if operand.name == "dyn" else types.ERROR
        if operand.variable:
            self.bindings.assignable(operand, types.DYN)
            return types.DYN
        if operand.name == "map":
            return operand.params[1]
        if operand.fields is not None:
            known = operand.fields.get(node.field)
            return known.type if known else self._fault(node, f"undefined field '{node.field}'")
        return self._fault(node, f"type '{self._shown(operand)}' does not support field selection")

    # Calls

    def _call(self, node: Call) -> Type:
        if node.function == "_?._":
            return self._optional_field(node)
        name = node.function
        args = list(node.args)
        if node.target is not None:
            spelled = qualified(node.target)
            if (
                spelled
                and f"{spelled}.{name}" in overloads()
                and not self._variable(spelled.partition(".")[0])
            ):
                name, node.target = f"{spelled}.{name}", None
                node.function = name
            else:
                args.insert(0, node.target)
        given = [self.type(a) for a in args]
        if name not in overloads():
            return self._fault(node, f"undeclared reference to '{name}' (in container '')")
        return self._resolved(node, name, given)

    def _resolved(self, node: Call, name: str, given: list[Type]) -> Type:
        member = node.target is not None
        fitting: list[Overload] = []
        result: Type | None = None
        for overload in overloads()[name]:
            if overload.member != member or len(overload.args) != len(given):
                continue
            before = dict(self.bindings.found)
            *wanted, made = self.bindings.fresh((*overload.args, overload.result))
            if not all(self.bindings.assignable(w, g) for w, g in zip(wanted, given, strict=True)):
                self.bindings.found = before
                continue
            fitting.append(overload)
            resolved = self.bindings.resolved(made)
            if result is None:
                result = resolved
            elif result != resolved:
                result = types.DYN
        if result is None:
            shown = [self._shown(t) for t in given]
            applied = f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
            return self._fault(node, f"found no matching overload for '{name}' applied to '{applied}'")
        self.overloads[id(node)] = tuple(o.id for o in fitting)
        if name == "type" and len(given) == 1:
            return Type("type", (given[0],))
        return result

    def _optional_field(self, node: Call) -> Type:
        operand, name = node.args
        assert isinstance(name, Literal)
        self.type(name)
        given = self.bindings.resolved(self.type(operand))
        inner = given.params[0] if given.name == "optional_type" else given
        self.overloads[id(node)] = ("select_optional_field",)
        return types.optional_of(self._field(Select(node.at, operand, name.value), inner))

    # Containers

    def _list(self, node: ListOf) -> Type:
        found: Type | None = None
        for index, item in enumerate(node.items):
            given = self.type(item)
            if index in node.optional:
                given = self._unwrapped(item, given)
            found = given if found is None else self._same(item, found, given)
        return types.list_of(found or self.bindings.variable())

    def _same(self, node: Node, before: Type, given: Type) -> Type:
        joined = self.bindings.joined(before, given)
        if joined.name == "dyn" and "dyn" not in (before.name, given.name):
            before = self.bindings.resolved(before)
            if not before.variable and not self.bindings.resolved(given).variable:
                self._fault(node, f"expected type '{self._shown(before)}' but found '{self._shown(given)}'")
        return joined

    def _unwrapped(self, node: Node, given: Type) -> Type:
        given = self.bindings.resolved(given)
        if given.name == "optional_type":
            return given.params[0]
        if given.name == "dyn":
            return types.DYN
        inner = self._shown(given)
        return self._fault(node, f"expected type 'optional_type({inner})' but found '{inner}'")

    def _map(self, node: MapOf) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            given = self.type(entry.key)
            key = given if key is None else self._same(entry.key, key, given)
            inside = self.type(entry.value)
            if entry.optional:
                inside = self._unwrapped(entry.value, inside)
            value = inside if value is None else self._same(entry.value, value, inside)
        return types.map_of(key or self.bindings.variable(), value or self.bindings.variable())

    def _struct(self, node: Struct) -> Type:
        found = self._structs(node.name)
        if found is None or found.fields is None:
            for _, value, _ in node.fields:
                self.type(value)
            return self._fault(node, f"undeclared reference to '{node.name}' (in container '')")
        for name, value, optional in node.fields:
            given = self.type(value)
            if optional:
                given = self._unwrapped(value, given)
            known = found.fields.get(name)
            if known is None:
                self._fault(value, f"undefined field '{name}'")
            elif not self.bindings.assignable(known.type, given):
                wanted, shown = self._shown(known.type), self._shown(given)
                self._fault(
                    value, f"expected type of field '{name}' is '{wanted}' but provided type is '{shown}'"
                )
        return found

    def _fold(self, node: Fold) -> Type:
        over = self.bindings.resolved(self.type(node.range))
        first, second = self._iterated(node, over)
        init = self.type(node.init)
        self._scopes.append({node.accu: init})
        self._scopes.append({node.var: first, **({node.var2: second} if node.var2 else {})})
        condition = self.type(node.condition)
        if not self.bindings.assignable(types.BOOL, condition):
            self._fault(node.condition, f"expected type 'bool' but found '{self._shown(condition)}'")
        step = self.type(node.step)
        if not self.bindings.assignable(init, step):
            self._fault(node.step, f"expected type '{self._shown(init)}' but found '{self._shown(step)}'")
        self._scopes.pop()
        result = self.type(node.result)
        self._scopes.pop()
        return self.bindings.resolved(result)

    def _iterated(self, node: Fold, over: Type) -> tuple[Type, Type]:
        """The types of the variables of a comprehension over `over`."""
        if over.name == "list":
            return (types.INT, over.params[0]) if node.var2 else (over.params[0], types.ERROR)
        if over.name == "map":
            return over.params[0], over.params[1]
        if over.name in ("dyn", "!error!") or over.variable:
            return types.DYN, types.DYN
        message = "cannot be range of a comprehension (must be list, map, or dynamic)"
        self._fault(node.range, f"expression of type '{self._shown(over)}' {message}")
        return types.ERROR, types.ERROR


def qualified(node: Node) -> str:
    """The dotted name that a node spells, if it spells one."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test:
        inner = qualified(node.operand)
        return f"{inner}.{node.field}" if inner else ""
    return ""
