"""OpenAPI v3 documents, one for each group and version, made from the shipped schemas and the kinds
themselves.

kubectl reads from them how lists merge, whether fields are validated by the server, and what `kubectl
explain` says; the descriptions for that come from PyPI's kubernetes-validate where it is installed (the extra
`explain`). Source: OpenAPI 3.0, and the API concepts' page on OpenAPI v3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sampan.kinds import schemas, subresources, upstream
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object
from sampan.machinery.patches import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH

VERSION = "v1.37.2"
_REFERENCES = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_STATUS, _DELETE_OPTIONS, _PATCH = f"{_META}.Status", f"{_META}.DeleteOptions", f"{_META}.Patch"
_OBJECT_META, _LIST_META = f"{_META}.ObjectMeta", f"{_META}.ListMeta"
_PATCHES = (APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
# Verb: HTTP method, and the action's name in these documents.
_ONE = {
    "get": ("get", "get"),
    "update": ("put", "put"),
    "patch": ("patch", "patch"),
    "delete": ("delete", "delete"),
}
_MANY = {
    "create": ("post", "post"),
    "list": ("get", "list"),
    "deletecollection": ("delete", "deletecollection"),
}
_CONNECT = ("attach", "exec", "portforward", "proxy")


def document(group: str, version: str, kinds: Iterable[Kind]) -> Object:
    """The document of one group and version, for those of `kinds` that are in it."""
    chosen = [k for k in kinds if (k.group, k.version) == (group, version)]
    known = upstream.definitions(descriptions=True) or schemas.definitions()
    paths: Object = {}
    for kind in chosen:
        paths.update(_paths(kind))
    names = {_STATUS, _DELETE_OPTIONS, _PATCH}
    for kind in chosen:
        names |= set(_own_schemas(kind))
        names |= {_body(kind, s) for s in kind.subresources}
    extra = {name: schema for kind in chosen for name, schema in _own_schemas(kind).items()}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {"schemas": _reachable(names - {""}, {**extra, **known})},
    }


def definition(kind: Kind) -> str:
    """The name of a kind's schema; kinds that no shipped schema describes get one made for them."""
    found = schemas.name_of(kind.group, kind.version, kind.kind)
    return found or f"io.k8s.{kind.group.partition('.')[0]}.{kind.version}.{kind.kind}"


def _own_schemas(kind: Kind) -> dict[str, schemas.Schema]:
    """The schemas of a kind and its list, made where none is shipped."""
    name = definition(kind)
    described = {"x-kubernetes-group-version-kind": [_gvk(kind)]}
    item = {"type": "object", "properties": _typed({"$ref": _OBJECT_META}), **described}
    items = {"type": "array", "items": {"$ref": name}}
    gvk = {**_gvk(kind), "kind": kind.list_kind or f"{kind.kind}List"}
    properties = {**_typed({"$ref": _LIST_META}), "items": items}
    whole = {"type": "object", "properties": properties, "x-kubernetes-group-version-kind": [gvk]}
    return {name: item, **({f"{name}List": whole} if "list" in kind.verbs else {})}


def _typed(metadata: schemas.Schema) -> dict[str, schemas.Schema]:
    return {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata}


def _gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _body(kind: Kind, name: str) -> str:
    """The schema of a subresource's body; empty where it has none, as streams have."""
    found = subresources.describe(kind, name)
    return schemas.name_of(found.group, found.version, found.kind) or ""


def _reachable(names: set[str], known: dict[str, Any]) -> dict[str, Any]:
    """These schemas and all that they refer to, in the form of OpenAPI v3."""
    found: dict[str, Any] = {}
    waiting = sorted(names)
    while waiting:
        name = waiting.pop()
        if name in found or name not in known:
            continue
        waiting.extend(_references(known[name]))
        found[name] = _as_v3(known[name])
    return dict(sorted(found.items()))


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _as_v3(schema: Any) -> Any:
    """A schema with full references; one with more beside it stands in an allOf, since nothing may stand
    beside it.
    """
    if isinstance(schema, list):
        return [_as_v3(v) for v in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return {k: _as_v3(v) for k, v in schema.items()}
    pointer = {"$ref": _REFERENCES + reference}
    others = {k: v for k, v in schema.items() if k != "$ref"}
    return {"allOf": [pointer], **others} if others else pointer


# Paths


def _paths(kind: Kind) -> Object:
    base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    name = definition(kind)
    collection = (
        f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
    )
    found = {collection: _operations(kind, _MANY, kind.verbs, name)}
    if kind.namespaced and "list" in kind.verbs:
        found[f"{base}/{kind.plural}"] = _operations(kind, _MANY, ("list",), name)
    found[f"{collection}/{{name}}"] = _operations(kind, _ONE, kind.verbs, name)
    for subresource in kind.subresources:
        found[f"{collection}/{{name}}/{subresource}"] = _subresource(kind, subresource)
    return {path: item for path, item in found.items() if item}


def _subresource(kind: Kind, name: str) -> Object:
    found = subresources.describe(kind, name)
    gvk = {"group": found.group, "version": found.version, "kind": found.kind}
    if name in _CONNECT:
        methods = {{"create": "post", "update": "put"}.get(verb, verb) for verb in found.verbs}
        return {method: _operation("connect", gvk, "") for method in sorted(methods)}
    known = {**_ONE, "create": _MANY["create"]}
    body = _body(kind, name)
    return {known[v][0]: _operation(known[v][1], gvk, body) for v in found.verbs}


def _operations(kind: Kind, known: dict[str, tuple[str, str]], verbs: Iterable[str], name: str) -> Object:
    found = {}
    for verb in verbs:
        if verb in known:
            method, action = known[verb]
            answer = f"{name}List" if action == "list" else _STATUS if method == "delete" else name
            found[method] = _operation(action, _gvk(kind), name, answer)
    return found


def _operation(action: str, gvk: dict[str, str], body: str, answer: str = "") -> Object:
    found: Object = {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
        "parameters": [_parameter(name, kind) for name, kind in _parameters(action)],
        "responses": {"200": {"description": "OK", **_content(answer or body, ("application/json",))}},
    }
    if action == "patch":
        found["requestBody"] = {"required": True, **_content(_PATCH, _PATCHES)}
    elif action in ("post", "put"):
        found["requestBody"] = {"required": True, **_content(body, ("*/*",))}
    elif action in ("delete", "deletecollection"):
        found["requestBody"] = _content(_DELETE_OPTIONS, ("*/*",))
    return found


def _content(name: str, media: Iterable[str]) -> Object:
    if not name:
        return {"content": {m: {"schema": {"type": "string"}} for m in media}}
    return {"content": {m: {"schema": {"$ref": _REFERENCES + name}} for m in media}}


def _parameters(action: str) -> tuple[tuple[str, str], ...]:
    writing = (("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"))
    selecting = (
        ("continue", "string"), ("fieldSelector", "string"), ("labelSelector", "string"), ("limit", "integer"),
        ("resourceVersion", "string"), ("resourceVersionMatch", "string"), ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
    )  # fmt: skip
    deleting = (("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("propagationPolicy", "string"))
    return {
        "post": writing,
        "put": writing,
        "patch": (*writing, ("force", "boolean")),
        "list": (*selecting, ("allowWatchBookmarks", "boolean"), ("watch", "boolean")),
        "delete": deleting,
        "deletecollection": (*deleting, *selecting),
    }.get(action, ())


def _parameter(name: str, kind: str) -> Object:
    return {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
