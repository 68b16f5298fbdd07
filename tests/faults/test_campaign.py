"""kill -9 of random processes at random moments, again and again, while much goes on."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from tests.cluster.conftest import load
from tests.cluster.waiting import eventually
from tests.faults.killer import Killer, chances
from tests.faults.load import Clients, containers, deploy, items, options, settled
from tests.faults.writers import Writers

from sampan.lifecycle import cluster as lifecycle
from sampan.testing import Cluster, cluster, kept, leftovers

pytestmark = [pytest.mark.root, pytest.mark.campaign]

SECONDS = 90.0

# Writes one number after the other to its volume, from the last that is there.
DIARY = """
apiVersion: v1
kind: Service
metadata: {name: diary}
spec: {clusterIP: None, selector: {app: diary}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: diary}
spec:
  serviceName: diary
  selector: {matchLabels: {app: diary}}
  template:
    metadata: {labels: {app: diary}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: diary
        image: busybox:1
        command:
        - sh
        - -c
        - >-
          n=$(tail -n 1 /data/diary || echo 0);
          while :; do n=$((n+1)); echo $n >> /data/diary; sleep 0.2; done
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""

JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: job-NUMBER, labels: {app: job}}
spec:
  backoffLimit: 20
  template:
    spec:
      restartPolicy: Never
      containers: [{name: job, image: "busybox:1", command: [sh, -c, "sleep 0.5; echo done"]}]
"""


def test_random_kills_under_load(broken: Cluster) -> None:
    chance = chances()
    before = after_a_first_pod(broken)
    deploy(broken)
    broken.kubectl("apply", "-f", "-", input=DIARY)
    killer = Killer(broken, chance)
    jobs = 0
    until = time.monotonic() + SECONDS
    with Writers(broken) as writers:
        while time.monotonic() < until:
            jobs += 1
            change_something(broken, chance, jobs)
            killer()
            time.sleep(chance.uniform(0.0, 1.5))
    print(f"killed {killer.killed}; {len(writers.created)} created, counted to {writers.count}")
    lifecycle.start(options(broken))
    eventually(lambda: settled(broken))
    check_all_converges(broken)
    assert len(writers.created) > 50
    assert writers.count > 50
    writers.check(items(broken, "configmaps"))
    broken.kubectl("delete", "services", "web", "diary")
    broken.kubectl("delete", "statefulsets,deployments,jobs,pvc", "--all", "--timeout=90s", timeout=100)
    broken.kubectl("delete", "--raw", "/api/v1/namespaces/default/configmaps")
    eventually(lambda: not items(broken, "pods,pv"), 60)
    same_again(broken, before)


def test_connections_across_two_nodes_live_on(busybox: Path) -> None:
    chance = chances()
    with cluster(nodes=2) as both:
        load(both, busybox)
        address = deploy(both)
        both.kubectl("scale", "deployment/web", "--replicas=4")
        both.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        before = containers(both)
        killer = Killer(both, chance, spared=["shim"])
        with Clients(address) as clients:
            for _ in range(20):
                clients.check_held_connection()
                killer()
                time.sleep(chance.uniform(0.0, 1.5))
            lifecycle.start(options(both))
            eventually(lambda: settled(both))
            both.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
            clients.check_held_connection()
        assert clients.failures == 0
        assert containers(both) == before


def after_a_first_pod(cluster: Cluster) -> tuple[list[str], list[str]]:
    """What there is without workloads, once the first pod has made what all pods share."""
    cluster.kubectl("run", "first", "--image=busybox:1", "--restart=Never", "--", "true")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/first", "--timeout=60s")
    cluster.kubectl("delete", "pod", "first")
    eventually(lambda: not kept(cluster.config))
    return leftovers(cluster.config), kept(cluster.config)


def change_something(cluster: Cluster, chance: random.Random, number: int) -> None:
    """One of the things that people do; whether it is answered is not the question here."""
    match number % 4:
        case 0:
            cluster.kubectl("create", "-f", "-", input=JOB.replace("NUMBER", str(number)), check=False)
        case 1:
            replicas = chance.randint(1, 4)
            cluster.kubectl("scale", "deployment/web", f"--replicas={replicas}", check=False)
        case 2:
            cluster.kubectl("exec", "deployment/web", "--", "hostname", check=False)
        case 3:
            workload = chance.choice(["deployment/web", "statefulset/diary"])
            cluster.kubectl("rollout", "restart", workload, check=False)


def check_all_converges(cluster: Cluster) -> None:
    for workload in ("deployment/web", "statefulset/diary"):
        cluster.kubectl("rollout", "status", workload, "--timeout=120s", timeout=130)
    eventually(lambda: all(job["status"].get("succeeded") == 1 for job in items(cluster, "jobs")), 120)
    diary = cluster.kubectl("exec", "diary-0", "--", "cat", "/data/diary").split()
    assert diary == [str(n + 1) for n in range(len(diary))], "the diary on the volume has gaps"
    assert len(diary) > 50


def same_again(cluster: Cluster, before: tuple[list[str], list[str]]) -> None:
    """Nothing is left of all that was."""

    def new() -> list[str]:
        now = leftovers(cluster.config), kept(cluster.config)
        return [line for was, found in zip(before, now, strict=True) for line in found if line not in was]

    deadline = time.monotonic() + 60
    while (left := new()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left, "left over:\n" + "\n".join(left)
