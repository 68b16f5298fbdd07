"""The scheduler as a process of its own, beside or in place of another one: leadership, health and metrics.

While it leads (or without leader election, always), it follows the cluster by informers of its own and schedules. When
it can no longer renew its lease it stops, and waits to lead again: what it knew may be old by then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from sampan.client.api import Client
from sampan.client.informer import Informers
from sampan.http.messages import Request, Response
from sampan.reconcile import lease
from sampan.scheduler import loop
from sampan.scheduler.configuration import Configuration
from sampan.scheduler.metrics import Metrics

PLAIN = {"content-type": "text/plain; charset=utf-8"}
log = logging.getLogger(__name__)


class Standalone:
    """The process. `run` works until cancelled, `handle` answers over HTTP."""

    def __init__(self, client: Client, config: Configuration) -> None:
        self._client, self._config = client, config
        self._identity = f"{socket.gethostname()}_{os.urandom(8).hex()}"
        self._metrics = Metrics()
        self._ready = asyncio.Event()
        self._leads = False
        election = config.leader_election
        self._metrics.gauge(
            "leader_election_master_status",
            "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, "
            "1 indicates master.",
            ("name",),
            lambda: {(election.name,): float(self._leads)} if election.enabled else {},
        )

    async def run(self) -> None:
        election = self._config.leader_election
        if not election.enabled:
            await self._work()
            return
        terms = lease.Terms(election.duration, election.deadline, election.period)
        while True:
            try:
                await lease.lead(
                    self._client, election.namespace, election.name, self._identity, self._work, terms
                )
            except lease.Lost as e:
                log.warning("%s; waiting to lead again", e)

    async def _work(self) -> None:
        self._leads = True
        informers = Informers(self._client)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(informers.run(), name="informers")
                work = loop.run(self._client, informers, self._config, self._metrics, self._ready)
                tasks.create_task(work, name="scheduler")
        finally:
            self._leads = False
            self._ready.clear()
            self._metrics.forget_gauges("scheduler_")

    async def handle(self, request: Request) -> Response:
        """`/metrics`, and whether the process lives and is ready: a standby is, a leader once it knows the cluster."""
        if request.path == "/metrics":
            headers = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
            return Response(200, self._metrics.text().encode(), headers)
        if request.path in ("/healthz", "/livez"):
            return Response(200, b"ok", PLAIN)
        if request.path == "/readyz":
            standby = self._config.leader_election.enabled and not self._leads
            if standby or self._ready.is_set():
                return Response(200, b"ok", PLAIN)
            return Response(500, b"[-]sched-handler-sync failed: not all informers are synced\n", PLAIN)
        return Response(404, b"404 page not found\n", PLAIN)
