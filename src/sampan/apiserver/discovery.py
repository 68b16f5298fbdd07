"""Which resources there are: aggregated discovery, and the older documents for each group and version.

Sources: KEP-3352 (aggregated discovery); the API reference's APIResourceList, APIGroup.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import orjson

from sampan.apiserver import errors
from sampan.apiserver.aggregator import documents
from sampan.apiserver.call import Answer, Call, Made
from sampan.apiserver.negotiation import form
from sampan.http.messages import Response
from sampan.kinds.kind import Kind
from sampan.kinds.subresources import describe
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Discovery:
    def __init__(self, server: ApiServer):
        self._server = server
        self._aggregated: dict[tuple[str, int, int], tuple[bytes, str]] = {}

    def paths(self) -> list[str]:
        """The path of each group and version."""
        found = {
            f"/apis/{k.group}/{k.version}" if k.group else f"/api/{k.version}" for k in self._server.catalog
        }
        return sorted(found | {f"/apis/{k.group}" for k in self._server.catalog if k.group})

    def answer(self, call: Call, path: str) -> Answer:
        words = path.split("/")[1:]
        if len(words) == 1:
            if form(call.headers.get("accept", "")).shape == "APIGroupDiscoveryList":
                return self._aggregate(call, words[0])
            return self._versions(call) if words[0] == "api" else self._groups()
        if words[0] == "api" and len(words) == 2:
            return self._resources("", words[1])
        if words[0] == "apis" and len(words) == 2:
            return Made({"kind": "APIGroup", "apiVersion": "v1", **self._group(words[1])})
        if words[0] == "apis" and len(words) == 3:
            return self._resources(words[1], words[2])
        raise errors.no_such_path()

    # The older documents

    def _versions(self, call: Call) -> Answer:
        host = call.headers.get("host", "")
        address = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
        return Made({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": address})

    def _groups(self) -> Answer:
        groups = [self._group(g) for g in self._names() if g]
        return Made({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    def _names(self) -> list[str]:
        own = (k.group for k in self._server.catalog)
        return list(dict.fromkeys((*own, *(r.group for r in self._server.api_services.remotes()))))

    def _group(self, group: str) -> Object:
        versions = dict.fromkeys(k.version for k in self._server.catalog if k.group == group and group)
        found = [{"groupVersion": f"{group}/{v}", "version": v} for v in versions]
        found += documents.group(self._server.api_services.remotes(), group)
        if not found:
            raise errors.no_such_path()
        return {"name": group, "versions": found, "preferredVersion": found[0]}

    def _resources(self, group: str, version: str) -> Answer:
        kinds = [k for k in self._server.catalog if (k.group, k.version) == (group, version)]
        if not kinds:
            raise errors.no_such_path()
        resources = [r for k in kinds for r in (_resource(k), *(_subresource(k, s) for s in k.subresources))]
        return Made(
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{group}/{version}" if group else version,
                "resources": resources,
            }
        )

    # Aggregated

    def _aggregate(self, call: Call, root: str) -> Answer:
        question = (root, self._server.catalog.version, self._server.api_services.changed)
        if question not in self._aggregated:
            self._aggregated = {k: v for k, v in self._aggregated.items() if k[1:] == question[1:]}
            groups = [g for g in self._names() if bool(g) == (root == "apis")]
            data = orjson.dumps(
                {
                    "kind": "APIGroupDiscoveryList",
                    "apiVersion": "apidiscovery.k8s.io/v2",
                    "metadata": {},
                    "items": [self._group_discovery(g) for g in groups],
                }
            )
            self._aggregated[question] = (data, '"' + hashlib.sha256(data).hexdigest().upper() + '"')
        data, tag = self._aggregated[question]
        headers = {"content-type": AGGREGATED, "etag": tag, "vary": "Accept", "cache-control": "public"}
        if call.headers.get("if-none-match") == tag:
            return Response(304, b"", headers)
        return Response(200, data, headers)

    def _group_discovery(self, group: str) -> Object:
        versions = dict.fromkeys(k.version for k in self._server.catalog if k.group == group)
        found: Object = {"metadata": {"name": group} if group else {}, "versions": []}
        for version in versions:
            kinds = [k for k in self._server.catalog if (k.group, k.version) == (group, version)]
            resources = [self._resource_discovery(k) for k in kinds]
            found["versions"].append({"version": version, "resources": resources, "freshness": "Current"})
        found["versions"] += documents.discovery(self._server.api_services.remotes(), group)
        return found

    def _resource_discovery(self, kind: Kind) -> Object:
        found: Object = {
            "resource": kind.plural,
            "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "singularResource": kind.singular or kind.kind.lower(),
            "verbs": sorted(kind.verbs),
        }
        if kind.short_names:
            found["shortNames"] = list(kind.short_names)
        if kind.categories:
            found["categories"] = list(kind.categories)
        if kind.subresources:
            found["subresources"] = [_subresource_discovery(kind, s) for s in kind.subresources]
        return found


def _subresource(kind: Kind, name: str) -> Object:
    about = describe(kind, name)
    found: Object = {
        "name": f"{kind.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": about.kind,
        "verbs": list(about.verbs),
    }
    if (about.group, about.version) != (kind.group, kind.version):
        found |= {"group": about.group, "version": about.version}
    return found


def _subresource_discovery(kind: Kind, name: str) -> Object:
    about = describe(kind, name)
    return {
        "subresource": name,
        "responseKind": {"group": about.group, "version": about.version, "kind": about.kind},
        "verbs": list(about.verbs),
    }


def _resource(kind: Kind) -> Object:
    found: Object = {
        "name": kind.plural,
        "singularName": kind.singular or kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.stored:
        digest = hashlib.sha256(f"{kind.group}/{kind.plural}".encode()).digest()[:8]
        found["storageVersionHash"] = base64.b64encode(digest).decode()
    return found
