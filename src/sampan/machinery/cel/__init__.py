"""CEL, the Common Expression Language, as Kubernetes has it: its libraries, its cost limits, its wording.

    program = compile_("self.replicas <= self.max", {"self": schema_type})
    program.evaluate({"self": {"replicas": 3, "max": 5}})      # True

Start with `compile_`; then `lexer`, `parser` and `macros` (text to tree), `checker` with `types` and `declarations`
(what a tree's types are), `program` with `standard`, `text` and `kubernetes` (what functions do), `costs` (what they
cost at run time), `estimates` (what they may cost at most), `openapi` (types from a schema).

No library on PyPI fits: those there lack Kubernetes' functions and costs, or take milliseconds for one evaluation.
Sources: the CEL language definition (cel-spec); cel-go; k8s.io/apiserver pkg/cel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sampan.machinery.cel.checker import check
from sampan.machinery.cel.errors import CompileError, CostExceeded, EvaluationError, Issue
from sampan.machinery.cel.parser import parse
from sampan.machinery.cel.program import PER_CALL, Program
from sampan.machinery.cel.types import Type


def compile_(
    source: str, variables: Mapping[str, Type], structs: Callable[[str], Type | None] = lambda name: None
) -> Program:
    """A program of an expression over variables of these types. Raises CompileError, which shows each fault.

    `structs` gives the types of objects that the expression may make by `Name{field: value}`.
    """
    return Program(check(source, parse(source), variables, structs))


__all__ = [
    "PER_CALL", "CompileError", "CostExceeded", "EvaluationError", "Issue", "Program", "Type", "compile_",
]  # fmt: skip
