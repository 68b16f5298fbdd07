"""Strict decoding: every field must be known and of its type, and no key may stand twice.

The types are a table, as in k8s.io/kube-scheduler/config/v1; faults are worded as Go's decoders word them.
"""

from __future__ import annotations

import re
from typing import Any

from sampan.machinery import yaml
from sampan.machinery.objects import Object
from sampan.scheduler.configuration.defaults import GROUP, KIND, VERSION, ConfigurationError, seconds

# A field's type: a name below or a plain one (int32, int64, float32, string, bool, duration, bytes, any), or a list
# of one, as [TYPE].
Type = str | list[str]

_POINTS = (
    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit",
    "preBind", "bind", "postBind", "multiPoint", "placementGenerate", "placementScore", "podGroupPostFilter",
)  # fmt: skip
_META: dict[str, Type] = {"apiVersion": "string", "kind": "string"}
STRUCTS: dict[str, dict[str, Type]] = {
    KIND: {
        **_META,
        "parallelism": "int32",
        "leaderElection": "LeaderElectionConfiguration",
        "clientConnection": "ClientConnectionConfiguration",
        "enableProfiling": "bool",
        "enableContentionProfiling": "bool",
        "percentageOfNodesToScore": "int32",
        "podInitialBackoffSeconds": "int64",
        "podMaxBackoffSeconds": "int64",
        "profiles": ["KubeSchedulerProfile"],
        "extenders": ["Extender"],
        "delayCacheUntilActive": "bool",
    },
    "LeaderElectionConfiguration": {
        "leaderElect": "bool",
        "leaseDuration": "duration",
        "renewDeadline": "duration",
        "retryPeriod": "duration",
        "resourceLock": "string",
        "resourceName": "string",
        "resourceNamespace": "string",
    },
    "ClientConnectionConfiguration": {
        "kubeconfig": "string",
        "acceptContentTypes": "string",
        "contentType": "string",
        "qps": "float32",
        "burst": "int32",
    },
    "KubeSchedulerProfile": {
        "schedulerName": "string",
        "percentageOfNodesToScore": "int32",
        "plugins": "Plugins",
        "pluginConfig": ["PluginConfig"],
    },
    "Plugins": dict.fromkeys(_POINTS, "PluginSet"),
    "PluginSet": {"enabled": ["Plugin"], "disabled": ["Plugin"]},
    "Plugin": {"name": "string", "weight": "int32"},
    "PluginConfig": {"name": "string", "args": "any"},
    "Extender": {
        "urlPrefix": "string",
        "filterVerb": "string",
        "preemptVerb": "string",
        "prioritizeVerb": "string",
        "weight": "int64",
        "bindVerb": "string",
        "enableHTTPS": "bool",
        "tlsConfig": "ExtenderTLSConfig",
        "httpTimeout": "duration",
        "nodeCacheCapable": "bool",
        "managedResources": ["ExtenderManagedResource"],
        "ignorable": "bool",
    },
    "ExtenderManagedResource": {"name": "string", "ignoredByScheduler": "bool"},
    "ExtenderTLSConfig": {
        "insecure": "bool",
        "serverName": "string",
        "certFile": "string",
        "keyFile": "string",
        "caFile": "string",
        "certData": "bytes",
        "keyData": "bytes",
        "caData": "bytes",
    },
    "DefaultPreemptionArgs": {
        **_META,
        "minCandidateNodesPercentage": "int32",
        "minCandidateNodesAbsolute": "int32",
    },
    "InterPodAffinityArgs": {
        **_META,
        "hardPodAffinityWeight": "int32",
        "ignorePreferredTermsOfExistingPods": "bool",
    },
    "NodeResourcesFitArgs": {
        **_META,
        "ignoredResources": ["string"],
        "ignoredResourceGroups": ["string"],
        "scoringStrategy": "ScoringStrategy",
    },
    "ScoringStrategy": {
        "type": "string",
        "resources": ["ResourceSpec"],
        "requestedToCapacityRatio": "RequestedToCapacityRatioParam",
    },
    "RequestedToCapacityRatioParam": {"shape": ["UtilizationShapePoint"]},
    "UtilizationShapePoint": {"utilization": "int32", "score": "int32"},
    "ResourceSpec": {"name": "string", "weight": "int64"},
    "PodTopologySpreadArgs": {
        **_META,
        "defaultConstraints": ["TopologySpreadConstraint"],
        "defaultingType": "string",
    },
    "TopologySpreadConstraint": {
        "maxSkew": "int32",
        "topologyKey": "string",
        "whenUnsatisfiable": "string",
        "labelSelector": "any",
        "minDomains": "int32",
        "nodeAffinityPolicy": "string",
        "nodeTaintsPolicy": "string",
        "matchLabelKeys": ["string"],
    },
    "NodeResourcesBalancedAllocationArgs": {**_META, "resources": ["ResourceSpec"]},
    "VolumeBindingArgs": {**_META, "bindTimeoutSeconds": "int64", "shape": ["UtilizationShapePoint"]},
    "NodeAffinityArgs": {**_META, "addedAffinity": "any"},
    "DynamicResourcesArgs": {**_META, "filterTimeout": "duration", "bindingTimeout": "duration"},
}
_INTEGERS = {"int32": 2**31, "int64": 2**63}
_GO = {"duration": "v1.Duration", "bytes": "[]uint8"}


