"""Finding the cluster that a command means: `--name`, or the default one; and becoming root where that is needed."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from sampan.cli.problem import Problem
from sampan.config import Config, load
from sampan.supervisor import client

RUN = Path("/run/sampan")


def default_name() -> str:
    """The cluster that is meant where none is named: $SAMPAN_NAME, else `default`."""
    return os.environ.get("SAMPAN_NAME", "default")


def add_name(parser: argparse.ArgumentParser, dest: str = "name") -> None:
    parser.add_argument(
        "--name", dest=dest, default=default_name(), help="which cluster ($SAMPAN_NAME, else default)"
    )


def find(name: str) -> Config:
    """The configuration of a cluster that was started on this machine."""
    try:
        return load((RUN / name / "cluster.json").read_text())
    except FileNotFoundError:
        raise Problem(f"there is no running cluster {name!r}; `sampan up --name {name}` starts it") from None


def ask(config: Config, request: str) -> dict[str, Any]:
    """One request to the supervisor; Problem when it does not answer."""
    try:
        return client.ask(config.run, request)
    except (FileNotFoundError, ConnectionRefusedError):
        raise Problem(f"no supervisor runs for cluster {config.name!r}; `sampan up` starts one") from None
    except PermissionError:
        raise Problem(f"{config.run}/supervisor.sock belongs to another user; use sudo") from None
    except (OSError, ValueError) as e:
        raise Problem(f"the supervisor did not answer: {e}") from e


def become_root(why: str) -> None:
    """Run this very command again through sudo, where we are not root; returns only as root."""
    if os.geteuid() == 0:
        return
    sudo = shutil.which("sudo")
    if not sudo:
        raise Problem(f"{why} needs root, and sudo is not installed; run this as root")
    print(f"sampan: {why} needs root: asking sudo once", file=sys.stderr, flush=True)
    source = str(Path(__file__).resolve().parents[2])
    # sudo empties the environment: what names the cluster goes along.
    kept = [f"PYTHONPATH={source}", f"SAMPAN_NAME={default_name()}"]
    words = [sudo, "env", *kept, sys.executable, "-m", "sampan.cli", *sys.argv[1:]]
    os.execv(sudo, words)
