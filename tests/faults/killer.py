"""kill -9 at random moments."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence

from tests.faults.load import options, process, shims

from sampan.lifecycle import cluster as lifecycle
from sampan.testing import Cluster


def chances() -> random.Random:
    """Random numbers from a seed that is printed; SAMPAN_SEED repeats it."""
    seed = int(os.environ.get("SAMPAN_SEED") or time.time())
    print(f"SAMPAN_SEED={seed}")
    return random.Random(seed)


class Killer:
    """Kills something of a cluster at each call; what, its random numbers say. `spared` are never killed."""

    def __init__(self, cluster: Cluster, chance: random.Random, spared: Sequence[str] = ()):
        self._cluster, self._chance = cluster, chance
        weights = {"control": 4, "shim": 3, "supervisor": 1, **dict.fromkeys(cluster.config.node_names, 4)}
        self._weights = {name: weight for name, weight in weights.items() if name not in spared}
        self.killed: list[str] = []

    def __call__(self) -> None:
        victim = self._chance.choices(list(self._weights), list(self._weights.values()))[0]
        if victim == "shim":
            running = sorted(shims(self._cluster).values())
            pid = self._chance.choice(running) if running else 0
        else:
            pid = process(self._cluster, victim)
        if not pid:
            return
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            return
        self.killed.append(victim)
        if victim == "supervisor":
            # Its children are on their own for a while, and some of them may die of it.
            self._pause(0.0, 1.0)
            if self._chance.random() < 0.3:
                os.kill(self._orphan(), 9)
            lifecycle.start(options(self._cluster))

    def _orphan(self) -> int:
        pids = json.loads((self._cluster.config.run / "pids.json").read_text())
        return int(self._chance.choice(sorted(pids.values()))[0])

    def _pause(self, least: float, most: float) -> None:
        time.sleep(self._chance.uniform(least, most))
