"""PodCertificateRequest (certificates.k8s.io/v1): a node's wish for a certificate for one of its pods."""

from __future__ import annotations

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.certificate_signing_request import signer_name
from sampan.kinds.columns import NAME, at, labels_text
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.kinds.projected_certificates import LONGEST, LONGEST_OF_OURS, SHORTEST
from sampan.machinery import conditions, names
from sampan.machinery.objects import Object, get

_NAMES = ("podName", "serviceAccountName", "nodeName")
_UIDS = ("podUID", "serviceAccountUID", "nodeUID")
ENDS = ("Issued", "Denied", "Failed")


def _state(obj: Object, now: float) -> str:
    return next((c["type"] for c in conditions.of(obj) if c["type"] in ENDS), "Pending")


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj.get("spec") or {}
    if old is not None:
        return faults.immutable("spec", spec, old.get("spec")) + _status(obj, old)
    signer = spec.get("signerName") or ""
    found = signer_name(signer, "spec.signerName")
    for field in _NAMES:
        value = spec.get(field) or ""
        found += faults.each_invalid(f"spec.{field}", value, names.dns_subdomain(value))
    for field in _UIDS:
        value = spec.get(field) or ""
        if not value:
            found.append(faults.invalid(f"spec.{field}", value, "must not be empty"))
        elif len(value) > 128:
            found.append(faults.too_long(f"spec.{field}", 128))
    seconds, longest = spec.get("maxExpirationSeconds"), LONGEST
    if signer.startswith("kubernetes.io/"):
        longest = LONGEST_OF_OURS
    if seconds is None:
        found.append(faults.required("spec.maxExpirationSeconds", "must be set"))
    elif not SHORTEST <= seconds <= longest:
        text = f"must be in the range [{SHORTEST}, {longest}]"
        found.append(faults.invalid("spec.maxExpirationSeconds", seconds, text))
    given = tuple(bool(spec.get(f)) for f in ("stubPKCS10Request", "pkixPublicKey", "proofOfPossession"))
    if given not in ((True, False, False), (False, True, True)):
        text = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"
        found.append(Invalid("spec", "FieldValueInvalid", f"Invalid value: {text}"))
    return found


def _status(obj: Object, old: Object) -> list[Invalid]:
    """One end, once: it does not change any more."""
    found: list[Invalid] = []
    ends = [c["type"] for c in conditions.of(obj) if c["type"] in ENDS]
    if len(ends) > 1:
        text = 'There may be at most one condition with type "Issued", "Denied", or "Failed"'
        found.append(faults.invalid("status.conditions", ends, text))
    for index, condition in enumerate(conditions.of(obj)):
        if condition["type"] not in ENDS:
            path = f"status.conditions[{index}].type"
            found.append(faults.unsupported(path, condition["type"], ENDS))
        elif condition.get("status") != "True":
            path = f"status.conditions[{index}].status"
            found.append(faults.unsupported(path, condition.get("status"), ("True",)))
    if any(c["type"] in ENDS for c in conditions.of(old)) and obj.get("status") != old.get("status"):
        text = "immutable after PodCertificateRequest is issued, denied, or failed"
        found.append(faults.invalid("status", "", text))
    return found


def _fields(obj: Object) -> dict[str, str]:
    return {f"spec.{f}": get(obj, f"spec.{f}", "") for f in ("signerName", "podName", "nodeName")}


KIND = Kind(
    group="certificates.k8s.io",
    version="v1",
    kind="PodCertificateRequest",
    plural="podcertificaterequests",
    namespaced=True,
    subresources=("status",),
    columns=(
        NAME,
        Column("PodName", at("spec.podName"), description="The pod that it is for."),
        Column("ServiceAccountName", at("spec.serviceAccountName"), description="What the pod runs as."),
        Column("NodeName", at("spec.nodeName"), description="The node that asks."),
        Column("SignerName", at("spec.signerName"), description="Who is asked to sign."),
        Column("State", _state, description="Pending, Issued, Denied or Failed."),
        Column(
            "UnverifiedUserAnnotations",
            lambda obj, now: labels_text(get(obj, "spec.unverifiedUserAnnotations")),
            wide=True,
        ),
    ),
    fields=_fields,
    prepare=strategy.uncounted,
    validate=metadata.checked(_validate),
)
