"""A checked tree as a program: nested Python functions that count what they cost.

Source: the CEL language definition, "Evaluation"; costs are those of cel-go's interpreter/runtimecost.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.machinery.cel import costs, kubernetes, standard, text
from sampan.machinery.cel.ast import Call, Fold, Ident, ListOf, Literal, MapOf, Node, Select, Struct
from sampan.machinery.cel.checker import TYPE_NAMES, Checked, qualified
from sampan.machinery.cel.errors import CostExceeded, EvaluationError
from sampan.machinery.cel.standard import no_overload, shown
from sampan.machinery.cel.types import Type
from sampan.machinery.cel.values import NONE, Optional, TypeValue

# The most that one evaluation may cost where nothing else is said, as Kubernetes' for one call.
PER_CALL = 1_000_000
FUNCTIONS = {**standard.FUNCTIONS, **text.FUNCTIONS, **kubernetes.FUNCTIONS}
_TYPE_VALUES = {name: TypeValue(name) for name in TYPE_NAMES}


class Frame:
    """One evaluation: the variables, and what it has cost."""

    __slots__ = ("cost", "limit", "variables")

    def __init__(self, variables: dict[str, Any], limit: int):
        self.variables = variables
        self.cost = 0
        self.limit = limit

    def spend(self, cost: int) -> None:
        self.cost += cost
        if self.cost > self.limit:
            raise CostExceeded


Step = Callable[[Frame], Any]


@dataclass(frozen=True, slots=True)
class Result:
    value: Any
    cost: int


class Failed(EvaluationError):
    """An evaluation that failed, with what it had cost until then."""

    def __init__(self, message: str, cost: int):
        super().__init__(message)
        self.cost = cost


class Program:
    """A compiled expression of a known type, for any number of evaluations, from any thread."""

    def __init__(self, checked: Checked):
        self.source = checked.source
        self.type: Type = checked.type
        self.checked = checked
        self._step = _Compiler(checked).step(checked.root)

    def evaluate(self, variables: Mapping[str, Any], limit: int = PER_CALL) -> Any:
        """The value. Raises EvaluationError."""
        return self._step(Frame(dict(variables), limit))

    def run(self, variables: Mapping[str, Any], limit: int = PER_CALL) -> Result:
        """The value, and what it cost. Raises CostExceeded, and Failed for any other failure."""
        frame = Frame(dict(variables), limit)
        try:
            return Result(self._step(frame), frame.cost)
        except CostExceeded:
            raise
        except EvaluationError as e:
            raise Failed(str(e), frame.cost) from e


class _Compiler:
    def __init__(self, checked: Checked):
        self._checked = checked

    def step(self, node: Node) -> Step:
        match node:
            case Literal():
                value = node.value
                return lambda frame: value
            case Ident():
                return _ident(node.name)
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

    def _select(self, node: Select) -> Step:
        name = qualified(node)
        if name in _TYPE_VALUES and id(node.operand) not in self._checked.types:
            value = _TYPE_VALUES[name]
            return lambda frame: value
        if id(node.operand) not in self._checked.types:
            return _ident(name)
        operand, key = self.step(node.operand), self._key(node.operand, node.field)
        return _has(operand, key) if node.test else _field(operand, key)

    def _key(self, operand: Node, name: str) -> str:
        """The name of a field as it is in the object."""
        type_ = self._checked.of(operand)
        type_ = type_.params[0] if type_.name == "optional_type" else type_
        known = (type_.fields or {}).get(name)
        return known.key if known else name

    # Calls

    def _call(self, node: Call) -> Step:
        args = [self.step(a) for a in ([node.target] if node.target is not None else []) + node.args]
        match node.function:
            case "_&&_":
                return _both(*args)
            case "_||_":
                return _either(*args)
            case "_?_:_":
                return _conditional(*args)
            case "@not_strictly_false":
                return _not_strictly_false(args[0])
            case "or" | "orValue":
                return _or(args[0], args[1], node.function == "orValue")
            case "_?._":
                assert isinstance(node.args[1], Literal)
                return _optional_field(args[0], self._key(node.args[0], node.args[1].value))
        return _called(node.function, args)

    # Containers

    def _list(self, node: ListOf) -> Step:
        items = [(self.step(i), n in node.optional) for n, i in enumerate(node.items)]

        def made(frame: Frame) -> Any:
            found = []
            for item, optional in items:
                value = item(frame)
                if not optional:
                    found.append(value)
                elif value.present:
                    found.append(value.value)
            frame.spend(costs.LIST)
            return found

        return made

    def _map(self, node: MapOf) -> Step:
        entries = [(self.step(e.key), self.step(e.value), e.optional) for e in node.entries]

        def made(frame: Frame) -> Any:
            found: dict[Any, Any] = {}
            for key_step, value_step, optional in entries:
                key, value = key_step(frame), value_step(frame)
                if isinstance(key, list | dict | float) or key is None:
                    raise EvaluationError("unsupported key type")
                if standard.entry(found, key) is not NONE:
                    raise EvaluationError(f"Failed with repeated key: {shown(key)}")
                if not optional:
                    found[key] = value
                elif value.present:
                    found[key] = value.value
            frame.spend(costs.MAP)
            return found

        return made

    def _struct(self, node: Struct) -> Step:
        known = self._checked.of(node).fields or {}
        fields = [(known[n].key if n in known else n, self.step(v), o) for n, v, o in node.fields]

        def made(frame: Frame) -> Any:
            found: dict[str, Any] = {}
            for key, step, optional in fields:
                value = step(frame)
                if not optional:
                    found[key] = value
                elif value.present:
                    found[key] = value.value
            frame.spend(costs.STRUCT)
            return found

        return made

    def _fold(self, node: Fold) -> Step:
        over, init = self.step(node.range), self.step(node.init)
        condition, step, result = self.step(node.condition), self.step(node.step), self.step(node.result)
        first, second, accu = node.var, node.var2, node.accu
        always = isinstance(node.condition, Literal) and node.condition.value is True

        def folded(frame: Frame) -> Any:
            items, outer = over(frame), frame.variables
            pairs = _pairs(items, bool(second))
            variables = {**outer, accu: init(frame)}
            frame.variables = variables
            try:
                for key, value in pairs:
                    variables[first] = key
                    if second:
                        variables[second] = value
                    if not always and not condition(frame):
                        break
                    variables[accu] = _attempt(step, frame)
                    frame.spend(0)
                return result(frame)
            finally:
                frame.variables = outer

        return folded


def _attempt(step: Step, frame: Frame) -> Any:
    """A step of a loop; what fails is kept as the value so far, for a later one to absorb."""
    try:
        return step(frame)
    except CostExceeded:
        raise
    except EvaluationError as e:
        return _Fault(e)


class _Fault:
    """A failure as a value, which only `&&`, `||` and a loop's end look at."""

    __slots__ = ("error",)

    def __init__(self, error: EvaluationError):
        self.error = error


