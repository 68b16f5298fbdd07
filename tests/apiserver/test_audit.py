"""The audit log: which calls are written down, how much of them, in upstream's form; and the file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sampan.apiserver.audit import policy
from sampan.apiserver.audit.file import LogFile
from sampan.apiserver.audit.step import Audit
from sampan.apiserver.call import Call, User
from sampan.client.api import ApiError
from sampan.kinds import registry

from .conftest import Cluster, serving

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:apiserver"]}
- {level: None, userGroups: ["system:serviceaccounts"]}
- {level: None, nonResourceURLs: ["/api*", "/openapi*", "/readyz"]}
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
- level: RequestResponse
  omitManagedFields: true
  verbs: [create, update, patch, delete]
  resources: [{group: "", resources: [configmaps]}]
- level: Request
  resources: [{group: "", resources: ["pods", "pods/*"]}]
- {level: Metadata}
"""
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: blue}\n"


@pytest.fixture
async def audited(certificates: Any, tmp_path: Path) -> AsyncIterator[Cluster]:
    from sampan.machinery import yaml

    file = LogFile(tmp_path / "audit.log")
    async with serving(certificates, tmp_path, audit=Audit(policy.parse(yaml.load(POLICY)), file)) as cluster:
        yield cluster
    await file.close()


async def events(cluster: Cluster, **wanted: str) -> list[dict[str, Any]]:
    """What the log has, once it has it: the latest first, with these fields."""
    await asyncio.sleep(0.05)
    path = cluster.directory / "audit.log"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [e for e in reversed(found) if all(e.get(k) == v for k, v in wanted.items())]


