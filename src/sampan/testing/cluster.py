"""A fresh cluster for as long as a block runs, by the same way as `sampan up`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sampan.cli.kubectl import program
from sampan.config import Config
from sampan.lifecycle import cluster as lifecycle
from sampan.lifecycle.configure import Options
from sampan.network import addresses
from sampan.testing.guard import guarded
from sampan.testing.leftovers import leftovers


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster; `config` says where everything is."""

    config: Config

    @property
    def kubeconfig(self) -> Path:
        return self.config.kubeconfig

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.config.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which any Kubernetes tool reaches this cluster, and no other."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.config.state)}

    def kubectl(self, *words: str, input: str = "", timeout: float = 60.0, check: bool = True) -> str:
        """Run kubectl and return what it printed; AssertionError, with its error, when it fails.

        With `check` false, what it printed on both outputs.
        """
        done = subprocess.run(
            [program(), *words],
            input=input,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if not check:
            return done.stdout + done.stderr
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout


@contextmanager
def cluster(
    *, nodes: int = 1, name: str = "", state: Path | None = None, step: lifecycle.Step = lifecycle.silent
) -> Iterator[Cluster]:
    """A fresh cluster with `nodes` nodes (0: the API server with its controllers alone). Needs root.

    `state` is a directory that is made and erased, normally one in /tmp. The cluster ends with this process, even
    where that is killed.
    """
    chosen = name or f"t{os.urandom(4).hex()}"
    directory = state or Path(tempfile.mkdtemp(prefix="sampan-"))
    options = Options(name=chosen, state=directory, port=0, nodes=nodes)
    config = None
    with guarded(chosen, directory):
        try:
            config = lifecycle.start(options, step)
            yield Cluster(config)
        finally:
            config = config or lifecycle.find(options)
            if config:
                _end(config)
            else:
                addresses.release(chosen)
            shutil.rmtree(directory, ignore_errors=True)


def _end(config: Config) -> None:
    """Stop and erase a cluster. AssertionError where something of it stays on the machine."""
    lifecycle.stop(config, grace=0.0)
    left = leftovers(config)
    lifecycle.erase(config)
    left += [str(path) for path in (config.state, config.run, config.kubeconfig) if path.exists()]
    assert not left, f"left over of cluster {config.name}:\n" + "\n".join(left)
