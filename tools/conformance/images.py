"""The images that the suite's tests name, made here: no registry can be asked for them.

Each directory of `dockerfiles` is one; `e2e.test --list-images` says under which name the tests want
it. Finished images are kept as one archive, so that the next cluster only loads them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sampan.engine.docker.client import EngineClient
from tools.conformance import build

HERE = Path(__file__).parent / "dockerfiles"
ROOT = Path(__file__).parents[2]
REGISTRY = "registry.k8s.io"
BASES = ("busybox:latest", "debian:12-slim")
# What the suite calls an image whose Dockerfile stands under another name here.
ALIKE = {"nginx-new": "nginx"}
# Files that an image contains beside its Dockerfile: from the module's source, and programs built from it.
SOURCES = {
    "agnhost": ("agnhost/porter/localhost.crt", "agnhost/porter/localhost.key"),
    "nautilus": ("nautilus/html",),
    "kitten": ("kitten/html",),
}
PROGRAMS = {"agnhost": "agnhost", "nonewprivs": "nnp", "sample-apiserver": "sample-apiserver"}


def wanted(programs: Path) -> dict[str, list[str]]:
    """Of each image that can be made here, the full names that the tests use."""
    said = subprocess.run(
        [programs / "e2e.test", "--list-images"], capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = {}
    # An image of another registry is private, and must not be there without credentials.
    for name in (word for word in said.stdout.split() if word.startswith(f"{REGISTRY}/")):
        short = name.rpartition(":")[0].rpartition("/")[2]
        found.setdefault(ALIKE.get(short, short), []).append(name)
    return {short: names for short, names in sorted(found.items()) if (HERE / short).is_dir()}


async def have(socket: Path, programs: Path) -> None:
    """See to it that the engine behind `socket` has all images. Raises ImageError, OSError."""
    archive = programs / "images.tar"
    names = wanted(programs)
    async with EngineClient(socket) as engine:
        if not archive.exists():
            _bases(socket)
            for short in sorted(names, key=lambda name: name != "agnhost"):
                await _build(engine, programs, short, names[short], names["agnhost"][0])
            unfinished = archive.with_suffix(".new")
            await engine.save([name for all_names in names.values() for name in all_names], unfinished)
            unfinished.rename(archive)
            return
        async for _ in engine.load(archive):
            pass


async def offer(socket: Path, programs: Path, registry: str) -> None:
    """Push all images to a registry that stands for the one that the tests name. Raises ImageError, OSError."""
    async with EngineClient(socket) as engine:
        for name in (name for names in wanted(programs).values() for name in names):
            there = f"{registry}/{name.removeprefix(f'{REGISTRY}/')}"
            await engine.tag(name, there)
            async for _ in engine.push(there):
                pass
            await engine.remove(there)


def _bases(socket: Path) -> None:
    words = [sys.executable, str(ROOT / "examples/base/make.py"), "--socket", str(socket), *BASES]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})


async def _build(engine: EngineClient, programs: Path, short: str, names: list[str], agnhost: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        shutil.copytree(HERE / short, context, dirs_exist_ok=True)
        for path in SOURCES.get(short, ()):
            file = build.source() / "test" / "images" / path
            copy = shutil.copytree if file.is_dir() else shutil.copy
            copy(file, context / file.name)
        if program := PROGRAMS.get(short):
            shutil.copy(programs / program, context)
        async for document in engine.build(context, names=names, arguments={"AGNHOST": agnhost}):
            print(document.get("stream", ""), end="", flush=True)