async def test_a_write_is_logged_with_what_was_asked_and_answered(audited: Cluster) -> None:
    await audited.kubectl("create", "-f", "-", stdin=MAP)
    (event,) = await events(audited, verb="create")
    assert (event["kind"], event["apiVersion"], event["level"]) == (
        "Event",
        "audit.k8s.io/v1",
        "RequestResponse",
    )
    assert event["stage"] == "ResponseComplete"
    assert event["user"]["username"] == "kubernetes-admin"
    assert event["user"]["groups"] == ["system:masters", "system:authenticated"]
    assert event["sourceIPs"] == ["127.0.0.1"]
    assert event["userAgent"].startswith("kubectl/")
    assert event["requestURI"].startswith("/api/v1/namespaces/default/configmaps?fieldManager=")
    reference = event["objectRef"]
    assert (reference["resource"], reference["namespace"], reference["apiVersion"]) == (
        "configmaps",
        "default",
        "v1",
    )
    assert reference["name"] == "settings"
    assert event["requestObject"]["data"] == event["responseObject"]["data"] == {"colour": "blue"}
    assert "managedFields" not in event["responseObject"]["metadata"]
    assert event["responseStatus"] == {"metadata": {}, "code": 201}
    assert event["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert event["requestReceivedTimestamp"] <= event["stageTimestamp"]
    await audited.kubectl("patch", "configmap", "settings", "-p", '{"data":{"colour":"red"}}')
    (patch,) = await events(audited, verb="patch")
    assert patch["requestObject"] == {"data": {"colour": "red"}}
    assert patch["responseObject"]["data"] == {"colour": "red"}


async def test_of_secrets_only_metadata_is_logged(audited: Cluster) -> None:
    await audited.kubectl("create", "secret", "generic", "key", "--from-literal=password=hunter22")
    await audited.kubectl("get", "secret", "key")
    created, read = [await events(audited, verb=verb) for verb in ("create", "get")]
    assert created[0]["level"] == read[0]["level"] == "Metadata"
    assert "requestObject" not in created[0]
    assert "hunter22" not in (audited.directory / "audit.log").read_text()
    assert "aHVudGVyMjI" not in (audited.directory / "audit.log").read_text()


async def test_what_is_refused_is_logged_with_why(audited: Cluster) -> None:
    with pytest.raises(ApiError):
        await audited.http("ann", ()).get("configmaps", "x", "default")
    (event,) = await events(audited, verb="get")
    assert event["responseStatus"]["code"] == 403
    assert event["responseStatus"]["reason"] == "Forbidden"
    assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
    with pytest.raises(ApiError):
        await audited.http(token="nonsense").get("configmaps", "x", "default")
    event = (await events(audited, verb="get"))[0]
    assert (event["responseStatus"]["code"], event["stage"]) == (401, "ResponseStarted")
    assert event["responseStatus"]["message"] == "Authentication failed, attempted: bearer"


async def test_who_speaks_as_another_is_logged_as_both(audited: Cluster) -> None:
    await audited.kubectl("get", "pods", "--as=ann", check=False)
    (event,) = await events(audited, verb="list")
    assert event["user"]["username"] == "kubernetes-admin"
    assert event["impersonatedUser"]["username"] == "ann"


async def test_a_watch_is_logged_when_it_begins_and_when_it_ends(audited: Cluster) -> None:
    response = await audited.raw().request("GET", "/api/v1/pods?watch=true&timeoutSeconds=1")
    (started,) = await events(audited, verb="watch")
    assert started["stage"] == "ResponseStarted"
    await response.read()
    complete, again = await events(audited, verb="watch")
    assert again == started
    assert (complete["stage"], complete["auditID"]) == ("ResponseComplete", started["auditID"])


async def test_what_the_policy_leaves_out_is_not_logged(audited: Cluster) -> None:
    await audited.ask("GET", "/apis")
    await audited.ask("GET", "/version")
    assert [e["requestURI"] for e in await events(audited)] == ["/version"]


# Policies


def matched(rule: dict[str, Any], verb: str = "get", path: str = "", **call: str) -> bool:
    resource = call.pop("resource", "")
    kind = registry.find(resource) if resource else None
    wanted = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata", **rule}]}
    user = User("ann", ("developers",))
    return policy.parse(wanted).rule(Call(verb=verb, path=path, kind=kind, **call), user).level == "Metadata"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "call", "matches"),
    [
        ({}, {"resource": "pods"}, True),
        ({"users": ["bob"]}, {"resource": "pods"}, False),
        ({"users": ["ann"], "userGroups": ["others"]}, {"resource": "pods"}, False),
        ({"userGroups": ["developers"]}, {"path": "/version"}, True),
        ({"verbs": ["list"]}, {"resource": "pods"}, False),
        ({"namespaces": ["a"]}, {"resource": "pods", "namespace": "a"}, True),
        ({"namespaces": ["a"]}, {"resource": "pods", "namespace": "b"}, False),
        ({"namespaces": [""]}, {"resource": "nodes"}, True),
        ({"namespaces": ["a"]}, {"path": "/version"}, False),
        ({"resources": [{"group": ""}]}, {"resource": "pods"}, True),
        ({"resources": [{"group": "apps"}]}, {"resource": "pods"}, False),
        (
            {"resources": [{"group": "", "resources": ["pods"]}]},
            {"resource": "pods", "subresource": "log"},
            False,
        ),
        (
            {"resources": [{"group": "", "resources": ["pods/log"]}]},
            {"resource": "pods", "subresource": "log"},
            True,
        ),
        (
            {"resources": [{"group": "", "resources": ["pods/*"]}]},
            {"resource": "pods", "subresource": "log"},
            True,
        ),
        (
            {"resources": [{"group": "", "resources": ["*/log"]}]},
            {"resource": "pods", "subresource": "log"},
            True,
        ),
        (
            {"resources": [{"resources": ["pods"], "resourceNames": ["x"]}]},
            {"resource": "pods", "name": "x"},
            True,
        ),
        (
            {"resources": [{"resources": ["pods"], "resourceNames": ["x"]}]},
            {"resource": "pods", "name": "y"},
            False,
        ),
        ({"nonResourceURLs": ["/healthz*"]}, {"path": "/healthz/ping"}, True),
        ({"nonResourceURLs": ["/healthz"]}, {"path": "/healthz/ping"}, False),
        ({"nonResourceURLs": ["*"]}, {"resource": "pods"}, False),
    ],
)
def test_which_rule_is_about_a_call(rule: dict[str, Any], call: dict[str, str], matches: bool) -> None:
    assert matched(rule, **call) is matches


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ([], "it has no rules"),
        ([{"level": "All"}], r"rules\[0\].level must be one of None, Metadata"),
        ([{"level": "None", "user": []}], r"rules\[0\] has no field 'user'"),
        ([{"level": "None", "omitStages": ["End"]}], "'End' is not one of RequestReceived"),
        ([{"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["b"]}], "cannot apply to both"),
    ],
)
def test_what_is_no_policy_is_told(rules: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        policy.parse({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules})


# The file


async def test_a_full_file_is_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    file = LogFile(path, size=1000, backups=2)
    for n in range(100):
        file.write(b'{"n": %d, "filling": "%b"}\n' % (n, b"x" * 80))
        if n % 5 == 0:
            await asyncio.sleep(0.005)
    await file.close()
    kept = [*sorted(tmp_path.glob("audit-*.log")), path]
    assert len(kept) == 3
    assert all(p.stat().st_size <= 1000 and p.stat().st_mode & 0o777 == 0o600 for p in kept)
    numbers = [json.loads(line)["n"] for p in kept for line in p.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 100))
