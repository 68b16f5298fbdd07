"""x-kubernetes-validations: rules in CEL, compiled once for a schema, asked of every object that is written.

Source: k8s.io/apiextensions-apiserver pkg/apiserver/schema/cel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sampan.kinds import faults
from sampan.kinds.custom.pruning import Schema, extra
from sampan.kinds.custom.values import ABSENT, correlated
from sampan.kinds.kind import Invalid
from sampan.machinery.cel import (
    CompileError,
    CostExceeded,
    EvaluationError,
    Program,
    Type,
    compile_,
    openapi,
    types,
)
from sampan.machinery.cel.ast import Ident
from sampan.machinery.cel.program import Failed
from sampan.machinery.cel.values import NONE, Optional

# The most that all rules of one object may cost together, and one call.
BUDGET, PER_CALL = 10_000_000, 1_000_000
# The longest message that an expression may give.
LONGEST_MESSAGE = 5 * 1024
_OUT = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(slots=True)
class Rule:
    """A compiled rule; `fault` says why it is none."""

    said: Mapping[str, Any]
    program: Program | None = None
    message: Program | None = None
    fault: str = ""
    message_fault: str = ""
    uses_old: bool = False

    @property
    def shown(self) -> str:
        return str(self.said.get("message") or self.said.get("rule", "")).strip()


def compiled(said: Mapping[str, Any], type_: Type) -> Rule:
    """A rule over `self` and `oldSelf` of a type."""
    old = types.optional_of(type_) if said.get("optionalOldSelf") else type_
    variables = {"self": type_, "oldSelf": old}
    rule = Rule(said)
    if not str(said.get("rule", "")).strip():
        return rule
    try:
        program = compile_(said["rule"], variables)
    except CompileError as e:
        rule.fault = f"compilation failed: {e}"
        return rule
    rule.uses_old = _uses_old(program)
    if program.type != types.BOOL:
        rule.fault = "cel expression must evaluate to a bool"
        return rule
    rule.program = program
    if text := said.get("messageExpression"):
        try:
            rule.message = compile_(text, variables)
        except CompileError as e:
            rule.message_fault = f"messageExpression compilation failed: {e}"
        else:
            if rule.message.type != types.STRING:
                rule.message, rule.message_fault = None, "messageExpression must evaluate to a string"
    return rule


def _uses_old(program: Program) -> bool:
    return any(isinstance(n, Ident) and n.name == "oldSelf" for n in nodes(program.checked.root))


def nodes(root: Any) -> list[Any]:
    """Every node of a tree."""
    from dataclasses import fields, is_dataclass

    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list | tuple):
            waiting += node
        elif is_dataclass(node):
            found.append(node)
            waiting += [getattr(node, f.name) for f in fields(node)]
    return found


@dataclass
class Validator:
    """The rules of a schema and of all that is below it; those below are made when they are first met."""

    schema: Schema
    root: bool = False
    _type: Type | None = field(default=None)

    @cached_property
    def type(self) -> Type | None:
        return openapi.type_of(self.schema, self.root)

    @cached_property
    def rules(self) -> list[Rule]:
        said = self.schema.get("x-kubernetes-validations") or ()
        if not said or self.type is None:
            return []
        return [compiled(r, self.type) for r in said]

    @cached_property
    def properties(self) -> dict[str, Validator]:
        found = self.schema.get("properties") or {}
        return {n: made for n, s in found.items() if (made := validator(s))}

    @cached_property
    def items(self) -> Validator | None:
        return validator(self.schema.get("items"))

    @cached_property
    def extra(self) -> Validator | None:
        return validator(extra(self.schema))


def validator(schema: Schema | None, root: bool = False) -> Validator | None:
    """What validates by a schema's rules; None where it has none."""
    if not schema or not _has_rules(schema):
        return None
    return Validator(schema, root or bool(schema.get("x-kubernetes-embedded-resource")))


