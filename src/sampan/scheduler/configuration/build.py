"""From a configuration to profiles: every plugin made once, and put at its extension points in order.

At each point come first the plugins that the point names and multiPoint too, then those of multiPoint alone,
then those that only the point names. Own plugins are named by an entry point of the group
`sampan.scheduler.plugins`, or by `module:Class`.

Source: kube-scheduler 1.37, pkg/scheduler/framework/runtime/framework.go; KEP-2891 (multiPoint).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sampan.machinery.objects import Object
from sampan.scheduler.configuration import Configuration, ConfigurationError, ProfileConfig
from sampan.scheduler.framework import Handle, Named
from sampan.scheduler.plugins import REGISTRY
from sampan.scheduler.profiles import POINTS, Factory, Profile

FIT = "NodeResourcesFit"
ENTRY_POINTS = "sampan.scheduler.plugins"
# The scores of all plugins together must stay an integer of 64 bits.
_MOST = 2**63 - 1


def profiles(configuration: Configuration, handle: Handle | None = None) -> dict[str, Profile]:
    """The profiles by scheduler name. Raises ConfigurationError."""
    found = {}
    ignored = [
        resource["name"]
        for extender in configuration.extenders
        for resource in extender.get("managedResources") or ()
        if resource.get("ignoredByScheduler")
    ]
    for profile in configuration.profiles:
        try:
            found[profile.name] = _profile(_ignoring(profile, ignored), handle)
        except ConfigurationError as e:
            raise ConfigurationError(
                f"initializing profiles: creating profile for scheduler name {profile.name}: {e}"
            ) from e
    return found


def _ignoring(config: ProfileConfig, names: list[str]) -> ProfileConfig:
    """The profile with resources left unchecked that extenders look after."""
    if not names or FIT not in config.arguments:
        return config
    fit = config.arguments[FIT]
    listed = [*(fit.get("ignoredResources") or ()), *names]
    return replace(config, arguments={**config.arguments, FIT: {**fit, "ignoredResources": listed}})


def _profile(config: ProfileConfig, handle: Handle | None) -> Profile:
    plugins = {
        name: _made(name, config.arguments.get(name) or {}, handle) for name in _needed(config.plugins)
    }
    points = {point: _at_point(point, kind, config.plugins, plugins) for point, kind in POINTS.items()}
    if len(points["queueSort"]) != 1:
        raise ConfigurationError(
            "only one queue sort plugin required for profile with scheduler name "
            f'"{config.name}", but got {len(points["queueSort"])}'
        )
    if not points["bind"]:
        raise ConfigurationError(
            f'at least one bind plugin is needed for profile with scheduler name "{config.name}"'
        )
    return Profile.of(config.name, points, _weights(config.plugins, plugins), config.percentage)


def _needed(plugins: Object) -> list[str]:
    """Every enabled plugin once, in order of the points."""
    order = ["multiPoint", *(point for point in plugins if point != "multiPoint")]
    return list(dict.fromkeys(p["name"] for point in order for p in _enabled(plugins, point)))


def _enabled(plugins: Object, point: str) -> list[Object]:
    return list((plugins.get(point) or {}).get("enabled") or ())


def _made(name: str, arguments: Object, handle: Handle | None) -> Named:
    factory = REGISTRY.get(name) or _own(name)
    try:
        return factory(arguments, handle)
    except (ValueError, TypeError, KeyError) as e:
        raise ConfigurationError(f'initializing plugin "{name}": {e}') from e


def _own(name: str) -> Factory:
    """An own plugin's class: of an entry point, or `module:Class`."""
    from importlib import metadata

    for entry in metadata.entry_points(group=ENTRY_POINTS, name=name):
        found: Factory = entry.load()
        return found
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ConfigurationError(f'PreEnqueuePlugin "{name}" does not exist')
    try:
        own: Factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as e:
        raise ConfigurationError(f'initializing plugin "{name}": {e}') from e
    return own


def _at_point(point: str, kind: type, config: Object, plugins: Mapping[str, Named]) -> list[Named]:
    go_name = f"{point[0].upper()}{point[1:]}Plugin"
    specific: list[str] = []
    for plugin in _enabled(config, point):
        name = plugin["name"]
        if not isinstance(plugins[name], kind):
            raise ConfigurationError(f'plugin "{name}" does not extend {go_name} plugin')
        if name in specific:
            raise ConfigurationError(f'plugin "{name}" already registered as "{go_name}"')
        specific.append(name)
    off = {p["name"] for p in (config.get(point) or {}).get("disabled") or ()}
    several: list[str] = []
    for plugin in _enabled(config, "multiPoint") if "*" not in off else ():
        name = plugin["name"]
        if not isinstance(plugins[name], kind) or name in off:
            continue
        if name in several:
            raise ConfigurationError(f'plugin "{name}" already registered as "{go_name}"')
        several.append(name)
    first = [name for name in specific if name in several]
    middle = [name for name in several if name not in specific]
    return [plugins[name] for name in (*first, *middle, *(n for n in specific if n not in several))]


def _weights(config: Object, plugins: Mapping[str, Named]) -> dict[str, int]:
    """The weights by the plugins' own names; the point's own word goes before multiPoint's."""
    found: dict[str, int] = {}
    scoring: Any = POINTS["score"]
    for plugin in (*_enabled(config, "score"), *_enabled(config, "multiPoint")):
        own = plugins[plugin["name"]]
        if isinstance(own, scoring) and own.name not in found:
            found[own.name] = plugin.get("weight") or 1
    if sum(found.values()) * 100 > _MOST:
        raise ConfigurationError("score plugins: total score of Score plugins could overflow")
    return found
