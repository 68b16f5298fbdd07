"""All volumes of the pods on this node: set up, kept up to date, mounted into containers, taken down.

A volume's directory is `pods/<uid>/volumes/kubernetes.io~<sort>/<name>`, as upstream's is. Everything is
idempotent, so that a new process sets up again what is there, and follows changes from then on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from sampan.client.api import ApiError, Client, Unavailable
from sampan.machinery.cri import messages
from sampan.machinery.objects import Object
from sampan.node import environment
from sampan.node.removing import remove
from sampan.node.volumes import (
    config_map,
    downward_api,
    empty_dir,
    host_path,
    memory,
    payload,
    persistent,
    projected,
    secret,
    subpath,
)
from sampan.node.volumes.place import Place, VolumeError
from sampan.node.volumes.pod_certificates import Credentials, PodCertificates
from sampan.node.volumes.references import Name, References
from sampan.node.volumes.tokens import Tokens
from sampan.node.volumes.trust_bundles import TrustBundles

log = logging.getLogger(__name__)

# By the field that names the sort: volumes made of files, which change, and those that are a directory.
FILES: dict[str, ModuleType] = {
    "configMap": config_map,
    "secret": secret,
    "downwardAPI": downward_api,
    "projected": projected,
}
DIRECTORIES: dict[str, ModuleType] = {
    "emptyDir": empty_dir,
    "hostPath": host_path,
    "persistentVolumeClaim": persistent,
    "ephemeral": persistent,
}
PROPAGATION = {
    "None": messages.PROPAGATION_PRIVATE,
    "HostToContainer": messages.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": messages.PROPAGATION_BIDIRECTIONAL,
}
RETRY = 10.0


@dataclass(slots=True)
class _Live:
    """A pod whose volumes are set up: when each of its volumes made of files is to be made anew."""

    pod: Object
    renewals: dict[str, float] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Volumes:
    """`appeared` is called with a pod's uid when something changed that its volumes come from."""

    def __init__(
        self,
        client: Client,
        root: Path,
        local: Path,
        allocatable: dict[str, str],
        node: Callable[[], Object] = dict,
    ):
        self._client, self._root, self._local, self._allocatable = client, root, local, allocatable
        self._references = References(client, self._changed)
        self._tokens = Tokens(client)
        self._bundles = TrustBundles(client, self._bundles_changed)
        self._certificates = PodCertificates(client, node)
        self._live: dict[str, _Live] = {}
        self._due = asyncio.Event()
        self._stale: set[str] = set()
        self.appeared: Callable[[str], None] = lambda uid: None

    async def set_up(self, pod: Object) -> dict[str, Path]:
        """The path of each of the pod's volumes. Raises VolumeError for the first that fails."""
        uid = pod["metadata"]["uid"]
        live = self._live.setdefault(uid, _Live(pod))
        live.pod = pod
        async with live.lock:
            volumes = pod["spec"].get("volumes") or ()
            return {v["name"]: await self._one(live, v) for v in volumes if "image" not in v}

    async def _one(self, live: _Live, volume: Object) -> Path:
        sort = next((f for f in volume if f != "name"), "emptyDir")
        try:
            if sort in FILES:
                return await self._files(live, volume["name"], FILES[sort], volume[sort])
            if sort in DIRECTORIES:
                kind = getattr(DIRECTORIES[sort], "KIND", sort)
                place = self._place(live.pod, volume["name"], volume.get(sort) or {}, kind)
                return Path(await DIRECTORIES[sort].set_up(place))
        except (ApiError, Unavailable, OSError, ValueError, TimeoutError) as e:
            text = "timed out waiting for the API server" if isinstance(e, TimeoutError) else str(e)
            raise VolumeError(volume["name"], text) from e
        raise VolumeError(volume["name"], f"no volume plugin matched: {sort} is not supported by this node")

    async def _files(self, live: _Live, name: str, module: ModuleType, source: Object) -> Path:
        uid, namespace = live.pod["metadata"]["uid"], live.pod["metadata"]["namespace"]
        for kind, referenced in module.references(source):
            self._references.use((kind, namespace, referenced), uid)
        place = self._place(live.pod, name, source, module.KIND)
        files, renew = await module.files(place)
        await asyncio.to_thread(_write, place, files, module.SECRET)
        if renew is not None:
            live.renewals[name] = renew
            self._due.set()
        return place.path

    def _place(self, pod: Object, name: str, source: Object, kind: str) -> Place:
        uid = pod["metadata"]["uid"]

        async def lookup(kind: str, namespace: str, name: str) -> Object | None:
            self._references.use((kind, namespace, name), uid)
            return await self._references.get((kind, namespace, name))

        async def get(kind: str, namespace: str, name: str) -> Object:
            return await self._client.get(kind, name, namespace)

        async def token(audience: str, seconds: int) -> tuple[str, float]:
            return await self._tokens.token(pod, audience, seconds)

        async def certificate(source: Object) -> Credentials:
            return await self._certificates.get(pod, name, source)

        path = self._root / "pods" / uid / "volumes" / f"kubernetes.io~{kind}" / name
        return Place(
            pod=pod,
            name=name,
            source=source,
            path=path,
            lookup=lookup,
            token=token,
            bundles=self._bundles.text,
            certificate=certificate,
            get=get,
            allocatable=self._allocatable,
            local=self._local,
        )

    # Keeping them up to date.

    def pod_changed(self, pod: Object) -> None:
        """Labels or annotations of a pod changed, which its files may show."""
        live = self._live.get(pod["metadata"]["uid"])
        if live:
            live.pod = pod
            self._mark(pod["metadata"]["uid"])

    def _changed(self, name: Name) -> None:
        kind, namespace, referenced = name
        for uid, live in self._live.items():
            if live.pod["metadata"]["namespace"] == namespace and (kind, referenced) in _names(live.pod):
                self._mark(uid)
                self.appeared(uid)

    def _bundles_changed(self) -> None:
        for uid, live in self._live.items():
            if _projects(live.pod, "clusterTrustBundle"):
                self._mark(uid)
                self.appeared(uid)

    def _mark(self, uid: str) -> None:
        self._stale.add(uid)
        self._due.set()

    async def run(self) -> None:
        """Write what changed, and tokens before they expire."""
        while True:
            self._due.clear()
            now = time.time()
            stale, self._stale = self._stale, set()
            stale |= {
                uid for uid, live in self._live.items() if min(live.renewals.values(), default=now + 1) <= now
            }
            for uid in stale:
                await self._refresh(uid)
            first = min((t for live in self._live.values() for t in live.renewals.values()), default=None)
            try:
                async with asyncio.timeout(None if first is None else max(0.0, first - time.time())):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _refresh(self, uid: str) -> None:
        """Write a pod's files anew. What cannot be had now stays as it is, and is tried again."""
        live = self._live.get(uid)
        if live is None:
            return
        for volume in live.pod["spec"].get("volumes") or ():
            sort = next((f for f in volume if f in FILES), None)
            if sort is None:
                continue
            try:
                async with live.lock:
                    await self._one(live, volume)
            except VolumeError as e:
                log.info("volume %s of pod %s stays as it is: %s", e.volume, live.pod["metadata"]["name"], e)
                if volume["name"] in live.renewals:
                    live.renewals[volume["name"]] = time.time() + RETRY

    # Mounting into containers, and taking down.

    async def mounts(
        self,
        pod: Object,
        container: Object,
        paths: Mapping[str, Path],
        images: Mapping[str, str],
        values: Mapping[str, str],
    ) -> list[Any]:
        """The CRI Mounts that a container's volumeMounts ask for; volumes that are `images` are mounted by the runtime.

        Raises VolumeError.
        """
        found = []
        for index, m in enumerate(container.get("volumeMounts") or ()):
            if m["name"] in images:
                found.append(_image(m, images[m["name"]], values))
                continue
            if m["name"] not in paths:
                raise VolumeError(
                    m["name"], f'volume "{m["name"]}" of container {container["name"]} is not defined'
                )
            path = await self._part(pod, container, index, m, paths[m["name"]], values)
            if not path.exists():
                raise VolumeError(m["name"], f"failed to mount {path}: no such file or directory")
            found.append(
                messages.Mount(
                    container_path=_target(m),
                    host_path=str(path),
                    readonly=bool(m.get("readOnly")) or _is_read_only(pod, m["name"]),
                    propagation=PROPAGATION[m.get("mountPropagation") or "None"],
                    recursive_read_only=m.get("recursiveReadOnly") == "Enabled",
                )
            )
        return found

    async def _part(
        self, pod: Object, container: Object, index: int, m: Object, path: Path, values: Mapping[str, str]
    ) -> Path:
        part = m.get("subPath") or environment.expand(m.get("subPathExpr") or "", values)
        if not part:
            return path
        directory = (
            self._root / "pods" / pod["metadata"]["uid"] / "volume-subpaths" / m["name"] / container["name"]
        )
        try:
            return await asyncio.to_thread(subpath.mount, path, part, directory / str(index))
        except (subpath.SubPathError, OSError) as e:
            raise VolumeError(
                m["name"],
                f'failed to prepare subPath for volumeMount "{m["name"]}" of container "{container["name"]}": {e}',
            ) from e

    async def tear_down(self, uid: str) -> None:
        """Unmount and remove the pod's volumes; what lies outside the pod's directory stays. Raises OSError."""
        self._live.pop(uid, None)
        self._references.release(uid)
        self._tokens.forget(uid)
        self._certificates.forget(uid)
        directory = self._root / "pods" / uid
        await asyncio.to_thread(remove, directory / "volume-subpaths", directory / "volumes")

    async def close(self) -> None:
        await self._references.close()
        await self._bundles.close()


