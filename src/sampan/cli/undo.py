"""Write an object as it was before its last change, or as it was at a revision that `sampan history` names.

That is an ordinary update under your own name, so what validation and admission refuse is refused here too; an object
that was deleted is created again. What would change is shown first, and asked for.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from sampan.cli import api, history, objects, terminal
from sampan.cli.clusters import find
from sampan.cli.problem import Problem


def add(parser: argparse.ArgumentParser) -> None:
    objects.add_object(parser)
    parser.add_argument("--to-revision", default="", metavar="R", help="as it was at this revision")
    parser.add_argument("-y", "--yes", action="store_true", help="do it without asking")


def run(arguments: argparse.Namespace) -> int:
    config = find(arguments.name)

    async def look(client: Any, get: api.Get) -> tuple[objects.Named, dict[str, Any]]:
        named = await objects.find(get, arguments.object, arguments.namespace)
        return named, await _post(client, named, toRevision=arguments.to_revision, dryRun="All")

    named, planned = api.ask(config, look)
    if not planned["differences"]:
        print(f"{named.kind} {named.name} is as it was at revision {planned['toRevision']}.")
        return 0
    print(f"{named.kind} {named.name}, back to revision {planned['toRevision']}:")
    for difference in planned["differences"]:
        print(f"  {history.text(difference)}")
    _confirm(arguments.yes)

    async def write(client: Any, get: api.Get) -> dict[str, Any]:
        present = planned["resourceVersion"]
        return await _post(client, named, toRevision=planned["toRevision"], resourceVersion=present)

    api.ask(config, write)
    print("done" if planned["resourceVersion"] else "created again")
    return 0


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not terminal.tty():
        raise Problem("nothing is changed without a word of yours: nobody can be asked here, so give --yes")
    if not terminal.confirm("Write that?"):
        raise Problem("nothing is changed")


async def _post(client: Any, named: objects.Named, **parameters: str) -> dict[str, Any]:
    target = api.target(f"/sampan/v1/undo{named.path}", **parameters)
    answer: dict[str, Any] = json.loads(await client.raw("POST", target))
    return answer
