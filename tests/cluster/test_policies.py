"""`sampan up` with an audit policy and encryption at rest, and keys that are rotated while it runs."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import SAMPAN
from tests.cluster.waiting import eventually

pytestmark = pytest.mark.root

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: Metadata, verbs: [create], resources: [{group: "", resources: [secrets]}], omitStages: [RequestReceived]}
"""


def encryption(*names: str) -> str:
    keys = "".join(
        f"\n      - {{name: {n}, secret: {base64.b64encode(n.encode() * 32)[:43].decode()}=}}" for n in names
    )
    return (
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n"
        f"  providers:\n  - aesgcm:\n      keys:{keys}\n  - identity: {{}}\n"
    )


@pytest.fixture
def name() -> Iterator[str]:
    made = f"policies-{os.urandom(3).hex()}"
    yield made
    subprocess.run([*SAMPAN, "down", "--name", made, "--delete", "--yes"], capture_output=True)


def sampan(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SAMPAN, *words], capture_output=True, text=True, timeout=120)


def test_secrets_are_encrypted_and_their_making_is_audited(tmp_path: Path, name: str) -> None:
    state, policy, keys = tmp_path / "state", tmp_path / "policy.yaml", tmp_path / "keys.yaml"
    policy.write_text(POLICY)
    keys.write_text(encryption("a"))
    up = ("up", "--name", name, "--state", str(state), "--port", "0", "--nodes", "0")
    done = sampan(*up, "--audit-policy-file", str(policy), "--encryption-provider-config", str(keys))
    assert done.returncode == 0, done.stderr
    literal = "--from-literal=password=hunter22"
    assert sampan("kubectl", "--name", name, "create", "secret", "generic", "s", literal).returncode == 0

    def disk() -> bytes:
        return b"".join(p.read_bytes() for p in (state / "control").glob("store.db*"))

    assert b"k8s:enc:aesgcm:v1:a:" in disk()
    assert base64.b64encode(b"hunter22") not in disk()
    log = state / "control" / "audit.log"

    def made() -> list[dict[str, Any]]:
        events = map(json.loads, log.read_text().splitlines() if log.exists() else ())
        return [e for e in events if e["objectRef"].get("name") == "s"]

    eventually(made)
    (event,) = made()
    assert (event["verb"], event["level"], event["stage"]) == ("create", "Metadata", "ResponseComplete")
    # A new key: what the old one sealed is sealed anew.
    keys.write_text(encryption("b", "a"))
    assert sampan("up", "--name", name).returncode == 0
    eventually(lambda: b"k8s:enc:aesgcm:v1:b:" in disk() and b"k8s:enc:aesgcm:v1:a:" not in disk())
    found = sampan("kubectl", "--name", name, "get", "secret", "s", "-o", "jsonpath={.data.password}")
    assert base64.b64decode(found.stdout) == b"hunter22"
    assert state.stat().st_mode & 0o777 == 0o700


def test_a_wrong_policy_is_told(tmp_path: Path, name: str) -> None:
    wrong = tmp_path / "policy.yaml"
    wrong.write_text("kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: All}]\n")
    for flag in ("--audit-policy-file", "--encryption-provider-config"):
        done = sampan("up", "--name", name, "--state", str(tmp_path / "s"), "--port", "0", flag, str(wrong))
        assert done.returncode == 1
        assert f"{flag}: {wrong} is no" in done.stderr
