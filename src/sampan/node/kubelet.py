"""The kubelet: joins what this room has into one node.

Start reading here: `run` starts one task for each concern, `_pods` gives every pod a worker, `_events` wakes
the workers when something happens in the runtime.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sampan.client.api import Client
from sampan.client.watching import follow
from sampan.host.cgroups import Cgroups
from sampan.machinery.cri import Cri, CriError
from sampan.machinery.objects import Object
from sampan.node import admission, etc, eviction, garbage, machine, node_object, resize
from sampan.node.cgroups import PodCgroups
from sampan.node.configs import Host
from sampan.node.context import Context
from sampan.node.images import Images
from sampan.node.operations import Operations
from sampan.node.registration import Registration
from sampan.node.runtime import Runtime
from sampan.node.server.api import KubeletApi
from sampan.node.services import Services
from sampan.node.volumes.manager import Volumes
from sampan.node.volumes.persistent import Reclaimer
from sampan.node.worker import Worker, orphan
from sampan.reconcile.events import Recorder

log = logging.getLogger(__name__)
RELIST = 60.0  # seconds between looks at the runtime, beside its events
RELIST_WITHOUT_EVENTS = 2.0


class Kubelet:
    """One node. `root` holds pods' directories and logs; `volumes` those that the local-path provisioner hands out.

    `address` is where pods and the API server reach the node; `sockets` listen for the kubelet's API, which
    is served over `tls` (server certificate, the cluster's authority for clients), `streams` is the engine's
    in-process seam for exec, attach and port-forward (None: the runtime's streaming URLs are used). `cgroup`
    is the path below which the pods' cgroups are.
    """

    def __init__(
        self,
        *,
        name: str,
        client: Client,
        cri: Cri,
        root: Path,
        volumes: Path,
        address: str,
        tls: ssl.SSLContext | None = None,
        sockets: Sequence[socket.socket] = (),
        cluster_dns: str = "",
        cluster_domain: str = "cluster.local",
        pod_cidr: str = "",
        cgroup: str = "kubepods",
        cgroups: Cgroups | None = None,
        streams: Any = None,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Object] = (),
    ):
        root.mkdir(parents=True, exist_ok=True)
        self.name, self.client = name, client
        found = machine.read(root)
        allocatable = node_object.allocatable(found)
        self.operations = Operations(cri)
        self.runtime = Runtime(self.operations)
        dns = etc.ClusterDns((cluster_dns,) if cluster_dns else (), cluster_domain, _host_resolver())
        self._me = node_object.Self(
            name=name,
            address=address,
            port=sockets[0].getsockname()[1] if sockets else 10250,
            machine=found,
            runtime="",
            pod_cidr=pod_cidr,
            labels=labels or {},
            taints=taints,
        )
        self.context = Context(
            client=client,
            runtime=self.runtime,
            images=Images(self.runtime),
            volumes=Volumes(client, root, volumes, allocatable, lambda: self.registration.node),
            services=Services(client),
            events=Recorder(client, "kubelet", name),
            cgroups=PodCgroups(cgroups, cgroup),
            host=Host(name, dns, cgroup, root / "logs", found.memory),
            address=address,
            root=root,
            allocatable=allocatable,
            clock=time.time,
            admit=self._admit,
            resizable=self._resizable,
        )
        self.context.volumes.appeared = self._wake
        self.workers: dict[str, Worker] = {}
        self.registration = Registration(client, self.runtime, self._me, root, self._faults)
        self.reclaimer = Reclaimer(client, volumes)
        self.api = KubeletApi(self, streams)
        self._sockets, self._tls = sockets, tls
        self._greeted = asyncio.Event()
        self._silent = asyncio.Event()  # the runtime tells no events
        self._states: dict[str, Any] = {}

    async def run(self) -> None:
        """Until cancelled; containers run on."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for work in (
                    self._greet(),
                    self.registration.run(),
                    self._pods(),
                    self._events(),
                    self._relists(),
                    self.context.services.run(),
                    self.context.volumes.run(),
                    self.context.events.run(),
                    self.reclaimer.run(),
                    garbage.run(self),
                    eviction.run(self),
                ):
                    group.create_task(work)
                if self._sockets:
                    group.create_task(self.api.run(self._sockets, self._tls))
        finally:
            await self.context.volumes.close()

    def _faults(self) -> list[str]:
        return [] if self._greeted.is_set() else ["container runtime status check may not have completed yet"]

    async def _greet(self) -> None:
        """Until the runtime has answered once."""
        while not self._greeted.is_set():
            try:
                await self.runtime.greet()
                self._greeted.set()
                self.registration.hurry()
            except CriError as e:
                log.info("the container runtime does not answer: %s", e)
                await asyncio.sleep(0.2)

    # Pods.

    async def _pods(self) -> None:
        """Every pod that is bound to this node gets a worker."""
        await self._greeted.wait()
        async for change in follow(self.client, "pods", fields=f"spec.nodeName={self.name}"):
            if change.type == "BOOKMARK":
                if change.synced:
                    await self._orphans()
                continue
            uid = change.object["metadata"]["uid"]
            if change.type == "DELETED":
                if uid in self.workers:
                    self.workers[uid].remove()
            elif uid in self.workers:
                self.workers[uid].update(change.object, change.cause)
            else:
                self._start(Worker(self.context, change.object, change.cause))

    def _start(self, worker: Worker) -> None:
        self.workers[worker.uid] = worker
        self._group.create_task(self._work(worker), name=f"pod {worker.uid}")

    async def _work(self, worker: Worker) -> None:
        """Run a worker to its end; one that fails is replaced, since all it knew can be found again."""
        while True:
            try:
                await worker.run()
                break
            except Exception:
                log.exception("the worker of pod %s failed and is started anew", worker.uid)
                await asyncio.sleep(1.0)
                worker = Worker(self.context, worker.pod, removed=worker.removed)
                self.workers[worker.uid] = worker
        self.workers.pop(worker.uid, None)

    async def _admit(self, pod: Object) -> admission.Refusal | None:
        """Whether the node takes a pod beside those that it has taken; labels may be newer than the Node known here."""
        uid = pod["metadata"]["uid"]
        others = [w.pod for w in self.workers.values() if w.uid != uid and w.takes_room]
        node = self.registration.node or await self.client.get("nodes", self.name)
        refused = admission.refusal(pod, others, node)
        if refused and refused[0] == admission.AFFINITY:
            return admission.refusal(pod, others, await self.client.get("nodes", self.name))
        return refused

    async def _resizable(self, pod: Object) -> admission.Refusal | None:
        """Whether the node has room for what a running pod wants now."""
        uid = pod["metadata"]["uid"]
        others = [w.pod for w in self.workers.values() if w.uid != uid and w.takes_room]
        node = self.registration.node or await self.client.get("nodes", self.name)
        return resize.verdict(pod, others, node)

    def _wake(self, uid: str) -> None:
        if uid in self.workers:
            self.workers[uid].wake()

    async def _orphans(self) -> None:
        """Pods that the runtime has and the API has not: they were deleted while this process was away."""
        try:
            self._states = await self.runtime.states()
            for uid in self._states.keys() - self.workers.keys():
                labels = await self.runtime.labels(uid)
                if labels:
                    log.info("pod %s is gone from the API: ending it", uid)
                    self._start(Worker(self.context, orphan(labels), removed=True))
        except CriError as e:
            log.warning("looking for orphans: %s", e)
        await garbage.leftovers(self)

    # The runtime.

    async def _events(self) -> None:
        """Wake a pod's worker at once when something happens to its containers."""
        while True:
            try:
                async for uid in self.runtime.changes():
                    if uid in self.workers:
                        self.workers[uid].touch()
            except CriError as e:
                if e.code == "UNIMPLEMENTED":
                    self._silent.set()
                    log.warning(
                        "the runtime tells no events; looking at it every %g s", RELIST_WITHOUT_EVENTS
                    )
                    return
                log.info("events of the runtime: %s", e)
            await asyncio.sleep(0.5)
            for worker in self.workers.values():
                worker.touch()

    async def _relists(self) -> None:
        """The safety net: what events did not tell."""
        while True:
            if self._silent.is_set():
                await asyncio.sleep(RELIST_WITHOUT_EVENTS)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RELIST):
                        await self._silent.wait()
            with contextlib.suppress(CriError):
                states = await self.runtime.states()
                for uid in states.keys() | self._states.keys():
                    if states.get(uid) != self._states.get(uid) and uid in self.workers:
                        self.workers[uid].touch()
                self._states = states

    def find(self, namespace: str, name: str, uid: str = "") -> Worker | None:
        """The worker of a pod by its name; a newer namesake wins over one that is ending."""
        found = [
            w
            for w in self.workers.values()
            if w.pod["metadata"]["name"] == name
            and w.pod["metadata"].get("namespace") == namespace
            and (not uid or w.uid == uid)
        ]
        return min(found, key=lambda w: w.deleted, default=None)


def _host_resolver() -> etc.Resolver:
    """The node's own resolver; behind systemd's stub, the real one."""
    for path in ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"):
        with contextlib.suppress(OSError):
            return etc.parse(Path(path).read_text())
    return etc.Resolver()
