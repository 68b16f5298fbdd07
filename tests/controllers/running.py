"""A real API server with every controller and the scheduler, each under its own name; only the nodes are played."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sampan import controllers
from sampan.apiserver.server import ApiServer
from sampan.apiserver.settings import Settings
from sampan.client.api import ApiError, Change, Client
from sampan.client.informer import Informers
from sampan.machinery import times
from sampan.machinery.objects import Key, Object
from sampan.reconcile import loop
from sampan.scheduler import loop as scheduler
from sampan.scheduler.configuration import Configuration
from sampan.store.memory import Memory

PATIENCE = 20.0


@dataclass
class Cluster:
    api: ApiServer
    admin: Client
    informers: Informers

    async def until(
        self, kind: str, name: str, holds: Callable[[Object | None], object], namespace: str = "default"
    ) -> None:
        """Wait until something holds of an object, or of None where it is not there."""
        done = asyncio.Event()

        def look(*_: object) -> None:
            if holds(self.informers.get(kind, Key(namespace, name))):
                done.set()

        self.informers.subscribe(kind, look)
        look()
        try:
            async with asyncio.timeout(PATIENCE):
                await done.wait()
        except TimeoutError:
            raise AssertionError(
                f"{kind} {name} is {self.informers.get(kind, Key(namespace, name))}"
            ) from None

    async def until_all(self, kind: str, holds: Callable[[list[Object]], object]) -> None:
        """Wait until something holds of all objects of a kind."""
        done = asyncio.Event()

        def look(*_: object) -> None:
            if holds(list(self.informers.list(kind))):
                done.set()

        self.informers.subscribe(kind, look)
        look()
        try:
            async with asyncio.timeout(PATIENCE):
                await done.wait()
        except TimeoutError:
            raise AssertionError(f"{kind} are {list(self.informers.list(kind))}") from None

    async def node(self, name: str, cpu: str = "8") -> None:
        labels = {"kubernetes.io/hostname": name}
        made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}
        await self.admin.create("nodes", made)
        now = times.time(time.time())
        status = {
            "allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now}],
        }
        await self.admin.patch("nodes", name, "", {"status": status}, subresource="status")

    async def events(self, about: str) -> list[tuple[str, str, int]]:
        found = (await self.admin.list("events", "default")).items
        return [
            (e["reason"], e["message"], e["count"]) for e in found if e["involvedObject"]["name"] == about
        ]


@asynccontextmanager
async def cluster(*nodes: str, config: Configuration | None = None) -> AsyncIterator[Cluster]:
    """`config` is the scheduler's."""
    api = ApiServer(Memory(), Settings())
    await api.start()
    admin = api.local("kubernetes-admin", ("system:masters",))
    informers = Informers(admin)
    built = controllers.build(controllers.Settings(ca="the CA"))

    def client_for(name: str) -> Client:
        return api.local(f"system:serviceaccount:kube-system:{name}")

    tasks = [
        asyncio.create_task(informers.run()),
        asyncio.create_task(loop.run(built, client_for, informers)),
        asyncio.create_task(scheduler.run(api.local("system:kube-scheduler"), informers, config)),
        asyncio.create_task(kubelet(admin, informers)),
    ]
    made = Cluster(api, admin, informers)
    try:
        # No pod may be made in a namespace before it has its service account.
        await made.until("serviceaccounts", "default", bool)
        for name in nodes:
            await made.node(name)
        yield made
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await api.close()
        for e in ended:
            if isinstance(e, Exception):
                raise e


async def kubelet(client: Client, informers: Informers) -> None:
    """Plays all nodes: a bound pod is at once running, or done where it is not to be restarted; a deleted one goes."""
    changes: asyncio.Queue[Change] = asyncio.Queue()
    informers.subscribe("pods", lambda change, old: changes.put_nowait(change))
    count = 0
    while True:
        change = await changes.get()
        pod, meta = change.object, change.object["metadata"]
        if change.type == "DELETED" or not pod["spec"].get("nodeName"):
            continue
        try:
            if "deletionTimestamp" in meta:
                await client.delete("pods", meta["name"], meta["namespace"], uid=meta["uid"], grace=0)
            elif pod["status"]["phase"] == "Pending":
                count += 1
                phase = "Running" if pod["spec"]["restartPolicy"] == "Always" else "Succeeded"
                ready = {
                    "type": "Ready",
                    "status": str(phase == "Running"),
                    "lastTransitionTime": times.time(time.time()),
                }
                status = {"phase": phase, "podIP": f"10.64.0.{count}", "conditions": [ready]}
                await client.patch(
                    "pods",
                    meta["name"],
                    meta["namespace"],
                    {"status": status},
                    type="strategic",
                    subresource="status",
                )
        except ApiError as e:
            if e.reason not in ("NotFound", "Conflict"):
                raise
