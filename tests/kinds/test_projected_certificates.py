"""What is wrong with projected certificates, and how it is said."""

from __future__ import annotations

import pytest

from sampan.kinds.volumes import validate
from sampan.machinery.objects import Object

OWN = {"signerName": "example.com/pods", "keyType": "ED25519", "credentialBundlePath": "pod.pem"}


def faults_of(**source: Object) -> dict[str, str]:
    """By path below the source: the message."""
    volume = {"name": "v", "projected": {"sources": [source]}}
    return {
        f.field.removeprefix("spec.volumes[0].projected.sources[0]."): f.detail
        for f in validate([volume], "spec.volumes")
    }


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        ({"maxExpirationSeconds": 3599}, "maxExpirationSeconds", "must be >= 3600"),
        ({"maxExpirationSeconds": 91 * 86400 + 1}, "maxExpirationSeconds", "must be <= 7862400"),
        ({"keyType": "DSA"}, "keyType", "supported values"),
        ({"credentialBundlePath": "../x"}, "credentialBundlePath", "must not contain '..'"),
        ({"signerName": "example"}, "signerName", "domain and path"),
    ],
)
def test_certificates_for_pods(change: Object, where: str, said: str) -> None:
    assert faults_of(podCertificate=OWN) == {}
    assert said in faults_of(podCertificate={**OWN, **change})[f"podCertificate.{where}"]


def test_a_certificate_goes_somewhere() -> None:
    found = faults_of(podCertificate={**OWN, "credentialBundlePath": ""})
    assert "specify at least one of" in found["podCertificate"]


def test_bundles_are_chosen_by_name_or_by_signer() -> None:
    assert faults_of(clusterTrustBundle={"name": "a", "path": "ca.pem"}) == {}
    assert "either name or signerName" in faults_of(clusterTrustBundle={"path": "x"})["clusterTrustBundle"]
    both = {"name": "a", "signerName": "example.com/ca", "path": "x"}
    assert "only one of" in faults_of(clusterTrustBundle=both)["clusterTrustBundle"]
