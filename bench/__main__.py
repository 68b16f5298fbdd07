"""Run groups of figures and print each as a table; `--write` also keeps them in docs/benchmarks.md."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
from importlib import import_module
from pathlib import Path

from bench.rows import markdown

# In the order of docs/benchmarks.md; each is a module beside this one.
GROUPS = ("install", "start", "memory", "pods", "api", "scale", "store", "http", "loop", "scheduler", "batch")
FILE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 30)
    return f"{os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}, Python {platform.python_version()}"


def main(words: list[str]) -> int:
    keep = "--write" in words
    chosen = [w for w in words if w != "--write"] or list(GROUPS)
    unknown = [w for w in chosen if w not in GROUPS]
    if unknown:
        print(
            f"bench: there is no group {', '.join(unknown)}; there are: {', '.join(GROUPS)}", file=sys.stderr
        )
        return 2
    for name in chosen:
        module = import_module(f"bench.{name}")
        table = markdown(module.run())
        print(f"\n## {name}: {(module.__doc__ or '').splitlines()[0]}\n\n{table}", flush=True)
        if keep:
            _keep(name, (module.__doc__ or "").splitlines()[0], table)
    return 0


def _keep(name: str, about: str, table: str) -> None:
    """Replace a group's section in the document."""
    made = f"{datetime.date.today()}, {machine()}, `./dev bench {name}`"
    section = f"## {name}\n\n{about}\n\n{made}\n\n{table}\n\n"
    text = FILE.read_text()
    pattern = re.compile(rf"^## {name}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else text.rstrip() + "\n\n" + section
    FILE.write_text(text.rstrip() + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
