"""Whatever is sent, the answer is a proper one: never a 500, never the server's inside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.apiserver.server import ApiServer
from sampan.apiserver.settings import Settings
from sampan.host.pki import Pki
from sampan.http.messages import BodyTooLarge, Peer, Push, Request, Response
from sampan.kinds import registry
from sampan.kinds.kind import Kind
from sampan.machinery.patches import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from sampan.store.memory import Memory

KINDS = [k for k in registry.builtin() if k.stored and k.group != "metrics.k8s.io"]
LIMIT = 3 << 20


class Asked:
    """A request, as the HTTP server would give it."""

    def __init__(self, method: str, target: str, body: bytes, headers: dict[str, str], peer: Peer):
        self.method, self.target, self.headers, self.peer = method, target, headers, peer
        self.path, _, self.query = target.partition("?")
        self._body = body

    async def body(self) -> bytes:
        if len(self._body) > LIMIT:
            raise BodyTooLarge("too large")
        return self._body


class Fuzzed:
    """A server with one object of some kinds, and a loop to run it."""

    def __init__(self, pki: Pki):
        self.runner = asyncio.Runner()
        pair = pki.client("admin", "kubernetes-admin", ("system:masters",))
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        certificate = x509.load_pem_x509_certificate(pair.read_bytes())
        self.peer = Peer("127.0.0.1", certificate.public_bytes(Encoding.DER))
        self.runner.run(self._start(pki))

    async def _start(self, pki: Pki) -> None:
        self.api = ApiServer(Memory(), Settings(service_account_key=pki.signing_key().read_bytes()))
        await self.api.start()
        admin = self.api.local("kubernetes-admin", ("system:masters",))
        meta = {"name": "a", "namespace": "default"}
        await admin.create("serviceaccounts", {"metadata": {**meta, "name": "default"}})
        await admin.create("configmaps", {"metadata": meta, "data": {"a": "b"}})
        pod = {"containers": [{"name": "c", "image": "i"}]}
        await admin.create("pods", {"metadata": meta, "spec": pod})
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        await admin.create("deployments.apps", {"metadata": meta, "spec": spec})
        await admin.create("services", {"metadata": meta, "spec": {"ports": [{"port": 80}]}})

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        fields = {n.replace("_", "-"): v for n, v in headers.items()}
        request: Any = Asked(method, target, body, fields, self.peer)
        return self.runner.run(self._answer(request))

    async def _answer(self, request: Request) -> Response:
        async with asyncio.timeout(10):
            return await self.api.handler(request)


@pytest.fixture(scope="module")
def fuzzed(certificates: Pki) -> Iterator[Fuzzed]:
    made = Fuzzed(certificates)
    yield made
    made.runner.run(made.api.close())
    made.runner.close()


def proper(response: Response) -> None:
    """What every answer has: a status below 500, but for what asks for nodes, and no traces of Python in it.

    An apply with fields that no schema has is answered 500, as upstream answers it.
    """
    told = isinstance(response.body, bytes) and b"field not declared in schema" in response.body
    assert response.status < 500 or response.status in (502, 503, 504) or told, response.body
    if isinstance(response.body, bytes) and response.status >= 400:
        said = orjson.loads(response.body)
        assert (said["kind"], said["code"]) == ("Status", response.status)
        assert "Traceback" not in said["message"]
        assert "Error while serving" not in said["message"]
    else:
        assert isinstance(response.body, bytes | Push) or response.body is not None


def base(kind: Kind) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/default/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
names = st.sampled_from([
    "a", "metadata", "spec", "status", "name", "namespace", "labels", "annotations", "containers", "template", "data",
    "ports", "selector", "rules", "$patch", "$retainKeys", "$setElementOrder/containers", "managedFields", "items",
    "$deleteFromPrimitiveList/finalizers", "finalizers", "ownerReferences", "resources", "limits", "env", "volumes",
    "creationTimestamp", "resourceVersion", "uid", "generateName", "replicas", "type", "kind", "apiVersion",
])  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=15,
)
kinds = st.sampled_from(KINDS)
fuzz = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@fuzz
@given(
    kinds,
    st.dictionaries(names, values, max_size=5),
    st.sampled_from(["POST", "PUT", "DELETE"]),
    st.booleans(),
)
def test_bodies(fuzzed: Fuzzed, kind: Kind, body: dict[str, Any], method: str, named: bool) -> None:
    body = {**body, "apiVersion": kind.api_version, "kind": kind.kind} if named else body
    if isinstance(body.get("metadata"), dict):
        body["metadata"]["name"] = "a"
    target = base(kind) + ("/a" if method == "PUT" else "/b" if method == "DELETE" else "")
    proper(fuzzed.ask(method, f"{target}?dryRun=All", orjson.dumps(body), content_type="application/json"))


MEDIA = st.sampled_from([JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH])
CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
TARGETS = (
    f"{CORE}/pods/a",
    f"{CORE}/pods/a/status",
    f"{CORE}/configmaps/a",
    f"{CORE}/services/a",
    f"{APPS}/deployments/a",
    f"{APPS}/deployments/a/scale",
)
pointers = st.lists(names | st.sampled_from(["0", "-", "1", "~0", "~2"]), max_size=4).map(
    lambda p: "".join(f"/{s}" for s in p)
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "odd"])},
    optional={"path": pointers | scalars, "from": pointers | scalars, "value": values},
)
patches = st.one_of(
    st.dictionaries(names, values, max_size=4), st.lists(operations | values, max_size=4), values
)


@fuzz
@given(st.sampled_from(TARGETS), MEDIA, patches)
def test_patches(fuzzed: Fuzzed, target: str, media: str, patch: Any) -> None:
    if media == APPLY_PATCH and isinstance(patch, dict):
        patch = {**patch, "apiVersion": "apps/v1" if "apps" in target else "v1"}
    query = "dryRun=All&fieldManager=fuzz&force=true"
    proper(fuzzed.ask("PATCH", f"{target}?{query}", orjson.dumps(patch), content_type=media))


parameters = st.sampled_from([
    "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "watch", "dryRun",
    "timeoutSeconds", "sendInitialEvents", "allowWatchBookmarks", "fieldManager", "force", "pretty", "includeObject",
    "gracePeriodSeconds", "propagationPolicy", "orphanDependents", "fieldValidation",
])  # fmt: skip
arguments = st.sampled_from(["0", "1", "true", "a=b", "a in (b", "Exact", "-1", "9" * 30]) | st.text(
    max_size=6
)
queries = st.lists(st.tuples(parameters, arguments), max_size=4)
accepts = st.sampled_from([
    "", "application/json", "application/vnd.kubernetes.protobuf", "application/yaml", "text/plain", ";;,", "*/*;q=x",
    "application/json;as=Table;g=meta.k8s.io;v=v1", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
])  # fmt: skip


@fuzz
@given(kinds, queries, accepts, st.booleans(), st.sampled_from(["GET", "DELETE", "HEAD"]))
def test_queries(
    fuzzed: Fuzzed, kind: Kind, query: list[tuple[str, str]], accept: str, one: bool, method: str
) -> None:
    from urllib.parse import urlencode

    target = base(kind) + ("/zzz" if one or method == "DELETE" else "")
    response = fuzzed.ask(method, f"{target}?{urlencode(query)}", accept=accept)
    if accept != "application/vnd.kubernetes.protobuf":
        proper(response)
    assert response.status != 500


words = st.sampled_from([
    "api", "apis", "v1", "apps", "namespaces", "default", "pods", "a", "status", "log", "exec", "proxy", "..", "%00",
    "scale", "watch", "openapi", "v3", "v2", "metrics", "readyz", "version", "nodes", "finalize", "token", "binding",
])  # fmt: skip


@fuzz
@given(
    st.lists(words | st.text(max_size=5), max_size=8),
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "ODD"]),
    st.binary(max_size=20),
)
def test_paths(fuzzed: Fuzzed, path: list[str], method: str, body: bytes) -> None:
    response = fuzzed.ask(method, "/" + "/".join(path), body, content_type="application/json")
    assert response.status != 500, response.body


@fuzz
@given(
    st.binary(max_size=200),
    st.sampled_from(["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]),
)
def test_bytes(fuzzed: Fuzzed, data: bytes, media: str) -> None:
    body = b"k8s\x00" + data if media.endswith("protobuf") else data
    proper(fuzzed.ask("POST", base(KINDS[0]), body, content_type=media))


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, MERGE_PATCH),
        (b'{"metadata":{"annotations":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}}", STRATEGIC_PATCH),
        (b"[" * 900 + b"]" * 900, JSON_PATCH),
        (b"x" * (LIMIT + 1), MERGE_PATCH),
        (orjson.dumps([{"op": "add", "path": "/data/a", "value": "x" * 1000}] + [
            {"op": "copy", "from": "/data", "path": f"/data/b{n}"} for n in range(60)]), JSON_PATCH),
        (orjson.dumps([{"op": "test", "path": "", "value": 1}] * 10_001), JSON_PATCH),
        (b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
         b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
         b"g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", APPLY_PATCH),
    ],
)  # fmt: skip
def test_bodies_made_to_hurt(fuzzed: Fuzzed, body: bytes, media: str) -> None:
    target = "/api/v1/namespaces/default/configmaps/a?fieldManager=fuzz"
    response = fuzzed.ask("PATCH", target, body, content_type=media)
    assert 400 <= response.status < 500, response.body
    proper(response)
