"""Who may speak as whom: the certificates of a cluster's processes, and its administrator's kubeconfig."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sampan.client import kubeconfig
from sampan.config import Config
from sampan.host import files
from sampan.host.pki import Pair, Pki
from sampan.network.addresses import NodeNetwork, host_address, layout

ADMINISTRATORS = "system:masters"
NODES = "system:nodes"


def ensure(config: Config) -> None:
    """Make what is missing or about to expire; the same files serve every later start."""
    pki = Pki(config.pki)
    control(config, pki)
    for node in layout(config):
        pki.client(node.name, f"system:node:{node.name}", [NODES])
        pki.server(f"{node.name}-serving", serving_names(node))
    administrator(config, pki)


def control(config: Config, pki: Pki) -> None:
    """What the API server needs, readable by its user alone."""
    owner = (config.uid, config.gid) if config.uid else None
    pki.authority()
    # The control process signs what is approved (CertificateSigningRequests).
    if owner:
        os.chown(pki.directory / "ca.pem", *owner)
    pki.server("apiserver", api_names(config), owner=owner)
    pki.client("kubelet-client", "kube-apiserver-kubelet-client", [ADMINISTRATORS], owner=owner)
    pki.signing_key("sa", owner=owner)
    _store(config, owner)
    _policies(config, owner)


def _store(config: Config, owner: tuple[int, int] | None) -> None:
    """What the control process shows to etcd and whom it trusts, copied to where it can read it."""
    pair = [Path(p).read_bytes() for p in (config.store_key, config.store_cert) if p]
    if config.store_ca:
        files.write(config.store_authority, Path(config.store_ca).read_bytes(), owner=owner)
    if pair:
        files.write(config.store_pair, b"\n".join(pair), owner=owner)


def _policies(config: Config, owner: tuple[int, int] | None) -> None:
    """The files that say what is audited and encrypted, copied to where the control process can read them."""
    for source, target in (
        (config.audit_policy, config.audit_policy_file),
        (config.encryption, config.encryption_file),
        (config.authentication, config.authentication_file),
    ):
        if source:
            files.write(target, Path(source).read_bytes(), owner=owner)
        else:
            target.unlink(missing_ok=True)


def api_names(config: Config) -> Sequence[str]:
    """Every name by which clients call the API server."""
    service = "kubernetes.default.svc"
    return (
        "localhost",
        "127.0.0.1",
        host_address(config.ranges),
        config.ranges.kubernetes,
        "kubernetes",
        "kubernetes.default",
        service,
        f"{service}.{config.domain}",
        os.uname().nodename,
        *config.listen,
    )


def serving_names(node: NodeNetwork) -> Sequence[str]:
    return (node.name, node.address, "127.0.0.1", "localhost")


def administrator(config: Config, pki: Pki, host: str = "127.0.0.1") -> None:
    """Write the administrator's kubeconfig, for root or for the user who asked sudo for the cluster."""
    pair = Pair.parse(pki.client("admin", "kubernetes-admin", [ADMINISTRATORS]).read_bytes())
    path = config.kubeconfig
    _make_parent(path, config.owner)
    if config.owner and path.is_symlink():
        path.unlink()  # in the user's own directory, where root is not to be led elsewhere
    kubeconfig.write(
        path,
        name=f"sampan-{config.name}",
        server=f"https://{host}:{config.port}",
        ca=pki.ca.read_bytes(),
        certificate=pair.certificate,
        key=pair.key,
    )
    if config.owner:
        os.chown(path, config.owner, -1, follow_symlinks=False)


def _make_parent(path: Path, owner: int) -> None:
    if not path.parent.exists():
        path.parent.mkdir(parents=True, mode=0o700)
        if owner:
            os.chown(path.parent, owner, -1)
