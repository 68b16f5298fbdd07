"""Subresources that lead to a node or a pod: log, exec, attach, portforward, proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from sampan.apiserver import errors, links
from sampan.apiserver.call import Answer, Call, key
from sampan.apiserver.kubelets import forward
from sampan.client.api import ApiError
from sampan.http import reading, websocket
from sampan.http.messages import Request, Response
from sampan.kinds import registry
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

_LOG_OPTIONS = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
)
_MOST_SAID = 4096  # of a kubelet's refusal, in bytes
# What the API calls a stream, and what the kubelet does.
_STREAMS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))


class Connections:
    def __init__(self, server: ApiServer):
        self._server = server

    async def log(self, call: Call) -> Answer:
        pod, container = await self._container(call)
        options = {n: call.parameter(n) for n in _LOG_OPTIONS if call.parameter(n)}
        response = await self._to_kubelet(
            call, pod, "containerLogs", container, urlencode(options), upgrades=False
        )
        if response.status >= 400:
            raise await _refused(response)
        if websocket.offered(_request(call)):
            assert isinstance(response.body, AsyncIterator)
            return reading.stream(_request(call), response.body)
        response.headers.setdefault("content-type", "text/plain")
        return response

    async def exec(self, call: Call) -> Answer:
        return await self._streams(call, "exec")

    async def attach(self, call: Call) -> Answer:
        return await self._streams(call, "attach")

    async def _streams(self, call: Call, what: str) -> Answer:
        pod, container = await self._container(call)
        if get(pod, "status.phase") in ("Succeeded", "Failed"):
            raise errors.bad_request(
                f"cannot exec into a container in a completed pod; current phase is {pod['status']['phase']}"
            )
        options = [(theirs, "1") for ours, theirs in _STREAMS if call.flag(ours)]
        if what == "exec":
            commands = call.query.get("command", [])
            if not commands:
                raise errors.bad_request("you must specify at least one command for the container")
            options += [("command", c) for c in commands]
        if not any(name in ("input", "output", "error") for name, _ in options):
            raise errors.bad_request("you must specify at least one of stdin, stdout, stderr")
        return await self._to_kubelet(call, pod, what, container, urlencode(options))

    async def portforward(self, call: Call) -> Answer:
        pod = await self._pod(call)
        query = urlencode([("ports", p) for p in call.query.get("ports", [])])
        return await self._to_kubelet(call, pod, "portForward", "", query)

    async def proxy(self, call: Call) -> Answer:
        """To a node's kubelet, to a port of a pod, or to a ready endpoint of a Service."""
        request = _request(call)
        query = f"?{request.query}" if request.query else ""
        if not call.subpath and request.method in ("GET", "HEAD"):
            # So that the relative links of the page behind lead into the proxy.
            return Response(301, b"", {"location": f"{request.path}/{query}"})
        target = quote(call.subpath or "/", safe="/:@!$&'()*+,;=~-._") + query
        if call.resource.plural == "nodes":
            return await forward(
                await self._server.kubelets.node(call.name.rpartition(":")[0] or call.name), request, target
            )
        scheme, name, port = _parsed(call.name)
        call.name = name
        host = await (
            self._pod_host(call, port) if call.resource.plural == "pods" else self.service_host(call, port)
        )
        client = await self._server.kubelets.proxied(f"{scheme}://{host}")
        response = await forward(client, request, target)
        return await _relinked(response, request.path.removesuffix(call.subpath), host)

    async def _pod(self, call: Call) -> Object:
        record = await self._server.reader.record(call.resource, call.namespace, call.name)
        return self._server.decoded(record)

    async def _container(self, call: Call) -> tuple[Object, str]:
        """The pod and the container meant: the one named, or the only one."""
        pod = await self._pod(call)
        spec = pod["spec"]
        normal = [c["name"] for c in spec.get("containers") or ()]
        others = [c["name"] for f in ("initContainers", "ephemeralContainers") for c in spec.get(f) or ()]
        asked = call.parameter("container")
        if asked:
            if asked not in (*normal, *others):
                raise errors.bad_request(f"container {asked} is not valid for pod {call.name}")
            return pod, asked
        if len(normal) == 1:
            return pod, normal[0]
        shown = f"a container name must be specified for pod {call.name}, choose one of: [{' '.join(normal)}]"
        inits = [c["name"] for c in spec.get("initContainers") or ()]
        raise errors.bad_request(
            f"{shown} or one of the init containers: [{' '.join(inits)}]" if inits else shown
        )

    async def _to_kubelet(
        self, call: Call, pod: Object, what: str, container: str, query: str, *, upgrades: bool = True
    ) -> Response:
        node = get(pod, "spec.nodeName")
        if not node:
            raise errors.bad_request(f"pod {call.name} does not have a host assigned")
        path = "/".join(quote(p, safe="") for p in (what, call.namespace, call.name, container) if p)
        client = await self._server.kubelets.node(node)
        target = f"/{path}?{query}" if query else f"/{path}"
        return await forward(client, _request(call), target, upgrades=upgrades)

    async def _pod_host(self, call: Call, port: str) -> str:
        pod = await self._pod(call)
        address = get(pod, "status.podIP")
        if not address:
            raise errors.bad_request(f"address not allowed: pod {call.name} has no address")
        ports = [p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()]
        number = next((p["containerPort"] for p in ports if p.get("name") == port), port)
        if not number and ports:
            number = ports[0]["containerPort"]
        return _host(address, number or 80)

    async def service_host(self, call: Call, port: str) -> str:
        """A ready endpoint behind the Service's port."""
        service = await self._pod(call)
        ports = get(service, "spec.ports", [])
        chosen = [p for p in ports if port in ("", p.get("name"), str(p["port"]))]
        if not chosen or (not port and len(ports) > 1):
            raise errors.unavailable(f'no service port "{port}" found for service "{call.name}"')
        kind = registry.find("endpointslices.discovery.k8s.io")
        page = await self._server.store.list(key(kind, call.namespace, ""))
        for record in page.records:
            piece = self._server.decoded(record)
            if (piece["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != call.name:
                continue
            for their in piece.get("ports") or ():
                if (their.get("name") or "") != (chosen[0].get("name") or ""):
                    continue
                for endpoint in piece.get("endpoints") or ():
                    if get(endpoint, "conditions.ready", True):
                        return _host(endpoint["addresses"][0], their["port"])
        raise errors.unavailable(f'no endpoints available for service "{call.name}"')


async def _relinked(response: Response, prefix: str, host: str) -> Response:
    """A page, or a redirect, whose links lead through the proxy."""
    headers = dict(response.headers)
    if location := headers.get("location"):
        headers["location"] = links.link(location, prefix, host)
    plain = headers.get("content-encoding", "identity") == "identity"
    if not headers.get("content-type", "").startswith("text/html") or not plain:
        return Response(response.status, response.body, headers)
    assert isinstance(response.body, AsyncIterator)
    text = b"".join([piece async for piece in response.body]).decode(errors="surrogateescape")
    headers.pop("content-length", None)
    body = links.page(text, prefix, host).encode(errors="surrogateescape")
    return Response(response.status, body, headers)


async def _refused(response: Response) -> ApiError:
    """What a kubelet said in plain text, as a Status."""
    assert isinstance(response.body, AsyncIterator)
    text = b"".join([piece async for piece in response.body])[:_MOST_SAID].decode(errors="replace").strip()
    match response.status:
        case 400:
            return errors.bad_request(text)
        case 404:
            return errors.error(404, "NotFound", text)
        case 500:
            return errors.internal(text)
    return errors.error(response.status, response.phrase.replace(" ", ""), text)


def _request(call: Call) -> Request:
    if call.request is None:
        raise errors.bad_request(f"{call.subresource} needs a connection over HTTP")
    return call.request


def _parsed(name: str) -> tuple[str, str, str]:
    """Scheme, name and port of `[http:|https:]NAME[:PORT]`."""
    words = name.split(":")
    if words[0] in ("http", "https") and len(words) > 1:
        return words[0], words[1], words[2] if len(words) > 2 else ""
    return "http", words[0], words[1] if len(words) > 1 else ""


def _host(address: str, port: object) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
