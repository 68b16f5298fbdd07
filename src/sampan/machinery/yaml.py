"""YAML as Kubernetes has it: YAML 1.1's plain data, with strings where JSON has strings.

PyYAML is loaded when the first document is read, for it costs 20 ms. Timestamps stay text, aliases may not
multiply a document.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

# Aliases that expand a document beyond this many nodes are an attack ("billion laughs"), not a manifest.
MOST_NODES = 1_000_000


class YamlError(ValueError):
    """The text is not YAML, or not data that JSON can express; the message says where."""


@lru_cache(maxsize=1)
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        pass

    # A date without quotes is text to Kubernetes.
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    return Loader


def load_all(text: bytes | str) -> Iterator[Any]:
    """Each document of a stream, empty ones left out. Raises YamlError."""
    import yaml

    try:
        for document in yaml.load_all(text, Loader=_loader()):
            if document is not None:
                _check(document)
                yield document
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as e:
        raise YamlError(f"error converting YAML to JSON: {e}") from e


def load(text: bytes | str) -> Any:
    """The only document of a text, None where it is empty. Raises YamlError."""
    documents = list(load_all(text))
    if len(documents) > 1:
        raise YamlError("only one document is allowed here")
    return documents[0] if documents else None


def repeated(text: bytes | str) -> list[str]:
    """The keys that a text says twice, as Go's strict reader tells them: `line 9: key "foo" already set in map`."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: list[str] = []

    def look(node: Any) -> None:
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if key.value in seen:
                    found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
                seen.add(key.value)
                look(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                look(item)

    look(yaml.compose(text, Loader=base))
    return found


def _check(document: Any) -> None:
    """Raises YamlError where aliases blow a document up, or where a key is no string."""
    left, nodes = [document], 0
    while left:
        value = left.pop()
        nodes += 1
        if nodes > MOST_NODES:
            raise YamlError("excessive aliasing")
        if isinstance(value, dict):
            wrong = next((k for k in value if not isinstance(k, str)), None)
            if wrong is not None:
                raise YamlError(f"a key must be a string, not {wrong!r}")
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def dump(value: Any) -> str:
    """A document in block style, keys in the order they have."""
    import yaml

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(value, Dumper=dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)
    return text
