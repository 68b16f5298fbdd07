"""Admission webhooks, called over TLS."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.apiserver.conftest import Cluster
from tests.apiserver.dynamic.programs import config_map, patch, program, webhook

from sampan.client.api import ApiError
from sampan.machinery.objects import Object

VALIDATING = "validatingwebhookconfigurations.admissionregistration.k8s.io"
MUTATING = "mutatingwebhookconfigurations.admissionregistration.k8s.io"


async def refused(action: Any) -> ApiError:
    with pytest.raises(ApiError) as found:
        await action
    return found.value


async def test_a_webhook_refuses_in_its_own_words(cluster: Cluster) -> None:
    async with program(cluster.pki) as hook:
        hook.answers["/no"] = lambda r: {
            "allowed": r["operation"] != "CREATE",
            "status": {"message": "not today", "code": 403, "reason": "Forbidden"},
            "warnings": ["mind the gap"],
        }
        await cluster.admin.create(VALIDATING, webhook("Validating", hook, "/no"))
        ran = await cluster.kubectl(
            "create", "-f", "-", stdin=orjson.dumps(config_map(x="1")).decode(), check=False
        )
        assert 'admission webhook "no.example.com" denied the request: not today' in ran.err
        assert "Warning: mind the gap" in ran.err
        [request] = hook.saw("/no")
        assert request["object"]["data"] == {"x": "1"}
        assert (request["operation"], request["oldObject"], request["userInfo"]["username"]) == (
            "CREATE", None, "kubernetes-admin",
        )  # fmt: skip
        assert request["requestResource"] == {"group": "", "version": "v1", "resource": "configmaps"}


async def test_webhooks_change_objects_and_are_asked_again(cluster: Cluster) -> None:
    def first(request: Object) -> Object:
        seen = request["object"]["data"]
        return patch({"op": "add", "path": "/data/seen", "value": ",".join(sorted(seen))})

    async with program(cluster.pki) as hook:
        hook.answers["/first"] = first
        hook.answers["/second"] = lambda r: patch({"op": "add", "path": "/data/b", "value": "2"})
        await cluster.admin.create(
            MUTATING, webhook("Mutating", hook, "/first", reinvocationPolicy="IfNeeded")
        )
        await cluster.admin.create(MUTATING, webhook("Mutating", hook, "/second"))
        made = await cluster.admin.create("configmaps", config_map(a="1"))
        assert made["data"] == {"a": "1", "b": "2", "seen": "a,b,seen"}
        assert len(hook.saw("/first")) == 2
        assert len(hook.saw("/second")) == 1


async def test_failure_policy_and_timeout(cluster: Cluster) -> None:
    async with program(cluster.pki) as hook:
        hook.answers["/slow"] = lambda r: {"allowed": True}
        slow = webhook("Validating", hook, "/slow", timeoutSeconds=1)
        await cluster.admin.create(VALIDATING, slow)
        error = await refused(cluster.admin.create("configmaps", config_map()))
        assert error.code == 500
        assert 'failed calling webhook "slow.example.com": failed to call webhook: Post' in str(error)
        assert "context deadline exceeded" in str(error)
        change = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
        await cluster.admin.patch(VALIDATING, "slow", "", change, type="json")
        await cluster.admin.create("configmaps", config_map())


async def test_selectors_conditions_and_scope(cluster: Cluster) -> None:
    async with program(cluster.pki) as hook:
        hook.answers["/some"] = lambda r: {"allowed": False}
        some = webhook(
            "Validating",
            hook,
            "/some",
            objectSelector={"matchLabels": {"watched": "yes"}},
            namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "default"}},
            matchConditions=[
                {"name": "not-x", "expression": "object == null || object.metadata.name != 'x'"}
            ],
        )
        await cluster.admin.create(VALIDATING, some)
        await cluster.admin.create("configmaps", config_map("free"))
        watched = config_map("held")
        watched["metadata"]["labels"] = {"watched": "yes"}
        assert "without explanation" in str(await refused(cluster.admin.create("configmaps", watched)))
        watched["metadata"]["name"] = "x"
        await cluster.admin.create("configmaps", watched)


async def test_a_dry_run_reaches_only_what_has_no_side_effects(cluster: Cluster) -> None:
    async with program(cluster.pki) as hook:
        hook.answers["/dry"] = lambda r: {"allowed": True}
        await cluster.admin.create(VALIDATING, webhook("Validating", hook, "/dry"))
        path = "/api/v1/namespaces/default/configmaps?dryRun=All"
        status, _ = await cluster.ask("POST", path, config_map())
        assert (status, hook.saw("/dry")[0]["dryRun"]) == (201, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "short"}, "should be a domain with at least three segments separated by dots"),
        ({"sideEffects": None}, "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"),
        ({"timeoutSeconds": 31}, "the timeout value must be between 1 and 30 seconds"),
        ({"clientConfig": {}}, "webhooks[0].clientConfig: Required value: exactly one of url or service is required"),
        (
            {"matchConditions": [{"name": "a", "expression": "1 + 1"}]},
            'webhooks[0].matchConditions[0].expression: Invalid value: "1 + 1": must evaluate to bool',
        ),
        ({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*", "pods"]}]},
         "if '*' is present, must not specify other resources without subresources"),
    ],
)  # fmt: skip
async def test_faults_of_configurations(cluster: Cluster, change: Object, message: str) -> None:
    async with program(cluster.pki) as hook:
        found = webhook("Validating", hook, "/x", **change)
        assert message in str(await refused(cluster.admin.create(VALIDATING, found)))
