"""What befalls the machine: a full disk, a torn file, a power cut."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.conftest import SAMPAN, load
from tests.cluster.waiting import eventually
from tests.faults.load import Clients, answers, containers, deploy, items, options, process, settled, shims

from sampan.config import Config
from sampan.host import cgroups, mounts
from sampan.lifecycle import cluster as lifecycle
from sampan.network import addresses, nodes
from sampan.testing import Cluster, cluster, leftovers

pytestmark = [pytest.mark.root, pytest.mark.campaign]

DIARY = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: diary}
spec:
  serviceName: diary
  selector: {matchLabels: {app: diary}}
  template:
    metadata: {labels: {app: diary}}
    spec:
      containers:
      - name: diary
        image: busybox:1
        command: [sh, -c, "date >> /data/starts; exec sleep 3600"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""


# A full disk


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster all of whose state is on a disk of 64 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounts.mount("tmpfs", disk, "tmpfs", data="size=64m,mode=755")
    try:
        with cluster(state=disk / "state") as made:
            yield made
    finally:
        mounts.unmount(disk, lazy=True)


def fill(cluster: Cluster) -> Path:
    """Fill the cluster's disk to the last byte; the result is the file to remove."""
    path = cluster.config.state / "filling"
    with open(path, "wb", buffering=0) as f:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    f.write(b"x" * size)
    assert os.statvfs(path).f_bavail == 0
    return path


def write_until_refused(cluster: Cluster) -> str:
    """Write ConfigMaps until one is refused, since what was set aside for the log's next pages still takes some."""
    said = ""
    for number in range(400):
        text = "x" * 100_000
        said = cluster.kubectl("create", "configmap", f"c{number}", f"--from-literal=a={text}", check=False)
        if "created" not in said:
            return said
    raise AssertionError(f"a full disk took it all: {said}")


