"""Starting, stopping and erasing a cluster on this machine.

Every step may be repeated: after a crash anywhere, `start` goes on from what is there, and `stop` and `erase` remove
whatever they find.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sampan.config import Config, load
from sampan.host import cgroups, files, mounts
from sampan.lifecycle import lock
from sampan.lifecycle.configure import Options, Unusable, configure
from sampan.lifecycle.processes import processes
from sampan.lifecycle.replay import open_recording
from sampan.network import addresses, nodes
from sampan.supervisor import client
from sampan.supervisor.spec import dump

Step = Callable[[str], AbstractContextManager[None]]

START_DEADLINE = 60.0
STOP_DEADLINE = 30.0
RESTARTS_ENDURED = 4


class Failed(Exception):
    """A step failed; the message says which, and where to look."""


def silent(what: str) -> AbstractContextManager[None]:
    """A Step that shows nothing."""
    return nullcontext()


def running(config: Config) -> bool:
    """Whether the cluster's supervisor answers."""
    return ask(config, "status") is not None


def alive(run: Path) -> bool:
    """Whether any process of the cluster lives, with or without a supervisor."""
    from sampan.supervisor.loop import birth

    try:
        known = json.loads((run / "pids.json").read_text())
    except (OSError, ValueError):
        return False
    return any(born and birth(pid) == born for pid, born in known.values())


def ask(config: Config, request: str, **more: int) -> dict[str, Any] | None:
    """One request to the supervisor; None where there is none, or no answer within three seconds."""
    try:
        return client.ask(config.run, request, **more)
    except (OSError, ValueError):
        return None


def start(options: Options, step: Step = silent) -> Config:
    """Start a cluster, or what is missing of it, and return when every node is Ready. Raises Unusable, Failed."""
    with _alone(options.name):
        return _start(options, step)


def _start(options: Options, step: Step) -> Config:
    known = _known(options)
    config = known or configure(options)
    if options.replay:
        if known:
            raise Unusable(f"cluster {config.name!r} runs; `sampan down --name {config.name}` it first")
        with step("open the recording"):
            config = open_recording(config, options)
    with step("prepare"):
        prepare(config)
    if not running(config):
        supervise(config)
    with step("start the API server"):
        wait_ready(config, "control")
    for name in config.node_names:
        with step(f"start node {name}"):
            wait_ready(config, name)
    return config


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """See lock.held. Raises Failed where others do not come to an end."""
    try:
        with lock.held(name):
            yield
    except lock.Busy as e:
        raise Failed(str(e)) from e


def find(options: Options) -> Config | None:
    """The cluster that these options mean, running or not; None where there is none."""
    from sampan.lifecycle.configure import RUN, STATE

    for place in (RUN / options.name, options.state or STATE / options.name):
        file = place / "cluster.json"
        if file.exists():
            return load(file.read_text())
    return None


def _known(options: Options) -> Config | None:
    """The configuration of a cluster that lives already, for whom nothing may change."""
    from sampan.lifecycle.configure import RUN

    run = RUN / options.name
    if not alive(run):
        return None
    config = load((run / "cluster.json").read_text())
    wanted = {
        "port": options.port or None,
        "nodes": options.nodes,
        "state": options.state,
        "listen": options.listen,
        "store_url": options.store,
        "audit_policy": _absolute(options.audit_policy),
        "encryption": _absolute(options.encryption),
        "authentication": _absolute(options.authentication),
    }
    different = [k for k, v in wanted.items() if v is not None and v != getattr(config, k)]
    if different:
        raise Unusable(
            f"cluster {config.name!r} runs with another {' and '.join(different)}; `sampan down` it first"
        )
    return config


def _absolute(path: str | None) -> str | None:
    return str(Path(path).absolute()) if path else path


def prepare(config: Config) -> None:
    """Make the directories, the credentials, the network, and what the supervisor reads. Raises Failed."""
    from sampan.host.pki import Damaged
    from sampan.lifecycle import credentials

    _directories(config)
    # First: who removes the cluster after a kill finds by it what to remove.
    files.write(config.file, config.dump(), 0o644)
    try:
        credentials.ensure(config)
    except Damaged as e:
        raise Failed(str(e)) from e
    layout = asyncio.run(nodes.setup(config))
    files.write(config.run / "cluster.json", config.dump(), 0o644, durable=False)
    files.write(config.run / "processes.json", dump(processes(config, layout)), durable=False)


