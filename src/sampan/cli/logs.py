"""Show what our own processes printed. (For a pod's logs: sampan kubectl logs.)"""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from pathlib import Path

from sampan.cli.clusters import add_name, become_root, find
from sampan.cli.problem import Problem


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument(
        "process", nargs="?", help="such as control, supervisor, or a node's name; default: all"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on as more is printed")
    parser.add_argument("-n", "--lines", type=int, default=50, help="how many of the last lines (default 50)")


def run(arguments: argparse.Namespace) -> int:
    become_root("reading the logs of root's processes")
    directory = find(arguments.name).logs
    files = sorted(directory.glob("*.log"))
    if arguments.process:
        files = [f for f in files if f.stem == arguments.process]
    if not files:
        known = ", ".join(f.stem for f in sorted(directory.glob("*.log")))
        raise Problem(f"nothing is logged under that name; there are: {known or 'none yet'}")
    if arguments.follow:
        os.execvp("tail", ["tail", "-n", str(arguments.lines), "-F", *map(str, files)])
    for file in files:
        _print_last(file, arguments.lines, heading=len(files) > 1)
    return 0


def _print_last(file: Path, lines: int, heading: bool) -> None:
    if heading:
        print(f"==> {file.stem} <==")
    with file.open(errors="replace") as f:
        sys.stdout.writelines(deque(f, maxlen=lines))
