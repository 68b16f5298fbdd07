"""Runs upstream's conformance suite on a fresh cluster of two nodes.

./dev conformance                          all of it, some hours; writes docs/conformance.md
./dev conformance --focus 'ConfigMap'      the tests whose names match; prints the results, writes nothing
./dev conformance --only parallel|serial   one of the two halves
./dev conformance --kubeconfig FILE        against a cluster that runs already, and has the images
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.engine.images.registry_server import Registry

from sampan import testing
from sampan.network.addresses import host_address
from tools.conformance import build, images, report

REGISTRIES = """
mirrors: {{registry.k8s.io: {{endpoint: ["http://{host}"]}}}}
configs: {{"{host}": {{tls: {{insecure_skip_verify: true}}}}}}
"""
SERIAL = r"\[Serial\]"
CONFORMANCE = r"\[Conformance\]"


def main(words: list[str]) -> int:
    """Run what the words ask for; 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="./dev conformance")
    parser.add_argument("--focus", default="", help="a regular expression on the tests' names")
    parser.add_argument("--skip", default="", help="a regular expression of tests to leave out")
    parser.add_argument("--only", choices=("parallel", "serial"))
    parser.add_argument("--processes", type=int, default=4, help="tests that run at once (4)")
    parser.add_argument("--kubeconfig", type=Path, help="a cluster that runs already")
    parser.add_argument("--results", type=Path, help="a directory to keep the results and the log in")
    arguments = parser.parse_args(words)
    programs = build.programs()
    with contextlib.ExitStack() as held:
        kubeconfig = arguments.kubeconfig or held.enter_context(_cluster(programs))
        results = arguments.results or Path(held.enter_context(tempfile.TemporaryDirectory()))
        results.mkdir(parents=True, exist_ok=True)
        halves = (arguments.only,) if arguments.only else ("parallel", "serial")
        codes = [_half(half, programs, kubeconfig, results, arguments) for half in halves]
        found = report.read(results)
        print(report.summary(found))
        if not (arguments.focus or arguments.skip or arguments.only):
            report.write(found)
    return max(codes)


@contextlib.contextmanager
def _cluster(programs: Path) -> Iterator[Path]:
    """A cluster with the images, also behind a registry that stands in for the real one: some tests always pull."""
    with testing.cluster(nodes=2) as cluster:
        config = cluster.config
        socket = config.node_run(config.node_names[0]) / "engine.sock"
        asyncio.run(images.have(socket, programs))
        registry = Registry().serve(address=host_address(config.ranges))
        try:
            (config.state / "registries.yaml").write_text(REGISTRIES.format(host=registry.host))
            asyncio.run(images.offer(socket, programs, registry.host))
            yield cluster.kubeconfig
        finally:
            registry.stop()


def _half(half: str, programs: Path, kubeconfig: Path, results: Path, asked: argparse.Namespace) -> int:
    """Run the tests that may run beside others, or those that may not."""
    serial = half == "serial"
    focus = f"{asked.focus}.*{CONFORMANCE}" if asked.focus else CONFORMANCE
    if serial:
        focus = f"{SERIAL}.*{focus}|{focus}.*{SERIAL}"
    skip = "|".join(filter(None, [asked.skip, "" if serial else SERIAL]))
    words = [
        str(programs / "ginkgo"),
        f"--nodes={1 if serial else asked.processes}",
        "--no-color",
        "--timeout=6h",
        f"--focus={focus}",
        *([f"--skip={skip}"] if skip else []),
        str(programs / "e2e.test"),
        "--",
        "--provider=skeleton",
        "--disable-log-dump",
        f"--kubeconfig={kubeconfig}",
        f"--report-dir={results / half}",
        "--allowed-not-ready-nodes=0",
    ]
    from sampan.cli.kubectl import program

    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "PATH": f"{Path(program()).parent}:{os.environ['PATH']}",
    }
    with (results / f"{half}.log").open("wb") as log:
        print(f"{half} tests; the log is {log.name}", file=sys.stderr)
        return subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, env=environment).returncode
