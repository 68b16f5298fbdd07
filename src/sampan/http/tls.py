"""TLS contexts for both sides."""

from __future__ import annotations

import os
import ssl

PathName = str | os.PathLike[str]


def server_context(pair: PathName, *, client_ca: PathName | None = None) -> ssl.SSLContext:
    """For a server that shows the certificate in the file `pair` (PEM, with its key).

    With `client_ca` (a PEM file) clients are asked for a certificate; one that is shown must be of these
    authorities.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pair)
    context.set_alpn_protocols(["http/1.1"])
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(
    *,
    ca: PathName | bytes | None = None,
    pair: PathName | None = None,
    key: PathName | None = None,
    verify: bool = True,
) -> ssl.SSLContext:
    """For a client that trusts the authorities in `ca` (PEM text as bytes, or a file; None: the system's).

    It shows the certificate in the file `pair`, whose key is there too or in the file `key`. Without `verify`
    it trusts anyone.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs()
    elif isinstance(ca, bytes):
        context.load_verify_locations(cadata=ca.decode())
    else:
        context.load_verify_locations(ca)
    if pair:
        context.load_cert_chain(pair, key)
    return context
