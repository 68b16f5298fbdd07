"""`sampan run scheduler`: a second scheduler over HTTP, with the rights of its role, and what it survives."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.client import kubeconfig
from sampan.client.http import HttpApiClient
from sampan.machinery import yaml
from sampan.machinery.objects import Object

SAMPAN = [sys.executable, "-m", "sampan.cli", "run"]
CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  resourceName: second
  leaseDuration: 3s
  renewDeadline: 2s
  retryPeriod: 500ms
profiles:
- schedulerName: second
- schedulerName: packing
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}
"""
# What a second scheduler needs: upstream's two roles, and a lease of its own name.
RIGHTS = Path(__file__).parent.parent.parent / "examples" / "scheduling" / "second-scheduler.yaml"
KINDS = {
    "ServiceAccount": "serviceaccounts",
    "ClusterRoleBinding": "clusterrolebindings.rbac.authorization.k8s.io",
    "Role": "roles.rbac.authorization.k8s.io",
    "RoleBinding": "rolebindings.rbac.authorization.k8s.io",
}


class Machine:
    """An API server in a process of its own, and schedulers beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.admin = directory / "admin.conf"
        self.own = directory / "second.conf"
        self.config = directory / "scheduler.yaml"
        self.config.write_text(CONFIG)
        self.port = 0
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> tuple[subprocess.Popen[str], str]:
        """A component, and the first line that it says."""
        process = subprocess.Popen([*SAMPAN, *words], stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if "https://" in line or "http://" in line:
                return process, line
        raise AssertionError(f"{words} ended with {process.wait()}")

    def control(self) -> subprocess.Popen[str]:
        listen = f"127.0.0.1:{self.port}"
        state = str(self.directory / "control")
        process, line = self.start(
            "control", "--state", state, "--listen", listen, "--kubeconfig", str(self.admin)
        )
        self.port = int(line.partition("127.0.0.1:")[2].partition(";")[0])
        return process

    def scheduler(self) -> tuple[subprocess.Popen[str], str]:
        """A scheduler, and where its health is told."""
        words = ("--kubeconfig", str(self.own), "--config", str(self.config), "--listen", "127.0.0.1:0")
        process, line = self.start("scheduler", *words)
        return process, line.split()[-1]

    def client(self) -> HttpApiClient:
        return kubeconfig.load(self.admin)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    try:
        made.control()
        asyncio.run(prepare(made))
        yield made
    finally:
        made.end()


async def prepare(machine: Machine) -> None:
    """Two nodes, and an account with the scheduler's rights, whose token is in a kubeconfig of its own."""
    async with machine.client() as client:
        for made in yaml.load_all(RIGHTS.read_bytes()):
            await client.create(KINDS[made["kind"]], made)
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        about = {**request, "metadata": {"namespace": "kube-system"}}
        answer = await client.create("serviceaccounts", about, name="second", subresource="token")
        for name in ("n1", "n2"):
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
            await client.create("nodes", node)
            allocatable = {"cpu": "8", "memory": "8Gi", "pods": "110"}
            status = {"status": {"allocatable": allocatable}}
            await client.patch("nodes", name, "", status, subresource="status")
            await client.patch("nodes", name, "", {"spec": {"taints": None}})
    config = yaml.load(machine.admin.read_bytes())
    config["users"][0]["user"] = {"token": answer["status"]["token"]}
    machine.own.write_text(yaml.dump(config))


async def schedule(client: HttpApiClient, name: str, scheduler: str = "second", cpu: str = "1") -> Object:
    """Make a pod for a scheduler, and wait until it has a node."""
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    spec = {"schedulerName": scheduler, "containers": [container], "tolerations": [{"operator": "Exists"}]}
    meta = {"name": name, "namespace": "default"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    async with asyncio.timeout(30):
        await client.create("pods", pod)
        while True:
            found = await client.get("pods", name, "default")
            if found["spec"].get("nodeName"):
                return found
            await asyncio.sleep(0.05)


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def until_ready(url: str) -> None:
    deadline = time.monotonic() + 20
    while ask(f"{url}/readyz")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_scheduler_with_its_own_profiles(machine: Machine) -> None:
    process, url = machine.scheduler()

    async def story() -> None:
        async with machine.client() as client:
            await schedule(client, "one")
            first = await schedule(client, "full-1", "packing")
            second = await schedule(client, "full-2", "packing")
            assert first["spec"]["nodeName"] == second["spec"]["nodeName"]
            events = (await client.list("events", "default")).items
            told = [e for e in events if e["involvedObject"]["name"] == "one" and e["reason"] == "Scheduled"]
            assert [e["source"]["component"] for e in told] == ["second"]

    asyncio.run(story())
    until_ready(url)
    metrics = ask(f"{url}/metrics")[1]
    assert 'scheduler_schedule_attempts_total{result="scheduled",profile="second"} 1' in metrics
    assert 'scheduler_schedule_attempts_total{result="scheduled",profile="packing"} 2' in metrics
    assert 'scheduler_pending_pods{queue="active"} 0' in metrics
    labels = 'extension_point="Bind",status="Success",profile="second"'
    assert f"scheduler_framework_extension_point_duration_seconds_count{{{labels}}} 1" in metrics
    assert 'leader_election_master_status{name="second"} 1' in metrics
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0

    async def released() -> str:
        async with machine.client() as client:
            lease = await client.get("leases.coordination.k8s.io", "second", "kube-system")
            return str(lease["spec"]["holderIdentity"])

    assert asyncio.run(released()) == ""


def test_another_takes_over_and_the_server_may_go_away_for_a_while(machine: Machine) -> None:
    first, _ = machine.scheduler()

    async def one(name: str) -> None:
        async with machine.client() as client:
            await schedule(client, name)

    asyncio.run(one("before"))
    _, url = machine.scheduler()
    os.kill(first.pid, signal.SIGKILL)
    asyncio.run(one("after-a-kill"))
    control = machine.processes[0]
    control.kill()
    control.wait()
    # Longer than the leader may go without renewing its lease.
    time.sleep(3)
    machine.control()
    asyncio.run(one("after-an-outage"))
    until_ready(url)


def test_what_cannot_be_used_is_said(machine: Machine) -> None:
    machine.config.write_text(CONFIG.replace("leaseDuration: 3s", "leaseDuration: 1s"))
    words = ["scheduler", "--kubeconfig", str(machine.own), "--config", str(machine.config)]
    done = subprocess.run([*SAMPAN, *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "leaderElection.leaseDuration: Invalid value" in done.stderr
