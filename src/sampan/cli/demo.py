"""Build and deploy the example shop, and show what happened.

It makes the base images (pulled where a registry can be reached, else from this machine's Debian archive), builds the
shop's own, applies examples/shop with kubectl, waits until it is up, prints its address, and draws the operation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from sampan.cli import doctor, kubectl, terminal
from sampan.cli.clusters import add_name, become_root, default_name, find
from sampan.cli.problem import Problem
from sampan.config import Config

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
BASES = ("debian:12-slim", "postgres:15")
IMAGES = {"shop-web:1": "web", "shop-api:1": "api"}
WORKLOADS = ("statefulset/shop-db", "deployment/shop-api", "deployment/shop-web")
# The first time, with base images to be made and PostgreSQL to be set up, on a slow machine.
LONGEST = 300


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)


def run(arguments: argparse.Namespace) -> int:
    become_root("building images")
    config = find(arguments.name)
    if not EXAMPLES.is_dir():
        raise Problem(
            "the examples are in Sampan's source, not in an installed package; run this from a checkout"
        )
    doctor.ensure(doctor.missing())
    socket = config.node_run(config.node_names[0]) / "engine.sock"
    with terminal.step("base images"):
        _bases(socket)
    for name, directory in IMAGES.items():
        with terminal.step(f"build {name}"):
            asyncio.run(_build(socket, name, EXAMPLES / "shop" / directory))
    with terminal.step("kubectl apply -k examples/shop"):
        _kubectl(config, "apply", "-k", str(EXAMPLES / "shop"))
    for workload in WORKLOADS:
        with terminal.step(f"wait for {workload}"):
            _kubectl(config, "rollout", "status", workload, f"--timeout={LONGEST}s")
    _show(config, arguments.name)
    return 0


def _bases(socket: Path) -> None:
    words = [sys.executable, str(EXAMPLES / "base" / "make.py"), "--socket", str(socket), *BASES]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert done.stdout
    last = ""
    for line in done.stdout:
        last = line.rstrip()
        terminal.note(last)
    if done.wait():
        raise Problem(f"the base images could not be made: {last}")


async def _build(socket: Path, name: str, directory: Path) -> None:
    from sampan.engine.docker.client import EngineClient
    from sampan.engine.images.model import ImageError

    said: list[str] = []
    try:
        async with EngineClient(socket) as engine:
            async for document in engine.build(directory, names=[name]):
                said.append(document.get("stream", ""))
    except ImageError as e:
        raise Problem(f"{name} could not be built: {e}\n{''.join(said)[-2000:]}") from e


def _kubectl(config: Config, *words: str) -> str:
    environment = {**os.environ, "KUBECONFIG": str(config.kubeconfig)}
    done = subprocess.run([kubectl.program(), *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Problem(f"kubectl {' '.join(words[:2])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _show(config: Config, name: str) -> None:
    """Print the shop's address and the drawn operation."""
    from sampan.cli import api
    from sampan.cli.trace import OPERATIONS

    service = json.loads(_kubectl(config, "get", "service", "shop-web", "-o", "json"))
    listed = api.ask(config, lambda client, get: api.json(get, OPERATIONS, limit="100"))["operations"]
    applied = next((o for o in listed if o["title"].startswith("kubectl apply")), None)
    named = "" if name == default_name() else f" --name {name}"
    if applied:
        target = api.target(f"{OPERATIONS}/{applied['id']}", format="text")
        print("\n" + api.ask(config, lambda client, get: get(target)).decode(), end="")
        print(f"\nAs a picture: sampan trace{named} {applied['id'][:12]} -f apply.svg")
    print(f"\nThe shop is at http://127.0.0.1:{service['spec']['ports'][0]['nodePort']}/")
