"""A program that is called: a real server over TLS that answers reviews."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from sampan.host.pki import Pki
from sampan.http import server as http
from sampan.http.messages import Request, Response
from sampan.http.tls import server_context
from sampan.machinery.objects import Object

Answer = Callable[[Object], Object]


@dataclass
class Program:
    """What it was asked, by path, and how it answers: a function of the request for each path."""

    url: str
    bundle: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, Object]] = field(default_factory=list)

    def config(self, path: str) -> Object:
        return {"url": f"{self.url}{path}", "caBundle": self.bundle}

    def saw(self, path: str) -> list[Object]:
        return [request for where, request in self.asked if where == path]


@asynccontextmanager
async def program(pki: Pki) -> AsyncIterator[Program]:
    sock = http.listen("127.0.0.1", 0)
    bundle = base64.b64encode(pki.ca.read_bytes()).decode()
    found = Program(f"https://127.0.0.1:{sock.getsockname()[1]}", bundle)

    async def handle(request: Request) -> Response:
        review = orjson.loads(await request.body())
        found.asked.append((request.path, review["request"]))
        if request.path == "/slow":
            await asyncio.sleep(30)
        response = {"uid": review["request"]["uid"], **found.answers[request.path](review["request"])}
        body = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}
        return Response(200, orjson.dumps(body), {"content-type": "application/json"})

    pair = pki.server("webhook", ["127.0.0.1", "hook.default.svc"])
    server = await http.serve(handle, sockets=[sock], tls=server_context(pair))
    try:
        yield found
    finally:
        await server.close(grace=0.1)


def patch(*operations: Any) -> Object:
    """An answer that changes the object."""
    data = base64.b64encode(orjson.dumps(operations)).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": data}


RULE: Object = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


def webhook(kind: str, program: Program, path: str, **more: Any) -> Object:
    """A configuration with one webhook; `kind` is Validating or Mutating."""
    hook = {
        "name": f"{path.strip('/')}.example.com",
        "clientConfig": program.config(path),
        "rules": [RULE],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": path.strip("/")},
        "webhooks": [hook],
    }


def config_map(name: str = "a", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }
