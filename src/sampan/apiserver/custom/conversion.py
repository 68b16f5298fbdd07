"""Webhooks that convert custom objects between versions, asked before anybody needs the result.

Reads, watches and writes call this where they can wait; what is converted is kept (`kinds.custom.converted`).
Source: k8s.io/apiextensions-apiserver pkg/apiserver/conversion.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sampan.apiserver import codec, errors
from sampan.apiserver.call import prefix
from sampan.apiserver.hooks import HookError
from sampan.apiserver.moments import Moment
from sampan.kinds.custom.converted import Known
from sampan.kinds.custom.definitions import storage_version
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object, get
from sampan.store.api import Record

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

SECONDS = 30.0
# What a webhook may change of metadata.
_FREE = ("labels", "annotations")


class Conversion:
    def __init__(self, server: ApiServer):
        self._server = server
        self._known: dict[str, Known] = {}

    def known(self, resource: str) -> Known:
        return self._known.setdefault(resource, Known())

    async def records(self, kind: Kind, records: Iterable[Record]) -> None:
        """Have records at hand in the form of a kind. Raises 500."""
        if kind.converted:
            await self._convert(kind, [codec.decode(r) for r in records])

    async def moments(self, at: str, moments: Sequence[Moment]) -> None:
        """Have what watchers are about to see at hand in every version that is served."""
        for kind in self._server.catalog if self._server.catalog.converts else ():
            if kind.converted and at.startswith(prefix(kind)):
                objects = [o for m in moments for o in (m.whole, m.before) if o is not None]
                await self._convert(kind, objects)

    async def stored(self, kind: Kind, obj: Object) -> Object:
        """An object in the version that is stored. Raises 500."""
        if not kind.converted:
            return kind.to_storage(obj)
        definition = self._definition(kind)
        version = f"{kind.group}/{storage_version(definition)}"
        if version == kind.api_version:
            return obj
        (made,) = await self._ask(kind, definition, [obj], version)
        return made

    def _definition(self, kind: Kind) -> Object:
        found = self._server.definitions.get(kind.group, kind.plural)
        if found is None:
            raise errors.no_such_path()
        return found

    async def _convert(self, kind: Kind, objects: Iterable[Object]) -> None:
        known = self.known(kind.resource)
        wanted = [
            o
            for o in objects
            if o.get("apiVersion") != kind.api_version and known.find(kind.api_version, o) is None
        ]
        if not wanted:
            return
        made = await self._ask(kind, self._definition(kind), wanted, kind.api_version)
        for original, converted in zip(wanted, made, strict=True):
            known.put(original, converted)

    async def _ask(self, kind: Kind, definition: Object, objects: list[Object], version: str) -> list[Object]:
        webhook = get(definition, "spec.conversion.webhook") or {}
        versions = [v for v in webhook.get("conversionReviewVersions") or () if v in ("v1", "v1beta1")]
        uid = str(uuid.uuid4())
        request = {"uid": uid, "desiredAPIVersion": version, "objects": objects}
        api = f"apiextensions.k8s.io/{versions[0] if versions else 'v1'}"
        review = {"kind": "ConversionReview", "apiVersion": api, "request": request}
        named = f"conversion webhook for {objects[0].get('apiVersion')}, Kind={kind.kind}"
        try:
            answer = await self._server.hooks.post(webhook.get("clientConfig") or {}, review, SECONDS)
            made = _converted(answer, uid)
        except HookError as e:
            raise errors.internal(f"{named} failed: {e}") from e
        if len(made) != len(objects):
            raise errors.internal(f"{named} returned {len(made)} objects, expected {len(objects)}")
        for index, (original, converted) in enumerate(zip(objects, made, strict=True)):
            if why := fault(original, converted, version):
                said = f"{named} returned invalid converted object at index {index}: {why}"
                raise errors.internal(said)
            converted["metadata"] = _metadata(original, converted)
        return made


def _converted(answer: Object, uid: str) -> list[Any]:
    response = answer.get("response")
    if not isinstance(response, dict):
        raise HookError("no response provided")
    if response.get("uid") != uid:
        raise HookError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result") or {}
    if result.get("status") != "Success":
        message = result.get("message")
        raise HookError(message or f"response.result.status was '{result.get('status', '')}', not 'Success'")
    return list(response.get("convertedObjects") or ())


def fault(original: Object, made: Any, version: str) -> str:
    """What is wrong with a converted object; empty where nothing is."""
    if not isinstance(made, dict) or not isinstance(made.get("metadata"), dict):
        return "missing metadata in converted object"
    if made.get("apiVersion") != version:
        return f"invalid groupVersion (expected {version}, received {made.get('apiVersion', '')})"
    if made.get("kind") != original.get("kind"):
        return f"invalid kind (expected {original.get('kind')}, received {made.get('kind', '')})"
    for name, said in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        before, after = original["metadata"].get(name, ""), made["metadata"].get(name, "")
        if before != after:
            return f"must have the same {said}: {before} != {after}"
    return ""


def _metadata(original: Object, made: Object) -> Object:
    """The original's metadata with the labels and annotations of the converted object."""
    kept = {k: v for k, v in original["metadata"].items() if k not in _FREE}
    return kept | {k: made["metadata"][k] for k in _FREE if made["metadata"].get(k)}
