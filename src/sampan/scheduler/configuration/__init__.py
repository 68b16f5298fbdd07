"""KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): what a configuration file says, checked and whole.

`load` decodes strictly (`decoding`), fills in what was left out (`defaults`) and checks (`validation`), each with
upstream's words; `build` makes profiles of it, with the plugins that take part at each extension point.

    configuration = load(Path("scheduler.yaml").read_bytes())
    profiles = build.profiles(configuration, registry, handle)

Source: https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.machinery.objects import Object
from sampan.scheduler.configuration import defaults
from sampan.scheduler.configuration.defaults import KIND, VERSION, ConfigurationError, seconds

__all__ = ["Configuration", "ConfigurationError", "LeaderElection", "ProfileConfig", "default", "load"]


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """One profile: `plugins` are {point: {enabled: [{name, weight}], disabled}}, `arguments` by plugin name."""

    name: str
    plugins: Object
    arguments: dict[str, Object]
    percentage: int | None = None


@dataclass(frozen=True, slots=True)
class LeaderElection:
    """Durations in seconds."""

    enabled: bool
    namespace: str
    name: str
    duration: float
    deadline: float
    period: float


@dataclass(frozen=True, slots=True)
class Configuration:
    """All of it. Backoffs are in seconds; `kubeconfig` is where clientConnection says so; extenders are as written."""

    profiles: tuple[ProfileConfig, ...]
    percentage: int
    first_backoff: float
    last_backoff: float
    parallelism: int
    leader_election: LeaderElection
    extenders: tuple[Object, ...] = ()
    kubeconfig: str = ""
    written: Object = field(default_factory=dict)


# A configuration that says nothing: upstream's defaults, with leader election.
EMPTY = f"apiVersion: {VERSION}\nkind: {KIND}\n"


def load(text: bytes | str) -> Configuration:
    """The configuration in a YAML or JSON text. Raises ConfigurationError with all faults."""
    # Loaded here, for most clusters have no file.
    from sampan.scheduler.configuration import decoding, validation

    config = decoding.decode(text)
    defaults.fill(config)
    if faults := validation.faults(config):
        raise ConfigurationError(_aggregate(faults))
    return _made(config)


def default() -> Configuration:
    """What holds where no file is given; a pod's scheduler name is then default-scheduler, without leader election."""
    config: Object = {
        "apiVersion": VERSION,
        "kind": KIND,
        "leaderElection": {"leaderElect": False},
    }
    defaults.fill(config)
    return _made(config)


def _aggregate(faults: list[str]) -> str:
    unique = list(dict.fromkeys(faults))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"


def _made(config: Object) -> Configuration:
    return Configuration(
        profiles=tuple(_profile(p) for p in config["profiles"]),
        percentage=config["percentageOfNodesToScore"],
        first_backoff=float(config["podInitialBackoffSeconds"]),
        last_backoff=float(config["podMaxBackoffSeconds"]),
        parallelism=config["parallelism"],
        leader_election=_leader_election(config["leaderElection"]),
        extenders=tuple(config.get("extenders") or ()),
        kubeconfig=config["clientConnection"].get("kubeconfig", ""),
        written=config,
    )


def _profile(profile: Object) -> ProfileConfig:
    return ProfileConfig(
        profile["schedulerName"],
        profile["plugins"],
        {p["name"]: p.get("args") or {} for p in profile["pluginConfig"]},
        profile.get("percentageOfNodesToScore"),
    )


def _leader_election(election: Object) -> LeaderElection:
    return LeaderElection(
        enabled=election["leaderElect"],
        namespace=election["resourceNamespace"],
        name=election["resourceName"],
        duration=seconds(election["leaseDuration"]),
        deadline=seconds(election["renewDeadline"]),
        period=seconds(election["retryPeriod"]),
    )
