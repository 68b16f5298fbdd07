"""Imports point one way: cli → app → rooms → (client, reconcile, kinds, machinery, http, host)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "sampan"

# What each shared room may import; the rooms below `store` may import all of these.
SHARED = {
    "host": set(),
    "http": {"host"},
    "machinery": set(),
    "kinds": {"machinery"},
    "client": {"kinds", "machinery", "http", "host"},
    "reconcile": {"client", "kinds", "machinery", "http", "host"},
}
ROOMS = {
    "store", "apiserver", "controllers", "scheduler", "node", "engine", "network", "tracing",
}  # fmt: skip
BESIDES = {"apiserver": {"store"}, "engine": {"network"}}
TOP = {"config"}  # plain values that any room may read
COMPOSERS = {"app", "cli", "testing", "supervisor", "lifecycle", "alone", "addons"}


def imports() -> Iterator[tuple[Path, str, str]]:
    """Every import of one part of sampan by another: the file, its part, the imported part."""
    for path in SOURCE.rglob("*.py"):
        part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "sampan":
                names = [f"sampan.{a.name}" for a in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            elif isinstance(node, ast.ImportFrom):
                names = [f"sampan.relative-import-in.{path}"]
            for name in names:
                words = name.split(".")
                if words[0] == "sampan" and len(words) > 1 and words[1] != part:
                    yield path, part, words[1]


def allowed(part: str, target: str) -> bool:
    if part in COMPOSERS or target in TOP:
        return True
    if part in SHARED:
        return target in SHARED[part]
    if part in ROOMS:
        return target in SHARED or target in BESIDES.get(part, set())
    return False


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path}: {part} must not import {target}"
        for path, part, target in imports()
        if not allowed(part, target)
    ]
    assert not wrong, "\n".join(wrong)
