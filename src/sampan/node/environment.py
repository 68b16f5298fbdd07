"""A container's environment, from every source that its spec may name. Plain functions, but for `gather`.

Order, the later one winning: the services' variables, envFrom in order, env in order. Source: the Pod API reference,
and the documentation's page on dependent environment variables for `$(NAME)`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from sampan.machinery.objects import Object
from sampan.node import downward, pods

Source = tuple[str, str]  # "configmaps" or "secrets", and the name


class ConfigError(Exception):
    """A container cannot be configured: shown as CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a container's configuration may ask of its surroundings: `sources` are the config maps and secrets."""

    pod: Object
    services: tuple[Object, ...]
    sources: Mapping[Source, Object | None]
    allocatable: Mapping[str, str]


_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` where the name is known, and `$$` by `$`."""

    def replaced(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return values.get(match[2], match[0])

    return _REFERENCE.sub(replaced, text)


def sources(container: Object) -> set[Source]:
    """The config maps and secrets that a container's environment names."""
    found: set[Source] = set()
    for entry in container.get("envFrom") or ():
        for field, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if field in entry:
                found.add((kind, entry[field]["name"]))
    for entry in container.get("env") or ():
        given = entry.get("valueFrom") or {}
        for field, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            if field in given:
                found.add((kind, given[field]["name"]))
    return found


async def gather(
    wanted: Iterable[Source], get: Callable[[str, str], Awaitable[Object | None]]
) -> dict[Source, Object | None]:
    """Fetch each source; None for one that does not exist."""
    return {source: await get(*source) for source in sorted(wanted)}


def environment(container: Object, facts: Facts) -> dict[str, str]:
    """Names and values. Raises ConfigError."""
    services = service_variables(facts.pod, facts.services)
    found: dict[str, str] = {}
    for entry in container.get("envFrom") or ():
        found |= _all_of(entry, facts)
    for entry in container.get("env") or ():
        known = {**services, **found}
        value = _value(entry, container, facts, known)
        if value is not None:
            found[entry["name"]] = value
    return {**services, **found}


def _all_of(entry: Object, facts: Facts) -> dict[str, str]:
    field, kind = ("configMapRef", "configmaps") if "configMapRef" in entry else ("secretRef", "secrets")
    ref = entry.get(field) or {}
    source = _source(kind, ref, facts)
    prefix = entry.get("prefix") or ""
    return {prefix + key: value for key, value in data(kind, source).items()} if source else {}


def _source(kind: str, ref: Object, facts: Facts) -> Object | None:
    source = facts.sources.get((kind, ref["name"]))
    if source is None and not ref.get("optional"):
        raise ConfigError(f'{kind[:-1]} "{ref["name"]}" not found')
    return source


def data(kind: str, source: Object) -> dict[str, str]:
    """The text that a config map or secret holds, by key."""
    if kind == "secrets":
        return {
            k: base64.b64decode(v).decode(errors="surrogateescape")
            for k, v in (source.get("data") or {}).items()
        }
    return dict(source.get("data") or {})


def _value(entry: Object, container: Object, facts: Facts, known: Mapping[str, str]) -> str | None:
    given = entry.get("valueFrom")
    if not given:
        return expand(entry.get("value") or "", known)
    if "fieldRef" in given:
        try:
            return downward.field(facts.pod, given["fieldRef"]["fieldPath"])
        except ValueError as e:
            raise ConfigError(str(e)) from e
    if "resourceFieldRef" in given:
        return _resource(given["resourceFieldRef"], container, facts)
    field, kind, title = (
        ("configMapKeyRef", "configmaps", "ConfigMap")
        if "configMapKeyRef" in given
        else ("secretKeyRef", "secrets", "Secret")
    )
    return _key(given[field], kind, title, facts)


def _resource(ref: Object, container: Object, facts: Facts) -> str:
    about = pods.named(facts.pod, ref.get("containerName") or container["name"])
    if about is None:
        raise ConfigError(f"container {ref.get('containerName')} not found")
    try:
        return downward.resource(about, ref, facts.allocatable)
    except ValueError as e:
        raise ConfigError(str(e)) from e


def _key(ref: Object, kind: str, title: str, facts: Facts) -> str | None:
    source = _source(kind, ref, facts)
    values = data(kind, source) if source else {}
    if ref["key"] in values:
        return values[ref["key"]]
    if ref.get("optional"):
        return None
    namespace = facts.pod["metadata"]["namespace"]
    raise ConfigError(f"couldn't find key {ref['key']} in {title} {namespace}/{ref['name']}")


def service_variables(pod: Object, services: Iterable[Object]) -> dict[str, str]:
    """Variables for the services of the pod's namespace, unless it refuses them, and always for the API itself."""
    links = pod["spec"].get("enableServiceLinks", True)
    namespace = pod["metadata"]["namespace"]
    found: dict[str, str] = {}
    for service in services:
        meta = service["metadata"]
        api = meta["namespace"] == "default" and meta["name"] == "kubernetes"
        address = service["spec"].get("clusterIP")
        if address and address != "None" and (api or (links and meta["namespace"] == namespace)):
            found |= _variables(service, address)
    return found


def _variables(service: Object, address: str) -> dict[str, str]:
    prefix = service["metadata"]["name"].upper().replace("-", "_")
    ports = service["spec"].get("ports") or []
    if not ports:
        return {}
    host = f"[{address}]" if ":" in address else address
    first = ports[0]
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first["port"])}
    for port in ports:
        if port.get("name"):
            found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    found[f"{prefix}_PORT"] = f"{first.get('protocol', 'TCP').lower()}://{host}:{first['port']}"
    for port in ports:
        protocol = port.get("protocol", "TCP")
        each = f"{prefix}_PORT_{port['port']}_{protocol}"
        found[each] = f"{protocol.lower()}://{host}:{port['port']}"
        found |= {
            f"{each}_PROTO": protocol.lower(),
            f"{each}_PORT": str(port["port"]),
            f"{each}_ADDR": address,
        }
    return found
