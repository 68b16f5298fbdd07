"""What discovery tells of the groups of other servers: their lists of resources in the aggregated form."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.apiserver.aggregator.services import Remote
from sampan.machinery.objects import Object


def group(remotes: Iterable[Remote], name: str) -> list[Object]:
    """The versions of a group, as the older documents list them."""
    return [
        {"groupVersion": f"{r.group}/{r.version}", "version": r.version} for r in remotes if r.group == name
    ]


def discovery(remotes: Iterable[Remote], name: str) -> list[Object]:
    """The versions of a group, as aggregated discovery lists them."""
    found = []
    for remote in remotes:
        if remote.group == name:
            resources = _resources(remote)
            found.append({"version": remote.version, "resources": resources, "freshness": "Current"})
    return found


def _resources(remote: Remote) -> list[Object]:
    found: dict[str, Object] = {}
    for said in remote.resources:
        plural, _, sub = str(said.get("name", "")).partition("/")
        kind = {
            "group": said.get("group") or remote.group,
            "version": said.get("version") or remote.version,
            "kind": said.get("kind", ""),
        }
        verbs = list(said.get("verbs") or ())
        if sub:
            listed = found.setdefault(plural, {"resource": plural}).setdefault("subresources", [])
            listed.append({"subresource": sub, "responseKind": kind, "verbs": verbs})
            continue
        made: Object = {
            "resource": plural,
            "responseKind": kind,
            "scope": "Namespaced" if said.get("namespaced") else "Cluster",
            "singularResource": said.get("singularName") or "",
            "verbs": verbs,
        }
        for name in ("shortNames", "categories"):
            if said.get(name):
                made[name] = said[name]
        found[plural] = {**found.get(plural, {}), **made}
    return list(found.values())