def _pairs(items: Any, two: bool) -> list[tuple[Any, Any]]:
    if isinstance(items, list):
        return list(enumerate(items)) if two else [(i, None) for i in items]
    if isinstance(items, dict):
        return list(items.items()) if two else [(k, None) for k in items]
    raise no_overload()


def _ident(name: str) -> Step:
    kind = _TYPE_VALUES.get(name)

    def found(frame: Frame) -> Any:
        frame.cost += costs.IDENT
        try:
            value = frame.variables[name]
        except KeyError:
            if kind is not None:
                return kind
            raise EvaluationError(f"no such attribute(s): {name}") from None
        if type(value) is _Fault:
            raise value.error
        return value

    return found


def _field(operand: Step, key: str) -> Step:
    def found(frame: Frame) -> Any:
        value = operand(frame)
        frame.cost += costs.IDENT
        if isinstance(value, dict):
            try:
                return value[key]
            except KeyError:
                raise EvaluationError(f"no such key: {key}") from None
        if isinstance(value, Optional):
            return _within(value, key)
        raise no_overload()

    return found


def _within(value: Optional, key: str) -> Optional:
    if not value.present:
        return NONE
    if not isinstance(value.value, dict):
        raise no_overload()
    return Optional(value.value[key]) if key in value.value else NONE


def _optional_field(operand: Step, key: str) -> Step:
    def found(frame: Frame) -> Any:
        value = operand(frame)
        frame.cost += costs.IDENT
        return _within(value if isinstance(value, Optional) else Optional(value), key)

    return found


def _has(operand: Step, key: str) -> Step:
    def asked(frame: Frame) -> bool:
        value = operand(frame)
        if isinstance(value, Optional):
            return _within(value, key).present
        if isinstance(value, dict):
            return key in value
        raise no_overload()

    return asked


def _called(name: str, args: list[Step]) -> Step:
    function, cost = FUNCTIONS[name], costs.COSTS.get(name)

    def called(frame: Frame) -> Any:
        given = [a(frame) for a in args]
        try:
            value = function(*given)
        except (TypeError, AttributeError) as e:
            raise no_overload(name) from e
        frame.spend(1 if cost is None else cost(given, value))
        return value

    return called


def _truth(step: Step, frame: Frame) -> Any:
    """True, False, or the error that stands in their place."""
    try:
        value = step(frame)
    except CostExceeded:
        raise
    except EvaluationError as e:
        return e
    return value if value is True or value is False else no_overload()


def _both(left: Step, right: Step) -> Step:
    def asked(frame: Frame) -> bool:
        first = _truth(left, frame)
        if first is False:
            return False
        second = _truth(right, frame)
        if second is False:
            return False
        for found in (first, second):
            if found is not True:
                raise found
        return True

    return asked


def _either(left: Step, right: Step) -> Step:
    def asked(frame: Frame) -> bool:
        first = _truth(left, frame)
        if first is True:
            return True
        second = _truth(right, frame)
        if second is True:
            return True
        for found in (first, second):
            if found is not False:
                raise found
        return False

    return asked


def _conditional(question: Step, yes: Step, no: Step) -> Step:
    def chosen(frame: Frame) -> Any:
        found = question(frame)
        if found is True:
            return yes(frame)
        if found is False:
            return no(frame)
        raise no_overload()

    return chosen


def _not_strictly_false(inner: Step) -> Step:
    def asked(frame: Frame) -> bool:
        found = _truth(inner, frame)
        frame.spend(1)
        return found is not False

    return asked


def _or(left: Step, right: Step, bare: bool) -> Step:
    """The right side is evaluated only where it is needed."""

    def chosen(frame: Frame) -> Any:
        found = left(frame)
        frame.spend(1)
        if not isinstance(found, Optional):
            raise no_overload()
        if not found.present:
            return right(frame)
        return found.value if bare else found

    return chosen
