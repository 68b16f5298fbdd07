"""The cluster's certificates: what is made, what is kept, what is read from it."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509

from sampan.host import pki
from sampan.host.pki import Identity, Pair, Pki, create_authority


def test_a_client_certificate_names_user_and_groups() -> None:
    pair = create_authority("test").client("kubernetes-admin", ["system:masters", "ops"])
    assert pki.identity(pki.der(pair.certificate)) == Identity("kubernetes-admin", ("system:masters", "ops"))


def test_a_server_certificate_names_hosts() -> None:
    hosts = ["localhost", "kubernetes.default.svc", "127.0.0.1", "::1"]
    pair = create_authority("test").server("apiserver", hosts)
    assert pki.names(pki.der(pair.certificate)) == hosts


@pytest.mark.parametrize("days", [1, 365, 365 * 40])
def test_expiry_is_read_as_cryptography_reads_it(days: int) -> None:
    certificate = create_authority("test", days=365 * 41).client("someone", days=days).certificate
    expected = x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
    assert pki.expires(pki.der(certificate)) == expected
    assert abs(expected - time.time() - days * pki.DAY) < 60


@pytest.mark.parametrize("wrong", [b"", b"\x30", b"\x30\x05ab", b"\x30\x03\x30\x01a", b"garbage", bytes(100)])
def test_what_is_no_certificate_is_a_value_error(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r"X\.509|DER"):
        pki.identity(wrong)
    with pytest.raises(ValueError, match="holds no certificate"):
        pki.der(wrong)


def test_files_are_private_and_kept(tmp_path: Path) -> None:
    first = Pki(tmp_path)
    server = first.server("apiserver", ["localhost"])
    client = first.client("admin", "kubernetes-admin", ["system:masters"])
    key = first.signing_key()
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    assert {p.stat().st_mode & 0o777 for p in before if p != first.ca} == {0o600}
    assert first.ca.stat().st_mode & 0o777 == 0o644
    again = Pki(tmp_path)
    assert again.server("apiserver", ["localhost"]) == server
    assert again.client("admin", "kubernetes-admin", ["system:masters"]) == client
    assert again.signing_key() == key
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_no_longer_serves_is_made_anew(tmp_path: Path) -> None:
    made = Pki(tmp_path)
    path = made.server("apiserver", ["localhost"])
    old = path.read_bytes()
    made.server("apiserver", ["localhost", "10.0.0.1"])
    assert pki.names(pki.der(path.read_bytes())) == ["localhost", "10.0.0.1"]
    # About to expire, torn, or of another authority.
    for broken in (made.authority().server("a", ["localhost"], days=30).pem, old[:200], b""):
        path.write_bytes(broken)
        made.server("apiserver", ["localhost"])
        assert pki.expires(pki.der(path.read_bytes())) - time.time() > pki.RENEW
    other = create_authority("other").server("a", ["localhost"])
    path.write_bytes(other.pem)
    made.server("apiserver", ["localhost"])
    assert path.read_bytes() != other.pem


def test_openssl_agrees(tmp_path: Path) -> None:
    made = Pki(tmp_path)
    server = made.server("apiserver", ["localhost", "127.0.0.1"])
    client = made.client("admin", "kubernetes-admin")
    for path, purpose in ((server, "sslserver"), (client, "sslclient")):
        command = [
            "openssl",
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            str(made.ca),
            str(path),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(server)
    pair = Pair.parse(server.read_bytes())
    assert pair.pem == server.read_bytes()


def test_a_second_start_does_not_load_cryptography(tmp_path: Path) -> None:
    Pki(tmp_path).server("apiserver", ["localhost"])
    script = (
        "import sys; from pathlib import Path; from sampan.host.pki import Pki;"
        f"Pki(Path({str(tmp_path)!r})).server('apiserver', ['localhost']);"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": "src"}, cwd=_root()).returncode == 0
    )


def _root() -> Path:
    return Path(__file__).parent.parent.parent
