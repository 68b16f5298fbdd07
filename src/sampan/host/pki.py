"""A cluster's certificates and keys: one directory, one authority, ECDSA P-256 throughout.

Each certificate lies with its key in one file `NAME.pem`, so that both change in one rename; the authority's
certificate alone is `ca.crt`. Making certificates needs `cryptography`, loaded when the first is made; what
is asked at every start and every connection (has it expired, whom does it name) is read here from the DER,
since that import costs 40 ms.

Sources: RFC 5280 (certificates), X.690 (DER); Kubernetes, "Authenticating": common name is the user,
organizations the groups.
"""

from __future__ import annotations

import base64
import calendar
import ipaddress
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.host import files

if TYPE_CHECKING:
    from cryptography import x509

DAY = 86400.0
AUTHORITY_DAYS = 3650
LEAF_DAYS = 365
# A certificate is made anew when less than this is left of it.
RENEW = 90 * DAY


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a client certificate names to Kubernetes."""

    user: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes

    @property
    def pem(self) -> bytes:
        """Both in one text, as `ssl.SSLContext.load_cert_chain` reads it from one file."""
        return self.key + self.certificate

    @classmethod
    def parse(cls, pem: bytes) -> Pair:
        """The inverse of `pem`. Raises ValueError."""
        return cls(_block(pem, b"CERTIFICATE"), _block(pem, b"PRIVATE KEY"))


class Damaged(Exception):
    """A file holds no key or certificate any more; the message says what to do."""


class Pki:
    """The certificates and keys in `directory`.

    Each method returns what is there, made or renewed where need be.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def ca(self) -> Path:
        """The authority's certificate, for everyone to read."""
        return self.directory / "ca.crt"

    def authority(self) -> Authority:
        """The authority, made on the first call; it lasts ten years. Raises Damaged."""
        path = self.directory / "ca.pem"
        try:
            pair = Pair.parse(path.read_bytes())
        except FileNotFoundError:
            pair = create_authority("sampan").pair
            self._write(path, pair.pem)
        except ValueError as e:
            raise Damaged(
                f"{path} is damaged: {e}. Put back a copy of it, or remove it: then everyone gets new certificates"
            ) from None
        if not self.ca.exists() or self.ca.read_bytes() != pair.certificate:
            self._write(self.ca, pair.certificate, 0o644)
        return Authority(pair)

    def server(self, name: str, hosts: Sequence[str], *, owner: tuple[int, int] | None = None) -> Path:
        """The file of a server certificate for `hosts` (DNS names and addresses), readable by `owner` (uid, gid)."""

        def good(der: bytes) -> bool:
            return set(hosts) <= set(names(der))

        return self._pair(name, good, lambda authority: authority.server(name, hosts), owner)

    def client(
        self, name: str, user: str, groups: Sequence[str] = (), *, owner: tuple[int, int] | None = None
    ) -> Path:
        """The file of a client certificate that names `user` and `groups`."""

        def good(der: bytes) -> bool:
            return identity(der) == Identity(user, tuple(groups))

        return self._pair(name, good, lambda authority: authority.client(user, groups), owner)

    def signing_key(self, name: str = "sa", *, owner: tuple[int, int] | None = None) -> Path:
        """The file of a key that signs service account tokens (ES256), PEM. Raises Damaged."""
        path = self.directory / f"{name}.key"
        try:
            _block(path.read_bytes(), b"PRIVATE KEY")
        except FileNotFoundError:
            self._write(path, _key_pem(_new_key()), owner=owner)
        except ValueError as e:
            raise Damaged(
                f"{path} is damaged: {e}. Put back a copy of it, or remove it: then tokens issued so far are void"
            ) from None
        return path

    def _pair(
        self,
        name: str,
        good: Callable[[bytes], bool],
        make: Callable[[Authority], Pair],
        owner: tuple[int, int] | None,
    ) -> Path:
        path = self.directory / f"{name}.pem"
        try:
            found = der(path.read_bytes())
            issued_here = issuer_key(found) == subject_key(der(self.ca.read_bytes()))
            if issued_here and good(found) and expires(found) - time.time() > RENEW:
                return path
        except (FileNotFoundError, ValueError):
            pass
        self._write(path, make(self.authority()).pem, owner=owner)
        return path

    def _write(
        self, path: Path, data: bytes, mode: int = 0o600, *, owner: tuple[int, int] | None = None
    ) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        files.write(path, data, mode, owner=owner)


# Making certificates