def _directories(config: Config) -> None:
    for directory in (config.state, config.pki, config.logs, config.images, config.state / "nodes"):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    config.pki.chmod(0o711)  # each file in it has the one reader that it is for
    control = config.store.parent
    control.mkdir(exist_ok=True)
    os.chown(control, config.uid, config.gid)
    control.chmod(0o700)
    config.run.mkdir(parents=True, exist_ok=True)
    config.run.chmod(0o755)


def supervise(config: Config) -> None:
    """Start the supervisor as a daemon of its own session."""
    log = os.open(config.logs / "supervisor.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    source = str(Path(__file__).resolve().parents[2])
    subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _SUPERVISOR, source, str(config.run)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd="/",
    )
    os.close(log)


# Without site-packages, which it does not need, the supervisor starts sooner and stays smaller.
_SUPERVISOR = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from sampan.supervisor.loop import main; main()"
)


def wait_ready(config: Config, name: str, deadline: float = START_DEADLINE) -> None:
    """Wait until a process has said that it is ready. Raises Failed with its last words where it keeps dying."""
    until = time.monotonic() + deadline
    before, seen = None, -1
    while time.monotonic() < until:
        answer = ask(config, "wait", after=seen)
        if answer is None:
            time.sleep(0.005)  # the supervisor itself is only starting
            continue
        seen = answer["changes"]
        found = next((p for p in answer["processes"] if p["name"] == name), None)
        if found and found["state"] == "ready":
            return
        if found and before is None:
            before = found["restarts"]
        if found and before is not None and found["restarts"] - before >= RESTARTS_ENDURED:
            break
    raise Failed(
        f"{name} did not become ready; `sampan logs {name} --name {config.name}` says more:\n{_last(config, name)}"
    )


def _last(config: Config, name: str, lines: int = 8) -> str:
    """The last words of a process, or of the supervisor where it has none."""
    for stem in (name, "supervisor"):
        path = config.logs / f"{stem}.log"
        if path.exists() and path.stat().st_size:
            return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""


def stop(config: Config, step: Step = silent, grace: float = 10.0) -> None:
    """Stop the processes, then the containers, then the network. What is stored stays.

    Each container has `grace` seconds to end by itself. Raises Failed.
    """
    with _alone(config.name):
        _stop(config, step, grace)


def _stop(config: Config, step: Step, grace: float) -> None:
    with step("stop the processes"):
        _stop_processes(config)
    with step("stop the containers"):
        asyncio.run(_stop_containers(config, grace))
    with step("take the network down"):
        asyncio.run(nodes.teardown(config))
    for directory in (config.state, config.run):
        mounts.unmount_below(directory)
    cgroups.detect().remove(config.ranges.cgroup)
    shutil.rmtree(config.run, ignore_errors=True)


def _stop_processes(config: Config) -> None:
    until = time.monotonic() + STOP_DEADLINE
    if ask(config, "stop") is None:
        _signal_orphans(config.run, signal.SIGTERM)
    while alive(config.run) or running(config):
        if time.monotonic() > until:
            raise Failed("the processes did not stop; `sampan status` shows which")
        if time.monotonic() > until - STOP_DEADLINE / 2 and not running(config):
            _signal_orphans(config.run, signal.SIGKILL)
        time.sleep(0.01)


def _signal_orphans(run: Path, number: signal.Signals) -> None:
    """Tell what a killed supervisor left behind to end."""
    from sampan.supervisor.loop import birth

    try:
        known = json.loads((run / "pids.json").read_text())
    except (OSError, ValueError):
        return
    for pid, born in known.values():
        if born and birth(pid) == born:
            os.kill(pid, number)


async def _stop_containers(config: Config, grace: float) -> None:
    async with asyncio.TaskGroup() as group:
        for network in addresses.layout(config):
            if config.node_state(network.name).exists():
                group.create_task(_stop_node(config, network, grace))


async def _stop_node(config: Config, network: addresses.NodeNetwork, grace: float) -> None:
    """Stop the containers of a node whose process has ended; the network goes as a whole afterwards."""
    from sampan.app import engine

    runtime = engine(config, network)
    await runtime.start()
    await runtime.stop_all(grace)
    await runtime.close()


def erase(config: Config) -> None:
    """Remove everything a stopped cluster has on this machine. Raises Failed."""
    with _alone(config.name):
        if mounts.below(config.state) or alive(config.run):
            raise Failed(f"{config.state} is still in use, so nothing is erased; `sampan down` first")
        config.kubeconfig.unlink(missing_ok=True)
        shutil.rmtree(config.state)
        shutil.rmtree(config.run, ignore_errors=True)
        addresses.release(config.name)
