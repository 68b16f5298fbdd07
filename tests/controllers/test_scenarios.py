"""Scenario files: what users and machines do, and everything the controllers then do, second by second.

A file is a sequence of steps: a line with a command, `----`, and the whole outcome up to an empty line. Lines that
begin with `#` are for the reader. The commands are the functions of `Commands`; words with `=` are their options. In
the outcome, each line begins with the simulated time in seconds and the controller's name. An event that repeats is
shown once.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.controllers.simulation import Simulation, node, template, workload

from sampan.machinery import times
from sampan.machinery.objects import Key, Object

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))
RESOURCES = {
    "Deployment": "deployments.apps",
    "StatefulSet": "statefulsets.apps",
    "DaemonSet": "daemonsets.apps",
}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, rewrite: bool) -> None:
    found = path.read_text()
    replayed = replay(found)
    if rewrite:
        path.write_text(replayed)
    else:
        assert replayed == found


def replay(text: str) -> str:
    """The scenario with its outcomes as they are now."""
    commands = Commands()
    out: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if not line.strip() or line.startswith("#"):
            out.append(line)
            continue
        out += [line, "----", *commands.do(line), ""]
        for old in lines:
            if not old.strip():
                break
    while out and not out[-1]:
        out.pop()
    return "\n".join(out) + "\n"


class Commands:
    def __init__(self) -> None:
        self.sim = Simulation()

    def do(self, line: str) -> list[str]:
        """Carry out a command; what it printed, then what everybody did."""
        name, *words = shlex.split(line)
        options = dict(w.split("=", 1) for w in words if "=" in w and not w.startswith("{"))
        plain = [w for w in words if "=" not in w or w.startswith("{")]
        command: Callable[..., list[str] | None] = getattr(self, name)
        begin = len(self.sim.log)
        printed = command(*plain, **{k: _value(v) for k, v in options.items()})
        return printed if printed is not None else self.sim.log[begin:]

    def node(self, name: str, **labels: str) -> None:
        """A node comes up."""
        self.sim.create("nodes", node(name, **labels))
        self.sim.run()

    def deployment(self, name: str, image: str = "v1", **spec: Any) -> None:
        self._create("Deployment", name, image, **spec)

    def statefulset(self, name: str, image: str = "v1", **spec: Any) -> None:
        self._create("StatefulSet", name, image, serviceName=name, **spec)

    def daemonset(self, name: str, image: str = "v1", **spec: Any) -> None:
        self._create("DaemonSet", name, image, **spec)

    def _create(self, kind: str, name: str, image: str, **spec: Any) -> None:
        self.sim.create(RESOURCES[kind], workload(kind, name, image, **spec))
        self.sim.run()

    def job(self, name: str, **spec: Any) -> None:
        made = template(name, restartPolicy="Never")
        meta = {"name": name, "namespace": "default"}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": made, **spec}}
        self.sim.create("jobs.batch", job)
        self.sim.run()

    def create(self, kind: str, text: str) -> None:
        """Any object, in full."""
        self.sim.create(kind, json.loads(text))
        self.sim.run()

    def set_image(self, kind: str, name: str, image: str) -> None:
        found = self.sim.objects[kind][Key("default", name)]["spec"]["template"]["spec"]["containers"]
        containers = [{**c, "image": image} for c in found]
        self.patch(kind, name, json.dumps({"spec": {"template": {"spec": {"containers": containers}}}}))

    def patch(self, kind: str, name: str, text: str) -> None:
        """A user's merge patch."""
        namespace = "" if kind in ("nodes", "namespaces", "persistentvolumes") else "default"
        self.sim.patch(kind, Key(namespace, name), json.loads(text))
        self.sim.run()

    def delete(self, kind: str, name: str, propagation: str = "Background") -> None:
        namespace = "" if kind in ("nodes", "namespaces", "persistentvolumes") else "default"
        self.sim.delete(kind, Key(namespace, name), propagation=propagation)
        self.sim.run()

    def end(self, prefix: str, phase: str, exit: int = 0) -> None:
        """The first running pod whose name begins so ends."""
        running = [p for p in self.sim.list("pods") if p["status"]["phase"] == "Running"]
        pod = next(p for p in running if p["metadata"]["name"].startswith(prefix))
        self.sim.set_phase(Key("default", pod["metadata"]["name"]), phase, exit)
        self.sim.run()

    def silence(self, name: str) -> None:
        """The node stops answering."""
        self.sim.silent.add(name)

    def answer(self, name: str) -> None:
        """The node answers again, and says that it is ready."""
        self.sim.silent.discard(name)
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": times.time(self.sim.now)}
        self.sim.patch("nodes", Key("", name), {"status": {"conditions": [ready]}})
        self.sim.run()

    def advance(self, seconds: float) -> None:
        self.sim.advance(float(seconds))

    def show(self, kind: str, *paths: str) -> list[str]:
        """Objects of a kind, with the values at some paths."""
        return [
            " ".join([o["metadata"]["name"], *(_shown(o, p) for p in paths)]) for o in self.sim.list(kind)
        ]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _shown(obj: Object, path: str) -> str:
    found: Any = obj
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    if path.endswith("conditions"):
        found = ", ".join(f"{c['type']}={c['status']} ({c.get('reason', '')})" for c in found or ())
    name = path.rpartition(".")[2]
    return f"{name}={found if isinstance(found, str) else json.dumps(found)}"
