"""CertificateSigningRequests: who is approved, what is signed, and for how long a request is kept."""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.controllers import certificates
from sampan.controllers.certificates import Observed
from sampan.host import certificate_requests, pki
from sampan.host.pki import Pair, Pki
from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.reconcile.controller import Delete, Patch

NOW = times.seconds("2026-06-01T00:00:00Z")
NODE = ("system:node:n1", "system:nodes")


def asking(user: str, group: str, *hosts: str) -> bytes:
    subject = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, group),
        x509.NameAttribute(NameOID.COMMON_NAME, user),
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts])
        builder = builder.add_extension(names, critical=False)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def request(signer: str, pem: bytes, *usages: str, approved: bool = False, **spec: Any) -> Object:
    meta = {"name": "r", "uid": "u", "creationTimestamp": times.time(NOW - 60)}
    fields = {"signerName": signer, "request": base64.b64encode(pem).decode(), "usages": list(usages), **spec}
    found = [{"type": "Approved", "status": "True", "lastUpdateTime": times.time(NOW - 30)}]
    return {"metadata": meta, "spec": fields, "status": {"conditions": found} if approved else {}}


@pytest.fixture
def authority(tmp_path: Path) -> Pair:
    return Pki(tmp_path).authority().pair


def decided(authority: Pair | None, found: Object, allowed: str = "", after: float = 0.0) -> list[Any]:
    sign = partial(certificate_requests.sign, authority) if authority else None
    return list(certificates.decide(sign, Observed(found, allowed), NOW + after).actions)


def test_an_approved_request_is_signed_as_asked(authority: Pair) -> None:
    pem = asking("jane", "team-a")
    found = request(certificates.CLIENT, pem, "client auth", approved=True, expirationSeconds=3600)
    (action,) = decided(authority, found)
    assert isinstance(action, Patch)
    assert action.subresource == "status"
    made = base64.b64decode(action.patch["status"]["certificate"])
    der = pki.der(made)
    assert pki.identity(der) == pki.Identity("jane", ("team-a",))
    assert pki.expires(der) == NOW + 3600
    assert pki.issuer_key(der) == pki.subject_key(pki.der(authority.certificate))


def test_what_is_pending_or_denied_is_not_signed(authority: Pair) -> None:
    found = request(certificates.CLIENT, asking("jane", "a"), "client auth")
    assert decided(authority, found) == []
    denied = {"type": "Denied", "status": "True", "lastUpdateTime": times.time(NOW)}
    found["status"] = {"conditions": [denied]}
    assert decided(authority, found) == []


@pytest.mark.parametrize(
    ("signer", "pem", "usages", "why"),
    [
        (certificates.CLIENT, asking("jane", "a"), ("server auth",),
         "invalid usages for client certificate: [server auth]"),
        (certificates.KUBELET_CLIENT, asking("system:node:n1", "other"), ("client auth", "digital signature"),
         "subject organization is not system:nodes"),
        (certificates.KUBELET_CLIENT, asking(*NODE, "n1"), ("client auth", "digital signature"),
         "DNS subjectAltNames are not allowed"),
        (certificates.KUBELET_SERVING, asking(*NODE), ("server auth", "digital signature"),
         "DNS or IP subjectAltName is required"),
    ],
)  # fmt: skip
def test_what_a_signer_does_not_sign_fails(
    authority: Pair, signer: str, pem: bytes, usages: tuple[str, ...], why: str
) -> None:
    found = request(signer, pem, *usages, approved=True, username="system:node:n1")
    (action,) = decided(authority, found)
    failed = action.patch["status"]["conditions"][-1]
    assert (failed["type"], failed["reason"], failed["message"]) == ("Failed", "SignerValidationFailure", why)


def test_a_kubelet_is_recognized_by_what_it_asks_for() -> None:
    pem = asking(*NODE)
    usages = ("client auth", "digital signature")
    own = request(certificates.KUBELET_CLIENT, pem, *usages, username="system:node:n1")
    assert certificates.recognized(own) == ["selfnodeclient", "nodeclient"]
    other = request(certificates.KUBELET_CLIENT, pem, *usages, username="system:bootstrap:abc")
    assert certificates.recognized(other) == ["nodeclient"]
    (action,) = decided(None, other, "nodeclient")
    assert action.subresource == "approval"
    assert action.patch["status"]["conditions"][0]["reason"] == "AutoApproved"
    assert certificates.recognized(request(certificates.CLIENT, pem, *usages)) == []


@pytest.mark.parametrize(
    ("approved", "after", "kept"), [(True, 3500, True), (True, 3600, False), (False, 86400, False)]
)
def test_old_requests_are_forgotten(approved: bool, after: float, kept: bool) -> None:
    found = request(certificates.CLIENT, asking("jane", "a"), "client auth", approved=approved)
    actions = decided(None, found, after=after)
    assert [type(a) for a in actions] == ([] if kept else [Delete])
