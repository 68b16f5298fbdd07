"""ClusterTrustBundle (certificates.k8s.io/v1): certificates of authorities, for whoever verifies."""

from __future__ import annotations

import re

from sampan.kinds import faults, metadata
from sampan.kinds.certificate_signing_request import signer_name
from sampan.kinds.columns import NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, get

LARGEST = 1024 * 1024
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s*(.*?)-----END \1-----", re.DOTALL)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    signer, name = get(obj, "spec.signerName", ""), get(obj, "metadata.name", "")
    found: list[Invalid] = []
    if signer:
        found += signer_name(signer, "spec.signerName")
        prefix = signer.replace("/", ":") + ":"
        if not name.startswith(prefix):
            text = f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
            found.append(faults.invalid("metadata.name", name, text))
        else:
            found += faults.each_invalid("metadata.name", name, names.dns_subdomain(name[len(prefix) :]))
    elif ":" in name:
        text = 'ClusterTrustBundle without signer name must not have ":" in its name'
        found.append(faults.invalid("metadata.name", name, text))
    else:
        found += faults.each_invalid("metadata.name", name, names.dns_subdomain(name))
    if old is not None:
        found += faults.immutable("spec.signerName", signer, get(old, "spec.signerName", ""))
    if old is None or get(obj, "spec.trustBundle") != get(old, "spec.trustBundle"):
        found += _bundle(get(obj, "spec.trustBundle", ""), "spec.trustBundle")
    return found


def _bundle(text: str, path: str) -> list[Invalid]:
    if len(text) > LARGEST:
        return [faults.too_long(path, LARGEST)]
    found: list[Invalid] = []
    seen: dict[str, int] = {}
    for index, match in enumerate(_BLOCK.finditer(text)):
        label, body = match[1], "".join(match[2].split())
        if label != "CERTIFICATE":
            found.append(_omitted(path, f"entry {index} has bad block type: {label}"))
        elif ":" in body:
            found.append(_omitted(path, f"entry {index} has PEM block headers"))
        elif body in seen:
            found.append(_omitted(path, f"duplicate trust anchor (indices [{seen[body]} {index}])"))
        seen.setdefault(body, index)
    if not seen:
        found.append(_omitted(path, "at least one trust anchor must be provided"))
    return found


def _omitted(path: str, detail: str) -> Invalid:
    return faults.invalid(path, "<value omitted>", detail)


def _any_name(name: str) -> list[str]:
    """Its name depends on the signer: `_validate` checks it."""
    return []


KIND = Kind(
    group="certificates.k8s.io",
    version="v1",
    kind="ClusterTrustBundle",
    plural="clustertrustbundles",
    namespaced=False,
    columns=(NAME, Column("SignerName", at("spec.signerName"), description="Whose authorities these are.")),
    fields=lambda obj: {"spec.signerName": get(obj, "spec.signerName", "")},
    validate=metadata.checked(_validate, name=_any_name, namespaced=False),
)
