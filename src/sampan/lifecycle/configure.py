"""From what a user asked for to a cluster's configuration: names, directories, ports, leased ranges."""

from __future__ import annotations

import errno
import os
import re
import socket
import zlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from sampan.config import Config, load
from sampan.network import addresses

STATE = Path("/var/lib/sampan")
RUN = Path("/run/sampan")
PREFERRED_PORT = 6443
# Ids that systemd reserves for users made on the fly; nobody else has them.
FIRST_UID, UIDS = 61184, 4336


# Which flag names a policy, and what reads it.
_POLICIES = {
    "audit_policy": ("--audit-policy-file", "sampan.apiserver.audit.policy"),
    "encryption": ("--encryption-provider-config", "sampan.store.encryption"),
    "authentication": ("--authentication-config", "sampan.apiserver.oidc.configuration"),
}


class Unusable(Exception):
    """What was asked for cannot be; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `sampan up` was told. None means: as it was the last time, else the default."""

    name: str = "default"
    state: Path | None = None
    port: int | None = None
    kubeconfig: Path | None = None
    nodes: int | None = None
    listen: tuple[str, ...] | None = None
    store: str | None = None
    store_ca: Path | None = None
    store_cert: Path | None = None
    store_key: Path | None = None
    audit_policy: str | None = None
    audit_log_maxsize: int | None = None
    audit_log_maxbackup: int | None = None
    encryption: str | None = None
    authentication: str | None = None
    replay: Path | None = None
    at: str = ""


def configure(options: Options) -> Config:
    """The configuration of a new cluster, or that of an old one with what is asked for changed."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", options.name):
        raise Unusable(
            f"{options.name!r} is no name for a cluster: lower-case letters, digits and dashes, at most 40"
        )
    if options.nodes is not None and not 0 <= options.nodes <= addresses.MAX_NODES:
        raise Unusable(f"a cluster on one machine has 1 to {addresses.MAX_NODES} nodes, not {options.nodes}")
    state = (options.state or STATE / options.name).absolute()
    old = _read(state, options.name)
    try:
        return _changed(old or _new(options.name, state), options, given=bool(options.port or old))
    except Unusable:
        if not old:
            addresses.release(options.name)
        raise


def _changed(config: Config, options: Options, *, given: bool) -> Config:
    """The configuration with what was asked for, on a port that is free; `given` insists on the one it names."""
    asked = {
        "port": options.port,
        "nodes": options.nodes,
        "listen": options.listen,
        "kubeconfig_file": str(options.kubeconfig.absolute()) if options.kubeconfig else None,
    }
    config = with_policies(with_store(config, options), options)
    config = config.with_(**{k: v for k, v in asked.items() if v is not None})
    listen = ("127.0.0.1", addresses.host_address(config.ranges), *config.listen)
    return config.with_(port=free_port(config.port, listen, given=given))


def with_store(config: Config, options: Options) -> Config:
    """The configuration with the store that was asked for. Raises Unusable."""
    if options.store is not None:
        from sampan.store import etcd

        try:
            etcd.parse(options.store)
        except ValueError as e:
            raise Unusable(f"--store: {e}") from e
        if config.store_url != options.store and (config.store_url or config.store.exists()):
            raise Unusable(
                f"cluster {config.name!r} keeps its objects in {config.store_url or config.store}; another store would "
                "be another cluster: give it another --name"
            )
        config = config.with_(store_url=options.store)
    for name in ("store_ca", "store_cert", "store_key"):
        path: Path | None = getattr(options, name)
        if path is None:
            continue
        if not path.is_file():
            raise Unusable(f"--{name.replace('_', '-')}: there is no file {path}")
        config = config.with_(**{name: str(path.absolute())})
    return config


def with_policies(config: Config, options: Options) -> Config:
    """The configuration with the audit policy and the encryption that were asked for. Raises Unusable."""
    for name, (flag, module) in _POLICIES.items():
        text: str | None = getattr(options, name)
        if text is None:
            continue
        try:
            if text:
                import_module(module).load(Path(text))
        except ValueError as e:
            raise Unusable(f"{flag}: {e}") from e
        config = config.with_(**{name: str(Path(text).absolute()) if text else ""})
    for name in ("audit_log_maxsize", "audit_log_maxbackup"):
        if (number := getattr(options, name)) is not None:
            config = config.with_(**{name: number})
    return config


def _read(state: Path, name: str) -> Config | None:
    try:
        found = load((state / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as e:
        raise Unusable(
            f"{state}/cluster.json cannot be read ({e}); restore it, or erase that directory"
        ) from e
    if found.name != name:
        raise Unusable(
            f"{state} belongs to cluster {found.name!r}; give another --state, or --name {found.name}"
        )
    ranges = addresses.lease(name, found.ranges)
    return found.with_(ranges=ranges)


def _new(name: str, state: Path) -> Config:
    uid = FIRST_UID + zlib.crc32(str(state).encode()) % UIDS
    owner = int(os.environ.get("SUDO_UID", "0"))
    return Config(
        name=name,
        state=state,
        run=RUN / name,
        port=PREFERRED_PORT,
        uid=uid,
        gid=uid,
        owner=owner,
        kubeconfig_file=_own_kubeconfig(owner, name) if owner else "",
        ranges=addresses.lease(name),
    )


def _own_kubeconfig(owner: int, name: str) -> str:
    """Where an ordinary user can read it: below their own home."""
    import pwd

    return str(Path(pwd.getpwuid(owner).pw_dir) / ".kube" / f"sampan-{name}.kubeconfig")


def free_port(wanted: int, listen: tuple[str, ...], *, given: bool) -> int:
    """`wanted` if it is free on every address, or if nobody insisted on it, one that is. 0 means any."""
    for port in (wanted, *([0] * 20)):
        found = _bindable(port, listen)
        if found:
            return found
        if given and port:
            raise Unusable(f"port {wanted} is in use; give another with --port, or --port 0 for any")
    raise Unusable(f"no port is free on all of {', '.join(listen)}")


def _bindable(port: int, listen: tuple[str, ...]) -> int:
    """The port, if every address can listen on it now, else 0."""
    sockets: list[socket.socket] = []
    try:
        for address in listen:
            sockets.append(_bind(address, port))
            port = sockets[0].getsockname()[1]
    except OSError as e:
        if e.errno != errno.EADDRINUSE:
            raise Unusable(f"cannot listen on {listen[len(sockets)]}: {e.strerror}") from e
        return 0
    finally:
        for s in sockets:
            s.close()
    return port


def _bind(address: str, port: int) -> socket.socket:
    from sampan.supervisor.spawn import bind

    return bind(address, port)
