"""List recent operations, or draw one as a sequence diagram.

An operation is one kubectl command, or another change, with all that followed from it. Without an id the recent ones
are listed; `last` stands for the newest.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from sampan.cli.clusters import add_name, find
from sampan.cli.problem import Problem
from sampan.cli.terminal import table

OPERATIONS = "/sampan/v1/operations"


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("id", nargs="?", help="an operation's id or the beginning of it, or `last`")
    parser.add_argument("-o", "--output", choices=("text", "mermaid", "svg", "json"), default="text")
    parser.add_argument(
        "-f", "--file", type=Path, help="write the drawing there; the ending .svg or .mmd says which"
    )
    parser.add_argument("-n", "--number", type=int, default=20, help="how many to list (default 20)")


def run(arguments: argparse.Namespace) -> int:
    from sampan.cli import api

    config = find(arguments.name)
    listed = api.ask(config, lambda client, get: api.json(get, OPERATIONS, limit=str(arguments.number)))[
        "operations"
    ]
    if not arguments.id:
        print(table([("ID", "WHEN", "TOOK", "WHO", "ERRORS", "WHAT"), *map(_row, listed)]))
        return 0
    id_ = _resolve(arguments.id, listed)
    form = _form(arguments)
    drawn = api.ask(config, lambda client, get: get(api.target(f"{OPERATIONS}/{id_}", format=form)))
    if arguments.file:
        arguments.file.write_bytes(drawn)
        print(f"wrote {arguments.file}")
    else:
        print(drawn.decode(), end="")
    return 0


def _form(arguments: argparse.Namespace) -> str:
    endings = {".svg": "svg", ".mmd": "mermaid", ".json": "json"}
    return endings.get(arguments.file.suffix, arguments.output) if arguments.file else str(arguments.output)


def _resolve(given: str, listed: list[dict[str, Any]]) -> str:
    """The whole id that is meant; one that is not listed may still be kept, so it stays as it is."""
    if given == "last":
        if not listed:
            raise Problem("no operation is kept yet")
        return str(listed[0]["id"])
    matches = [str(o["id"]) for o in listed if str(o["id"]).startswith(given)]
    if len(matches) > 1:
        raise Problem(f"{given!r} is the beginning of {len(matches)} ids; give more of it")
    return matches[0] if matches else given


def _row(operation: dict[str, Any]) -> tuple[str, ...]:
    from sampan.tracing.sequence import duration

    when = datetime.datetime.fromtimestamp(operation["start"] / 1e9).strftime("%H:%M:%S")
    took = duration((operation["end"] - operation["start"]) / 1e6)
    return (operation["id"][:12], when, took, operation["user"], str(operation["errors"]), operation["title"])
