"""What an API server needs to be told, as one value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.apiserver.pod_standards import Exempt, Policy
from sampan.http.messages import Request, Response
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.audit.step import Audit
    from sampan.apiserver.call import User

Origins = Callable[[Sequence[str]], Awaitable[dict[str, Object]]]
Extension = Callable[["User", Request], Awaitable[Response]]
DAY = 24 * 3600.0
GIGABYTE = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubelets:
    """How to speak to nodes: who signed their serving certificates, and our own certificate; PEM files."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`service_account_key` is a private key in PEM (EC P-256 or RSA), or empty: then no tokens are issued.

    `address` and `port` are where pods reach the API: the endpoint of Service `kubernetes`; without an address there
    is none. `extensions` serve path prefixes that are no resources, authorized as such; `audit` is the audit log's
    policy and file, closed by whoever made it. `origins` tells, by cause, who was behind it (`by`) and in which
    operation (`operation`).
    `authentication` is an AuthenticationConfiguration, which says who else vouches for users.
    `pod_security` is what holds in namespaces whose labels say nothing. `keep_seconds` and `keep_bytes` bound the
    history. With `frozen`, which says why, nothing can be written, and nothing is by itself.
    """

    service_account_key: bytes = b""
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    services: str = "10.65.0.0/16"
    node_ports: tuple[int, int] = (30000, 32767)
    address: str = ""
    port: int = 6443
    kubelets: Kubelets | None = None
    extensions: Mapping[str, Extension] = field(default_factory=dict)
    origins: Origins | None = None
    frozen: str = ""
    authentication: Path | None = None
    audit: Audit | None = None
    pod_security: Policy = field(default_factory=Policy)
    pod_security_exempt: Exempt = field(default_factory=Exempt)
    keep_seconds: float = DAY
    keep_bytes: int = GIGABYTE
