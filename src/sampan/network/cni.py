"""Other people's pod networks: runs the CNI plugins that a network configuration list names.

The first `*.conflist` or `*.conf` of the configuration directory, in order of names, is the network. Each plugin is a
program that gets its configuration on stdin and the sandbox in its environment; each sees the result of the one before,
and DEL runs them backwards. What was asked for is written down before the first plugin runs, with the
configuration as it was, so that DEL finds all of it after any crash.

Source: CNI specification 1.0.0, sections 1 to 5; CONVENTIONS.md for `CNI_ARGS` and capabilities.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sampan.host import files, netlink, netns
from sampan.host.netlink import Netlink
from sampan.host.process import Completed, ProcessError, run
from sampan.network.attachment import Attachment, Bandwidth, NetworkError, PortMapping

INTERFACE = "eth0"
TIMEOUT = 60.0  # seconds that one plugin may take
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """What was asked for one sandbox: enough for CHECK and DEL. `result` is empty until ADD succeeded."""

    sandbox_id: str
    netns: str
    network: Json
    args: str
    capabilities: Json
    result: Json


class CniNetwork:
    """`configurations` and `plugins` are where networks and programs lie; `state` is ours alone."""

    def __init__(
        self,
        state: Path,
        *,
        configurations: Path = Path("/etc/cni/net.d"),
        plugins: Sequence[Path] = (Path("/opt/cni/bin"), Path("/usr/lib/cni")),
    ) -> None:
        self._state = state
        self._configurations = configurations
        self._plugins = tuple(plugins)

    async def start(self) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        self._network()

    def problem(self) -> str:
        try:
            self._network()
        except NetworkError as e:
            return str(e)
        return ""

    async def attach(
        self,
        sandbox_id: str,
        netns: Path,
        *,
        namespace: str = "",
        name: str = "",
        uid: str = "",
        port_mappings: Sequence[PortMapping] = (),
        bandwidth: Bandwidth | None = None,
    ) -> Attachment:
        known = self._load(sandbox_id)
        if known and known.result:
            return attachment(known.result)
        args = arguments(sandbox_id, namespace, name, uid)
        asked = capabilities(port_mappings, bandwidth or Bandwidth())
        record = Record(sandbox_id, str(netns), self._network(), args, asked, {})
        self._save(record)
        try:
            await asyncio.to_thread(_loopback_up, netns)
            result = await self._add(record)
            self._save(Record(sandbox_id, str(netns), record.network, args, asked, result))
            return attachment(result)
        except BaseException as e:
            await asyncio.shield(self._undo(sandbox_id))
            if isinstance(e, OSError):
                raise NetworkError(f"cannot attach sandbox {sandbox_id}: {e}") from e
            raise

    async def detach(self, sandbox_id: str, netns: Path | None = None) -> None:
        record = self._load(sandbox_id)
        if record is None:
            return
        for plugin in reversed(record.network["plugins"]):
            await self._call("DEL", record, plugin, record.result)
        self._file(sandbox_id).unlink(missing_ok=True)

    async def check(self, sandbox_id: str) -> None:
        """Ask the plugins whether the attachment is still as they made it. Raises NetworkError."""
        record = self._load(sandbox_id)
        if record is None:
            raise NetworkError(f"sandbox {sandbox_id} is not attached to any network")
        if record.network.get("disableCheck"):
            return
        for plugin in record.network["plugins"]:
            await self._call("CHECK", record, plugin, record.result)

    async def recover(self, known: Collection[str]) -> None:
        for file in sorted(self._state.glob("*.json")):
            if file.stem not in known:
                await self.detach(file.stem)

    async def _add(self, record: Record) -> Json:
        result: Json = {}
        for plugin in record.network["plugins"]:
            done = await self._call("ADD", record, plugin, result)
            try:
                result = json.loads(done.stdout)
            except ValueError as e:
                raise NetworkError(f"CNI plugin {plugin['type']} answered ADD with no JSON: {e}") from e
        return result

    async def _undo(self, sandbox_id: str) -> None:
        """Take back an ADD that failed; what cannot be taken back now stays on record for `recover`."""
        try:
            await self.detach(sandbox_id)
        except NetworkError:
            pass

    async def _call(self, verb: str, record: Record, plugin: Json, previous: Json) -> Completed:
        kind = str(plugin.get("type", ""))
        program = shutil.which(kind, path=os.pathsep.join(map(str, self._plugins)))
        if not program or "/" in kind:
            places = ", ".join(map(str, self._plugins))
            raise NetworkError(
                f"CNI plugin {kind} of network {record.network['name']} is not in {places}; install it"
            )
        gone = verb == "DEL" and not Path(record.netns).exists()
        env = {
            **os.environ,
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": record.sandbox_id,
            "CNI_NETNS": "" if gone else record.netns,
            "CNI_IFNAME": INTERFACE,
            "CNI_ARGS": record.args,
            "CNI_PATH": os.pathsep.join(map(str, self._plugins)),
        }
        text = json.dumps(configuration(record.network, plugin, record.capabilities, previous)).encode()
        try:
            done = await run(program, input=text, env=env, timeout=TIMEOUT, check=False)
        except ProcessError as e:
            raise NetworkError(f"CNI plugin {kind}, {verb}: {e}") from e
        if done.status:
            raise NetworkError(f"CNI plugin {kind}, {verb} for sandbox {record.sandbox_id}: {failure(done)}")
        return done

    def _network(self) -> Json:
        """The network to use, as a list of plugins."""
        found = sorted(
            p for p in self._configurations.glob("*") if p.suffix in (".conflist", ".conf", ".json")
        )
        if not found:
            raise NetworkError(f"no CNI network is configured in {self._configurations}")
        try:
            return parse_network(json.loads(found[0].read_text()))
        except (OSError, ValueError) as e:
            raise NetworkError(f"the CNI network in {found[0]} cannot be used: {e}") from e

    def _file(self, sandbox_id: str) -> Path:
        return self._state / f"{sandbox_id}.json"

    def _load(self, sandbox_id: str) -> Record | None:
        try:
            return Record(**json.loads(self._file(sandbox_id).read_text()))
        except FileNotFoundError:
            return None

    def _save(self, record: Record) -> None:
        files.write(self._file(record.sandbox_id), json.dumps(asdict(record)))


def parse_network(raw: Json) -> Json:
    """A network configuration list; a single plugin's configuration becomes a list of one. Raises ValueError."""
    network = (
        raw if "plugins" in raw else {**{k: raw.get(k) for k in ("cniVersion", "name")}, "plugins": [raw]}
    )
    version = network.get("cniVersion") or "0.1.0"
    if version not in VERSIONS:
        raise ValueError(f"CNI version {version} is not one of {', '.join(VERSIONS)}")
    if not network.get("name"):
        raise ValueError("it has no name")
    if not network["plugins"] or not all(p.get("type") for p in network["plugins"]):
        raise ValueError("it names no plugins, or one without a type")
    return network


