"""The `sampan` command: a lazy command table, thin, answering in 100 ms.

Each module here is one command with `add(parser)` and `run(arguments) -> exit status`; `main` looks the command up
and imports only its module. May touch everything, through `lifecycle`, `app` and sockets; holds no logic of its own.
Start with `main`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

# Each command, and what it does; its module has the same name.
COMMANDS = {
    "up": "start a cluster on this machine, and return when its node is Ready",
    "down": "stop a cluster and its containers; --delete erases it",
    "status": "show a cluster's processes and nodes",
    "demo": "build and deploy the example shop, and show what happened",
    "kubectl": "run the unmodified kubectl against a cluster",
    "kubeconfig": "print a cluster's kubeconfig, or merge it into yours",
    "image": "build, list, load, save, pull, push and remove images",
    "trace": "list recent operations, or draw one as a sequence diagram",
    "history": "show who changed an object, when, and what",
    "undo": "write an object as it was before",
    "record": "write all that is kept of a cluster to a file, for up --replay",
    "why": "say in plain words why an object is as it is",
    "scheduler": "ask the scheduler: evaluate cases, explain, compare, plan",
    "logs": "show what our own processes printed",
    "doctor": "check what this machine lacks; --fix installs it",
    "run": "run one component alone in the foreground",
}


def usage() -> str:
    lines = [f"  {name:<12}{what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: sampan COMMAND [OPTIONS]", "", *lines, "", "sampan COMMAND --help says more."])


def main(argv: list[str] | None = None) -> int:
    """Run one command; the result is its exit status. An interrupt exits with 130, as shells expect."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("--version", "version"):
        from sampan import __version__

        print(f"sampan {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"sampan: there is no command {words[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        return _run(words[0], words[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def _run(name: str, words: list[str]) -> int:
    from sampan.cli.problem import Problem

    module = import_module(f"sampan.cli.{name}")
    try:
        if hasattr(module, "passthrough"):
            return int(module.passthrough(words))
        import argparse

        parser = argparse.ArgumentParser(
            prog=f"sampan {name}",
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add(parser)
        return int(module.run(parser.parse_args(words)))
    except Problem as e:
        print(f"sampan {name}: {e}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except Exception as e:
        # Nobody foresaw it: who runs the command gets one line, who mends it asks for more.
        if os.environ.get("SAMPAN_DEBUG"):
            raise
        print(f"sampan {name}: {type(e).__name__}: {e} (SAMPAN_DEBUG=1 shows where)", file=sys.stderr)
        return 1
