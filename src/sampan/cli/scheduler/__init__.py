"""Ask the scheduler: what it would decide and why, without a cluster or beside one. Nothing is written.

Each module here is one subcommand with `add(parser)` and `run(arguments) -> exit status`, as the commands beside.
"""

from __future__ import annotations

import sys
from importlib import import_module

# Each subcommand, its module here, and what it does.
SUBCOMMANDS = {
    "evaluate": ("evaluate", "verdicts and scores of cases from stdin, one JSON a line"),
    "explain": ("explain", "for one pod, every verdict and score, and what would make it fit"),
    "batch": ("batch", "place all waiting pods together, and show the plan; --apply binds them"),
    "what-if": ("what_if", "play other pods, another configuration, more nodes; nothing is written"),
    "deschedule": ("deschedule", "find pods that would be placed better today; --apply evicts them"),
    "draw": ("draw", "draw nodes with their pods, a plan, or one pod's filters and scores, as SVG"),
}


def usage() -> str:
    lines = [f"  {name:<12}{what}" for name, (_, what) in SUBCOMMANDS.items()]
    return "\n".join(["usage: sampan scheduler SUBCOMMAND [OPTIONS]", "", *lines])


def passthrough(words: list[str]) -> int:
    """Run one subcommand; only its module is imported."""
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] not in SUBCOMMANDS:
        print(f"sampan scheduler: there is no subcommand {words[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    import argparse

    module = import_module(f"{__name__}.{SUBCOMMANDS[words[0]][0]}")
    parser = argparse.ArgumentParser(
        prog=f"sampan scheduler {words[0]}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add(parser)
    return int(module.run(parser.parse_args(words[1:])))
