"""The one typed configuration of a cluster: where it keeps things, and what it listens on.

Made by `sampan up` from its flags and the lease of address ranges, written to `cluster.json` in the state directory,
and read by every process of the cluster.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Ranges:
    """What a cluster leases on this machine, so that several do not disturb one another.

    `bridge` is the host's side of the cluster; `gateway` its address, where pods reach the API. Node i (from 0) takes
    the i-th /24 of `pods`. `table` is the nftables table, `cgroup` the name under each cgroup hierarchy.
    """

    pods: str = "10.64.0.0/16"
    services: str = "10.65.0.0/16"
    bridge: str = "sampan0"
    table: str = "sampan0"
    cgroup: str = "sampan0"

    @property
    def dns(self) -> str:
        """The cluster DNS's service address: the tenth of the range."""
        return _nth(self.services, 10)

    @property
    def kubernetes(self) -> str:
        """The API's service address: the first of the range."""
        return _nth(self.services, 1)


def _nth(cidr: str, n: int) -> str:
    import ipaddress

    return str(ipaddress.ip_network(cidr)[n])


@dataclass(frozen=True, slots=True)
class Config:
    """`state` holds all files and `run` all sockets; ports of 0 are filled in once they are bound."""

    name: str = "default"
    state: Path = Path("/var/lib/sampan/default")
    run: Path = Path("/run/sampan/default")
    port: int = 6443
    nodes: int = 1
    domain: str = "cluster.local"
    # The unprivileged user and group that the control process runs as.
    uid: int = 0
    gid: int = 0
    node_ports: tuple[int, int] = (30000, 32767)
    # Extra addresses that the API listens on and its certificate names, beside loopback and the pod bridge.
    listen: tuple[str, ...] = ()
    # Where the administrator's kubeconfig is written; empty for `admin.kubeconfig` in the state directory.
    kubeconfig_file: str = ""
    # Where the store is, such as etcd://host:2379/prefix, and what proves who speaks to it (files in PEM); empty for
    # the file `store`. What the control process needs of these is copied into its keys.
    store_url: str = ""
    store_ca: str = ""
    store_cert: str = ""
    store_key: str = ""
    # The files that say what the audit log and encryption at rest are to be, and who else vouches for users; empty for
    # none. What the control process needs of them is copied. The log rotates at so many MB, and keeps so many full
    # files.
    audit_policy: str = ""
    audit_log_maxsize: int = 100
    audit_log_maxbackup: int = 10
    encryption: str = ""
    authentication: str = ""
    # What recording this is, if it is one; then nothing can be changed.
    replay: str = ""
    # Where keys and certificates are; empty for `pki` in the state directory.
    pki_directory: str = ""
    # The ordinary user whom `sudo sampan up` serves: the kubeconfig and the supervisor's socket are theirs.
    owner: int = 0
    ranges: Ranges = field(default_factory=Ranges)

    @property
    def pki(self) -> Path:
        """Certificates and keys; each file is readable only by the process that needs it."""
        return Path(self.pki_directory) if self.pki_directory else self.state / "pki"

    @property
    def store(self) -> Path:
        """The API server's log, owned by the control process's user."""
        return self.state / "control" / "store.db"

    @property
    def audit_policy_file(self) -> Path:
        """The policy where the control process reads it; beside it `audit_log`, the log itself."""
        return self.store.with_name("audit-policy.yaml")

    @property
    def audit_log(self) -> Path:
        return self.store.with_name("audit.log")

    @property
    def encryption_file(self) -> Path:
        """The keys that the store is encrypted with, where the control process reads them."""
        return self.pki / "encryption.yaml"

    @property
    def authentication_file(self) -> Path:
        """Who vouches for users, where the control process reads it."""
        return self.store.with_name("authentication.yaml")

    @property
    def store_authority(self) -> Path:
        """Who signed the certificates of etcd, where that was given; and `store_pair`, what is shown to it."""
        return self.pki / "store-ca.crt"

    @property
    def store_pair(self) -> Path:
        return self.pki / "store.pem"

    @property
    def images(self) -> Path:
        """Image content and unpacked layers, shared by the nodes on this machine."""
        return self.state / "images"

    @property
    def logs(self) -> Path:
        """What our own processes print."""
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        return Path(self.kubeconfig_file) if self.kubeconfig_file else self.state / "admin.kubeconfig"

    @property
    def file(self) -> Path:
        """Where this configuration is kept; it holds no secrets."""
        return self.state / "cluster.json"

    def node_state(self, node: str) -> Path:
        return self.state / "nodes" / node

    def node_run(self, node: str) -> Path:
        """Where the node's sockets are: cri.sock, engine.sock, and each container's shim."""
        return self.run / node

    @property
    def node_names(self) -> tuple[str, ...]:
        """`NAME` for a single node, else `NAME-1` and so on; the default cluster's nodes are called `sampan`."""
        stem = "sampan" if self.name == "default" else f"sampan-{self.name}"
        return (stem,) if self.nodes == 1 else tuple(f"{stem}-{i + 1}" for i in range(self.nodes))

    def dump(self) -> str:
        return json.dumps(asdict(self), indent=1, default=str)

    def with_(self, **changes: Any) -> Config:
        return replace(self, **changes)


def load(text: str) -> Config:
    """The inverse of `Config.dump`."""
    raw = json.loads(text)
    return Config(
        **{
            **raw,
            "state": Path(raw["state"]),
            "run": Path(raw["run"]),
            "node_ports": tuple(raw["node_ports"]),
            "listen": tuple(raw["listen"]),
            "ranges": Ranges(**raw["ranges"]),
        }
    )
