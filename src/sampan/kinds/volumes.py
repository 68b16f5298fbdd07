"""The checks of a pod's volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sampan.kinds import faults, projected_certificates
from sampan.kinds.containers import descending, field_reference, positive
from sampan.kinds.kind import Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object, get

_HOST_PATHS = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations",
)  # fmt: skip


def validate(volumes: list[Object], path: str) -> list[Invalid]:
    found: list[Invalid] = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        at, name = f"{path}[{index}]", volume.get("name") or ""
        if not name:
            found.append(faults.required(f"{at}.name"))
        else:
            found += faults.each_invalid(f"{at}.name", name, names.dns_label(name))
        if name in seen:
            found.append(faults.duplicate(f"{at}.name", name))
        seen.add(name)
        found += _source(volume, at)
    return found


def _source(volume: Object, path: str) -> list[Invalid]:
    given = [k for k, v in volume.items() if k != "name" and v is not None]
    if not given:
        return [faults.required(path, "must specify a volume type")]
    found = [faults.forbidden(f"{path}.{k}", "may not specify more than 1 volume type") for k in given[1:]]
    check = _CHECKS.get(given[0])
    return found + (check(volume[given[0]], f"{path}.{given[0]}") if check else [])


def _mode(mode: int | None, path: str) -> list[Invalid]:
    if mode is None or 0 <= mode <= 0o777:
        return []
    text = "must be a number between 0 and 0777 (octal), both inclusive"
    return [faults.invalid(path, mode, text)]


def _items(items: list[Object], path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for index, item in enumerate(items):
        at = f"{path}[{index}]"
        found += [] if item.get("key") else [faults.required(f"{at}.key")]
        found += _target(item, at)
    return found


def _target(item: Object, path: str) -> list[Invalid]:
    """Faults of where a file goes in its volume."""
    if not item.get("path"):
        return [faults.required(f"{path}.path")]
    return _local(item["path"], f"{path}.path") + _mode(item.get("mode"), f"{path}.mode")


def _local(text: str, path: str) -> list[Invalid]:
    found = descending(text, path)
    if text.startswith("..") and not found:
        found.append(faults.invalid(path, text, "must not start with '..'"))
    return found


def _secret(source: Object, path: str) -> list[Invalid]:
    found = [] if source.get("secretName") else [faults.required(f"{path}.secretName")]
    found += _mode(source.get("defaultMode"), f"{path}.defaultMode")
    return found + _items(source.get("items") or [], f"{path}.items")


def _config_map(source: Object, path: str) -> list[Invalid]:
    found = [] if source.get("name") else [faults.required(f"{path}.name")]
    found += _mode(source.get("defaultMode"), f"{path}.defaultMode")
    return found + _items(source.get("items") or [], f"{path}.items")


def _downward(source: Object, path: str) -> list[Invalid]:
    found = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for index, item in enumerate(source.get("items") or ()):
        at = f"{path}.items[{index}]"
        found += _target(item, at)
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None and resource is not None:
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            found.append(faults.invalid(at, "resource", text))
        elif field is not None:
            found += field_reference(field, f"{at}.fieldRef", _FIELDS)
        elif resource is None:
            found.append(faults.required(at, "one of fieldRef and resourceFieldRef is required"))
        elif not resource.get("containerName"):
            found.append(faults.required(f"{at}.resourceFieldRef.containerName"))
    return found


def _projected(source: Object, path: str) -> list[Invalid]:
    found = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for index, part in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{index}]"
        given = [k for k, v in part.items() if v is not None]
        if len(given) > 1:
            found += [
                faults.forbidden(f"{at}.{k}", "may not specify more than 1 volume type") for k in given[1:]
            ]
        for field in ("secret", "configMap"):
            if part.get(field) is not None:
                found += [] if part[field].get("name") else [faults.required(f"{at}.{field}.name")]
                found += _items(part[field].get("items") or [], f"{at}.{field}.items")
        if part.get("downwardAPI") is not None:
            found += _downward(part["downwardAPI"], f"{at}.downwardAPI")
        if part.get("serviceAccountToken") is not None:
            found += _token(part["serviceAccountToken"], f"{at}.serviceAccountToken")
        for field, check in _CERTIFICATES.items():
            if part.get(field) is not None:
                found += check(part[field], f"{at}.{field}", _local)
    return found


_CERTIFICATES = {
    "clusterTrustBundle": projected_certificates.trust_bundle,
    "podCertificate": projected_certificates.pod_certificate,
}


def _token(source: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    seconds = source.get("expirationSeconds") or 0
    if seconds < 600:
        found.append(
            faults.invalid(
                f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
            )
        )
    elif seconds > 2**32:
        text = "may not specify a duration larger than 2^32 seconds"
        found.append(faults.invalid(f"{path}.expirationSeconds", seconds, text))
    return found + _target(source, path)


def host_path(source: Object, path: str) -> list[Invalid]:
    text = source.get("path") or ""
    if not text:
        return [faults.required(f"{path}.path")]
    found: list[Invalid] = []
    if ".." in text.split("/"):
        found.append(faults.invalid(f"{path}.path", text, "must not contain '..'"))
    return found + faults.one_of(f"{path}.type", source.get("type"), _HOST_PATHS)


def _empty_dir(source: Object, path: str) -> list[Invalid]:
    limit = get(source, "sizeLimit")
    return positive(limit, f"{path}.sizeLimit") if limit is not None else []


def _needs(field: str) -> Callable[[Any, str], list[Invalid]]:
    """A check that a source names what it must."""

    def check(source: Any, path: str) -> list[Invalid]:
        return [] if source.get(field) else [faults.required(f"{path}.{field}")]

    return check


_CHECKS: dict[str, Callable[[Any, str], list[Invalid]]] = {
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "projected": _projected,
    "hostPath": host_path,
    "emptyDir": _empty_dir,
    "persistentVolumeClaim": _needs("claimName"),
    "ephemeral": _needs("volumeClaimTemplate"),
    "csi": _needs("driver"),
    "nfs": _needs("server"),
}
