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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from bench import bound, clusters
from bench.rows import Row

if TYPE_CHECKING:
    from sampan.scheduler.pods import PodInfo
    from sampan.scheduler.queue import Queued

# The most equal pods that are placed together, as in the scheduler's loop.
RUN = 256
# So many different pods are decoded at a time, while the clock stands.
CHUNK = 50


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
    found = _apart(case.kind, str(case.nodes), str(case.pods))
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


class Clock:
    """Seconds and CPU seconds of what runs between `start` and `stop`, added up."""

    def __init__(self) -> None:
        self._wall = self._cpu = self.seconds = self.cpu = 0.0

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.seconds += time.perf_counter() - self._wall
        self.cpu += time.process_time() - self._cpu

    def result(self) -> dict[str, float]:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"seconds": self.seconds, "cpu": self.cpu, "memory": memory}


class Scheduler:
    """Queue, columns and snapshot as the scheduler's loop has them, without what binds."""

    def __init__(self, nodes: int, kind: str) -> None:
        from sampan.scheduler.columns.placer import Placer
        from sampan.scheduler.plugins import default_profile
        from sampan.scheduler.pods import PodInfo
        from sampan.scheduler.queue import Rules, SchedulingQueue

        self._profile, self._snapshot = default_profile(), clusters.cluster(nodes)
        self._placer = Placer(self._snapshot)
        self._queue = SchedulingQueue({self._profile.name: Rules()})
        self._placer.place(self._profile, PodInfo(clusters.PODS[kind]("first")))

    def add(self, pod: PodInfo) -> None:
        self._queue.add(pod, 1.0)

    def run(self) -> None:
        """Place all that wait, equal ones together."""
        alike, following = self._placer.alike, self._queue.pop(1.0)
        while following is not None:
            run = [following]
            while (following := self._queue.pop(1.0)) and len(run) < RUN and alike(run[0].pod, following.pod):
                run.append(following)
            self._assume(run)

    def _assume(self, run: list[Queued]) -> None:
        names = self._placer.place_run(self._profile, [item.pod for item in run])
        assert len(names) == len(run), self._placer.place(self._profile, run[len(names)].pod).message()
        for item, name in zip(run, names, strict=True):
            self._snapshot.add_pod(item.pod, name)
            self._queue.done(item.pod.uid)


def place_equal(kind: str, nodes: int, pods: int) -> dict[str, float]:
    """Equal pods that wait in the queue already, as the informer has put them there."""
    from sampan.scheduler.columns.kinds import kind_of
    from sampan.scheduler.pods import PodInfo

    scheduler, clock = Scheduler(nodes, kind), Clock()
    for number in range(pods):
        info = PodInfo(clusters.PODS[kind](f"pod-{number}"))
        kind_of(info)
        scheduler.add(info)
    gc.collect()
    gc.freeze()
    clock.start()
    scheduler.run()
    clock.stop()
    return clock.result()


def place_different(nodes: int, pods: int) -> dict[str, float]:
    """Pods as they come from the decoder, some at a time: each is read, queued, encoded and placed."""
    from sampan.scheduler.pods import PodInfo

    scheduler, clock = Scheduler(nodes, "different"), Clock()
    texts = [orjson.dumps(clusters.PODS["different"](f"pod-{number}")) for number in range(pods)]
    gc.collect()
    gc.freeze()
    for start in range(0, pods, CHUNK):
        objects = [orjson.loads(text) for text in texts[start : start + CHUNK]]
        clock.start()
        for obj in objects:
            scheduler.add(PodInfo(obj))
        scheduler.run()
        clock.stop()
    return clock.result()


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
    gc.collect()
    gc.freeze()
    clock = Clock()
    clock.start()
    found = explain(profile, snapshot, pod, placer)
    clock.stop()
    assert len(found.nodes) == 5000
    return clock.result()


if __name__ == "__main__":
    word, *numbers = sys.argv[1:]
    if word == "explain":
        print(json.dumps(explain()))
    elif word == "different":
        print(json.dumps(place_different(*map(int, numbers))))
    else:
        print(json.dumps(place_equal(word, *map(int, numbers))))
