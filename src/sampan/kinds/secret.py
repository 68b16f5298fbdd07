"""Secret (core/v1): keys and values that are not for everyone's eyes; values are base64.

`stringData` is for writing only: it is merged into `data` and never stored.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from sampan.kinds import faults, metadata
from sampan.kinds.columns import AGE, NAME, at, count
from sampan.kinds.config_map import LIMIT, decoded_size
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object

ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
_ACCOUNT = "kubernetes.io/service-account.name"
_NEEDED = {
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}


def _default(obj: Object) -> None:
    text = obj.pop("stringData", None) or {}
    if text:
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in text.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}
    obj["type"] = obj.get("type") or "Opaque"


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    if old is not None and not obj.get("type"):
        obj["type"] = old.get("type", "Opaque")


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    data = obj.get("data") or {}
    found: list[Invalid] = []
    for key in data:
        found += faults.each_invalid(f"data[{key}]", key, names.config_key(key))
    if sum(map(decoded_size, data.values())) > LIMIT:
        found.append(faults.too_long("data", LIMIT))
    found += _of_type(obj, data)
    return found + (_changes(obj, old) if old else [])


def _of_type(obj: Object, data: Mapping[str, str]) -> list[Invalid]:
    kind = obj.get("type", "")
    found = [faults.required(f"data[{key}]") for key in _NEEDED.get(kind, ()) if key not in data]
    if kind == ACCOUNT_TOKEN and not (obj["metadata"].get("annotations") or {}).get(_ACCOUNT):
        found.append(faults.required(f"metadata.annotations[{_ACCOUNT}]"))
    if kind == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
        found += [faults.required("data[username]"), faults.required("data[password]")]
    if kind.startswith("kubernetes.io/dockerc") and not found:
        key = _NEEDED[kind][0]
        try:
            json.loads(base64.b64decode(data[key]))
        except ValueError as error:
            found.append(faults.invalid(f"data[{key}]", "<secret contents redacted>", str(error)))
    return found


def _changes(obj: Object, old: Object) -> list[Invalid]:
    found = faults.immutable("type", obj.get("type"), old.get("type"))
    if not old.get("immutable"):
        return found
    if not obj.get("immutable"):
        found.append(faults.forbidden("immutable", "field is immutable when `immutable` is set"))
    if (obj.get("data") or {}) != (old.get("data") or {}):
        found.append(faults.forbidden("data", "field is immutable when `immutable` is set"))
    return found


KIND = Kind(
    group="",
    version="v1",
    kind="Secret",
    plural="secrets",
    namespaced=True,
    columns=(
        NAME,
        Column("Type", at("type"), description="What the Secret is for."),
        Column("Data", count("data"), description="How many keys it holds."),
        AGE,
    ),
    fields=lambda obj: {"type": obj.get("type", "")},
    default=_default,
    prepare=_prepare,
    validate=metadata.checked(_validate),
)