def configuration(network: Json, plugin: Json, asked: Json, previous: Json) -> Json:
    """What one plugin gets on stdin: its own part, the network's name and version, and what it can make use of."""
    wanted = {k: v for k, v in asked.items() if plugin.get("capabilities", {}).get(k)}
    return {
        **{k: v for k, v in plugin.items() if k != "capabilities"},
        "cniVersion": network["cniVersion"],
        "name": network["name"],
        **({"runtimeConfig": wanted} if wanted else {}),
        **({"prevResult": previous} if previous else {}),
    }


def arguments(sandbox_id: str, namespace: str, name: str, uid: str) -> str:
    """CNI_ARGS, by the names that Kubernetes' plugins know."""
    pairs = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": namespace,
        "K8S_POD_NAME": name,
        "K8S_POD_INFRA_CONTAINER_ID": sandbox_id,
        "K8S_POD_UID": uid,
    }
    return ";".join(f"{k}={v}" for k, v in pairs.items())


def capabilities(mappings: Iterable[PortMapping], bandwidth: Bandwidth) -> Json:
    """The well-known capabilities of CNI's conventions that a sandbox asks for."""
    ports = [
        {
            "hostPort": m.host_port,
            "containerPort": m.container_port,
            "protocol": m.protocol.lower(),
            **({"hostIP": m.host_ip} if m.host_ip else {}),
        }
        for m in mappings
        if m.host_port
    ]
    found: Json = {"portMappings": ports} if ports else {}
    limits = {"ingress": bandwidth.ingress, "egress": bandwidth.egress}
    rates = {k: v for name, rate in limits.items() if rate for k, v in _rate(name, rate)}
    return {**found, "bandwidth": rates} if rates else found


def _rate(name: str, rate: int) -> Iterable[tuple[str, int]]:
    return ((f"{name}Rate", rate), (f"{name}Burst", max(rate // 10, 1 << 20)))


def attachment(result: Json) -> Attachment:
    """What the last plugin's result says of the sandbox."""
    ips = result.get("ips", ())
    interfaces = result.get("interfaces", ())
    inside: Json = next((i for i in interfaces if i.get("sandbox")), {})
    outside: Json = next(
        (i for i in interfaces if not i.get("sandbox") and str(i["name"]).startswith("veth")), {}
    )
    return Attachment(
        addresses=tuple(ip["address"].partition("/")[0] for ip in ips),
        gateway=next((ip["gateway"] for ip in ips if ip.get("gateway")), ""),
        mtu=int(inside.get("mtu", 0)),
        interface=str(inside.get("name", INTERFACE)),
        host_interface=str(outside.get("name", "")),
        mac=str(inside.get("mac", "")),
    )


def failure(done: Completed) -> str:
    """Why a plugin failed: the error that it printed as CNI says, or whatever it printed."""
    try:
        said = json.loads(done.stdout)
        return (
            "; ".join(str(said[k]) for k in ("msg", "details") if said.get(k)) + f" (code {said.get('code')})"
        )
    except (ValueError, TypeError, AttributeError):
        text = (done.stderr or done.stdout).decode(errors="replace").strip()
        return f"exit status {done.status}: {text[-500:]}"


def _loopback_up(path: Path) -> None:
    with netns.entered(path), Netlink() as kernel:
        kernel.send(netlink.link("lo", up=True))
