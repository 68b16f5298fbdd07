"""Write everything that is kept of a cluster into a file, for `sampan up --replay FILE` here or elsewhere.

Secret values are left out: hashes stand in their place. All else is in it, ConfigMaps and what stands in the
environment of containers too, so look at whom you give it to.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.cli import api
from sampan.cli.clusters import add_name, find
from sampan.cli.problem import Problem

if TYPE_CHECKING:
    from sampan.client.http import HttpApiClient

SILENCE = 60.0


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("file", type=Path, help="where to write it; it is compressed with zstd")


def run(arguments: argparse.Namespace) -> int:
    config = find(arguments.name)
    staged = arguments.file.with_name(f".{arguments.file.name}.{os.getpid()}.new")

    async def write(client: Any, get: api.Get) -> int:
        return await _write(client, staged)

    try:
        size = api.ask(config, write)
        os.replace(staged, arguments.file)
    except OSError as e:
        raise Problem(f"{arguments.file} cannot be written: {e.strerror}") from e
    finally:
        staged.unlink(missing_ok=True)
    print(f"{arguments.file}: {size / 1e6:.1f} MB. `sampan up --replay {arguments.file}` opens it.")
    return 0


async def _write(client: HttpApiClient, path: Path) -> int:
    """The size of the file."""
    import zstandard

    from sampan.client.api import Unavailable

    response = await client.http.request("GET", "/sampan/v1/record")
    async with response:
        if response.status != 200:
            raise Problem(f"the API server refuses: {(await response.read())[:500].decode(errors='replace')}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file, zstandard.ZstdCompressor().stream_writer(file) as compressed:
                async for chunk in response.chunks(SILENCE):
                    await asyncio.to_thread(compressed.write, chunk)
            return path.stat().st_size
        except (ConnectionError, TimeoutError) as e:
            raise Unavailable(f"the recording was cut off: {e}") from e
