"""Pull and push against a registry over real sockets."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.engine.images.image_making import archive, file, put_image
from tests.engine.images.registry_server import Registry

from sampan.engine.images import configured
from sampan.engine.images import registry as client
from sampan.engine.images.credentials import Credentials, from_config, from_header, matching
from sampan.engine.images.model import OCI_INDEX, ImageError, digest_of, dump
from sampan.engine.images.progress import Progress
from sampan.engine.images.pull import pull
from sampan.engine.images.push import push
from sampan.engine.images.references import parse
from sampan.engine.images.registry import Denied, NotThere, Registries, Unreachable, challenge
from sampan.engine.images.store import ImageStore
from sampan.host import process
from sampan.machinery.images import Reference

ANN = Credentials("ann", "secret")
LAYERS = [archive(file("a", b"1")), archive(file("b", os.urandom(300_000)))]


@pytest.fixture
def start() -> Iterator[Callable[..., Registry]]:
    running: list[Registry] = []

    def run(certificate: tuple[Path, Path] | None = None, **more: Any) -> Registry:
        running.append(Registry(**more).serve(certificate))
        return running[-1]

    yield run
    for each in running:
        each.stop()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[ImageStore]:
    """A second store, which pulls what the first has pushed."""
    made = ImageStore(tmp_path / "other")
    yield made
    made.close()


async def pushed(
    store: ImageStore, registry: Registry, name: str = "team/app:1", **more: object
) -> Reference:
    reference = parse(f"{registry.host}/{name}")
    put_image(store, *LAYERS, names=(str(reference),))
    await push(store, reference, **more)  # type: ignore[arg-type]
    return reference


async def test_what_was_pushed_is_pulled_the_same(
    store: ImageStore, other: ImageStore, start: Callable[..., Registry]
) -> None:
    registry = start()
    steps: list[Progress] = []
    reference = await pushed(store, registry, report=steps.append)
    image = await pull(other, reference, report=steps.append)
    assert image.id == store.find(str(reference)).id
    assert image.tags == (str(reference),)
    assert image.digests == (str(reference.at(image.manifest_digest)),)
    assert (other.layers.path(image.chain[1]) / "b").stat().st_size == 300_000
    said = [s.status for s in steps]
    assert said.count("Pushed") == said.count("Pull complete") == 2
    assert said[-1] == f"Status: Downloaded newer image for {reference.familiar}"
    steps.clear()
    await pull(other, reference, report=steps.append)
    assert steps[-1].status.startswith("Status: Image is up to date for")


async def test_a_second_push_sends_nothing_and_another_repository_gets_layers_mounted(
    store: ImageStore, start: Callable[..., Registry]
) -> None:
    registry = start()
    reference = await pushed(store, registry)
    registry.requests.clear()
    await push(store, reference)
    assert not [r for r in registry.requests if r.startswith(("POST", "PATCH"))]
    steps: list[Progress] = []
    store.tag(str(reference), f"{registry.host}/team/other:1")
    await push(store, parse(f"{registry.host}/team/other:1"), report=steps.append)
    assert [s.status for s in steps].count("Mounted from team/app") == 2
    registry.mounts = False
    store.tag(str(reference), f"{registry.host}/team/third:1")
    await push(store, parse(f"{registry.host}/team/third:1"))
    assert len(registry.uploads) == 0


async def test_large_blobs_go_in_chunks(
    store: ImageStore, start: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_CHUNK", 100_000)
    registry = start()
    await pushed(store, registry)
    assert len([r for r in registry.requests if r.startswith("PATCH")]) >= 2


@pytest.mark.parametrize("ignore", [False, True])
async def test_a_download_that_breaks_is_taken_up_again(
    store: ImageStore,
    other: ImageStore,
    start: Callable[..., Registry],
    monkeypatch: pytest.MonkeyPatch,
    ignore: bool,
) -> None:
    monkeypatch.setattr("sampan.engine.images.pull._PAUSE", 0.01)
    registry = start(cut=3, ignore_ranges=ignore)
    reference = await pushed(store, registry)
    image = await pull(other, reference)
    assert (other.layers.path(image.chain[1]) / "b").stat().st_size == 300_000
    registry.cut = 100
    third = ImageStore(other.root.parent / "third")
    with pytest.raises(ImageError, match="broke off 5 times"):
        await pull(third, reference)
    assert os.listdir(third.scratch.path) == []
    third.close()


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_credentials(
    store: ImageStore, other: ImageStore, start: Callable[..., Registry], auth: str
) -> None:
    registry = start(auth=auth, redirect=True)
    reference = await pushed(store, registry, credentials=ANN)
    wrong = Credentials("ann", "wrong")
    assert (await pull(other, reference, credentials=[wrong, ANN])).tags == (str(reference),)
    for mine in ([], [wrong]):
        with pytest.raises(Denied, match="pull access denied for localhost"):
            await pull(other, reference, credentials=mine)
    with pytest.raises(Denied, match="requested access to localhost"):
        await push(store, reference, credentials=wrong)


async def test_an_anonymous_token_is_enough_for_a_public_image(
    store: ImageStore, other: ImageStore, start: Callable[..., Registry]
) -> None:
    registry = start(auth="bearer")
    reference = await pushed(store, registry, "public/app:1", credentials=ANN)
    assert await pull(other, reference)


async def test_an_index_is_searched_for_this_machine(
    store: ImageStore, other: ImageStore, start: Callable[..., Registry]
) -> None:
    registry = start()
    reference = await pushed(store, registry)
    own = store.manifest_of(str(reference))
    entries = [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": d, "size": 1, "platform": p}
        for d, p in (
            ("sha256:" + "0" * 64, {"os": "linux", "architecture": "s390x"}),
            (own, {"os": "linux", "architecture": "amd64"}),
            (own, {"os": "linux", "architecture": "arm64", "variant": "v8"}),
        )
    ]
    index = dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    registry.manifests["team/app", "multi"] = registry.manifests["team/app", digest_of(index)] = (
        OCI_INDEX,
        index,
    )
    image = await pull(other, reference.tagged("multi"))
    assert image.digests == (str(reference.at(digest_of(index))),)
    assert await pull(other, reference.at(digest_of(index)))
    del entries[1:]
    registry.manifests["team/app", "foreign"] = (
        OCI_INDEX,
        dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}),
    )
    with pytest.raises(ImageError, match="no matching manifest for linux/"):
        await pull(other, reference.tagged("foreign"))


async def test_errors_say_what_and_where(
    store: ImageStore, other: ImageStore, start: Callable[..., Registry]
) -> None:
    registry = start()
    reference = await pushed(store, registry)
    with pytest.raises(NotThere, match=r"manifest for .*team/app:2 not found: manifest unknown"):
        await pull(other, reference.tagged("2"))
    with pytest.raises(Unreachable, match=r"cannot reach registry localhost:1: https://localhost:1/v2/"):
        await pull(other, parse("localhost:1/x"))
    with pytest.raises(ImageError, match="An image does not exist locally with the tag: nowhere"):
        await push(store, parse("nowhere:1"))


async def test_forged_content_is_refused(
    store: ImageStore, other: ImageStore, start: Callable[..., Registry]
) -> None:
    registry = start()
    reference = await pushed(store, registry)
    blobs = registry.blobs["team/app"]
    for digest, data in list(blobs.items()):
        if len(data) > 100_000:
            blobs[digest] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(ImageError, match="does not match its digest"):
        await pull(other, reference)
    media_type, data = registry.manifests["team/app", "1"]
    by_digest = reference.at(digest_of(data))
    registry.manifests["team/app", by_digest.digest] = (media_type, data + b" ")
    with pytest.raises(ImageError, match="not what its digest says"):
        await pull(other, by_digest)
    assert other.all() == []


async def test_mirrors_are_asked_first(
    store: ImageStore, other: ImageStore, start: Callable[..., Registry]
) -> None:
    mirror, empty = start(), start()
    reference = await pushed(store, mirror, "library/thing:1")
    registries = Registries(mirrors={"docker.io": (f"http://{empty.host}", f"http://{mirror.host}")})
    image = await pull(other, parse("thing:1"), registries=registries)
    assert image.tags == ("docker.io/library/thing:1",)
    assert reference.repository == "library/thing"
    assert empty.requests


async def test_mirrors_and_credentials_of_the_operators_file(
    store: ImageStore, other: ImageStore, start: Callable[..., Registry], tmp_path: Path
) -> None:
    mirror, private = start(), start(auth="basic")
    await pushed(store, mirror, "library/thing:1")
    text = f"""
