"""The checks of `metadata` that every kind shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object

Validate = Callable[[Object, Object | None], list[Invalid]]
ANNOTATIONS_LIMIT = 256 * 1024
_KEPT = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def checked(
    validate: Validate | None = None,
    *,
    name: names.Check = names.dns_subdomain,
    namespaced: bool = True,
    core: bool = True,
) -> Validate:
    """A kind's `validate`: metadata first, then what the kind itself checks.

    Kinds that are not `core`, the users' own, may have finalizers of any qualified name.
    """

    def whole(obj: Object, old: Object | None) -> list[Invalid]:
        found = faults_of(obj.get("metadata") or {}, name, namespaced, core=core)
        if old is not None:
            found += _changes(obj["metadata"], old["metadata"])
        return found + (validate(obj, old) if validate else [])

    return whole


def faults_of(
    meta: Mapping[str, Any],
    name: names.Check,
    namespaced: bool,
    path: str = "metadata",
    core: bool = True,
) -> list[Invalid]:
    found: list[Invalid] = []
    if prefix := meta.get("generateName"):
        found += faults.each_invalid(f"{path}.generateName", prefix, names.for_generation(name)(prefix))
    if not meta.get("name"):
        found.append(faults.required(f"{path}.name", "name or generateName is required"))
    else:
        found += faults.each_invalid(f"{path}.name", meta["name"], name(meta["name"]))
    if namespaced and not meta.get("namespace"):
        found.append(faults.required(f"{path}.namespace"))
    elif namespaced:
        found += faults.each_invalid(
            f"{path}.namespace", meta["namespace"], names.dns_label(meta["namespace"])
        )
    elif meta.get("namespace"):
        found.append(faults.forbidden(f"{path}.namespace", "not allowed on this type"))
    return found + common(meta, path, core)


def common(meta: Mapping[str, Any], path: str = "metadata", core: bool = True) -> list[Invalid]:
    """Faults of labels, annotations, owners and finalizers; templates have these too."""
    found = labels(meta.get("labels") or {}, f"{path}.labels")
    found += annotation_faults(meta.get("annotations") or {}, f"{path}.annotations")
    found += _owners(meta.get("ownerReferences") or [], f"{path}.ownerReferences")
    for index, finalizer in enumerate(meta.get("finalizers") or ()):
        found += _finalizer(finalizer, f"{path}.finalizers[{index}]", core)
    return found


def labels(found: Mapping[str, str], path: str) -> list[Invalid]:
    listed: list[Invalid] = []
    for key, value in found.items():
        listed += faults.each_invalid(path, key, names.qualified(key))
        listed += faults.each_invalid(path, value, names.label_value(value))
    return listed


def annotation_faults(found: Mapping[str, str], path: str) -> list[Invalid]:
    listed: list[Invalid] = []
    for key in found:
        listed += faults.each_invalid(path, key, names.qualified(key.lower()))
    if sum(len(k.encode()) + len(v.encode()) for k, v in found.items()) > ANNOTATIONS_LIMIT:
        listed.append(faults.too_long(path, ANNOTATIONS_LIMIT))
    return listed


def _owners(owners: list[Mapping[str, Any]], path: str) -> list[Invalid]:
    found: list[Invalid] = []
    controller = ""
    for index, owner in enumerate(owners):
        at = f"{path}[{index}]"
        for field, name in (("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")):
            if not owner.get(field):
                found.append(
                    faults.invalid(f"{at}.{field}", owner.get(field, ""), f"{name} must not be empty")
                )
        if owner.get("controller"):
            if controller:
                text = 'Only one reference can have Controller set to true. Found "true" in references for '
                found.append(faults.invalid(path, owners, f"{text}{controller} and {_owner_name(owner)}"))
            controller = _owner_name(owner)
    return found


def _owner_name(owner: Mapping[str, Any]) -> str:
    return f"{owner.get('kind', '')}/{owner.get('name', '')}"


_STANDARD_FINALIZERS = {"kubernetes", "orphan", "foregroundDeletion"}


def _finalizer(finalizer: str, path: str, core: bool) -> list[Invalid]:
    if core and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
        text = "name is neither a standard finalizer name nor is it fully qualified"
        return [faults.invalid(path, finalizer, text)]
    return faults.each_invalid(path, finalizer, names.qualified(finalizer))


def _changes(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[Invalid]:
    """What may not change of metadata once an object is there, and finalizers of one that is being deleted."""
    found: list[Invalid] = []
    for field in _KEPT:
        if field in new:
            found += faults.immutable(f"metadata.{field}", new.get(field), old.get(field))
    if old.get("deletionTimestamp"):
        added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if added:
            text = "no new finalizers can be added if the object is being deleted, found new finalizers "
            listed = ", ".join(f'"{name}"' for name in added)
            found.append(faults.forbidden("metadata.finalizers", f"{text}[]string{{{listed}}}"))
    return found
