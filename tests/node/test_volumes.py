"""Volumes: what containers find in them, and how it changes while they run."""

from __future__ import annotations

import asyncio
import base64
import datetime
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.nodes import Cluster, pod, ready

from sampan.host import mounts
from sampan.machinery import conditions, times
from sampan.machinery.objects import Object
from sampan.node.volumes import ownership, payload, subpath


def mount(name: str, path: str, **more: Any) -> Object:
    return {"name": name, "mountPath": path, **more}


def mounted(cluster: Cluster, path: str, name: str = "main") -> Path:
    """Where the newest container of that name has what it sees at `path`."""
    found = next(m for m in cluster.cri.named(name)[-1].mounts if m.container_path == path)
    return Path(found.host_path)


async def until(holds: Any, timeout: float = 10.0) -> None:
    """Wait until files look as they should; other processes see them in no other way."""
    async with asyncio.timeout(timeout):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def config(name: str, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }


async def test_a_config_map_is_shown_and_follows_changes(cluster: Cluster) -> None:
    await cluster.admin.create("configmaps", config("settings", a="1", b="2"))
    await cluster.start()
    items = [{"key": "a", "path": "dir/a.txt", "mode": 0o400}]
    volumes = [
        {"name": "cfg", "configMap": {"name": "settings", "items": items}},
        {"name": "all", "configMap": {"name": "settings"}},
    ]
    await cluster.create(
        pod(
            "web",
            {"name": "main", "volumeMounts": [mount("cfg", "/cfg"), mount("all", "/all")]},
            volumes=volumes,
        )
    )
    await cluster.until("web", ready)
    chosen, everything = mounted(cluster, "/cfg"), mounted(cluster, "/all")
    assert (chosen / "dir/a.txt").read_text() == "1"
    assert stat.S_IMODE((chosen / "dir/a.txt").stat().st_mode) == 0o400
    assert sorted(p.name for p in everything.iterdir() if not p.name.startswith("..")) == ["a", "b"]
    await cluster.admin.patch(
        "configmaps", "settings", "default", {"data": {"a": "changed", "b": None, "c": "3"}}
    )
    await until(lambda: (chosen / "dir/a.txt").read_text() == "changed")
    await until(
        lambda: sorted(p.name for p in everything.iterdir() if not p.name.startswith("..")) == ["a", "c"]
    )


async def test_a_missing_source_holds_the_pod_until_it_appears(cluster: Cluster) -> None:
    await cluster.start()
    volumes = [
        {"name": "cfg", "configMap": {"name": "later"}},
        {"name": "maybe", "secret": {"secretName": "no", "optional": True}},
    ]
    await cluster.create(
        pod(
            "web",
            {"name": "main", "volumeMounts": [mount("cfg", "/cfg"), mount("maybe", "/maybe")]},
            volumes=volumes,
        )
    )
    assert (
        await cluster.told("web", "FailedMount")
        == 'MountVolume.SetUp failed for volume "cfg" : configmap "later" not found'
    )
    await cluster.admin.create("configmaps", config("later", a="1"))
    await cluster.until("web", ready)
    assert list(mounted(cluster, "/maybe").glob("[!.]*")) == []


