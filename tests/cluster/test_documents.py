"""Every command in the documents is run here: README's tour from top to bottom, on a cluster of the test's own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.conftest import SAMPAN

from sampan.cli.kubectl import program

pytestmark = pytest.mark.root

ROOT = Path(__file__).parent.parent.parent


def commands(document: Path) -> list[str]:
    """The lines after `$ ` in a document's console blocks, and what stands in blocks of bare commands."""
    text = document.read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, re.S)
    whole = [block.replace("\\\n>", "\\\n") for block in blocks]  # a line that goes on
    found = [re.split(r"^\$ ", block, flags=re.M)[1:] for block in whole]
    return [command.rstrip("\n") for block in found for command in block]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which `./dev` means this checkout, and the default cluster is one of this test's own."""
    name = f"doc{os.urandom(3).hex()}"
    dev = tmp_path / "dev"
    dev.write_text(f'#!/bin/sh\n[ "$1" = sampan ] && shift\nexec {" ".join(SAMPAN)} "$@"\n')
    dev.chmod(0o755)
    tools = f"{Path(program()).parent}:{os.environ['PATH']}"
    yield {**os.environ, "SAMPAN_NAME": name, "PATH": tools}
    for each in (name, "other", "fleet", "replay", "audited", "sealed"):
        subprocess.run([*SAMPAN, "down", "--name", each, "--delete", "--yes"], capture_output=True)


def run(command: str, directory: Path, environment: dict[str, str]) -> None:
    """Type one line of a document."""
    command = re.sub(r"\./dev up$", "./dev up --port 0", command)
    command = command.replace("exec -it", "exec -i")  # no terminal here; test_kubectl.py has one
    done = subprocess.run(
        ["bash", "-c", command], cwd=directory, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_the_readmes_tour(shell: dict[str, str], tmp_path: Path) -> None:
    tour = commands(ROOT / "README.md")
    assert len(tour) > 15
    for command in tour:
        if "--nodes" in command:
            command += " --port 0"
        run(command, tmp_path, shell)
    assert (tmp_path / "apply.svg").read_text().startswith("<svg")


def test_the_guide(shell: dict[str, str], tmp_path: Path) -> None:
    lines = commands(ROOT / "docs" / "guide.md")
    assert len(lines) > 20
    for command in lines:
        run(command, tmp_path, shell)
    assert (tmp_path / "picture.svg").read_text().startswith("<svg")


def test_the_guide_to_scheduling(shell: dict[str, str], tmp_path: Path) -> None:
    """It needs no cluster; the pictures in it are what the program draws."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = commands(ROOT / "docs" / "scheduling.md")
    assert len(lines) > 7
    for command in lines:
        run(command, tmp_path, shell)
    kept = ROOT / "docs" / "pictures"
    assert (tmp_path / "report.svg").read_text() == (kept / "scheduling-pod.svg").read_text()
    assert (tmp_path / "plan.svg").read_text() == (kept / "scheduling-plan.svg").read_text()


def test_the_guide_to_extending(shell: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = commands(ROOT / "docs" / "extending.md")
    assert len(lines) > 10
    for command in lines:
        run(command, tmp_path, shell)


def test_operations(shell: dict[str, str], tmp_path: Path) -> None:
    """On a cluster that runs already. What it leaves running in the background ends with the test."""
    lines = commands(ROOT / "docs" / "operations.md")
    assert len(lines) > 20
    ports = {port: str(free_port()) for port in ("2379", "7443")}
    run("./dev up", tmp_path, shell)
    try:
        for command in lines:
            command = re.sub("2379|7443", lambda found: ports[found[0]], command.replace("sudo ", ""))
            run(command, tmp_path, shell)
    finally:
        end_those_in(tmp_path)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def end_those_in(directory: Path) -> None:
    """Kill the processes that were started in a directory."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == directory:
                os.kill(int(process.name), signal.SIGKILL)


def test_documents_name_only_files_that_exist() -> None:
    for document in (ROOT / "docs").glob("*.md"):
        for path in re.findall(r"\]\(([^)#:]+)\)|`((?:tests|docs)/[\w/.]+)`", document.read_text()):
            name = path[0] or path[1]
            assert (document.parent / name).exists() or (ROOT / name).exists(), (
                f"{document.name} names {name}"
            )
