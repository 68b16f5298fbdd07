"""Namespace (core/v1): a scope for names. It is gone once its finalizer has seen everything in it deleted."""

from __future__ import annotations

from sampan.kinds import metadata, strategy
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, get

NAME_LABEL = "kubernetes.io/metadata.name"


def _default(obj: Object) -> None:
    obj.setdefault("status", {}).setdefault("phase", "Active")
    meta = obj.setdefault("metadata", {})
    if meta.get("name"):
        meta["labels"] = {**(meta.get("labels") or {}), NAME_LABEL: meta["name"]}


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    if subresource == "finalize" and old is not None:
        finalizers = get(obj, "spec.finalizers", [])
        strategy.keep_all_but_status(obj, old)
        strategy.keep_status(obj, old)
        obj["spec"] = {**(obj.get("spec") or {}), "finalizers": finalizers}
        return
    strategy.uncounted(obj, old, subresource)
    if old is None:
        obj["status"] = {"phase": "Active"}
        finalizers = get(obj, "spec.finalizers", [])
        obj["spec"] = {
            "finalizers": finalizers if "kubernetes" in finalizers else [*finalizers, "kubernetes"]
        }
    elif subresource != "status":
        obj["spec"] = old.get("spec") or {}


KIND = Kind(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=("finalize", "status"),
    columns=(NAME, Column("Status", at("status.phase"), description="The phase of the namespace."), AGE),
    fields=lambda obj: {"status.phase": get(obj, "status.phase", ""), "name": get(obj, "metadata.name", "")},
    default=_default,
    prepare=_prepare,
    validate=metadata.checked(name=names.dns_label, namespaced=False),
)
