"""Finding the object that a command means: KIND/NAME as kubectl takes it, and its path in the API."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sampan.cli import api
from sampan.cli.clusters import add_name
from sampan.cli.problem import Problem
from sampan.kinds import registry
from sampan.kinds.kind import Kind


@dataclass(frozen=True, slots=True)
class Named:
    """An object: what it is called, and where the API serves it."""

    kind: str
    name: str
    path: str


def add_object(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("object", help="KIND/NAME, such as pod/web or deploy/shop")
    parser.add_argument("-n", "--namespace", default="default")


async def find(get: api.Get, text: str, namespace: str) -> Named:
    """The object that `text` names. Raises Problem for what is no kind."""
    word, slash, name = text.partition("/")
    if not slash or not name:
        raise Problem(f"{text!r} is not KIND/NAME, such as pod/web")
    kind = builtin(word.lower())
    resource = _served(kind) if kind else await _discovered(get, word.lower())
    if not resource:
        raise Problem(f"there is no kind {word!r}; `kubectl api-resources` lists them")
    where = f"/namespaces/{quote(namespace)}" if resource["namespaced"] else ""
    path = f"{resource['root']}{where}/{resource['name']}/{quote(name)}"
    return Named(resource["kind"], name, path)


def builtin(word: str) -> Kind | None:
    """The built-in kind that a word in lower case means."""
    for kind in registry.builtin():
        if word in (kind.plural, kind.singular or kind.kind.lower(), kind.resource, *kind.short_names):
            return kind
    return None


def _served(kind: Kind) -> dict[str, Any]:
    """As discovery tells it."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return {"root": root, "name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced}


async def _discovered(get: api.Get, word: str) -> dict[str, Any] | None:
    """A kind that is not built in, from the server's discovery."""
    for group in (await api.json(get, "/apis"))["groups"]:
        root = f"/apis/{group['preferredVersion']['groupVersion']}"
        for found in (await api.json(get, root))["resources"]:
            plural = found["name"]
            names = (
                plural, f"{plural}.{group['name']}", found["kind"].lower(), found.get("singularName"),
                *found.get("shortNames", ()),
            )  # fmt: skip
            if word in names and "/" not in plural:
                return {**found, "root": root}
    return None
