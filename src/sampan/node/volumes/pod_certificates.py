"""Certificates for pods: a key made here, certified by the signer that the pod names, renewed when the signer says so.

Source: KEP-4317; the API reference of PodCertificateProjection and PodCertificateRequest.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sampan.client.api import ApiError, Client, Unavailable
from sampan.client.watching import follow
from sampan.machinery import times
from sampan.machinery.objects import Object, get

KIND = "podcertificaterequests.certificates.k8s.io"
PATIENCE = 120.0  # seconds that a signer may take before the pod's start fails for now


class CertificateError(Exception):
    """The signer refused, failed, or did not answer; the message says which."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """In PEM; `renew` is seconds since the epoch."""

    key: bytes
    chain: str
    renew: float


class PodCertificates:
    """Asked for once for each pod and projection, kept in memory: a new process asks anew."""

    def __init__(self, client: Client, node: Callable[[], Object]):
        self._client, self._node = client, node
        self._known: dict[tuple[str, str], Credentials] = {}

    async def get(self, pod: Object, volume: str, source: Object) -> Credentials:
        """Raises CertificateError, ApiError, Unavailable."""
        key = (pod["metadata"]["uid"], f"{volume} {sorted(source.items(), key=str)}")
        known = self._known.get(key)
        if known is None or known.renew <= time.time():
            known = self._known[key] = await self._ask(pod, source)
        return known

    def forget(self, uid: str) -> None:
        for key in [k for k in self._known if k[0] == uid]:
            del self._known[key]

    async def _ask(self, pod: Object, source: Object) -> Credentials:
        private, request = await asyncio.to_thread(_made, source["keyType"])
        made = await self._client.create(KIND, await self._request(pod, source, request))
        name, namespace = made["metadata"]["name"], made["metadata"]["namespace"]
        # A node may only look at requests of its own.
        own = f"metadata.name={name},spec.nodeName={made['spec']['nodeName']}"
        try:
            async with asyncio.timeout(PATIENCE):
                async for change in follow(self._client, KIND, namespace, fields=own):
                    if change.type == "DELETED":
                        raise CertificateError(f"PodCertificateRequest {name} was deleted")
                    if found := issued(change.object, private):
                        return found
        except TimeoutError as e:
            raise CertificateError(
                f"signer {source['signerName']} has not answered PodCertificateRequest {name}"
            ) from e
        raise AssertionError("following never ends")

    async def _request(self, pod: Object, source: Object, request: bytes) -> Object:
        meta, account = pod["metadata"], pod["spec"].get("serviceAccountName") or "default"
        owner = await self._client.get("serviceaccounts", account, meta["namespace"])
        node = self._node().get("metadata")
        if node is None:
            raise CertificateError("this node is not in the cluster yet")
        spec: dict[str, Any] = {
            "signerName": source["signerName"],
            "podName": meta["name"],
            "podUID": meta["uid"],
            "serviceAccountName": account,
            "serviceAccountUID": owner["metadata"]["uid"],
            "nodeName": node["name"],
            "nodeUID": node["uid"],
            "maxExpirationSeconds": source.get("maxExpirationSeconds", 86400),
            "stubPKCS10Request": base64.b64encode(request).decode(),
        }
        if source.get("userAnnotations"):
            spec["unverifiedUserAnnotations"] = source["userAnnotations"]
        return {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "PodCertificateRequest",
            "metadata": {"generateName": f"req-{meta['name']}-"[:58], "namespace": meta["namespace"]},
            "spec": spec,
        }


def issued(request: Object, key: bytes) -> Credentials | None:
    """What came of a request, None while it waits. Raises CertificateError where it was refused or failed."""
    for condition in get(request, "status.conditions", []):
        if condition.get("status") == "True" and condition["type"] in ("Denied", "Failed"):
            said = f"{condition.get('reason', '')}: {condition.get('message', '')}"
            raise CertificateError(f"the signer answered {condition['type']}: {said}")
    chain = get(request, "status.certificateChain")
    if not chain:
        return None
    return Credentials(key, chain, times.seconds(request["status"]["beginRefreshAt"]))


def _made(kind: str) -> tuple[bytes, bytes]:
    """A new private key (PKCS#8, PEM), and an empty signing request with it (PKCS#10, DER)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    kinds: dict[str, Callable[[], Any]] = {
        "RSA3072": lambda: rsa.generate_private_key(65537, 3072),
        "RSA4096": lambda: rsa.generate_private_key(65537, 4096),
        "ECDSAP256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ECDSAP384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ECDSAP521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "ED25519": ed25519.Ed25519PrivateKey.generate,
    }
    if kind not in kinds:
        raise CertificateError(f"unknown key type {kind}")
    key = kinds[kind]()
    digest = None if kind == "ED25519" else hashes.SHA256()
    empty = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, empty.sign(key, digest).public_bytes(serialization.Encoding.DER)


FAILURES = (CertificateError, ApiError, Unavailable)