class Authority:
    """Issues certificates with the authority's pair."""

    def __init__(self, pair: Pair) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self.pair = pair
        self._certificate = x509.load_pem_x509_certificate(pair.certificate)
        self._key: Any = load_pem_private_key(pair.key, None)

    def server(self, name: str, hosts: Sequence[str], days: float = LEAF_DAYS) -> Pair:
        """A certificate with which a server shows that it is any of `hosts` (DNS names and addresses)."""
        from cryptography import x509

        alternatives = x509.SubjectAlternativeName([_general_name(h) for h in hosts])
        usage = x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
        return self._issue(_subject(name, ()), usage, days, alternatives)

    def client(self, user: str, groups: Sequence[str] = (), days: float = LEAF_DAYS) -> Pair:
        """A certificate with which a client shows that it is `user`, of `groups`."""
        from cryptography import x509

        return self._issue(_subject(user, groups), x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH, days, None)

    def _issue(
        self,
        subject: x509.Name,
        usage: x509.ObjectIdentifier,
        days: float,
        alternatives: x509.SubjectAlternativeName | None,
    ) -> Pair:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        key = _new_key()
        builder = _builder(subject, self._certificate.subject, key.public_key(), days)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(_key_usage(sign_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(above, critical=False)
        if alternatives:
            builder = builder.add_extension(alternatives, critical=False)
        return _pair(builder.sign(self._key, hashes.SHA256()), key)


def create_authority(name: str, days: float = AUTHORITY_DAYS) -> Authority:
    """A new authority, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    key = _new_key()
    subject = _subject(name, ())
    builder = _builder(subject, subject, key.public_key(), days)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    builder = builder.add_extension(_key_usage(sign_certificates=True), critical=True)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(own, critical=False)
    return Authority(_pair(builder.sign(key, hashes.SHA256()), key))


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, days: float) -> x509.CertificateBuilder:
    import datetime

    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Clocks differ: what was just made must not seem to lie in the future.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _subject(user: str, groups: Sequence[str]) -> x509.Name:
    from cryptography import x509

    organizations = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, g) for g in groups]
    return x509.Name([*organizations, x509.NameAttribute(x509.NameOID.COMMON_NAME, user)])


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    made: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made


def _pair(certificate: x509.Certificate, key: Any) -> Pair:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Pair(certificate.public_bytes(Encoding.PEM), _key_pem(key))


# Reading certificates, without cryptography


_UTC_TIME = 0x17
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_SUBJECT_KEY, _ALTERNATIVES, _ISSUER_KEY = b"\x55\x1d\x0e", b"\x55\x1d\x11", b"\x55\x1d\x23"


def der(pem: bytes) -> bytes:
    """The first certificate of a PEM text as DER. Raises ValueError where there is none."""
    lines = _block(pem, b"CERTIFICATE").splitlines()[1:-1]
    return base64.b64decode(b"".join(lines))


def expires(certificate: bytes) -> float:
    """When a certificate (DER) ends, in seconds since the epoch. Raises ValueError."""
    _, (tag, end) = list(_items(_fields(certificate)[3][1]))
    text = end.decode("ascii")
    if tag == _UTC_TIME:  # two digits of year: RFC 5280, section 4.1.2.5.1
        text = ("19" if text >= "5" else "20") + text
    return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))


@lru_cache(maxsize=1024)
def identity(certificate: bytes) -> Identity:
    """The user and the groups that a client certificate (DER) names. Raises ValueError."""
    user, groups = "", []
    for _, rdn in _items(_fields(certificate)[4][1]):
        for _, attribute in _items(rdn):
            (_, kind), (_, value) = list(_items(attribute))
            if kind == _COMMON_NAME:
                user = value.decode()
            elif kind == _ORGANIZATION:
                groups.append(value.decode())
    return Identity(user, tuple(groups))


def names(certificate: bytes) -> list[str]:
    """The DNS names and addresses that a server certificate (DER) is for. Raises ValueError."""
    found = []
    for tag, value in _items(_extension(certificate, _ALTERNATIVES)):
        if tag == 0x82:
            found.append(value.decode("ascii"))
        elif tag == 0x87:
            found.append(str(ipaddress.ip_address(value)))
    return found


def subject_key(certificate: bytes) -> bytes:
    """The identifier of a certificate's own key; empty where it has none. Raises ValueError."""
    return _extension(certificate, _SUBJECT_KEY)


def issuer_key(certificate: bytes) -> bytes:
    """The identifier of the key that signed a certificate; empty where it has none. Raises ValueError."""
    return next((value for tag, value in _items(_extension(certificate, _ISSUER_KEY)) if tag == 0x80), b"")


def _extension(certificate: bytes, kind: bytes) -> bytes:
    """What the value of the extension `kind` holds, empty where there is none."""
    for tag, field in _fields(certificate):
        if tag == _EXTENSIONS:
            for _, extension in _items(_first(field)):
                (_, found), *_, (_, value) = list(_items(extension))
                if found == kind:
                    return _first(value)
    return b""


def _fields(certificate: bytes) -> list[tuple[int, bytes]]:
    """The fields of the signed part from the serial number on:

    Serial, algorithm, issuer, validity, subject, key and more.
    """
    tbs = _first(_first(certificate))
    fields = [field for field in _items(tbs) if field[0] != _VERSION]
    if len(fields) < 6:
        raise ValueError("this is not an X.509 certificate")
    return fields


def _first(data: bytes) -> bytes:
    """The value of the first item in `data`."""
    for _, value in _items(data):
        return value
    raise ValueError("this is not an X.509 certificate")


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tags and values that lie one after the other in `data`. Raises ValueError."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("the DER is cut off")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError("the DER is cut off")
        yield tag, data[at : at + length]
        at += length


def _block(pem: bytes, label: bytes) -> bytes:
    begin, end = b"-----BEGIN " + label + b"-----", b"-----END " + label + b"-----"
    start = pem.find(begin)
    stop = pem.find(end, start)
    if start < 0 or stop < 0:
        raise ValueError(f"the PEM text holds no {label.decode().lower()}")
    return pem[start : stop + len(end)] + b"\n"
