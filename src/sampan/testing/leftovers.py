"""What a cluster has on this machine: processes, mounts, links, rules, control groups; and what its nodes keep of pods.

Of the first, nothing is there after `stop`. While a cluster runs, both are without workloads what they were before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sampan.config import Config
from sampan.host import cgroups, mounts, namespaces, netns, nft
from sampan.host.netlink import Netlink
from sampan.network import nodes


def leftovers(config: Config) -> list[str]:
    """A line for each thing, sorted; the same thing has the same line at every call. Needs root."""
    return sorted({*_processes(config), *_mounts(config), *_groups(config), *_network(config)})


def kept(config: Config) -> list[str]:
    """What the nodes keep on disk of pods and containers, as paths below the cluster's directories, sorted."""
    nodes = [(config.node_state(name), config.node_run(name)) for name in config.node_names]
    places = [config.images / "snapshots", *(config.images / "tmp").glob("*")]  # each process has one there
    for state, run in nodes:
        places += [state / part for part in ("engine/containers", "engine/sandboxes", "volumes")]
        places += [state / "kubelet" / part for part in ("pods", "logs")]
        places += [run / part for part in ("containers", "sandboxes", "runtime")]
    found = [entry for place in places if place.is_dir() for entry in place.iterdir()]
    return sorted(str(entry) for entry in found if not entry.name.startswith("."))


def _processes(config: Config) -> Iterator[str]:
    """Whatever runs in a group of one of its nodes, or was told one of its directories."""
    groups = [f":/{config.ranges.cgroup}/{node}" for node in config.node_names]
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            member = (directory / "cgroup").read_text()
        except OSError:
            continue  # it has just ended
        told = f"{config.state}/" in command or str(config.run) in command.split()
        if command and (told or any(group in member for group in groups)):
            yield f"process {command.strip()}"


def _mounts(config: Config) -> Iterator[str]:
    for directory in (config.state, config.run):
        for mount in mounts.below(directory):
            yield f"mount {mount.target} ({mount.fstype})"


def _groups(config: Config) -> Iterator[str]:
    """The groups, whichever hierarchies they are in."""
    for top in (cgroups.ROOT, *cgroups.ROOT.iterdir()):
        for node in config.node_names:
            own = top / config.ranges.cgroup / node
            for path in (own, *own.rglob("*")) if own.is_dir() else ():
                if path.is_dir():
                    yield f"cgroup {path.relative_to(top)}"


def _network(config: Config) -> Iterator[str]:
    """Links and rules, in the host's namespace and in those of nodes; links of pods are named by address."""
    held = config.run / "netns"
    for at in (None, *(p for p in held.glob("*") if p.name != "host" and namespaces.held(p))):
        where = f" in {at.name}" if at else ""
        with netns.entered(at), Netlink() as kernel:
            for link in kernel.links():
                if link.name.partition("-")[0] == config.ranges.bridge:
                    yield f"link {link.name}{where}"
        for name in nodes.tables(config.ranges):
            for item in nft.table(name, at) or ():
                yield from (f"nft {name}{where} {line}" for line in _rules(item))


def _rules(item: dict[str, dict[str, object]]) -> Iterator[str]:
    """A table, chain, rule or element, without the numbers that the kernel gives to each."""
    for kind, body in item.items():
        if kind in ("table", "chain", "rule", "map", "set"):
            elements = body.get("elem")
            kept = {k: v for k, v in body.items() if k not in ("handle", "elem", "index")}
            yield f"{kind} {kept}"
            for element in elements if isinstance(elements, list) else ():
                yield f"{kind} {body['name']}: {element}"
