"""What goes wrong with an expression: when it is compiled, and when it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass


class EvaluationError(Exception):
    """An expression has no value; the text is worded as cel-go's."""


class CostExceeded(EvaluationError):
    """An evaluation cost more than it may. Nothing absorbs this, `||` and `&&` do not either."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


@dataclass(frozen=True, slots=True)
class Issue:
    """A fault at an offset of the source text."""

    at: int
    message: str


class CompileError(Exception):
    """An expression cannot be compiled; the text shows each fault where it is, as cel-go does."""

    def __init__(self, source: str, issues: list[Issue]):
        self.issues = issues
        super().__init__("\n".join(shown(source, i) for i in issues))


def shown(source: str, issue: Issue) -> str:
    before = source[: issue.at]
    line = before.count("\n")
    column = len(before) - (before.rfind("\n") + 1)
    lines = source.split("\n")
    text = lines[line].replace("\t", " ") if line < len(lines) else ""
    return f"ERROR: <input>:{line + 1}:{column + 1}: {issue.message}\n | {text}\n | {'.' * column}^"
