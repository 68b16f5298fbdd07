"""The paths of the kubelet's API, and who may use them.

Source: the Kubernetes documentation's page on kubelet authentication and authorization.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from sampan.http.messages import Request, Response, query
from sampan.node.node_object import VERSION
from sampan.node.server import figures, logs, metrics, streaming
from sampan.node.server.guard import Denied, Guard

if TYPE_CHECKING:
    from sampan.node.kubelet import Kubelet

log = logging.getLogger(__name__)
Serve = Callable[["KubeletApi", Request, dict[str, str]], Awaitable[Response]]


class Refused(Exception):
    """A request that cannot be served; answered as plain text, as kubelets do."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class KubeletApi:
    def __init__(self, node: Kubelet, streams: Any):
        self.node, self.streams = node, streams
        self.guard = Guard(node.client, node.name)
        self.figures = figures.Figures(node)

    async def run(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None) -> None:
        """Serve until cancelled."""
        from sampan.http.server import serve

        server = await serve(self.handle, sockets=sockets, tls=tls)
        try:
            await asyncio.Event().wait()
        finally:
            await server.close(0.5)

    async def handle(self, request: Request) -> Response:
        try:
            await self.guard.check(request)
            for pattern, serve in PATHS:
                if match := pattern.fullmatch(request.path):
                    return await serve(self, request, match.groupdict())
        except Denied as e:
            return text(e.status, str(e))
        except Refused as e:
            return text(e.status, str(e))
        return text(404, "404 page not found")

    def container(self, found: dict[str, str]) -> tuple[Any, str]:
        """The worker of the pod and the id of its newest container that the path names. Raises Refused."""
        worker = self.pod(found)
        name = found["container"]
        seen = worker.observed.latest(name)
        if seen is None:
            raise Refused(404, f'container not found ("{name}")')
        return worker, seen.id

    def pod(self, found: dict[str, str]) -> Any:
        worker = self.node.find(found["namespace"], found["pod"], found.get("uid") or "")
        if worker is None:
            raise Refused(404, f"pod does not exist: {found['pod']}_{found['namespace']}")
        return worker


def text(status: int, message: str) -> Response:
    return Response(status, message.encode() + b"\n", {"content-type": "text/plain; charset=utf-8"})


def as_json(value: Any) -> Response:
    return Response(200, json.dumps(value).encode(), {"content-type": "application/json"})


async def _healthy(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    return text(200, "ok")


async def _pods(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    workers = api.node.workers.values()
    items = [{**w.pod, "status": w.reporter.reported} for w in workers if not w.removed]
    return as_json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})


async def _config(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    host = api.node.context.host
    config = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "clusterDomain": host.dns.domain,
        "clusterDNS": list(host.dns.servers),
        "cgroupRoot": f"/{host.cgroup}",
        "podLogsDir": str(host.logs),
        "seccompDefault": True,
        "maxPods": 110,
        "nodeLeaseDurationSeconds": 40,
    }
    return as_json({"kubeletconfig": config, "version": VERSION})


async def _logs(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    try:
        wanted = logs.options({name: values[0] for name, values in query(request.query).items()})
    except ValueError as e:
        raise Refused(400, str(e)) from e
    worker = api.pod(found)
    try:
        source = await logs.source(api.node, worker, found["container"], wanted.previous)
    except LookupError as e:
        raise Refused(400, str(e.args[0])) from e
    headers = {"content-type": "text/plain"}
    return Response(200, logs.read(source, wanted), headers)


async def _summary(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    return as_json(await api.figures.summary())


async def _metrics(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    return _exposition(await api.figures.metrics())


def _exposition(body: str) -> Response:
    return Response(200, body.encode(), {"content-type": "text/plain; version=0.0.4; charset=utf-8"})


async def _own_metrics(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    return _exposition(metrics.own(api.node))


async def _container_metrics(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    return _exposition(metrics.containers(await api.figures.summary()))


async def _probe_metrics(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    return _exposition(metrics.probes(api.node))


async def _exec(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    _, id = api.container(found)
    return await streaming.execute(api, request, id)


async def _attach(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    worker, id = api.container(found)
    return await streaming.attach(api, request, worker, found["container"], id)


async def _forward(api: KubeletApi, request: Request, found: dict[str, str]) -> Response:
    worker = api.pod(found)
    sandbox = worker.observed.sandbox
    if sandbox is None:
        raise Refused(400, f"pod {found['pod']} is not running")
    return await streaming.forward(api, request, sandbox.id)


_POD = r"(?P<namespace>[^/]+)/(?P<pod>[^/]+)"
_CONTAINER = rf"{_POD}/(?:(?P<uid>[^/]+)/)?(?P<container>[^/]+)"
PATHS: tuple[tuple[re.Pattern[str], Serve], ...] = (
    (re.compile("/healthz(/.*)?"), _healthy),
    (re.compile("/pods/?"), _pods),
    (re.compile("/configz"), _config),
    (re.compile(rf"/containerLogs/{_POD}/(?P<container>[^/]+)"), _logs),
    (re.compile("/stats/summary"), _summary),
    (re.compile("/metrics"), _own_metrics),
    (re.compile("/metrics/cadvisor"), _container_metrics),
    (re.compile("/metrics/probes"), _probe_metrics),
    (re.compile("/metrics/resource"), _metrics),
    (re.compile(f"/exec/{_CONTAINER}"), _exec),
    (re.compile(f"/attach/{_CONTAINER}"), _attach),
    (re.compile(f"/portForward/{_POD}(?:/(?P<uid>[^/]+))?"), _forward),
)
