"""What a user is shown and asked when the machine lacks a program."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from sampan.cli import doctor

# A program nobody has, and a package manager that only says what it was told.
LACKING = """
from sampan.cli import doctor
from sampan.cli.problem import Problem
doctor.INSTALL.clear()
doctor.INSTALL["echo"] = ["echo", "installing"]
program = doctor.Program("nosuchprogram", "show the question", {"echo": "nosuchpackage"})
try:
    doctor.ensure(doctor.missing((program,)))
    print("INSTALLED")
except Problem as e:
    print("PROBLEM:", e)
"""


def at_a_terminal(answer: str) -> str:
    """All that a user sees who answers the question."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", LACKING])
    seen, answered = b"", False
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        seen += piece
        if b"[y/N]" in seen and not answered:
            os.write(terminal, answer.encode() + b"\n")
            answered = True
    os.close(terminal)
    os.waitpid(pid, 0)
    return seen.decode()


@pytest.mark.root
@pytest.mark.parametrize(
    ("answer", "ends"), [("y", "INSTALLED"), ("n", "PROBLEM: not installed"), ("", "PROBLEM")]
)
def test_at_a_terminal_the_user_is_asked(answer: str, ends: str) -> None:
    seen = at_a_terminal(answer)
    assert "missing: nosuchprogram, to show the question" in seen
    assert "to install: echo installing nosuchpackage" in seen
    assert ends in seen


@pytest.mark.root
def test_without_a_terminal_it_goes_ahead_and_says_what_it_did() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LACKING], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert "to install: echo installing nosuchpackage" in done.stderr
    assert "✓ install nosuchprogram" in done.stderr
    assert "INSTALLED" in done.stdout


@pytest.mark.parametrize("manager", list(doctor.INSTALL))
def test_every_program_has_a_package_for_every_manager(manager: str) -> None:
    assert not [p.name for p in doctor.PROGRAMS if manager not in p.packages]
