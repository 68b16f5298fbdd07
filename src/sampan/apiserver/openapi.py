"""OpenAPI: /openapi/v3 with a document for each group and version, and /openapi/v2 as one document.

kubectl takes from these what to explain, how to merge, and whether a server validates fields. A document is made when
it is first asked for, in a thread, and kept compressed; with descriptions where the package that has them is installed.
Source: KEP-2896 (OpenAPI v3).
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import orjson

from sampan.apiserver import errors
from sampan.apiserver.call import Answer, Call, Made
from sampan.http.messages import Response
from sampan.kinds import schemas, upstream
from sampan.kinds.kind import Kind
from sampan.kinds.subresources import describe
from sampan.machinery.objects import Object
from sampan.machinery.patches import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

RELEASE = "v1.37.2"
_V2, _V3 = "#/definitions/", "#/components/schemas/"
_PATCHES = (APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_READ_PARAMETERS = ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch")
_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"


class OpenApi:
    def __init__(self, server: ApiServer):
        self._kinds = server.catalog
        # By the document's URL, whose hash changes with the kinds in it.
        self._documents: dict[str, bytes] = {}

    async def answer(self, call: Call, path: str) -> Answer:
        words = path.split("/")[2:]
        if words == ["v2"]:
            return await self._document(call, "v2")
        if words[:1] != ["v3"]:
            raise errors.no_such_path()
        words = words[1:]
        if not words:
            return Made({"paths": {r: {"serverRelativeURL": self._url(r)} for r in self._roots()}})
        root = "/".join(words)
        if root not in self._roots():
            raise errors.no_such_path()
        return await self._document(call, root)

    def _roots(self) -> list[str]:
        """The path of each group and version, such as `apis/apps/v1`."""
        return list(dict.fromkeys(_root(k) for k in self._kinds))

    def _url(self, root: str) -> str:
        described = "described" if find_spec("kubernetes_validate") else "plain"
        resources = ",".join(_printed(k) for k in self._kinds if root == "v2" or _root(k) == root)
        digest = hashlib.sha256(f"{RELEASE} {described} {resources}".encode()).hexdigest().upper()
        return f"/openapi/v3/{root}?hash={digest}"

    async def _document(self, call: Call, root: str) -> Response:
        url = self._url(root)
        digest = url.partition("hash=")[2]
        asked = call.parameter("hash")
        if asked and asked != digest:
            return Response(301, b"", {"location": url})
        headers = {
            "content-type": "application/json",
            "vary": "accept, accept-encoding",
            "etag": f'"{digest}"',
        }
        if asked:
            headers["cache-control"] = "public, immutable"
        if f'"{digest}"' in call.headers.get("if-none-match", ""):
            return Response(304, b"", headers)
        if url not in self._documents:
            made = await asyncio.to_thread(_made, self._kinds.kinds, root)
            stale = f"{url.partition('?')[0]}?"
            self._documents = {u: d for u, d in self._documents.items() if not u.startswith(stale)}
            self._documents[url] = made
        data = self._documents[url]
        if "gzip" in call.headers.get("accept-encoding", ""):
            return Response(200, data, {**headers, "content-encoding": "gzip"})
        return Response(200, await asyncio.to_thread(zlib.decompress, data, 31), headers)


def _printed(kind: Kind) -> str:
    """What tells a kind's document from that of another: of a custom kind the schema too."""
    if kind.schema is None:
        return kind.resource
    return kind.resource + hashlib.sha256(orjson.dumps(kind.schema)).hexdigest()


def _root(kind: Kind) -> str:
    return f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"