def _image(m: Object, image: str, values: Mapping[str, str]) -> Any:
    """The CRI Mount of an image, which nobody may write and nothing of which may be run (KEP-4639)."""
    return messages.Mount(
        container_path=_target(m),
        image=messages.ImageSpec(image=image),
        image_sub_path=m.get("subPath") or environment.expand(m.get("subPathExpr") or "", values),
        readonly=True,
        mount_options=["noexec"],
    )


def _target(m: Object) -> str:
    path = str(m["mountPath"])
    return path if path.startswith("/") else f"/{path}"


def _names(pod: Object) -> set[tuple[str, str]]:
    """The kind and name of all that a pod's volumes come from."""
    return {
        found
        for volume in pod["spec"].get("volumes") or ()
        for sort, module in FILES.items()
        if sort in volume
        for found in module.references(volume[sort])
    }


def _projects(pod: Object, source: str) -> bool:
    """Whether any volume of the pod has a projected source of that sort."""
    volumes = pod["spec"].get("volumes") or ()
    return any(source in part for v in volumes for part in (v.get("projected") or {}).get("sources") or ())


def _is_read_only(pod: Object, name: str) -> bool:
    """Files that we keep up to date are not for containers to write; a claim may be read-only as a whole."""
    volume = next(v for v in pod["spec"].get("volumes") or () if v["name"] == name)
    claimed = volume.get("persistentVolumeClaim") or {}
    return any(sort in volume for sort in FILES) or bool(claimed.get("readOnly"))


def _write(place: Place, files: payload.Files, in_memory: bool) -> None:
    if in_memory:
        memory.directory(place.path)
    payload.write(place.path, files, place.group)
