"""Writers whose every acknowledged write is remembered, to be looked for afterwards."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from sampan.client import kubeconfig
from sampan.client.api import ApiError, Unavailable
from sampan.testing import Cluster

NAMESPACE = "default"


class Writers:
    """While the block runs, objects are created, counted up and deleted through the API.

    What was acknowledged is kept: `created` names, `deleted` names, and `count`, the last acknowledged value of one
    counter. What was refused, or not answered, may have happened or not.
    """

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), name="writers")
        self.created: set[str] = set()
        self.deleted: set[str] = set()
        self.unsure: set[str] = set()
        self.count = 0

    def __enter__(self) -> Writers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _write(self) -> None:
        await asyncio.gather(self._create(), self._count_up())

    async def _create(self) -> None:
        """Create one object after the other, and delete every third again."""
        number = 0
        async with kubeconfig.load(self._cluster.kubeconfig) as client:
            while not self._over.is_set():
                number += 1
                name = f"written-{number}"
                try:
                    await client.create("configmaps", _config_map(name, {"n": str(number)}))
                    self.created.add(name)
                    if number % 3 == 0:
                        self.unsure.add(name)
                        await client.delete("configmaps", name, NAMESPACE)
                        self.deleted.add(name)
                except (ApiError, Unavailable):
                    self.unsure.add(name)
                await asyncio.sleep(0.01)

    async def _count_up(self) -> None:
        """Read, add one, write: each acknowledged value builds on the one before."""
        async with kubeconfig.load(self._cluster.kubeconfig) as client:
            await client.create("configmaps", _config_map("counter", {"n": "0"}))
            while not self._over.is_set():
                try:
                    found = await client.get("configmaps", "counter", NAMESPACE)
                    seen = int(found["data"]["n"])
                    assert seen >= self.count, f"the counter went back from {self.count} to {seen}"
                    changed = {**found, "data": {"n": str(seen + 1)}}
                    await client.update("configmaps", changed)
                    self.count = seen + 1
                except (ApiError, Unavailable):
                    pass
                await asyncio.sleep(0.01)

    def check(self, found: list[dict[str, Any]]) -> None:
        """Hold what was acknowledged against the ConfigMaps that are there. AssertionError for a lost write."""
        there = {item["metadata"]["name"]: item.get("data", {}) for item in found}
        lost = [name for name in self.created - self.unsure if name not in there]
        assert not lost, f"created and acknowledged, but lost: {lost}"
        back = self.deleted & there.keys()
        assert not back, f"deleted and acknowledged, but there: {back}"
        wrong = [n for n in self.created & there.keys() if there[n] != {"n": n.rpartition("-")[2]}]
        assert not wrong, f"not as they were written: {wrong}"
        assert int(there["counter"]["n"]) >= self.count


def _config_map(name: str, data: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
