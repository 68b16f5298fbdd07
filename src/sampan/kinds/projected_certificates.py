"""The checks of projected certificates: those of authorities (ClusterTrustBundle), and those of the pod itself.

Source: the API reference of ClusterTrustBundleProjection and PodCertificateProjection.
"""

from __future__ import annotations

from collections.abc import Callable

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.machinery.objects import Object

KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
# Seconds that a pod's certificate may be asked for; `kubernetes.io` signers give them for a day at most.
SHORTEST, LONGEST, LONGEST_OF_OURS = 3600, 91 * 86400, 86400
_PATHS = ("credentialBundlePath", "keyPath", "certificateChainPath")
Local = Callable[[str, str], list[Invalid]]


def trust_bundle(source: Object, path: str, local: Local) -> list[Invalid]:
    """Faults of a ClusterTrustBundleProjection; `local` tells those of a path in the volume."""
    named, signer = source.get("name"), source.get("signerName")
    found: list[Invalid] = []
    if named is None and signer is None:
        found.append(faults.required(path, "either name or signerName must be specified"))
    elif named is not None and signer is not None:
        found.append(faults.invalid(path, source, "only one of name and signerName may be used"))
    if named is not None and source.get("labelSelector") is not None:
        text = "labelSelector must be unset if name is specified"
        found.append(faults.invalid(f"{path}.labelSelector", source["labelSelector"], text))
    if not source.get("path"):
        return [*found, faults.required(f"{path}.path")]
    return found + local(source["path"], f"{path}.path")


def pod_certificate(source: Object, path: str, local: Local) -> list[Invalid]:
    """Faults of a PodCertificateProjection."""
    from sampan.kinds.certificate_signing_request import signer_name

    signer, seconds = source.get("signerName") or "", source.get("maxExpirationSeconds")
    found = signer_name(signer, f"{path}.signerName")
    if source.get("keyType") not in KEY_TYPES:
        found.append(faults.unsupported(f"{path}.keyType", source.get("keyType", ""), KEY_TYPES))
    longest = LONGEST_OF_OURS if signer.startswith("kubernetes.io/") else LONGEST
    at = f"{path}.maxExpirationSeconds"
    if seconds is not None and seconds < SHORTEST:
        found.append(faults.invalid(at, seconds, f"if provided, maxExpirationSeconds must be >= {SHORTEST}"))
    elif seconds is not None and seconds > longest:
        found.append(faults.invalid(at, seconds, f"if provided, maxExpirationSeconds must be <= {longest}"))
    given = [name for name in _PATHS if source.get(name)]
    if not given:
        text = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        found.append(faults.required(path, text))
    for name in given:
        found += local(source[name], f"{path}.{name}")
    return found
