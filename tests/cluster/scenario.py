"""Scenario files: prose, files, commands and what they print, in the order in which a person would try them.

    Words at the beginning of a line are prose.

    web.yaml:
        apiVersion: v1
        ...

    $ kubectl apply -f web.yaml
    pod/web created

A block that is headed by a file's name is that file. What follows `$ ` is typed; what follows that, up to an empty
line, is what it prints: `*` stands for any text within a line, `...` for any lines. A command without output printed
may print what it likes. Commands that only look (`kubectl get`, `sampan why`, ...) are repeated until they show what is
expected, for a cluster takes its time; all others are typed once. `$!` stands for a command that fails.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOOKING = (
    "kubectl get",
    "kubectl describe",
    "kubectl events",
    "kubectl logs",
    "sampan why",
    "sampan scheduler",
)
PATIENCE = 30.0


@dataclass(slots=True)
class Step:
    """One command of a scenario, with the line it stands on."""

    line: int
    command: str
    expected: list[str] = field(default_factory=list)
    fails: bool = False

    @property
    def looks(self) -> bool:
        return self.command.startswith(LOOKING)


@dataclass(slots=True)
class Scenario:
    files: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


def parse(text: str) -> Scenario:
    found = Scenario()
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if re.fullmatch(r"[\w.-]+\.yaml:", line):
            block = []
            while at < len(lines) and (not lines[at] or lines[at].startswith("    ")):
                block.append(lines[at][4:])
                at += 1
            found.files[line[:-1]] = "\n".join(block).rstrip() + "\n"
        elif line.startswith(("$ ", "$! ")):
            mark, _, command = line.partition(" ")
            step = Step(at, command, fails=mark == "$!")
            while at < len(lines) and lines[at] and not lines[at].startswith("$"):
                step.expected.append(lines[at])
                at += 1
            found.steps.append(step)
    return found


def matches(printed: Sequence[str], expected: Sequence[str]) -> bool:
    """Whether the lines are as expected, with `...` for any lines and `*` for any text."""
    if not expected:
        return not printed
    if expected[0] == "...":
        return any(matches(printed[i:], expected[1:]) for i in range(len(printed) + 1))
    if not printed:
        return False
    pattern = re.sub(r"([\[\]?])", r"[\1]", expected[0].rstrip())
    return fnmatch.fnmatchcase(printed[0].rstrip(), pattern) and matches(printed[1:], expected[1:])


def play(path: Path, directory: Path, environment: Mapping[str, str], shown: Mapping[str, str]) -> None:
    """Type a scenario's commands. `shown` are the names in the file by the cluster's own (nodes, which differ)."""
    scenario = parse(path.read_text())
    assert scenario.steps, f"{path.name} has no commands"
    for name, text in scenario.files.items():
        (directory / name).write_text(_translated(text, {v: k for k, v in shown.items()}))
    for step in scenario.steps:
        _type(path.name, step, directory, environment, shown)


def _type(
    name: str, step: Step, directory: Path, environment: Mapping[str, str], shown: Mapping[str, str]
) -> None:
    command = _translated(step.command, {v: k for k, v in shown.items()})
    deadline = time.monotonic() + PATIENCE
    while True:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=directory,
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=60,
        )
        printed = _translated(done.stdout + done.stderr, shown).splitlines()
        fine = (done.returncode != 0) == step.fails and (not step.expected or matches(printed, step.expected))
        if fine:
            return
        if not step.looks or time.monotonic() > deadline:
            wanted = "\n".join(step.expected)
            got = "\n".join(printed)
            raise AssertionError(f"{name}:{step.line}: $ {command}\nexpected:\n{wanted}\n\nprinted:\n{got}")
        time.sleep(0.2)


def _translated(text: str, names: Mapping[str, str]) -> str:
    """Names of equal length of column may differ, so what kubectl aligned is squeezed where a name changes."""
    for old, new in names.items():
        text = re.sub(rf"\b{re.escape(old)}\b", new, text)
    return text
