"""The files that config maps, secrets, the downward API and tokens become, alone or projected."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from sampan.machinery.objects import Object
from sampan.node import downward, pods
from sampan.node.volumes.payload import File, Files
from sampan.node.volumes.place import Place
from sampan.node.volumes.pod_certificates import CertificateError

DEFAULT_MODE = 0o644
TITLES = {"configmaps": "configmap", "secrets": "secret"}


async def referenced(place: Place, kind: str, name: str, source: Object, mode: int) -> Files:
    """The files of a config map or secret; none where it is optional and missing. Raises VolumeError."""
    found = await place.lookup(kind, place.namespace, name)
    if found is None:
        if source.get("optional"):
            return {}
        raise place.error(f'{TITLES[kind]} "{name}" not found')
    return chosen(place, contents(kind, found), source, mode, f"{TITLES[kind]}s")


def contents(kind: str, found: Object) -> dict[str, bytes]:
    """What a config map or secret holds, by key."""
    data = found.get("data") or {}
    if kind == "secrets":
        return {k: base64.b64decode(v) for k, v in data.items()}
    binary = {k: base64.b64decode(v) for k, v in (found.get("binaryData") or {}).items()}
    return {**{k: v.encode() for k, v in data.items()}, **binary}


def chosen(place: Place, data: Mapping[str, bytes], source: Object, mode: int, title: str) -> Files:
    """All keys, or those that `items` name under the paths given there. Raises VolumeError."""
    items = source.get("items")
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files: Files = {}
    for item in items:
        if item["key"] in data:
            files[item["path"]] = File(data[item["key"]], _or(item.get("mode"), mode))
        elif not source.get("optional"):
            raise place.error(f"references non-existent {title[:-1]} key: {item['key']}")
    return files


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


def downward_files(place: Place, source: Object, mode: int) -> Files:
    """The files of the downward API. Raises VolumeError."""
    files: Files = {}
    for item in source.get("items") or ():
        try:
            if "fieldRef" in item:
                text = downward.field(place.pod, item["fieldRef"]["fieldPath"])
            else:
                ref = item["resourceFieldRef"]
                container = pods.named(place.pod, ref.get("containerName", ""))
                if container is None:
                    raise ValueError(f"container {ref.get('containerName')} not found")
                text = downward.resource(container, ref, place.allocatable)
        except ValueError as e:
            raise place.error(str(e)) from e
        files[item["path"]] = File(text.encode(), _or(item.get("mode"), mode))
    return files


def token_owner(pod: Object) -> int | None:
    """The user that all containers run as, if there is one such: it owns the tokens, which then only it can read."""
    shared = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    users = {(c.get("securityContext") or {}).get("runAsUser", shared) for c in pods.containers(pod)}
    return users.pop() if len(users) == 1 else None


async def token_files(place: Place, source: Object, mode: int) -> tuple[Files, float]:
    """The file of a service account token, and when to renew it. Raises VolumeError."""
    text, renew = await place.token(source.get("audience", ""), source.get("expirationSeconds", 3600))
    owner = token_owner(place.pod)
    if owner is not None or place.group is not None:
        mode = 0o600
    return {source["path"]: File(text.encode(), mode, owner)}, renew


async def bundle_files(place: Place, source: Object, mode: int) -> Files:
    """The file of the certificates of the authorities chosen. Raises VolumeError."""
    text = await place.bundles(source)
    if text is None:
        if not source.get("optional"):
            raise place.error(_no_bundle(source))
        text = ""
    return {source["path"]: File(text.encode(), mode)}


def _no_bundle(source: Object) -> str:
    if "name" in source:
        return f'clustertrustbundle.certificates.k8s.io "{source["name"]}" not found'
    return f"combination of signerName {source.get('signerName')!r} and labelSelector matched zero ClusterTrustBundles"


async def certificate_files(place: Place, source: Object, mode: int) -> tuple[Files, float]:
    """The pod's key and certificates, in one file or in two, and when to renew them. Raises VolumeError."""
    try:
        found = await place.certificate(source)
    except CertificateError as e:
        raise place.error(str(e)) from e
    owner = token_owner(place.pod)
    if owner is not None or place.group is not None:
        mode = 0o600
    chain = found.chain.encode()
    parts = {
        source.get("credentialBundlePath"): found.key + chain,
        source.get("keyPath"): found.key,
        source.get("certificateChainPath"): chain,
    }
    return {path: File(data, mode, owner) for path, data in parts.items() if path}, found.renew
