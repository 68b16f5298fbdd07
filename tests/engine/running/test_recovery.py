"""The engine dies, its containers do not; whatever was half made is taken away."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engine.running.running_pods import Pods, busybox, eventually, nothing_left

from sampan.engine import recovery
from sampan.engine.images.store import ImageStore
from sampan.engine.recovery import ALIVE, ENDED, NOTHING
from sampan.machinery.cri import messages


@pytest.mark.parametrize(
    ("state", "evidence", "plan"),
    [
        ("creating", NOTHING, "remove"),
        ("created", NOTHING, "keep"),
        ("starting", ALIVE, "adopt"),
        ("starting", ENDED, "note end"),
        ("starting", NOTHING, "lost"),
        ("running", ALIVE, "adopt"),
        ("running", ENDED, "note end"),
        ("running", NOTHING, "lost"),
        ("exited", ENDED, "keep"),
        ("removing", NOTHING, "remove"),
    ],
)
def test_what_is_done_about_a_container(state: str, evidence: str, plan: str) -> None:
    assert recovery.plan_container(state, evidence) == plan


@pytest.mark.parametrize(
    ("state", "alive", "plan"),
    [
        ("creating", True, "remove"),
        ("ready", True, "keep"),
        ("ready", False, "stop"),
        ("stopped", False, "stop"),
        ("removing", True, "remove"),
    ],
)
def test_what_is_done_about_a_sandbox(state: str, alive: bool, plan: str) -> None:
    assert recovery.plan_sandbox(state, alive) == plan


async def again(pods: Pods) -> Pods:
    """A new engine over the same directories, as after a restart."""
    await pods.engine.close()
    other = Pods(pods.home, pods.cgroup, pods.engine.context.images)
    await other.start()
    return other


@pytest.mark.root
async def test_a_new_engine_takes_running_containers_up(pods: Pods) -> None:
    container = await pods.run("sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.02; done; echo went; exit 6")
    before = await pods.status(container)
    other = await again(pods)
    assert (await other.status(container)).started_at == before.started_at
    await other.call("ExecSync", container_id=container, cmd=["touch", "/tmp/go"])
    ended = await other.ended(container)
    assert ended.exit_code == 6
    assert other.log()[0][3] == "went"
    await other.engine.close()
    await pods.engine.stop_all(0)
    assert nothing_left(pods, pods.home)


@pytest.mark.root
async def test_an_end_that_nobody_saw_is_told_later(pods: Pods) -> None:
    container = await pods.run("sh", "-c", "sleep 0.3; exit 9")
    await pods.engine.close()
    exit_file = pods.engine.context.container_directory(container) / "exit"
    await eventually(exit_file.exists)
    other = await again(pods)
    assert (await other.status(container)).exit_code == 9
    await other.engine.close()


@pytest.mark.root
async def test_a_container_whose_shim_is_killed_ends(pods: Pods) -> None:
    container = await pods.run("sleep", "1000")
    record = pods.engine.containers.records.get(container)
    assert record
    shim = int(Path(f"/proc/{record.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(shim, signal.SIGKILL)
    ended = await pods.ended(container)
    assert (ended.exit_code, ended.reason) == (137, "ContainerStatusUnknown")
    stat = Path(f"/proc/{record.pid}/stat")
    # Whoever reaps orphans on this machine may take a while.
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


@pytest.mark.root
async def test_a_torn_record_takes_away_what_it_named(pods: Pods, home: Path) -> None:
    pod = await pods.pod()
    container = await pods.run("sleep", "1000", pod=pod)
    await pods.engine.close()
    (home / "root" / "containers" / f"{container}.json").write_text('{"id": "')
    (home / "root" / "sandboxes" / f"{pod}.json").write_text("")
    other = Pods(home, pods.cgroup, pods.engine.context.images)
    await other.start()
    other.network.attached.clear()
    assert (await other.call("ListContainers")).containers == []
    assert (await other.call("ListPodSandbox")).items == []
    assert nothing_left(other, home)
    await other.engine.close()


# An engine of its own process, which makes and removes pods until it is killed.
VICTIM = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.engine.running.running_pods import Pods
from sampan.engine.images.store import ImageStore

async def life(pods):
    while True:
        pod = await pods.pod()
        await pods.run("sleep", "1000", pod=pod)
        await pods.call("StopPodSandbox", pod_sandbox_id=pod)
        await pods.call("RemovePodSandbox", pod_sandbox_id=pod)

async def main():
    home = Path(sys.argv[2])
    pods = Pods(home, sys.argv[3], ImageStore(home / "images"))
    await pods.start()
    print("started", flush=True)
    pods._count = int(sys.argv[4])
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(life(pods))

asyncio.run(main())
"""


@pytest.mark.root
async def test_an_engine_killed_at_any_moment_leaves_nothing_half_made(home: Path, cgroup: str) -> None:
    store = ImageStore(home / "images")
    busybox(store)
    rounds = random.Random(4)
    survivor = ""
    for turn in range(6):
        argv = [
            sys.executable,
            "-c",
            VICTIM,
            str(Path(__file__).parents[3]),
            str(home),
            cgroup,
            str(turn * 1000),
        ]
        victim = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        assert victim.stdout
        assert await victim.stdout.readline() == b"started\n"
        await asyncio.sleep(rounds.uniform(0, 0.6))
        victim.kill()
        await victim.wait()
        pods = Pods(home, cgroup, store)
        await pods.start()
        for item in (await pods.call("ListContainers")).containers:
            assert item.state in (
                messages.CONTAINER_CREATED,
                messages.CONTAINER_RUNNING,
                messages.CONTAINER_EXITED,
            )
            if item.state == messages.CONTAINER_RUNNING:
                done = await pods.call("ExecSync", container_id=item.id, cmd=["echo", "alive"])
                assert done.stdout == b"alive\n"
        # One container lives through all of it.
        if survivor:
            assert (await pods.status(survivor)).state == messages.CONTAINER_RUNNING
        for item in (await pods.call("ListPodSandbox")).items:
            if item.metadata.name != "survivor":
                await pods.call("RemovePodSandbox", pod_sandbox_id=item.id)
        if not survivor:
            config = pods.pod_config()
            config.metadata.name = "survivor"
            pod = (await pods.call("RunPodSandbox", config=config)).pod_sandbox_id
            survivor = await pods.run("sleep", "1000", pod=pod)
        await pods.engine.close()
    await pods.engine.stop_all(0)
    await pods.engine.close()
    assert nothing_left(pods, home)
