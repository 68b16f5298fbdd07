"""Requests for certificates (PKCS #10): what one asks for, and its signing.

Source: RFC 2986; the reference's page "Certificates and Certificate Signing Requests".
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sampan.host.pki import Pair

if TYPE_CHECKING:
    from cryptography import x509

# What a request may ask its key to be used for; the name in Kubernetes, and cryptography's.
_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom a request wants its certificate to name."""

    user: str
    organizations: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


def parse(pem: bytes) -> Asked:
    """What a request (PEM) asks for. Raises ValueError."""
    from cryptography import x509
    from cryptography.x509 import NameOID

    request = _load(pem)
    users = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    names = _alternatives(request)

    def of(kind: Any) -> tuple[str, ...]:
        return tuple(str(v) for v in names.get_values_for_type(kind)) if names else ()

    return Asked(
        str(users[-1].value) if users else "",
        tuple(str(g.value) for g in groups),
        of(x509.DNSName),
        of(x509.IPAddress),
        of(x509.RFC822Name),
        of(x509.UniformResourceIdentifier),
    )


def sign(authority: Pair, pem: bytes, usages: Collection[str], begins: float, ends: float) -> bytes:
    """A certificate (PEM) as a request asks, from `begins` to `ends` (seconds since the epoch). Raises ValueError."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    request, above = _load(pem), x509.load_pem_x509_certificate(authority.certificate)
    key: Any = load_pem_private_key(authority.key, None)

    def moment(when: float) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(when, datetime.UTC)

    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(above.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(begins))
        .not_valid_after(min(moment(ends), above.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    builder = _with_usages(builder, usages)
    if names := _alternatives(request):
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


Signer = Callable[[bytes, Collection[str], float, float], bytes]


def _load(pem: bytes) -> x509.CertificateSigningRequest:
    from cryptography import x509

    request = x509.load_pem_x509_csr(pem)
    if not request.is_signature_valid:
        raise ValueError("the request is not signed by its own key")
    return request


def _alternatives(request: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    from cryptography import x509

    try:
        return request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _with_usages(builder: x509.CertificateBuilder, usages: Collection[str]) -> x509.CertificateBuilder:
    from cryptography import x509

    wanted = {_KEY_USAGES[u] for u in usages if u in _KEY_USAGES}
    if wanted:
        if wanted & {"encipher_only", "decipher_only"}:
            wanted.add("key_agreement")
        flags = {name: name in wanted for name in _KEY_USAGES.values()}
        builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
    extended = list(dict.fromkeys(_EXTENDED_USAGES[u] for u in usages if u in _EXTENDED_USAGES))
    if extended:
        usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(o) for o in extended])
        builder = builder.add_extension(usage, critical=False)
    return builder
