"""What `./dev test`, `./dev bench`, `./dev check` and `./dev conformance` run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

NO_TESTS = 5  # pytest's exit code
ROOT = Path(__file__).parent.parent


def python(*words: str) -> int:
    return subprocess.run([sys.executable, *words], cwd=ROOT, check=False).returncode


def check() -> int:
    """Style, types, import directions; all are run, and any failure fails."""
    results = [
        python("-m", "ruff", "format", "--check", "-q", "src", "tests", "tools", "bench"),
        python("-m", "ruff", "check", "-q", "src", "tests", "tools", "bench"),
        python("-m", "mypy"),
        python("-m", "pytest", "tests/test_imports.py", "tests/test_house.py"),
    ]
    return max(results)


def test(words: list[str]) -> int:
    """The tests that suit every change; --all adds the campaigns, one after the other, for each loads the machine.

    Root tests need root, so say so early.
    """
    if os.geteuid() != 0:
        print(
            "./dev test: the tests make namespaces, mounts and containers; run them as root", file=sys.stderr
        )
        return 1
    from sampan.cli import doctor

    doctor.ensure(doctor.missing())
    everything = "--all" in words
    rest = [w for w in words if w != "--all"]
    chosen = rest if any(not w.startswith("-") for w in rest) else [*rest, "tests"]
    results = [python("-m", "pytest", "-n", "4", "--dist", "worksteal", "-m", "not campaign", *chosen)]
    if everything:
        results.append(python("-m", "pytest", "-m", "campaign", *chosen))
    # Where words choose among the tests, one of the two runs may have none.
    return max((result for result in results if result != NO_TESTS), default=NO_TESTS)


def bench(words: list[str]) -> int:
    return python("-m", "bench", *words)


def conformance(words: list[str]) -> int:
    from tools.conformance import run

    return run.main(words)


def main() -> int:
    command, *words = sys.argv[1:]
    commands = {"test": test, "bench": bench, "conformance": conformance}
    return check() if command == "check" else commands[command](words)


if __name__ == "__main__":
    sys.exit(main())