def test_a_full_disk_is_told_and_nothing_that_runs_is_harmed(small: Cluster, busybox: Path) -> None:
    load(small, busybox)
    address = deploy(small)
    before = containers(small)
    restarts = lifecycle.ask(small.config, "status")
    filling = fill(small)
    said = write_until_refused(small)
    assert "disk is full" in said
    assert "free some space" in said
    # Reads, running pods, and what reaches into them go on.
    assert answers(address)
    pod = next(iter(before))
    assert small.kubectl("exec", pod, "--", "hostname") == f"{pod}\n"
    assert "serving" in small.kubectl("logs", pod)
    assert small.kubectl("get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"
    filling.unlink()
    eventually(lambda: "created" in small.kubectl("create", "configmap", "after", check=False))
    small.kubectl("scale", "deployment/web", "--replicas=3")
    small.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert before.items() <= containers(small).items()
    now = lifecycle.ask(small.config, "status")
    assert restarts
    assert now
    assert [p["pid"] for p in now["processes"]] == [p["pid"] for p in restarts["processes"]]


def test_an_image_that_does_not_fit_is_refused_and_leaves_nothing(small: Cluster, busybox: Path) -> None:
    filling = fill(small)
    words = [*SAMPAN, "image", "load", "--name", small.config.name, "-i", str(busybox)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "No space left on device" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    filling.unlink()
    assert not list((small.config.images / "layers").iterdir())
    load(small, busybox)
    small.kubectl("run", "box", "--image=busybox:1", "--", "sleep", "600")
    small.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")


def test_a_pod_that_fills_the_disk_harms_itself_alone(small: Cluster, busybox: Path) -> None:
    load(small, busybox)
    address = deploy(small)
    before = containers(small)
    script = "cat /dev/zero > /full; echo it is full; sleep 600"
    small.kubectl("run", "greedy", "--image=busybox:1", "--restart=Never", "--", "sh", "-c", script)
    state = small.config.state
    eventually(lambda: os.statvfs(state).f_bavail == 0, 60)
    assert answers(address)
    assert small.kubectl("exec", "greedy", "--", "rm", "/full") == ""
    eventually(lambda: os.statvfs(state).f_bavail > 0)
    small.kubectl("delete", "pod", "greedy", "--grace-period=1", "--timeout=60s")
    assert containers(small) == before


# A torn file


def tear(path: Path) -> None:
    """Write noise over the middle of a file."""
    size = path.stat().st_size
    with open(path, "r+b") as f:
        f.seek(size // 4)
        f.write(os.urandom(size // 2))


def test_a_torn_store_is_told_with_what_to_do(broken: Cluster) -> None:
    lifecycle.stop(broken.config)
    tear(broken.config.store)
    with pytest.raises(lifecycle.Failed) as failed:
        lifecycle.start(options(broken))
    assert str(broken.config.store) in str(failed.value)
    assert "cannot be read" in str(failed.value)
    assert "Put back a copy of it" in str(failed.value)


def test_a_torn_configuration_is_told_with_what_to_do(broken: Cluster) -> None:
    lifecycle.stop(broken.config)
    whole = broken.config.file.read_text()
    broken.config.file.write_text(whole[: len(whole) // 2])
    words = ["up", "--name", broken.config.name, "--state", str(broken.config.state)]
    done = subprocess.run([*SAMPAN, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    broken.config.file.write_text(whole)
    assert lifecycle.start(options(broken)).ranges == broken.config.ranges


@pytest.mark.parametrize("name", ["ca.pem", "sa.key"])
def test_a_torn_key_is_told_with_what_to_do(broken: Cluster, name: str) -> None:
    lifecycle.stop(broken.config)
    path = broken.config.pki / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(lifecycle.Failed) as failed:
        lifecycle.start(options(broken))
    assert f"{path} is damaged" in str(failed.value)
    assert "Put back a copy of it" in str(failed.value)
    path.write_bytes(whole)
    lifecycle.start(options(broken))


@pytest.mark.parametrize("kind", ["images", "layers", "references", "blobs/sha256"])
def test_torn_images_are_made_whole_by_loading_them_again(broken: Cluster, busybox: Path, kind: str) -> None:
    lifecycle.stop(broken.config)
    for path in (broken.config.images / kind).iterdir():
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    lifecycle.start(options(broken))  # nothing else is harmed
    load(broken, busybox)
    broken.kubectl("run", "box", "--image=busybox:1", "--restart=Never", "--", "true")
    broken.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/box", "--timeout=60s")


# A power cut


def lose_power(config: Config) -> None:
    """Everything of the cluster ends at once, and what the kernel held is gone, as after a reboot: processes, mounts,
    links, rules, groups, and all below /run.
    """
    told = lifecycle.ask(config, "status")
    assert told
    shim_pids = shims(Cluster(config)).values()
    groups = cgroups.detect()
    for pid in [told["pid"], *(p["pid"] for p in told["processes"]), *shim_pids]:
        if pid:
            os.kill(pid, 9)
    groups.kill(config.ranges.cgroup)
    for directory in (config.run, config.state):
        mounts.unmount_below(directory)
    nodes._teardown(config)
    groups.remove(config.ranges.cgroup)
    subprocess.run(["rm", "-rf", str(config.run)], check=True)
    addresses.release(config.name)
    assert leftovers(config) == []


def test_everything_comes_back_after_a_power_cut(broken: Cluster) -> None:
    deploy(broken)
    broken.kubectl("apply", "-f", "-", input=DIARY)
    broken.kubectl("rollout", "status", "statefulset/diary", "--timeout=60s")
    before = containers(broken)
    lose_power(broken.config)
    config = lifecycle.start(options(broken))
    assert config.port == broken.config.port
    eventually(lambda: settled(broken))
    address = broken.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    eventually(lambda: answers(address), 60)
    for workload in ("deployment/web", "statefulset/diary"):
        broken.kubectl("rollout", "status", workload, "--timeout=60s")
    eventually(lambda: all(restarted(broken, name) for name in before))
    starts = broken.kubectl("exec", "diary-0", "--", "cat", "/data/starts").splitlines()
    assert len(starts) == 2
    assert process(broken, config.node_names[0])


def restarted(cluster: Cluster, name: str) -> bool:
    """Whether this pod's container was started once more, the pod being the same."""
    return containers(cluster).get(name, ("", 0))[1] == 1


# A crowd


CROWD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd}
spec:
  replicas: 100
  selector: {matchLabels: {app: crowd}}
  template:
    metadata: {labels: {app: crowd}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: crash, image: "busybox:1", command: [sh, -c, "exit 1"]}]
"""


def test_a_hundred_crash_looping_pods_leave_room_for_others(broken: Cluster) -> None:
    address = deploy(broken)
    before = containers(broken)
    with Clients(address) as clients:
        broken.kubectl("apply", "-f", "-", input=CROWD)
        # Each has crashed four times, and now waits for 40 s and more.
        eventually(lambda: sum(restarts(broken)) >= 300, 200)
        broken.kubectl("run", "box", "--image=busybox:1", "--", "sleep", "600")
        broken.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
        assert broken.kubectl("exec", "box", "--", "echo", "here") == "here\n"
        used = cpu_seconds(broken)
        time.sleep(15)
        assert cpu_seconds(broken) - used < 7.5  # half a core
    assert clients.failures == 0
    assert containers(broken) == before
    assert max(restarts(broken)) <= 5
    assert broken.kubectl("get", "pods", "-l", "app=crowd").count("CrashLoopBackOff") >= 90
    broken.kubectl("delete", "deployment", "crowd", "--timeout=60s")
    eventually(lambda: not items(broken, "pods", "-l", "app=crowd"), 60)


def restarts(cluster: Cluster) -> list[int]:
    """How often each container of the crowd was started again."""
    return [
        status["restartCount"]
        for pod in items(cluster, "pods", "-l", "app=crowd")
        for status in pod["status"].get("containerStatuses", [])
    ]


def cpu_seconds(cluster: Cluster) -> float:
    """What our processes have used until now."""
    pids = [process(cluster, name) for name in ("control", *cluster.config.node_names)]
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")
