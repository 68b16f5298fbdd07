"""The kinds that are served now: those built in, and those that definitions bring while the server runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sampan.kinds import registry
from sampan.kinds.kind import Kind


class Catalog:
    """Every kind served, in the order of discovery. `version` counts changes: caches over the kinds are keyed by it."""

    def __init__(self, builtin: Iterable[Kind] | None = None):
        self._builtin = tuple(registry.builtin() if builtin is None else builtin)
        self.kinds = self._builtin
        self.version = 0
        self.listeners: list[Callable[[], None]] = []
        self._index()

    def __iter__(self) -> Iterator[Kind]:
        return iter(self.kinds)

    def served(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind behind a path."""
        return self._paths.get((group, version, plural))

    def find(self, resource: str) -> Kind:
        """The kind behind a resource: `pods`, `deployments.apps`, `boats.v1beta1.example.com`. Raises KeyError."""
        return self._resources[resource]

    def of(self, api_version: str, kind: str) -> Kind | None:
        """The kind by its names in an object."""
        return self._names.get((api_version, kind))

    def custom(self, custom: Iterable[Kind]) -> None:
        """Serve these beside what is built in, in place of those before."""
        self.kinds = (*self._builtin, *custom)
        self._index()
        self.version += 1
        for listener in self.listeners:
            listener()

    def _index(self) -> None:
        # Whether a webhook converts between the versions of any kind.
        self.converts = any(k.converted for k in self.kinds)
        self._paths = {(k.group, k.version, k.plural): k for k in self.kinds}
        self._names = {(k.api_version, k.kind): k for k in self.kinds}
        self._resources: dict[str, Kind] = {}
        for kind in self.kinds:
            # Of several versions, the first is meant by the resource alone.
            self._resources.setdefault(kind.resource, kind)
            self._resources[f"{kind.plural}.{kind.version}.{kind.group}"] = kind
