"""Pods placed each second, from the queue to assumed, all nodes looked at; what explaining and binding cost.

The peer is kube-scheduler 1.37.2's own code on such a machine, from its queue to assume without an API server; it
scores a sample of the nodes (500 of 5,000). Each row runs in a process of its own.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import bound, clusters
from bench.rows import Row

# The most equal pods that are placed together, as in the scheduler's loop.
RUN = 256


@dataclass(frozen=True, slots=True)
class Case:
    """One row: pods of a kind on so many nodes."""

    what: str
    kind: str
    nodes: int
    pods: int
    peer: str = ""
    reach: str = ""


CASES = (
    Case("identical pods, through the queue", "identical", 5000, 30_000, "811", "≥ 100,000"),
    Case("each pod different, parsed and encoded", "different", 5000, 10_000, "794", "≥ 20,000"),
    Case("zone spread, hard", "zone", 5000, 10_000, "437", "≥ 15,000"),
    Case("zone hard and host soft", "zone-host", 5000, 10_000, "307", "≥ 12,000"),
    Case("required affinity by zone", "near-zone", 5000, 10_000, "247", "≥ 12,000"),
    Case("required anti-affinity by host", "apart-host", 5000, 4_500, "253", "≥ 12,000"),
    Case("preferred affinity", "preferred", 5000, 10_000, "204", "≥ 12,000"),
    Case("50,000 nodes, each pod different", "different", 50_000, 4_000, "170 (sample of 2,500)", "≥ 3,000"),
    Case("100,000 nodes, each pod different", "different", 100_000, 2_000, "", "≥ 1,500, ≤ 1.5 GiB"),
)


def run() -> Sequence[Row]:
    return [*(_row(case) for case in CASES), _explained(), _bound()]


def _row(case: Case) -> Row:
    found = _apart("place", case.kind, str(case.nodes), str(case.pods))
    rate, cpu = case.pods / found["seconds"], found["cpu"] / case.pods * 1e6
    memory = f", {found['memory']:.0f} MiB" if case.nodes > 5000 else ""
    return Row(case.what, f"{rate:,.0f} pods/s{memory}", f"{cpu:.1f} µs a pod", case.peer, case.reach)


def _explained() -> Row:
    found = _apart("explain")
    return Row(
        "explain one pod on 5,000 nodes",
        f"{found['seconds'] * 1e3:.1f} ms",
        f"{found['cpu'] * 1e3:.1f} ms",
        "",
        "≤ 50 ms",
    )


def _bound() -> Row:
    pods = 10_000
    found = bound.measure(5000, pods)
    return Row(
        "end to end: 10,000 pods created while they are scheduled on 5,000 nodes",
        f"{pods / found['seconds']:,.0f} bound pods/s",
        f"{found['cpu'] / pods * 1e3:.2f} ms a pod",
        "357 pods/s, 5.8 ms CPU a pod",
        "≥ 800 pods/s, ≤ 1.5 ms CPU a pod",
    )


def _apart(*words: str) -> dict[str, float]:
    """A measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.scheduler", *words], stdout=subprocess.PIPE, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


# In the process of one row


def _measured(work: Callable[[], None]) -> dict[str, float]:
    gc.collect()
    gc.freeze()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu": used, "memory": memory}


def place(kind: str, nodes: int, pods: int) -> dict[str, float]:
    """Queue, place and assume so many pods. Identical ones wait in the queue already; each different one is also
    read and queued while the clock runs.
    """
    from sampan.scheduler.columns.kinds import kind_of
    from sampan.scheduler.columns.placer import Placer
    from sampan.scheduler.plugins import default_profile
    from sampan.scheduler.pods import PodInfo
    from sampan.scheduler.queue import Queued, Rules, SchedulingQueue

    snapshot, profile = clusters.cluster(nodes), default_profile()
    placer, queue = Placer(snapshot), SchedulingQueue({profile.name: Rules()})
    objects = [clusters.PODS[kind](f"pod-{number}") for number in range(pods)]
    placer.place(profile, PodInfo(clusters.PODS[kind]("first")))
    now = 1.0
    if kind != "different":
        for obj in objects:
            info = PodInfo(obj)
            kind_of(info)
            queue.add(info, now)

    def assume(run: list[Queued]) -> None:
        names = placer.place_run(profile, [item.pod for item in run])
        assert len(names) == len(run), placer.place(profile, run[len(names)].pod).message()
        for item, name in zip(run, names, strict=True):
            snapshot.add_pod(item.pod, name)
            queue.done(item.pod.uid)

    def equal() -> None:
        following = queue.pop(now)
        while following is not None:
            run, first = [following], kind_of(following.pod)
            while (following := queue.pop(now)) and len(run) < RUN and first.same(kind_of(following.pod)):
                run.append(following)
            assume(run)

    def each() -> None:
        for obj in objects:
            queue.add(PodInfo(obj), now)
            item = queue.pop(now)
            assert item
            assume([item])

    return _measured(each if kind == "different" else equal)


def explain() -> dict[str, float]:
    """Every verdict and score of every node for one pod that half of the nodes refuse, as objects."""
    from sampan.scheduler.columns.placer import Placer
    from sampan.scheduler.explain import explain
    from sampan.scheduler.plugins import default_profile
    from sampan.scheduler.pods import PodInfo

    snapshot, profile = clusters.cluster(5000), default_profile()
    placer = Placer(snapshot)
    pod = PodInfo(clusters.pod("pod", nodeSelector={clusters.ZONE: "zone-1"}))
    placer.verdicts(profile, pod)
    return _measured(lambda: _keep(explain(profile, snapshot, pod, placer)))


def _keep(found: object) -> None:
    assert found


if __name__ == "__main__":
    word, *rest = sys.argv[1:]
    print(json.dumps(explain() if word == "explain" else place(rest[0], int(rest[1]), int(rest[2]))))