def _has_rules(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return bool(schema.get("x-kubernetes-validations")) or any(_has_rules(v) for v in schema.values())
    return isinstance(schema, list) and any(_has_rules(v) for v in schema)


class Run:
    """One evaluation of all rules over an object, with one budget."""

    def __init__(self, warn: Callable[[str], None] = lambda text: None):
        self._left = BUDGET
        self._warn = warn
        self.faults: list[Invalid] = []

    def check(
        self, found: Validator | None, value: Any, old: Any = ABSENT, path: str = "", same: bool = False
    ) -> None:
        """`same` says that a part of which this is one has not changed; then what fails is warned of only."""
        if found is None or value is None or self._left < 0:
            return
        same = same or (old is not ABSENT and old == value)
        self._rules(found, value, old, path, same)
        if isinstance(value, dict):
            before = (
                old if isinstance(old, dict) and found.schema.get("x-kubernetes-map-type") != "atomic" else {}
            )
            for name, item in value.items():
                if name in found.properties:
                    at = f"{path}.{name}" if path else name
                    self.check(found.properties[name], item, before.get(name, ABSENT), at, same)
                elif found.extra is not None and name not in (found.schema.get("properties") or {}):
                    self.check(found.extra, item, before.get(name, ABSENT), f"{path}[{name}]", same)
        elif isinstance(value, list) and found.items is not None:
            match = correlated(found.schema, old)
            for index, item in enumerate(value):
                self.check(found.items, item, match(item), f"{path}[{index}]", same)

    def _rules(self, found: Validator, value: Any, old: Any, path: str, same: bool) -> None:
        rules = found.rules
        if not rules:
            return
        convert = found.type.convert if found.type else None
        shown = convert(value) if convert else value
        before = ABSENT if old is ABSENT or old is None else convert(old) if convert else old
        for rule in rules:
            if self._left < 0:
                return
            self._rule(found, rule, (shown, before), path, same)

    def _rule(self, found: Validator, rule: Rule, pair: tuple[Any, Any], path: str, same: bool) -> None:
        kind = str(found.schema.get("type", ""))
        if rule.fault:
            self._add(faults.invalid(path, kind, f"rule compile error: {rule.fault}"))
            return
        optional = bool(rule.said.get("optionalOldSelf"))
        value, before = pair
        if rule.program is None or (rule.uses_old and before is ABSENT and not optional):
            return
        variables = {"self": value}
        if optional:
            variables["oldSelf"] = NONE if before is ABSENT else Optional(before)
        elif before is not ABSENT:
            variables["oldSelf"] = before
        try:
            result = rule.program.run(variables, PER_CALL)
        except CostExceeded as e:
            why = "no further validation rules will be run due to call cost exceeds limit for rule"
            said = f"'{e}': {why}: {rule.shown}"
            self._add(faults.invalid(path, kind, said))
            self._left = -1
            return
        except Failed as e:
            if self._spend(e.cost, path, kind):
                self._add(faults.invalid(path, kind, _evaluating(e, rule)))
            return
        if self._spend(result.cost, path, kind) and result.value is not True:
            self._refuse(found, rule, value, variables, path, same)

    def _spend(self, cost: int, path: str, kind: str) -> bool:
        if cost > self._left:
            self._add(faults.invalid(path, kind, _OUT))
            self._left = -1
            return False
        self._left -= cost
        return True

    def _refuse(
        self, found: Validator, rule: Rule, value: Any, variables: dict[str, Any], path: str, same: bool
    ) -> None:
        detail = self._message(rule, variables) or (
            str(rule.said["message"]).strip() if rule.said.get("message") else f"failed rule: {rule.shown}"
        )
        where = path + field_path(str(rule.said.get("fieldPath") or ""))
        where = where.removeprefix(".") if not path else where
        fault = _fault(where, value, detail, str(rule.said.get("reason") or ""))
        if same and not rule.uses_old:
            self._warn(f"{fault.field}: {fault.detail}")
        else:
            self._add(fault)

    def _message(self, rule: Rule, variables: dict[str, Any]) -> str:
        """The message that an expression gives; empty where it gives none that can be shown."""
        if rule.message is None:
            return ""
        try:
            result = rule.message.run(variables, PER_CALL)
        except EvaluationError:
            return ""
        self._left -= result.cost
        text = str(result.value).strip()
        return "" if len(text.encode()) > LONGEST_MESSAGE or "\n" in text else text

    def _add(self, fault: Invalid) -> None:
        self.faults.append(fault)


def _evaluating(error: EvaluationError, rule: Rule) -> str:
    if str(error).startswith("no such overload"):
        said = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{error}': {said}: {rule.shown}"
    return f"{error} evaluating rule: {rule.shown}"


def field_path(text: str) -> str:
    """A rule's `fieldPath` as field paths are written: `.spec.a`, `['x.y']` becomes `.x.y`."""
    import re

    return re.sub(
        r"\['((?:\\.|[^'])*)'\]", lambda m: "." + m[1].replace("\\'", "'").replace("\\\\", "\\"), text
    )


def _fault(path: str, value: Any, detail: str, reason: str) -> Invalid:
    path = path or "<nil>"
    match reason:
        case "FieldValueForbidden":
            return faults.forbidden(path, detail)
        case "FieldValueRequired":
            return faults.required(path, detail)
        case "FieldValueDuplicate":
            return Invalid(path, "FieldValueDuplicate", "Duplicate value: " + _shown(value))
    if isinstance(value, dict | list):
        return Invalid(path, "FieldValueInvalid", f"Invalid value: {detail}")
    return Invalid(path, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}")


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f'"{"object" if isinstance(value, dict) else "array"}"'
    return f'"{value}"' if not isinstance(value, bool | int | float) else str(value).lower()
