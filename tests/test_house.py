"""The house's measures: short functions, short files, packages that open with what they are for."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "sampan"
FILES = sorted(SOURCE.rglob("*.py"))


def test_no_file_is_over_800_lines() -> None:
    assert not [str(f) for f in FILES if len(f.read_text().splitlines()) > 800]


def test_no_function_is_over_70_lines() -> None:
    long = [
        f"{f.relative_to(SOURCE)}:{node.name}"
        for f in FILES
        for node in ast.walk(ast.parse(f.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= 70
    ]
    assert not long


def test_every_file_says_what_it_is_for() -> None:
    assert not [str(f) for f in FILES if not ast.get_docstring(ast.parse(f.read_text()))]


def test_every_room_says_where_to_start_reading() -> None:
    rooms = [d / "__init__.py" for d in SOURCE.iterdir() if d.is_dir() and d.name != "__pycache__"]
    assert not [str(f) for f in rooms if "tart with" not in f.read_text() and f.parent.name != "testing"]


def test_every_promise_names_tests_that_exist() -> None:
    from tools import matrix

    assert not list(matrix.missing())
