"""Build, list, load, save, pull, push and remove images.

  sampan image build -t NAME DIRECTORY     build from a Dockerfile
  sampan image ls
  sampan image load -i FILE                a docker archive or OCI layout, as docker save writes it
  sampan image save -o FILE NAME...
  sampan image pull NAME                   docker.io is the default registry
  sampan image push NAME
  sampan image rm NAME...

All nodes of a cluster on this machine share its images. Credentials for registries come from ~/.docker/config.json.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.cli.clusters import add_name, become_root, find
from sampan.cli.problem import Problem
from sampan.cli.terminal import table

if TYPE_CHECKING:
    from sampan.engine.docker.client import EngineClient


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, what: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=what)
        add_name(made, "cluster")
        return made

    build = action("build", "build from a Dockerfile")
    build.add_argument("directory", type=Path, help="what COPY and ADD may take files from")
    build.add_argument(
        "-t", "--tag", action="append", default=[], metavar="NAME", help="the image's name; repeatable"
    )
    build.add_argument("-f", "--file", default="Dockerfile", help="the Dockerfile, below the directory")
    build.add_argument("--target", default="", metavar="STAGE", help="stop after this stage")
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    build.add_argument("--no-cache", action="store_true", help="run every step anew")
    build.add_argument("--pull", action="store_true", help="look for newer base images")
    action("ls", "list images")
    action("load", "load images from an archive").add_argument("-i", "--input", type=Path, required=True)
    save = action("save", "write images into an archive")
    save.add_argument("-o", "--output", type=Path, required=True)
    save.add_argument("images", nargs="+", metavar="NAME")
    action("pull", "fetch an image from its registry").add_argument("image", metavar="NAME")
    action("push", "send an image to its registry").add_argument("image", metavar="NAME")
    remove = action("rm", "remove names, and images that have none left")
    remove.add_argument("images", nargs="+", metavar="NAME")
    remove.add_argument(
        "-f", "--force", action="store_true", help="also where a stopped container refers to it"
    )


def run(arguments: argparse.Namespace) -> int:
    become_root("the engine's socket")
    config = find(arguments.cluster)
    from sampan.engine.docker.client import EngineClient
    from sampan.engine.images.model import ImageError

    socket = config.node_run(config.node_names[0]) / "engine.sock"

    async def act() -> None:
        async with EngineClient(socket) as engine:
            await ACTIONS[arguments.action](engine, arguments)

    try:
        asyncio.run(act())
    except (ImageError, ConnectionError, TimeoutError) as e:
        raise Problem(str(e)) from e
    return 0


async def _show(documents: AsyncIterator[dict[str, Any]]) -> None:
    """Show what the engine tells while it works."""
    from sampan.engine.docker.client import Screen

    screen = Screen(sys.stdout)
    async for document in documents:
        screen.show(document)


async def _build(engine: EngineClient, arguments: argparse.Namespace) -> None:
    wrong = [a for a in arguments.build_arg if "=" not in a]
    if wrong:
        raise Problem(f"--build-arg {wrong[0]} is not NAME=VALUE")
    if not arguments.directory.is_dir():
        raise Problem(f"{arguments.directory} is not a directory")
    await _show(
        engine.build(
            arguments.directory,
            names=arguments.tag,
            dockerfile=arguments.file,
            target=arguments.target,
            arguments=dict(a.split("=", 1) for a in arguments.build_arg),
            no_cache=arguments.no_cache,
            pull=arguments.pull,
        )
    )


async def _list(engine: EngineClient, arguments: argparse.Namespace) -> None:
    from sampan.machinery.times import human

    rows = [("NAME", "IMAGE ID", "AGE", "SIZE")]
    for image in await engine.images():
        age = human(time.time() - image["Created"]) if image["Created"] > 0 else "-"
        for name in image.get("RepoTags") or ["<none>"]:
            rows.append(
                (name, image["Id"].removeprefix("sha256:")[:12], age, f"{image['Size'] / 1e6:.1f} MB")
            )
    print(table(rows))


async def _load(engine: EngineClient, arguments: argparse.Namespace) -> None:
    if not arguments.input.is_file():
        raise Problem(f"there is no file {arguments.input}")
    await _show(engine.load(arguments.input))


async def _save(engine: EngineClient, arguments: argparse.Namespace) -> None:
    await engine.save(arguments.images, arguments.output)


async def _pull(engine: EngineClient, arguments: argparse.Namespace) -> None:
    await _show(engine.pull(arguments.image))


async def _push(engine: EngineClient, arguments: argparse.Namespace) -> None:
    await _show(engine.push(arguments.image))


async def _remove(engine: EngineClient, arguments: argparse.Namespace) -> None:
    for image in arguments.images:
        for line in await engine.remove(image, force=arguments.force):
            print(": ".join(*line.items()))


ACTIONS: dict[str, Callable[[EngineClient, argparse.Namespace], Awaitable[None]]] = {
    "build": _build,
    "ls": _list,
    "load": _load,
    "save": _save,
    "pull": _pull,
    "push": _push,
    "rm": _remove,
}
