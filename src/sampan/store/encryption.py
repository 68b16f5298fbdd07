"""Encryption of values at rest, as an EncryptionConfiguration wants it: what goes to the disk, or to etcd, is sealed;
what this process holds in memory is not.

A sealed value begins with `k8s:enc:PROVIDER:v1:KEY:`, as upstream's, and for aesgcm is bound to its key in the store.
The first provider of the first entry that names a resource seals; each of its providers opens what it sealed. So a key
is rotated by putting the new one first: what the old one sealed is sealed anew, history included, and then the old one
can go.

Sources: the documentation's "Encrypting Confidential Data at Rest"; k8s.io/apiserver pkg/storage/value/encrypt.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from sampan.store.api import StoreError

_MARK = b"k8s:enc:"


class Provider(Protocol):
    """One way to seal, with one key; `prefix` is what its sealed values begin with."""

    prefix: bytes

    def seal(self, value: bytes, context: bytes) -> bytes: ...

    def open(self, sealed: bytes, context: bytes) -> bytes: ...


class Identity:
    """Values as they are."""

    prefix = b""

    def seal(self, value: bytes, context: bytes) -> bytes:
        return value

    def open(self, sealed: bytes, context: bytes) -> bytes:
        return sealed


class AesGcm:
    def __init__(self, name: str, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        _sized(name, secret, (16, 24, 32))
        self.prefix = b"k8s:enc:aesgcm:v1:%b:" % name.encode()
        self._key = AESGCM(secret)

    def seal(self, value: bytes, context: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._key.encrypt(nonce, value, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        return self._key.decrypt(sealed[:12], sealed[12:], context)


class AesCbc:
    def __init__(self, name: str, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.algorithms import AES

        _sized(name, secret, (16, 24, 32))
        self.prefix = b"k8s:enc:aescbc:v1:%b:" % name.encode()
        self._key = AES(secret)

    def seal(self, value: bytes, context: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        start = os.urandom(16)
        fill = 16 - len(value) % 16
        work = Cipher(self._key, modes.CBC(start)).encryptor()
        return start + work.update(value + bytes([fill]) * fill) + work.finalize()

    def open(self, sealed: bytes, context: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        work = Cipher(self._key, modes.CBC(sealed[:16])).decryptor()
        padded = work.update(sealed[16:]) + work.finalize()
        fill = padded[-1] if padded else 0
        if not 1 <= fill <= 16 or padded[-fill:] != bytes([fill]) * fill:
            raise ValueError("the padding is wrong")
        return padded[:-fill]


class SecretBox:
    """XSalsa20 and Poly1305, from PyNaCl, since OpenSSL has no XSalsa20."""

    def __init__(self, name: str, secret: bytes) -> None:
        try:
            from nacl.secret import SecretBox as Box
        except ImportError as e:
            raise ValueError("secretbox needs PyNaCl: pip install 'sampan[secretbox]'") from e
        _sized(name, secret, (32,))
        self.prefix = b"k8s:enc:secretbox:v1:%b:" % name.encode()
        self._box = Box(secret)

    def seal(self, value: bytes, context: bytes) -> bytes:
        return bytes(self._box.encrypt(value))

    def open(self, sealed: bytes, context: bytes) -> bytes:
        return bytes(self._box.decrypt(sealed))


PROVIDERS: dict[str, Callable[[str, bytes], Provider]] = {
    "aesgcm": AesGcm,
    "aescbc": AesCbc,
    "secretbox": SecretBox,
}


def _sized(name: str, secret: bytes, sizes: Sequence[int]) -> None:
    if len(secret) not in sizes:
        wanted = " or ".join(str(s) for s in sizes)
        raise ValueError(f"key {name!r} has {len(secret)} bytes; it must have {wanted}")


@dataclass(frozen=True, slots=True)
class Entry:
    """Resources such as `secrets`, `deployments.apps`, `*.apps`, `*.` or `*.*`, and the providers for them."""

    resources: tuple[str, ...]
    providers: tuple[Provider, ...]

    def match(self, resource: str, group: str) -> bool:
        named = f"{resource}.{group}" if group else resource
        return any(r in (named, f"{resource}.{group}", f"*.{group}", "*.*") for r in self.resources)


class Encryption:
    """What seals and opens values. `fingerprint` tells one configuration from another."""

    def __init__(self, entries: Sequence[Entry], fingerprint: str) -> None:
        self._entries = tuple(entries)
        self.fingerprint = fingerprint
        self._of = lru_cache(4096)(self._find)

    def _providers(self, key: str) -> tuple[Provider, ...]:
        group, _, rest = key[1:].partition("/")
        return self._of("" if group == "core" else group, rest.partition("/")[0])

    def _find(self, group: str, resource: str) -> tuple[Provider, ...]:
        found = next((e.providers for e in self._entries if e.match(resource, group)), ())
        return found or (Identity(),)

    def seal(self, key: str, value: bytes) -> bytes:
        """The value of `key` as it is to be stored."""
        first = self._providers(key)[0]
        return first.prefix + first.seal(value, key.encode())

    def open(self, key: str, stored: bytes) -> bytes:
        """The value that was stored. Raises StoreError where no provider has its key."""
        if not stored.startswith(_MARK):
            return stored  # from before it was configured; it is sealed at the next rotation
        for provider in self._providers(key):
            if provider.prefix and stored.startswith(provider.prefix):
                try:
                    return provider.open(stored[len(provider.prefix) :], key.encode())
                except Exception as e:
                    raise StoreError(
                        f"{key} cannot be decrypted: its key has changed, or it is damaged"
                    ) from e
        name = b":".join(stored.split(b":", 5)[2:5]).decode(errors="replace")
        raise StoreError(
            f"{key} was encrypted by {name}, which the encryption configuration does not name for it; put that key back"
        )

    def stale(self, key: str, stored: bytes) -> bool:
        """Whether another provider or key would seal this now."""
        first = self._providers(key)[0]
        return not stored.startswith(first.prefix) if first.prefix else stored.startswith(_MARK)


# Without a configuration: what an earlier one sealed is refused with its name.
NONE = Encryption((), "")


def load(path: Path) -> Encryption:
    """The configuration in a YAML or JSON file. Raises ValueError, which names the file and the field."""
    from sampan.machinery import yaml

    try:
        text = path.read_bytes()
        return Encryption(_entries(yaml.load(text)), hashlib.sha256(text).hexdigest())
    except OSError as e:
        raise ValueError(f"{path} cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise ValueError(f"{path} is no encryption configuration: {e}") from e


def _entries(config: Any) -> list[Entry]:
    if not isinstance(config, dict) or config.get("kind") != "EncryptionConfiguration":
        raise ValueError("kind must be EncryptionConfiguration, and apiVersion apiserver.config.k8s.io/v1")
    if config.get("apiVersion") != "apiserver.config.k8s.io/v1":
        raise ValueError(f"apiVersion must be apiserver.config.k8s.io/v1, not {config.get('apiVersion')!r}")
    if not config.get("resources"):
        raise ValueError("resources: Required value")
    return [_entry(e, f"resources[{n}]") for n, e in enumerate(config["resources"])]


def _entry(entry: Any, where: str) -> Entry:
    if not isinstance(entry, dict) or not entry.get("resources") or not entry.get("providers"):
        raise ValueError(f"{where} must have resources and providers")
    providers: list[Provider] = []
    for n, provider in enumerate(entry["providers"]):
        providers += _provider(provider, f"{where}.providers[{n}]")
    return Entry(tuple(entry["resources"]), tuple(providers))


def _provider(provider: Any, where: str) -> list[Provider]:
    if not isinstance(provider, dict) or len(provider) != 1:
        raise ValueError(f"{where} must have exactly one provider")
    ((name, settings),) = provider.items()
    if name == "identity":
        return [Identity()]
    if name not in PROVIDERS:
        raise ValueError(f"{where}: {name!r} is not one of {', '.join(PROVIDERS)} and identity")
    keys = (settings or {}).get("keys")
    if not keys:
        raise ValueError(f"{where}.{name}.keys: Required value")
    return [_key(name, key, f"{where}.{name}.keys[{n}]") for n, key in enumerate(keys)]


def _key(provider: str, key: Any, where: str) -> Provider:
    try:
        name, secret = str(key["name"]), base64.b64decode(key["secret"], validate=True)
    except (KeyError, TypeError, binascii.Error) as e:
        raise ValueError(f"{where} must have a name, and a secret in base64") from e
    if not name or ":" in name:
        raise ValueError(f"{where}.name must not be empty, and have no colon")
    try:
        return PROVIDERS[provider](name, secret)
    except ValueError as e:
        raise ValueError(f"{where}: {e}") from e
