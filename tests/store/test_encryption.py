"""Encryption at rest: what is on the disk, what is refused, and the rotation of keys."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.etcd_server import etcd as etcd_server

from sampan.store import encryption, etcd, rpc, sqlite
from sampan.store.api import StoreError
from sampan.store.encryption import Encryption

SECRET, MAP = "/core/secrets/default/a", "/core/configmaps/default/a"
KEYS = {name: base64.b64encode(name.encode().ljust(32, b"-")).decode() for name in ("one", "two")}
HEAD = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"


def configuration(directory: Path, *providers: str, resources: str = "[secrets]") -> Encryption:
    """One entry with these providers, such as `aesgcm:one` or `identity`."""
    lines = []
    for provider in providers:
        kind, _, key = provider.partition(":")
        inside = f"{{keys: [{{name: {key}, secret: {KEYS[key]}}}]}}" if key else "{}"
        lines.append(f"  - {kind}: {inside}\n")
    path = directory / "encryption.yaml"
    path.write_text(f"{HEAD}- resources: {resources}\n  providers:\n{''.join(lines)}")
    return encryption.load(path)


def on_disk(path: Path) -> bytes:
    return b"".join(p.read_bytes() for p in path.parent.glob(f"{path.name}*"))


@pytest.mark.parametrize("provider", ["aesgcm", "aescbc", "secretbox"])
async def test_what_is_on_the_disk_cannot_be_read(tmp_path: Path, provider: str) -> None:
    path = tmp_path / "store.db"
    sealing = configuration(tmp_path, f"{provider}:one")
    store = await sqlite.open(path, sealing)
    await store.create(SECRET, b'{"password": "hunter22"}')
    await store.update(SECRET, b'{"password": "tiger"}', 1)
    await store.create(MAP, b'{"colour": "blue"}')
    await store.close()
    data = on_disk(path)
    assert b"k8s:enc:%b:v1:one:" % provider.encode() in data
    assert b"hunter22" not in data
    assert b"tiger" not in data
    assert b"blue" in data
    again = await sqlite.open(path, sealing)
    record = await again.get(SECRET)
    assert record
    assert record.value == b'{"password": "tiger"}'
    # The past too.
    old = await again.get(SECRET, 1)
    assert old
    assert old.value == b'{"password": "hunter22"}'
    assert [e.value for e in await again.history(SECRET)] == [old.value, record.value]
    assert [e.value for e in await again.writes(0)] == [old.value, record.value, b'{"colour": "blue"}']
    events = await anext(aiter(again.watch("/", 0)))
    assert [e.value for e in events] == [old.value, record.value, b'{"colour": "blue"}']
    await again.close()


async def test_without_the_key_nothing_is_served(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await sqlite.open(path, configuration(tmp_path, "aesgcm:one"))
    await store.create(SECRET, b"{}")
    await store.close()
    for other in (configuration(tmp_path, "aesgcm:two"), encryption.NONE):
        with pytest.raises(StoreError, match=r"was encrypted by aesgcm:v1:one, which .* does not name"):
            await sqlite.open(path, other)
    await (await sqlite.open(path, configuration(tmp_path, "aesgcm:two", "aesgcm:one"))).close()


async def test_rotation_seals_everything_anew_with_its_history(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await sqlite.open(path)
    await store.create(SECRET, b'{"password": "hunter22"}')
    await store.update(SECRET, b'{"password": "tiger"}', 1)
    # From nothing to one key, then to another, then back to nothing.
    for providers, mark in (
        (("aescbc:one", "identity"), b"aescbc:v1:one"),
        (("aesgcm:two", "aescbc:one"), b"aesgcm:v1:two"),
    ):
        await store.encrypt(configuration(tmp_path, *providers))
        data = on_disk(path)
        assert data.count(b"k8s:enc:" + mark) == 2
        assert data.count(b"k8s:enc:") == 2
        assert b"hunter22" not in data
    assert store.revision == 2
    await store.close()
    # The old key is needed no more.
    last = configuration(tmp_path, "aesgcm:two")
    store = await sqlite.open(path, last)
    await store.encrypt(configuration(tmp_path, "identity", "aesgcm:two"))
    await store.close()
    store = await sqlite.open(path)
    assert [e.value for e in await store.history(SECRET)] == [
        b'{"password": "hunter22"}',
        b'{"password": "tiger"}',
    ]
    await store.close()


async def test_etcd_keeps_what_is_sealed(tmp_path: Path) -> None:
    with etcd_server(tmp_path / "etcd") as server:
        address = etcd.parse(server.url)
        store = await etcd.open(address)
        await store.create(SECRET, b'{"password": "hunter22"}')
        sealing = configuration(tmp_path, "aesgcm:one", "identity")
        await store.encrypt(sealing)
        await store.create(f"{SECRET}b", b'{"password": "tiger"}')
        client = rpc.Client(address.endpoints)
        for key in (SECRET, f"{SECRET}b"):
            found = await client.call("Range", rpc.message("RangeRequest")(key=f"/sampan{key}".encode()))
            assert found.kvs[0].value.startswith(b"k8s:enc:aesgcm:v1:one:")
        client.close()
        await store.close()
        with pytest.raises(StoreError, match="does not name"):
            await etcd.open(address)
        again = await etcd.open(address, None, sealing)
        assert [r.value for r in (await again.list("/")).records] == [
            b'{"password": "hunter22"}',
            b'{"password": "tiger"}',
        ]
        assert [e.value for e in await again.history(f"{SECRET}b")] == [b'{"password": "tiger"}']
        await again.close()


def test_the_first_entry_that_names_a_resource_counts(tmp_path: Path) -> None:
    def sealed(key: str, resources: str) -> bool:
        found = configuration(tmp_path, "aesgcm:one", resources=resources)
        return found.seal(key, b"{}") != b"{}"

    assert sealed(SECRET, '["secrets"]')
    assert sealed(SECRET, '["*."]')
    assert sealed("/apps/deployments/default/a", '["*.apps"]')
    assert sealed("/apps/deployments/default/a", '["deployments.apps"]')
    assert sealed("/example.com/boats/a", '["*.*"]')
    assert not sealed(MAP, '["secrets", "*.apps"]')
    assert not sealed("/apps/secrets/default/a", '["secrets"]')


def test_a_value_is_bound_to_its_key(tmp_path: Path) -> None:
    found = configuration(tmp_path, "aesgcm:one")
    sealed = found.seal(SECRET, b"{}")
    assert found.open(SECRET, sealed) == b"{}"
    with pytest.raises(StoreError, match="cannot be decrypted"):
        found.open("/core/secrets/other/a", sealed)


@given(st.binary(max_size=100))
def test_each_provider_opens_what_it_sealed(value: bytes) -> None:
    for make in encryption.PROVIDERS.values():
        provider = make("k", b"k" * 32)
        assert provider.open(provider.seal(value, b"/a"), b"/a") == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: Policy", "kind must be EncryptionConfiguration"),
        (HEAD, "resources: Required value"),
        (f"{HEAD}- resources: [secrets]\n", r"resources\[0\] must have resources and providers"),
        (f"{HEAD}- resources: [secrets]\n  providers: [{{rot13: {{}}}}]\n", "'rot13' is not one of aesgcm"),
        (
            f"{HEAD}- resources: [secrets]\n  providers: [{{aesgcm: {{keys: [{{name: a, secret: YQ==}}]}}}}]\n",
            "key 'a' has 1 bytes; it must have 16 or 24 or 32",
        ),
        (
            f"{HEAD}- resources: [secrets]\n  providers: [{{aescbc: {{keys: [{{name: a}}]}}}}]\n",
            r"keys\[0\] must have a name, and a secret in base64",
        ),
    ],
)
def test_what_is_no_configuration_is_told(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=why):
        encryption.load(path)