mirrors:
  registry.k8s.io:
    endpoint: ["http://{mirror.host}"]
configs:
  {private.host}:
    auth: {{username: ann, password: secret}}
"""
    (tmp_path / "registries.yaml").write_text(text)
    assert (await pull(other, parse("registry.k8s.io/library/thing:1"))).tags
    mine = await pushed(store, private, "mine:1")
    assert (await pull(other, mine)).id
    (tmp_path / "registries.yaml").write_text(text.replace("ann", "eve"))
    with pytest.raises(Denied):
        await pull(other, mine)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("mirrors: [a]", "cannot be read"),
        ("mirror: {}", "unknown field mirror"),
        ("mirrors: {docker.io: {endpoint: x}}", "mirrors.docker.io.endpoint is no list of URLs"),
        ("configs: {h: {tsl: {}}}", "unknown field configs.h.tsl"),
        ("a: b: c", "registries.yaml cannot be read"),
    ],
)
def test_a_registries_file_in_disorder_is_told(text: str, wrong: str) -> None:
    with pytest.raises(ImageError, match=wrong):
        configured.parse(text)


async def test_tls_with_an_authority_of_its_own(
    store: ImageStore, other: ImageStore, start: Callable[..., Registry], tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.crt"
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 1 -subj /CN=localhost"
    await process.run(*words.split(), "-addext", "subjectAltName=DNS:localhost")
    registry = start((certificate, key))
    own = tmp_path / "certs.d" / registry.host
    own.mkdir(parents=True)
    certificate.rename(own / "ca.crt")
    registries = Registries(certificates=tmp_path / "certs.d")
    reference = await pushed(store, registry, registries=registries)
    assert await pull(other, reference, registries=registries)
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await pull(other, reference, registries=replace(registries, certificates=tmp_path))


def test_credentials_are_found_as_the_kubelet_finds_them() -> None:
    auth = base64.b64encode(b"u:p").decode()
    ring = from_config(
        json.dumps(
            {
                "auths": {
                    "https://index.docker.io/v1/": {"auth": auth},
                    "*.example.com": {"username": "star", "password": "x"},
                    "r.example.com/team": {"username": "team", "password": "x"},
                }
            }
        ).encode()
    )
    users = [c.username for c in matching(parse("r.example.com/team/app"), [ring])]
    assert users == ["team", "star"]
    assert [c.username for c in matching(parse("r.example.com/else"), [ring])] == ["star"]
    assert matching(parse("busybox"), [ring]) == [Credentials("u", "p")]
    assert matching(parse("a.b.example.com/x"), [ring]) == []
    assert from_header(base64.urlsafe_b64encode(b'{"username":"a","password":"b"}').decode()) == Credentials(
        "a", "b"
    )
    assert from_header("") is None


def test_challenges() -> None:
    header = 'Bearer realm="https://a/token",service="b c",scope="repository:x/y:pull,push"'
    assert challenge(header) == (
        "bearer",
        {"realm": "https://a/token", "service": "b c", "scope": "repository:x/y:pull,push"},
    )
