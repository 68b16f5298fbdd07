"""Show who changed an object, when, in which operation, and what: field by field, as far as the history is kept.

Secret values appear only as hashes. What an object was like at any of these revisions shows
`sampan kubectl --as-of REVISION get KIND NAME -o yaml`; `sampan undo` goes back.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterator
from typing import Any

from sampan.cli import api, objects
from sampan.cli.clusters import find
from sampan.cli.problem import Problem

Entry = dict[str, Any]


def add(parser: argparse.ArgumentParser) -> None:
    objects.add_object(parser)
    parser.add_argument("--status", action="store_true", help="also what only changed its status")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(arguments: argparse.Namespace) -> int:
    async def ask(_: object, get: api.Get) -> tuple[objects.Named, list[Entry]]:
        named = await objects.find(get, arguments.object, arguments.namespace)
        return named, (await api.json(get, f"/sampan/v1/history{named.path}"))["entries"]

    named, entries = api.ask(find(arguments.name), ask)
    if not entries:
        raise Problem(f"nothing is kept of {arguments.object}")
    if arguments.output == "json":
        print(json.dumps(entries, indent=2))
        return 0
    print(f"{named.kind} {named.name}")
    for entry in entries:
        told = list(lines(entry, status=arguments.status))
        print("\n".join(told)) if told else None
    return 0


def lines(entry: Entry, *, status: bool) -> Iterator[str]:
    """One change as text; nothing for one of the status alone, where that is not asked for."""
    changes = entry.get("differences", [])
    shown = changes if status else [d for d in changes if not d["path"].startswith("status")]
    if changes and not shown:
        return
    yield f"{entry['revision']:>8}  {when(entry['time'])}  {_what(entry)}"
    for difference in shown:
        yield f"{'':10}{text(difference)}"


def _what(entry: Entry) -> str:
    what = {"kept": "as it was when what is kept begins"}.get(entry["change"], entry["change"])
    by = f" by {entry['by']}" if entry.get("by") else ""
    operation = entry.get("operation")
    inside = f", in: {operation['title']} (sampan trace {operation['id'][:12]})" if operation else ""
    return f"{what}{by}{inside}"


def when(seconds: float) -> str:
    if not seconds:
        return f"{'earlier':19}"
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def text(difference: dict[str, Any]) -> str:
    """One difference in a line."""
    path = difference["path"]
    if "after" not in difference:
        return f"- {path}: {_value(difference['before'])}"
    if "before" not in difference:
        return f"+ {path}: {_value(difference['after'])}"
    return f"  {path}: {_value(difference['before'])} -> {_value(difference['after'])}"


def _value(value: Any) -> str:
    found = value if isinstance(value, str) and value and "\n" not in value else json.dumps(value)
    return found if len(found) <= 200 else f"{found[:197]}..."
