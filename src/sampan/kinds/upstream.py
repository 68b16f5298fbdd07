"""The full OpenAPI definitions as PyPI's kubernetes-validate carries them, where it is installed.

It is an extra (`explain`): the schemas that we ship are made from it, and `kubectl explain` gets its
descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RELEASE = "v1.37.0"
_SERVED = re.compile(
    r"io\.k8s\.(api\.\w+\.v[12]|apimachinery|apiextensions-apiserver|kube-aggregator)\b(?!(alpha|beta))"
    # PodGroup and Workload: beta in 1.37.
    r"|io\.k8s\.api\.scheduling\.v1beta1\."
)


def definitions(*, descriptions: bool) -> dict[str, Any] | None:
    """Every definition by its name such as `io.k8s.api.core.v1.Pod`, or None where the package is missing."""
    found = find_spec("kubernetes_validate")
    if found is None or not found.submodule_search_locations:
        return None
    import orjson

    directory = Path(found.submodule_search_locations[0]) / "kubernetes-json-schema" / f"{RELEASE}-local"
    if not directory.exists():
        return None
    raw = orjson.loads((directory / "_definitions.json").read_bytes())["$defs"]
    return {name: _definition(schema, descriptions) for name, schema in raw.items()}


def served(definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions of stable versions and of what all versions share, with all that these refer to."""
    waiting = [name for name in definitions if _SERVED.match(name)]
    found: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definitions[name]
            waiting.extend(_references(definitions[name]))
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):  # there is also a field of that name
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _definition(schema: dict[str, Any], descriptions: bool) -> dict[str, Any]:
    found = _plain(schema, descriptions)
    if "x-kubernetes-group-version-kind" in found:
        for name in ("apiVersion", "kind"):
            found.get("properties", {}).get(name, {}).pop("enum", None)
    return found


def _plain(schema: dict[str, Any], descriptions: bool) -> dict[str, Any]:
    """A schema without null among its types, with references by bare name."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "description" and not descriptions:
            continue
        if key == "$ref":
            found[key] = value.rpartition("/")[2]
        elif key == "type" and isinstance(value, list):
            found[key] = next(t for t in value if t != "null")
        elif key == "enum":
            found[key] = [v for v in value if v is not None]
        elif key == "properties":
            found[key] = {name: _plain(v, descriptions) for name, v in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            found[key] = _plain(value, descriptions)
        elif key == "oneOf":
            found[key] = [_plain(v, descriptions) for v in value]
        else:
            found[key] = value
    return found
