"""CertificateSigningRequest (certificates.k8s.io/v1): a wish for a certificate, to be approved and signed."""

from __future__ import annotations

import base64
import json

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, NONE, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names, times
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
    usages = spec.get("usages") or ()
    if not usages:
        found.append(faults.required("spec.usages"))
    for index, usage in enumerate(usages):
        found += faults.one_of(f"spec.usages[{index}]", usage, _USAGES)
        if usage in usages[:index]:
            found.append(faults.duplicate(f"spec.usages[{index}]", usage))
    found += signer_name(signer, "spec.signerName")
    if seconds is not None and seconds < 600:
        text = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(faults.invalid("spec.expirationSeconds", seconds, text))
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in base64.b64decode(spec.get("request") or ""):
        text = "PEM block type must be CERTIFICATE REQUEST"
        found.append(faults.invalid("spec.request", spec.get("request") or "", text))
    return found + _conditions(obj, old)


def signer_name(signer: str, path: str) -> list[Invalid]:
    """Faults of a signer's name, a domain and a path such as `example.com/web`."""
    if not signer:
        return [faults.required(path)]
    if signer == "kubernetes.io/legacy-unknown":
        return [faults.invalid(path, signer, "the legacy signerName is not allowed via this API version")]
    domain, slash, rest = signer.partition("/")
    if not slash or "/" in rest:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [faults.invalid(path, signer, text)]
    found = faults.each_invalid(path, domain, names.dns_subdomain(domain))
    if "." not in domain:
        found.append(
            faults.invalid(path, signer, "should be a domain with at least two segments separated by dots")
        )
    return found + faults.each_invalid(path, rest, names.dns_subdomain(rest))


_TRUE_ONLY = ("Approved", "Denied", "Failed")


def _conditions(obj: Object, old: Object | None) -> list[Invalid]:
    path, found = "status.conditions", list[Invalid]()
    seen: set[str] = set()
    for index, condition in enumerate(get(obj, path, ())):
        at, type_ = f"{path}[{index}]", condition.get("type") or ""
        if not type_:
            found.append(faults.required(f"{at}.type"))
        statuses = ("True",) if type_ in _TRUE_ONLY else ("False", "True", "Unknown")
        found += faults.one_of(f"{at}.status", condition.get("status"), statuses, needed=True)
        if type_ in seen:
            found.append(faults.duplicate(f"{at}.type", type_))
        seen.add(type_)
    if {"Approved", "Denied"} <= seen:
        found.append(faults.invalid(path, "", "Approved and Denied conditions are mutually exclusive"))
    if old is not None:
        before = {c.get("type") for c in get(old, path, ())}
        for type_ in sorted({"Approved", "Denied"} & before - seen):
            text = f"updates may not remove a condition of type {json.dumps(type_)}"
            found.append(faults.forbidden(path, text))
        certificate = get(old, "status.certificate")
        if certificate and get(obj, "status.certificate") != certificate:
            text = "updates may not modify certificate once it is set"
            found.append(faults.forbidden("status.certificate", text))
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
