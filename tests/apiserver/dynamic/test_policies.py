"""Admission policies in CEL: those that validate and those that mutate."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.apiserver.conftest import Cluster
from tests.apiserver.dynamic.programs import RULE, config_map

from sampan.client.api import ApiError
from sampan.machinery.objects import Object, get

GROUP = "admissionregistration.k8s.io"
VALIDATING, MUTATING = f"validatingadmissionpolicies.{GROUP}", f"mutatingadmissionpolicies.{GROUP}"
BINDINGS = {
    "Validating": f"validatingadmissionpolicybindings.{GROUP}",
    "Mutating": f"mutatingadmissionpolicybindings.{GROUP}",
}
WRITES = {**RULE, "operations": ["CREATE", "UPDATE"]}


def policy(kind: str = "Validating", **spec: Any) -> Object:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": f"{kind}AdmissionPolicy",
        "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": [WRITES]}, **spec},
    }


async def bind(cluster: Cluster, kind: str = "Validating", **spec: Any) -> None:
    if kind == "Validating":
        spec.setdefault("validationActions", ["Deny"])
    binding = {
        "apiVersion": f"{GROUP}/v1",
        "kind": f"{kind}AdmissionPolicyBinding",
        "metadata": {"name": "b"},
        "spec": {"policyName": "p", **spec},
    }
    await cluster.admin.create(BINDINGS[kind], binding)


async def refused(action: Any) -> ApiError:
    with pytest.raises(ApiError) as found:
        await action
    return found.value


async def test_a_policy_denies_where_it_is_bound(cluster: Cluster) -> None:
    found = policy(
        variables=[{"name": "count", "expression": "has(object.data) ? object.data.size() : 0"}],
        validations=[
            {
                "expression": "variables.count < 2",
                "messageExpression": "'too many: ' + string(variables.count)",
            },
            {"expression": "!('secret' in object.data)", "reason": "Forbidden", "message": "no secrets"},
        ],
        matchConditions=[{"name": "not-admin", "expression": "!('skip' in object.data)"}],
    )
    await cluster.admin.create(VALIDATING, found)
    await cluster.admin.create("configmaps", config_map("before", a="1", b="2"))
    await bind(cluster)
    error = await refused(cluster.admin.create("configmaps", config_map(a="1", b="2")))
    begin = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "
    assert (error.code, str(error)) == (422, f'configmaps "a" is forbidden: {begin}too many: 2')
    assert (await refused(cluster.admin.create("configmaps", config_map(secret="1")))).code == 403
    await cluster.admin.create("configmaps", config_map(a="1", b="2", skip="1"))


async def test_a_policy_may_warn_and_kubectl_shows_it(cluster: Cluster) -> None:
    await cluster.admin.create(
        VALIDATING, policy(validations=[{"expression": "object.metadata.name == 'good'"}])
    )
    await bind(cluster, validationActions=["Warn", "Audit"])
    ran = await cluster.kubectl("create", "-f", "-", stdin=orjson.dumps(config_map()).decode())
    said = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression"
    assert f"Warning: {said}: object.metadata.name == 'good'" in ran.err


async def test_parameters_come_from_any_kind(cluster: Cluster) -> None:
    found = policy(
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        validations=[{"expression": "object.metadata.name.startsWith(params.data.prefix)"}],
        matchConditions=[{"name": "others", "expression": "object.metadata.name != 'limits'"}],
    )
    await cluster.admin.create(VALIDATING, found)
    await bind(
        cluster, paramRef={"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
    )
    missing = await refused(cluster.admin.create("configmaps", config_map("limits", prefix="web-")))
    assert "failed to configure binding: no params found for policy binding with `Deny`" in str(missing)
    await cluster.admin.patch(
        BINDINGS["Validating"], "b", "", {"spec": {"paramRef": {"parameterNotFoundAction": "Allow"}}}
    )
    await cluster.admin.create("configmaps", config_map("limits", prefix="web-"))
    await cluster.admin.create("configmaps", config_map("web-1"))
    assert "failed expression" in str(await refused(cluster.admin.create("configmaps", config_map("db-1"))))


async def test_failures_count_by_the_failure_policy(cluster: Cluster) -> None:
    found = policy(validations=[{"expression": "object.spec.x == 1"}])
    await cluster.admin.create(VALIDATING, found)
    await bind(cluster)
    error = await refused(cluster.admin.create("configmaps", config_map()))
    assert "expression 'object.spec.x == 1' resulted in error: no such key: spec" in str(error)
    await cluster.admin.patch(VALIDATING, "p", "", {"spec": {"failurePolicy": "Ignore"}})
    await cluster.admin.create("configmaps", config_map())


async def test_request_and_authorizer_are_seen(cluster: Cluster) -> None:
    expression = (
        "request.userInfo.username == 'kubernetes-admin' && request.operation == 'CREATE' && oldObject == null && "
        "namespaceObject.metadata.name == 'default' && authorizer.group('').resource('pods').check('get').allowed() && "
        "authorizer.requestResource.check('create').allowed()"
    )
    await cluster.admin.create(VALIDATING, policy(validations=[{"expression": expression}]))
    await bind(cluster)
    await cluster.admin.create("configmaps", config_map())


async def test_mutations_by_apply_configuration_and_by_json_patch(cluster: Cluster) -> None:
    found = policy(
        "Mutating",
        reinvocationPolicy="Never",
        mutations=[
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {
                    "expression": "Object{metadata: Object.metadata{labels: {'from': object.metadata.name}}}"
                },
            },
            {
                "patchType": "JSONPatch",
                "jsonPatch": {
                    "expression": "[JSONPatch{op: 'add', value: 'x', "
                    "path: '/metadata/labels/' + jsonpatch.escapeKey('a/b')}]"
                },
            },
        ],
    )  # fmt: skip
    await cluster.admin.create(MUTATING, found)
    await bind(cluster, "Mutating")
    made = await cluster.admin.create("configmaps", config_map(c="1"))
    assert get(made, "metadata.labels") == {"from": "a", "a/b": "x"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"validations": []}, "spec.validations: Required value: validations or auditAnnotations must contain"),
        ({"validations": [{"expression": "object."}]}, "spec.validations[0].expression: Invalid value"),
        ({"validations": [{"expression": "1"}]}, 'Invalid value: "1": must evaluate to bool'),
        ({"validations": [{"expression": "nothing.x"}]}, "undeclared reference to 'nothing' (in container '')"),
        ({"validations": [{"expression": "true"}], "matchConstraints": {}},
         "spec.matchConstraints.resourceRules: Required value"),
        ({"validations": [{"expression": "true", "reason": "Other"}]}, 'Unsupported value: "Other"'),
    ],
)  # fmt: skip
async def test_faults_of_policies(cluster: Cluster, spec: Object, message: str) -> None:
    assert message in str(await refused(cluster.admin.create(VALIDATING, policy(**spec))))


async def test_types_of_expressions_are_checked_and_told_in_the_status(cluster: Cluster) -> None:
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["deployments"],
    }
    found = policy(
        matchConstraints={"resourceRules": [rule]},
        variables=[{"name": "replicas", "expression": "object.spec.replicas"}],
        validations=[
            {"expression": "variables.replicas > 1 && object.spec.template.spec.containers.size() > 0"},
            {"expression": "variables.replicas == '1'", "messageExpression": "'wants ' + object.spec.wanted"},
        ],
    )
    await cluster.admin.create(VALIDATING, found)
    async with asyncio.timeout(10):
        async for change in cluster.admin.watch(VALIDATING):
            if get(change.object, "status.observedGeneration") == 1:
                break
    told = {w["fieldRef"]: w["warning"] for w in get(change.object, "status.typeChecking.expressionWarnings")}
    assert list(told) == ["spec.validations[1].expression", "spec.validations[1].messageExpression"]
    first, second = told.values()
    assert first.startswith(
        "apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:20: found no matching"
    )
    assert "undefined field 'wanted'" in second