def _made(kinds: tuple[Kind, ...], root: str) -> bytes:
    """A document, gzip-compressed."""
    two = root == "v2"
    chosen = [k for k in kinds if two or _root(k) == root]
    definitions = dict(upstream.definitions(descriptions=True) or schemas.definitions())
    definitions |= {schemas.defined_name(k) or "": k.schema for k in chosen if k.schema is not None}
    prefix = _V2 if two else _V3
    info = {"title": "Kubernetes", "version": RELEASE}
    paths: Object = {}
    for kind in chosen:
        paths |= dict(_paths(kind, prefix, two))
    names = _reachable(definitions, [n for k in chosen for n in _named(k)])
    found = {n: _referring(definitions[n], prefix) for n in sorted(names)}
    if two:
        document: Object = {"swagger": "2.0", "info": info, "paths": paths, "definitions": found}
    else:
        document = {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": found}}
    return zlib.compress(orjson.dumps(document), 6, 31)


def _named(kind: Kind) -> Iterator[str]:
    """The definitions that a kind's endpoints speak of."""
    yield _OPTIONS
    yield _STATUS
    if kind.schema is not None and (own := schemas.defined_name(kind)):
        yield own
    for version, name in ((kind.api_version, kind.kind), *_bodies(kind)):
        group, _, short = version.rpartition("/")
        if found := schemas.name_of(group, short, name):
            yield found


def _bodies(kind: Kind) -> Iterator[tuple[str, str]]:
    for subresource in kind.subresources:
        about = describe(kind, subresource)
        yield (f"{about.group}/{about.version}" if about.group else about.version), about.kind


def _reachable(definitions: dict[str, Any], names: list[str]) -> set[str]:
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found and name in definitions:
            found.add(name)
            names += _references(definitions[name])
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name == "$ref" and isinstance(value, str):  # there is also a field of that name
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _referring(schema: Any, prefix: str) -> Any:
    """The schema with its bare references as this document's."""
    if isinstance(schema, dict):
        return {
            n: prefix + v if n == "$ref" and isinstance(v, str) else _referring(v, prefix)
            for n, v in schema.items()
        }
    return [_referring(v, prefix) for v in schema] if isinstance(schema, list) else schema


# Paths


def _paths(kind: Kind, prefix: str, two: bool) -> Iterator[tuple[str, Object]]:
    base = f"/{_root(kind)}"
    scoped = f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
    one = _Operations(kind, prefix, two)
    if kind.namespaced and "list" in kind.verbs:
        yield f"{base}/{kind.plural}", {"get": one.read("list")}
    many: Object = {}
    if "list" in kind.verbs:
        many["get"] = one.read("list")
    if "create" in kind.verbs:
        many["post"] = one.write("post")
    if "deletecollection" in kind.verbs:
        many["delete"] = one.read("deletecollection")
    yield scoped, many
    if kind.stored:
        yield f"{scoped}/{{name}}", one.all()
        if "status" in kind.subresources:
            yield f"{scoped}/{{name}}/status", one.all()


class _Operations:
    """The operations on one kind, as far as clients look at them."""

    def __init__(self, kind: Kind, prefix: str, two: bool):
        self._kind = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        self._verbs = kind.verbs
        self._two = two
        name = schemas.defined_name(kind)
        self._schema = {"$ref": prefix + name} if name else {"type": "object"}

    def all(self) -> Object:
        found = {"get": self.read("get")}
        if "update" in self._verbs:
            found["put"] = self.write("put")
        if "patch" in self._verbs:
            found["patch"] = self.write("patch")
        if "delete" in self._verbs:
            found["delete"] = self.read("delete")
        return found

    def read(self, action: str) -> Object:
        return self._operation(action, _READ_PARAMETERS if action == "list" else ())

    def write(self, action: str) -> Object:
        found = self._operation(action, _WRITE_PARAMETERS)
        media = _PATCHES if action == "patch" else ("application/json",)
        if self._two:
            found["consumes"] = list(media)
        else:
            found["requestBody"] = {"content": {m: {"schema": self._schema} for m in media}, "required": True}
        return found

    def _operation(self, action: str, parameters: tuple[str, ...]) -> Object:
        kind: Object = {"type": "string"} if self._two else {"schema": {"type": "string"}}
        answer = (
            {"schema": self._schema}
            if self._two
            else {"content": {"application/json": {"schema": self._schema}}}
        )
        return {
            "parameters": [{"name": p, "in": "query", **kind} for p in parameters],
            "responses": {"200": {"description": "OK", **answer}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self._kind,
        }