def decode(text: bytes | str) -> Object:
    """The configuration as it is written, every value of its type. Raises ConfigurationError."""
    config = _parsed(text)
    version, kind = config.get("apiVersion"), config.get("kind")
    if not kind:
        raise ConfigurationError("Object 'Kind' is missing")
    if not version:
        raise ConfigurationError("Object 'apiVersion' is missing")
    if (version, kind) != (VERSION, KIND):
        raise ConfigurationError(f'no kind "{kind}" is registered for version "{version}"')
    unknown: list[str] = []
    _check(config, KIND, KIND, "", unknown)
    unknown += _duplicates(text)
    for i, profile in enumerate(config.get("profiles") or ()):
        for j, plugin in enumerate(profile.get("pluginConfig") or ()):
            _decode_arguments(plugin, f".profiles[{i}].pluginConfig[{j}]", unknown)
    if unknown:
        raise ConfigurationError(f"strict decoding error: {', '.join(unknown)}")
    return config


def _parsed(text: bytes | str) -> Object:
    try:
        config = yaml.load(text)
    except yaml.YamlError as e:
        raise ConfigurationError(str(e)) from e
    if not isinstance(config, dict):
        raise ConfigurationError("Object 'Kind' is missing")
    return config


def _decode_arguments(plugin: Object, where: str, unknown: list[str]) -> None:
    """Check a plugin's arguments by their own type; those of plugins that are not Kubernetes' stay as they are."""
    name = f"{plugin.get('name', '')}Args"
    if name not in STRUCTS:
        return
    arguments = plugin.get("args") or {}
    what = f"decoding args for plugin {plugin['name']}"
    prefix = f"decoding {where}: {what}"
    version, kind = arguments.get("apiVersion", VERSION), arguments.get("kind", name)
    if version != VERSION:
        raise ConfigurationError(f'{prefix}: no kind "{kind}" is registered for version "{version}"')
    if kind != name:
        raise ConfigurationError(
            f"decoding {where}: args for plugin {plugin['name']} were not of type {name}.{GROUP}, got {kind}.{GROUP}"
        )
    found: list[str] = []
    try:
        _check(arguments, name, name, "", found)
    except ConfigurationError as e:
        raise ConfigurationError(f"{prefix}: {e}") from e
    if found:
        strict = "strict decoding error:"
        unknown.append(f"decoding {where}: {strict} {what}: {strict} {', '.join(found)}")


def _check(value: Any, type: Type, struct: str, path: str, unknown: list[str]) -> None:
    """Raises ConfigurationError where a value is of another type; unknown fields are collected."""
    if value is None:
        return
    if isinstance(type, list):
        _expect(isinstance(value, list), value, struct, path, f"[]v1.{type[0]}")
        for i, item in enumerate(value):
            _check(item, type[0], struct, f"{path}[{i}]", unknown)
    elif type in STRUCTS:
        _expect(isinstance(value, dict), value, struct, path, f"v1.{type}")
        # Upstream reads YAML by way of JSON, which orders the keys.
        for name, item in sorted(value.items()):
            inner = f"{path}.{name}" if path else name
            if name in STRUCTS[type]:
                _check(item, STRUCTS[type][name], type, inner, unknown)
            else:
                unknown.append(f'unknown field "{inner}"')
    elif type != "any":
        _expect(_is(value, type), value, struct, path, _GO.get(type, type))
        if type == "duration":
            try:
                seconds(value)
            except ValueError as e:
                raise ConfigurationError(str(e)) from e


def _is(value: Any, type: str) -> bool:
    if type in _INTEGERS:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INTEGERS[type]
    if type == "float32":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, bool if type == "bool" else str)


def _expect(fine: bool, value: Any, struct: str, path: str, wanted: str) -> None:
    if not fine:
        dotted = re.sub(r"\[\d+\]", "", path)
        shown = f"number {value}" if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
        given = shown or {bool: "bool", str: "string", list: "array", dict: "object"}[type(value)]
        if shown and wanted not in _INTEGERS:
            given = "number"
        raise ConfigurationError(
            f"json: cannot unmarshal {given} into Go struct field {struct}.{dotted} of type {wanted}"
        )


def _duplicates(text: bytes | str) -> list[str]:
    """Keys that stand twice in one mapping: YAML's readers keep the last one silently."""
    import yaml as pyyaml

    found: list[str] = []
    left = [pyyaml.compose(text, Loader=pyyaml.SafeLoader)]
    while left:
        node = left.pop()
        if isinstance(node, pyyaml.MappingNode):
            seen: set[str] = set()
            for name, value in node.value:
                if name.value in seen:
                    line = name.start_mark.line + 1
                    found.append(
                        f'yaml: unmarshal errors:\n  line {line}: key "{name.value}" already set in map'
                    )
                seen.add(name.value)
                left.append(value)
        elif isinstance(node, pyyaml.SequenceNode):
            left += node.value
    return found
