"""The downward API: what a pod may learn of itself, as text. Plain functions.

Source: the Kubernetes documentation's page on the downward API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sampan.machinery import quantities
from sampan.machinery.objects import Object

_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


def field(pod: Object, path: str) -> str:
    """The value of a field. Raises ValueError where there is no such field to be had."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if match := _KEYED.fullmatch(path):
        return str((meta.get(match[1]) or {}).get(match[2], ""))
    plain: dict[str, Any] = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta.get("namespace", ""),
        "metadata.uid": meta.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": status.get("hostIP", ""),
        "status.hostIPs": ",".join(e["ip"] for e in status.get("hostIPs") or ()),
        "status.podIP": status.get("podIP", ""),
        "status.podIPs": ",".join(e["ip"] for e in status.get("podIPs") or ()),
    }
    if path in plain:
        return str(plain[path])
    if path in ("metadata.labels", "metadata.annotations"):
        return lines(meta.get(path.removeprefix("metadata.")) or {})
    raise ValueError(f"unsupported fieldPath: {path}")


def lines(values: Mapping[str, str]) -> str:
    """Labels or annotations as `key="escaped value"` lines, sorted."""
    return "\n".join(f"{k}={json.dumps(values[k], ensure_ascii=False)}" for k in sorted(values))


def resource(container: Object, ref: Object, allocatable: Mapping[str, str]) -> str:
    """A container's request or limit in units of the divisor, rounded up; a limit that is not set is the node's."""
    which, _, name = ref["resource"].partition(".")
    given = (container.get("resources") or {}).get(which) or {}
    if which not in ("limits", "requests"):
        raise ValueError(f"unsupported container resource : {ref['resource']}")
    found = given.get(name)
    if found is None:
        found = allocatable.get(name, "0") if which == "limits" else "0"
    divisor = quantities.parse(ref.get("divisor") or "1").nano or quantities.parse("1").nano
    return str(-(-quantities.parse(found).nano // divisor))
