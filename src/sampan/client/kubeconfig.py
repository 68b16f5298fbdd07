"""Kubeconfig files: written for an administrator, read to make a client, merged into a user's own.

Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.host import files
from sampan.machinery import yaml

if TYPE_CHECKING:
    from sampan.client.http import HttpApiClient


class KubeconfigError(Exception):
    """A kubeconfig cannot be read, or lacks what is needed; the message says which and what."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a server, as one context of a kubeconfig says. `pair` is certificate and key, both PEM."""

    server: str
    ca: bytes | None
    pair: bytes = b""
    token: str = ""
    insecure: bool = False


def write(path: Path, *, name: str, server: str, ca: bytes, certificate: bytes, key: bytes) -> None:
    """Write a kubeconfig with one context called `name`; cluster and user have the same name. All texts are PEM."""
    _replace(
        path,
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": name, "cluster": {"server": server, "certificate-authority-data": _encode(ca)}}
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": _encode(certificate),
                        "client-key-data": _encode(key),
                    },
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
    )


def read(path: Path, context: str = "") -> Access:
    """The current context, or the one given. Raises KubeconfigError."""
    config = _parse(path)
    name = context or str(config.get("current-context", ""))
    chosen = _named(path, config, "contexts", name)["context"]
    cluster = _named(path, config, "clusters", chosen.get("cluster", ""))["cluster"]
    user = _named(path, config, "users", chosen.get("user", "")).get("user") or {}
    certificate = _data(path, user, "client-certificate")
    return Access(
        server=cluster["server"],
        ca=_data(path, cluster, "certificate-authority") or None,
        pair=certificate + _data(path, user, "client-key"),
        token=user.get("token") or _data(path, user, "token", "tokenFile").decode().strip(),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )


def load(path: Path, context: str = "") -> HttpApiClient:
    """A client for a context of a kubeconfig. Raises KubeconfigError."""
    # Loaded here, since `sampan up` only writes, and need not wait for TLS and all.
    from sampan.client.http import connect

    access = read(path, context)
    if not access.pair:
        return connect(access.server, ca=access.ca, token=access.token, insecure=access.insecure)
    # OpenSSL takes a certificate and its key only from a file.
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(access.pair)
        pair.flush()
        return connect(
            access.server, ca=access.ca, cert=Path(pair.name), token=access.token, insecure=access.insecure
        )


def merge(source: Path, target: Path) -> None:
    """Add the contexts of `source` to `target` and make its current one current; a copy of the old target is kept."""
    added = _parse(source)
    before = _parse(target) if target.exists() else {}
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", **before}
    for section in ("clusters", "users", "contexts"):
        mine = {entry["name"]: entry for entry in added.get(section) or ()}
        kept = [entry for entry in merged.get(section) or () if entry["name"] not in mine]
        merged[section] = [*kept, *mine.values()]
    merged["current-context"] = added["current-context"]
    if merged == before:
        return
    if before:
        shutil.copy2(target, target.with_name(target.name + ".before-sampan"))
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace(target, merged)


def _parse(path: Path) -> dict[str, Any]:
    try:
        config = yaml.load(path.read_bytes())
    except OSError as e:
        raise KubeconfigError(f"cannot read {path}: {e.strerror}") from e
    except yaml.YamlError as e:
        raise KubeconfigError(f"{path} is not a kubeconfig: {e}") from e
    if not isinstance(config, dict):
        raise KubeconfigError(f"{path} is not a kubeconfig")
    return config


def _named(path: Path, config: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry
            return found
    raise KubeconfigError(f"{path} has no {name!r} among its {section}")


def _data(path: Path, holder: dict[str, Any], field: str, file_field: str = "") -> bytes:
    """A value that is there as base64 (`FIELD-data`) or names a file, relative to the kubeconfig."""
    inline = holder.get(f"{field}-data")
    if inline:
        return base64.b64decode(inline)
    named = holder.get(file_field or field)
    return (path.parent / named).read_bytes() if named else b""


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _replace(path: Path, config: dict[str, Any]) -> None:
    """Write a whole file in place of what was there, for the owner's eyes only; a link stays a link."""
    real = path.resolve()
    before = real.stat() if real.exists() else None
    files.write(real, yaml.dump(config), owner=(before.st_uid, before.st_gid) if before else None)