@pytest.mark.root
async def test_secrets_are_kept_in_memory(cluster: Cluster) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "default"},
        "data": {"k": base64.b64encode(b"\xff\x00").decode()},
    }
    await cluster.admin.create("secrets", secret)
    await cluster.start()
    volumes = [
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    await cluster.create(
        pod(
            "web", {"name": "main", "volumeMounts": [mount("s", "/s"), mount("tmp", "/tmp")]}, volumes=volumes
        )
    )
    await cluster.until("web", ready)
    path, memory = mounted(cluster, "/s"), mounted(cluster, "/tmp")
    assert (path / "k").read_bytes() == b"\xff\x00"
    kinds = {m.target: m.fstype for m in mounts.below(cluster.root)}
    assert kinds[str(path)] == kinds[str(memory)] == "tmpfs"
    assert os.statvfs(memory).f_blocks * os.statvfs(memory).f_frsize == 1 << 20
    await cluster.admin.delete("pods", "web", "default")
    await cluster.gone("web")
    assert not mounts.below(cluster.root)


@pytest.mark.root
async def test_a_projected_volume_has_the_tokens_of_the_pod(cluster: Cluster) -> None:
    await cluster.admin.create("configmaps", config("ca", **{"ca.crt": "CERT"}))
    await cluster.start()
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "ca"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    made = pod(
        "web",
        {"name": "main", "volumeMounts": [mount("api", "/api", readOnly=True)]},
        volumes=[{"name": "api", "projected": {"sources": sources}}],
    )
    made["metadata"]["labels"] = {"app": "web"}
    await cluster.create(made)
    await cluster.until("web", ready)
    path = mounted(cluster, "/api")
    assert (path / "token").read_text().count(".") == 2
    assert (path / "ca.crt").read_text() == "CERT"
    assert (path / "labels").read_text() == 'app="web"'
    await cluster.admin.patch("pods", "web", "default", {"metadata": {"labels": {"app": "new"}}})
    await until(lambda: (path / "labels").read_text() == 'app="new"')
    await cluster.admin.delete("pods", "web", "default")
    await cluster.gone("web")


async def test_claims_lead_to_directories_that_live_as_long_as_their_volume(cluster: Cluster) -> None:
    local = cluster.root / "local" / "pv-1"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "pv-1"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(local), "type": "DirectoryOrCreate"},
            "storageClassName": "x",
            "claimRef": {"namespace": "default", "name": "data"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": "pv-1",
            "storageClassName": "x",
        },
    }
    await cluster.admin.create("persistentvolumes", volume)
    await cluster.admin.create("persistentvolumeclaims", claim)
    (await cluster.start()).reclaimer.every = 0.2
    made = pod(
        "db",
        {"name": "main", "volumeMounts": [mount("data", "/data")]},
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    await cluster.create(made)
    await cluster.told(
        "db",
        "FailedMount",
        'MountVolume.SetUp failed for volume "data" : PersistentVolumeClaim "data" is not bound',
    )
    await cluster.admin.patch(
        "persistentvolumeclaims", "data", "default", {"status": {"phase": "Bound"}}, subresource="status"
    )
    await cluster.until("db", ready)
    assert mounted(cluster, "/data") == local
    (local / "rows").write_text("kept")
    await cluster.admin.delete("pods", "db", "default")
    await cluster.gone("db")
    assert (local / "rows").read_text() == "kept"
    await cluster.admin.delete("persistentvolumes", "pv-1")
    # What the protection controller does once no claim is bound any more; there are no controllers here.
    await cluster.admin.patch("persistentvolumes", "pv-1", "", {"metadata": {"finalizers": None}})
    (local.parent / "foreign").mkdir()
    await until(lambda: not local.exists())
    await until(lambda: not (local.parent / "foreign").exists())


async def test_data_outlives_a_store_that_was_lost(cluster: Cluster) -> None:
    kept = cluster.root / "local" / "pv-1"
    kept.mkdir(parents=True)
    (kept.parent / ".cluster").write_text("the uid of a cluster before")
    kubelet = await cluster.start()
    await kubelet.reclaimer.sweep()
    assert kept.exists()


async def test_host_paths_are_checked(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    await cluster.start()
    volumes = [{"name": "host", "hostPath": {"path": str(tmp_path / "file"), "type": "Directory"}}]
    await cluster.create(pod("web", {"name": "main", "volumeMounts": [mount("host", "/h")]}, volumes=volumes))
    await cluster.told(
        "web",
        "FailedMount",
        f'MountVolume.SetUp failed for volume "host" : hostPath type check failed: {tmp_path}/file is not a directory',
    )


@pytest.mark.root
async def test_sub_paths_are_mounted_by_themselves(cluster: Cluster) -> None:
    await cluster.admin.create("configmaps", config("settings", a="1"))
    await cluster.start()
    volumes = [{"name": "cfg", "configMap": {"name": "settings"}}, {"name": "dir", "emptyDir": {}}]
    mounts_ = [mount("cfg", "/etc/a", subPath="a"), mount("dir", "/mine", subPathExpr="pods/$(ME)")]
    env = [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    await cluster.create(pod("web", {"name": "main", "env": env, "volumeMounts": mounts_}, volumes=volumes))
    await cluster.until("web", ready)
    assert mounted(cluster, "/etc/a").read_text() == "1"
    (mounted(cluster, "/mine") / "x").write_text("")
    uid = (await cluster.admin.get("pods", "web", "default"))["metadata"]["uid"]
    assert (cluster.root / "pods" / uid / "volumes/kubernetes.io~empty-dir/dir/pods/web/x").exists()
    await cluster.admin.delete("pods", "web", "default")
    await cluster.gone("web")
    assert not mounts.below(cluster.root)


@pytest.mark.root
def test_a_sub_path_cannot_lead_outside(tmp_path: Path) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    volume.mkdir()
    outside.mkdir()
    (volume / "link").symlink_to(outside)
    for part in ("link", "../outside", "link/deeper", "/etc"):
        with pytest.raises(subpath.SubPathError):
            subpath.mount(volume, part, tmp_path / "target")
    assert not mounts.below(tmp_path)


@pytest.mark.root
def test_volumes_are_given_to_the_pods_group(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir(mode=0o700)
    (tmp_path / "dir" / "file").write_text("")
    (tmp_path / "dir" / "file").chmod(0o600)
    ownership.give(tmp_path, 1234)
    found = (tmp_path / "dir" / "file").stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 0o660)
    assert stat.S_IMODE((tmp_path / "dir").stat().st_mode) == 0o2770


NAMES = st.sampled_from(["a", "b", "dir/a", "dir/deep/b"])
VERSIONS = st.lists(st.dictionaries(NAMES, st.binary(max_size=8), min_size=1), min_size=1, max_size=4)


@settings(max_examples=30)
@given(VERSIONS)
def test_a_payload_shows_the_last_version_and_nothing_else(
    tmp_path_factory: Any, versions: list[dict[str, bytes]]
) -> None:
    directory = tmp_path_factory.mktemp("payload")
    for version in versions:
        files = {name: payload.File(data, 0o644) for name, data in version.items()}
        payload.write(directory, files)
        assert payload.read(directory) == files
        assert {n: (directory / n).read_bytes() for n in version} == version
        assert not payload.write(directory, files)
    assert len([p for p in directory.iterdir() if p.is_dir() and not p.is_symlink()]) == 1


def test_a_reader_never_sees_half_of_a_change(tmp_path: Path) -> None:
    """While versions are swapped, both files read through one opened version always agree."""
    stop, torn = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            current = os.path.realpath(tmp_path / "v" / payload.DATA)
            try:
                if Path(current, "a").read_text() != Path(current, "b").read_text():
                    torn.append(current)
            except FileNotFoundError:
                continue  # that version was replaced and removed in between

    payload.write(tmp_path / "v", {n: payload.File(b"0", 0o644) for n in "ab"})
    reader = threading.Thread(target=read)
    reader.start()
    for i in range(200):
        payload.write(tmp_path / "v", {n: payload.File(str(i).encode(), 0o644) for n in "ab"})
    stop.set()
    reader.join()
    assert not torn


@pytest.mark.parametrize("name", ["../x", "/x", "..x/y", "a/../../x", ""])
def test_payloads_stay_in_their_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError):
        payload.write(tmp_path, {name: payload.File(b"", 0o644)})


# Certificates


def certificate(name: str, public: Any = None, authority: bool = True) -> str:
    """A certificate in PEM, of a new key or for `public`."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public or key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(hours=24))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def bundle(name: str, text: str, **labels: str) -> Object:
    signer = {"signerName": "example.com/ca"} if ":" in name else {}
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "ClusterTrustBundle",
        "metadata": {"name": name, "labels": labels},
        "spec": {**signer, "trustBundle": text},
    }


@pytest.mark.root
async def test_trust_bundles_are_projected_and_follow_their_source(cluster: Cluster) -> None:
    one, two = certificate("one"), certificate("two")
    kind = "clustertrustbundles.certificates.k8s.io"
    for made in (
        bundle("plain", one),
        bundle("example.com:ca:a", one, live="yes"),
        bundle("example.com:ca:b", two + one, live="yes"),
        bundle("example.com:ca:c", certificate("three"), live="no"),
    ):
        await cluster.admin.create(kind, made)
    selected = {"signerName": "example.com/ca", "labelSelector": {"matchLabels": {"live": "yes"}}}
    sources = [
        {"clusterTrustBundle": {"name": "plain", "path": "plain.pem"}},
        {"clusterTrustBundle": {"name": "none", "path": "none.pem", "optional": True}},
        {"clusterTrustBundle": {**selected, "path": "all.pem"}},
    ]
    await cluster.start()
    await cluster.create(
        pod(
            "web",
            {"name": "main", "volumeMounts": [mount("ca", "/ca", readOnly=True)]},
            volumes=[{"name": "ca", "projected": {"sources": sources}}],
        )
    )
    await cluster.until("web", ready)
    path = mounted(cluster, "/ca")
    assert (path / "plain.pem").read_text() == one
    assert (path / "none.pem").read_text() == ""
    assert (path / "all.pem").read_text() == one + two
    await cluster.admin.patch(kind, "plain", "", {"spec": {"trustBundle": two}})
    await until(lambda: (path / "plain.pem").read_text() == two)
    await cluster.admin.delete("pods", "web", "default")
    await cluster.gone("web")


async def sign(cluster: Cluster) -> None:
    """Plays the signer: the first request gets its certificate."""
    kind = "podcertificaterequests.certificates.k8s.io"
    async for change in cluster.admin.watch(kind, "default"):
        if change.type != "ADDED":
            continue
        request = change.object
        asked = x509.load_der_x509_csr(base64.b64decode(request["spec"]["stubPKCS10Request"]))
        assert asked.is_signature_valid
        now = time.time()
        issued = conditions.new("Issued", "True", "Issued", "", now)
        status = {
            "conditions": [issued],
            "certificateChain": certificate("web", asked.public_key(), authority=False),
            "notBefore": times.time(now),
            "beginRefreshAt": times.time(now + 12 * 3600),
            "notAfter": times.time(now + 24 * 3600),
        }
        name = request["metadata"]["name"]
        await cluster.admin.patch(kind, name, "default", {"status": status}, subresource="status")
        return


@pytest.mark.root
async def test_a_pod_gets_a_key_and_the_certificate_of_the_signer_that_it_names(cluster: Cluster) -> None:
    await cluster.start()
    signing = asyncio.create_task(sign(cluster))
    source = {"signerName": "example.com/pods", "keyType": "ED25519", "credentialBundlePath": "pod.pem"}
    await cluster.create(
        pod(
            "web",
            {"name": "main", "volumeMounts": [mount("id", "/id", readOnly=True)]},
            volumes=[{"name": "id", "projected": {"sources": [{"podCertificate": source}]}}],
        )
    )
    await cluster.until("web", ready)
    await signing
    text = (mounted(cluster, "/id") / "pod.pem").read_bytes()
    key = serialization.load_pem_private_key(text, None)
    assert x509.load_pem_x509_certificate(text).public_key() == key.public_key()
    await cluster.admin.delete("pods", "web", "default")
    await cluster.gone("web")
