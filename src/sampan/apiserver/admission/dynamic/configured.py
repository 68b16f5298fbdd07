"""The webhooks and policies that there are, followed in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import orjson

from sampan.machinery.objects import Object
from sampan.store.api import Compacted, Store

PREFIX = "/admissionregistration.k8s.io/"
VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS = "validatingwebhookconfigurations", "mutatingwebhookconfigurations"
VALIDATING_POLICIES, MUTATING_POLICIES = "validatingadmissionpolicies", "mutatingadmissionpolicies"
BINDINGS = {
    VALIDATING_POLICIES: "validatingadmissionpolicybindings",
    MUTATING_POLICIES: "mutatingadmissionpolicybindings",
}
_PLURALS = (VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS, *BINDINGS, *BINDINGS.values())
# What configures admission is not subject to what it configures, so that a mistake can be undone.
EXEMPT = frozenset(f"{plural}.admissionregistration.k8s.io" for plural in _PLURALS)


class Configured:
    """Objects by resource and name; in the order of their names."""

    def __init__(self, store: Store, policy_changed: Callable[[], None] = lambda: None):
        self._store = store
        self._policy_changed = policy_changed
        self._found: dict[str, dict[str, tuple[int, Object]]] = {plural: {} for plural in _PLURALS}
        self._bound: dict[str, dict[str, list[Object]]] = {}

    async def run(self, loaded: asyncio.Event) -> None:
        """Follow the store, for ever."""
        while True:
            page = await self._store.list(PREFIX)
            for objects in self._found.values():
                objects.clear()
            for record in page.records:
                self.take(record.key, record.value, record.revision)
            loaded.set()
            source = self._store.watch(PREFIX, page.revision)
            try:
                async for batch in source:
                    for event in batch:
                        self.take(event.key, event.value, event.revision)
            except Compacted:
                continue
            finally:
                source.close()

    def take(self, key: str, value: bytes | None, revision: int) -> None:
        plural, _, name = key.removeprefix(PREFIX).partition("/")
        objects = self._found.get(plural)
        if objects is None or (name in objects and objects[name][0] >= revision):
            return
        if value is None:
            objects.pop(name, None)
        else:
            objects[name] = (revision, orjson.loads(value))
            self._found[plural] = dict(sorted(objects.items()))
            if plural == VALIDATING_POLICIES:
                self._policy_changed()
        self._bound.clear()

    def any(self, plural: str) -> bool:
        return bool(self._found[plural])

    def objects(self, plural: str) -> Iterator[Object]:
        for _, obj in self._found[plural].values():
            yield obj

    def webhooks(self, plural: str) -> list[tuple[str, Object]]:
        """Each webhook with its configuration's name."""
        return [
            (c["metadata"]["name"], hook) for c in self.objects(plural) for hook in c.get("webhooks") or ()
        ]

    def policies(self, plural: str) -> list[tuple[Object, list[Object]]]:
        """Each policy that is bound, with its bindings."""
        if plural not in self._bound:
            bound: dict[str, list[Object]] = {}
            for binding in self.objects(BINDINGS[plural]):
                bound.setdefault(binding["spec"].get("policyName", ""), []).append(binding)
            self._bound[plural] = bound
        found = self._bound[plural]
        return [(p, found[n]) for p in self.objects(plural) if (n := p["metadata"]["name"]) in found]
