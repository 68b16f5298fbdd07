"""CertificateSigningRequest (certificates.k8s.io/v1): a wish for a certificate, to be approved and signed."""

from __future__ import annotations

import base64

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, NONE, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import times
from sampan.machinery.objects import Object, get

_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip


def _condition(obj: Object, now: float) -> str:
    kinds = {c.get("type") for c in get(obj, "status.conditions", ())}
    found = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    return (
        found
        + (",Failed" if "Failed" in kinds else "")
        + (",Issued" if get(obj, "status.certificate") else "")
    )


def _duration(obj: Object, now: float) -> str:
    seconds = get(obj, "spec.expirationSeconds")
    return NONE if seconds is None else times.human(seconds)


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    """The spec never changes; approval is a condition that its own endpoint sets."""
    if old is None or subresource not in ("approval", "status"):
        strategy.keep_status(obj, old)
        if old is not None:
            obj["spec"] = old["spec"]
        return
    strategy.keep_all_but_status(obj, old)
    if subresource == "approval":
        conditions = get(obj, "status.conditions", [])
        obj["status"] = {**(old.get("status") or {}), "conditions": conditions}


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj.get("spec") or {}
    found: list[Invalid] = []
    signer, seconds = spec.get("signerName") or "", spec.get("expirationSeconds")
    if not spec.get("usages"):
        found.append(faults.required("spec.usages"))
    for index, usage in enumerate(spec.get("usages") or ()):
        found += faults.one_of(f"spec.usages[{index}]", usage, _USAGES)
    if not signer:
        found.append(faults.required("spec.signerName"))
    elif "/" not in signer:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        found.append(faults.invalid("spec.signerName", signer, text))
    if seconds is not None and seconds < 600:
        text = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(faults.invalid("spec.expirationSeconds", seconds, text))
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in base64.b64decode(spec.get("request") or ""):
        text = "PEM block type must be CERTIFICATE REQUEST"
        found.append(faults.invalid("spec.request", spec.get("request") or "", text))
    return found


KIND = Kind(
    group="certificates.k8s.io",
    version="v1",
    kind="CertificateSigningRequest",
    plural="certificatesigningrequests",
    namespaced=False,
    short_names=("csr",),
    subresources=("approval", "status"),
    columns=(
        NAME,
        AGE,
        Column("SignerName", at("spec.signerName", NONE), description="Who is asked to sign."),
        Column("Requestor", at("spec.username"), description="Who asks."),
        Column("RequestedDuration", _duration, description="For how long."),
        Column("Condition", _condition, description="Whether it is approved, denied, issued."),
    ),
    fields=lambda obj: {"spec.signerName": get(obj, "spec.signerName", "")},
    prepare=_prepare,
    validate=metadata.checked(_validate, namespaced=False),
)
