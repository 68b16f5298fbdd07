"""kill -9 of each of our processes while an application is under load: it does not notice."""

from __future__ import annotations

import socket
import subprocess

import pytest
from tests.cluster.conftest import SAMPAN
from tests.cluster.waiting import eventually
from tests.faults.load import (
    Clients,
    containers,
    deploy,
    gone,
    items,
    kill,
    options,
    process,
    settled,
    shims,
)

from sampan.lifecycle import cluster as lifecycle
from sampan.network.dns import wire
from sampan.testing import Cluster

pytestmark = pytest.mark.root


def check_all_works(cluster: Cluster) -> None:
    """kubectl reaches into a container, and a change comes through all components to running pods."""
    pod = next(iter(containers(cluster)))
    assert cluster.kubectl("exec", pod, "--", "hostname") == f"{pod}\n"
    assert "serving" in cluster.kubectl("logs", pod)
    cluster.kubectl("scale", "deployment/web", "--replicas=3")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


@pytest.mark.parametrize("victim", ["control", "node", "supervisor"])
def test_containers_and_connections_live_on(broken: Cluster, victim: str) -> None:
    address = deploy(broken)
    before = containers(broken)
    name = broken.config.node_names[0] if victim == "node" else victim
    with Clients(address) as clients:
        clients.check_held_connection()
        pid = process(broken, name)
        kill(pid)
        clients.check_held_connection()
        if victim == "supervisor":
            assert lifecycle.start(options(broken)).ranges == broken.config.ranges
        eventually(lambda: process(broken, name) not in (0, pid) and settled(broken))
        # The pods' own state is told anew, and is what it was: nothing was restarted.
        eventually(lambda: all(_ready(pod) for pod in items(broken, "pods")))
        assert containers(broken) == before
        check_all_works(broken)
        clients.check_held_connection()
    assert clients.requests > 10
    assert clients.failures == 0
    assert before.items() <= containers(broken).items()


def _ready(pod: dict[str, object]) -> bool:
    conditions = pod["status"]["conditions"]  # type: ignore[index]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_questions_to_a_node_that_starts_anew_wait_for_their_answer(broken: Cluster) -> None:
    """The supervisor holds its sockets: names are looked up, and kubectl reaches in, as if nothing were."""
    address = deploy(broken)
    name = broken.config.node_names[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((broken.config.ranges.dns, 53))
        query = wire.encode_query(7, "web.default.svc.cluster.local", wire.A, size=512)
        for _ in range(2):
            kill(process(broken, name))
            client.send(query)
            answer = wire.decode_response(client.recv(512))
            assert [socket.inet_ntoa(record.data) for record in answer.answers] == [address]
            eventually(lambda: settled(broken))
    pod = next(iter(containers(broken)))
    kill(process(broken, name))
    assert broken.kubectl("exec", pod, "--", "hostname") == f"{pod}\n"


def test_a_new_supervisor_adopts_the_processes_and_restarts_them_again(broken: Cluster) -> None:
    control, node = (process(broken, n) for n in ("control", broken.config.node_names[0]))
    kill(process(broken, "supervisor"))
    words = ["up", "--name", broken.config.name, "--state", str(broken.config.state)]
    said = subprocess.run([*SAMPAN, *words], check=True, capture_output=True, text=True, timeout=60)
    assert "Sampan is up" in said.stdout
    assert control == process(broken, "control")
    assert node == process(broken, broken.config.node_names[0])
    kill(control)  # its connections wait in the sockets that the supervisor took back from it
    assert broken.kubectl("get", "nodes", "-o", "name") == f"node/{broken.config.node_names[0]}\n"
    assert not gone(node)


def test_down_after_a_kill_of_the_supervisor_leaves_nothing(broken: Cluster) -> None:
    """The fixture looks for what is left."""
    deploy(broken)
    kill(process(broken, "supervisor"))


def test_down_after_a_kill_of_everything_of_ours_leaves_nothing(broken: Cluster) -> None:
    deploy(broken)
    pids = [process(broken, n) for n in ("control", broken.config.node_names[0])]
    for pid in [process(broken, "supervisor"), *pids]:
        kill(pid)


def test_a_container_whose_shim_is_killed_is_started_again_and_its_neighbour_lives_on(
    broken: Cluster,
) -> None:
    address = deploy(broken)
    before = containers(broken)
    victim, neighbour = before
    kill(shims(broken)[before[victim][0]])
    eventually(lambda: containers(broken)[victim][1] == 1)
    broken.kubectl("wait", "--for=condition=Ready", f"pod/{victim}", "--timeout=30s")
    assert containers(broken)[neighbour] == before[neighbour]
    ended = broken.kubectl(
        "get", "pod", victim, "-o", "jsonpath={.status.containerStatuses[0].lastState.terminated}"
    )
    assert '"exitCode":137' in ended
    assert "the process that watched the container was lost" in ended
    with Clients(address) as clients:
        check_all_works(broken)
    assert clients.failures == 0
