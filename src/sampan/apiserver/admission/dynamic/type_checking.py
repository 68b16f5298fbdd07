"""What the types of the kinds that a policy names say of its expressions: told in the policy's status, as warnings.

Source: k8s.io/apiserver pkg/admission/plugin/policy/validating/typechecking.go.
"""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from sampan.apiserver.admission.dynamic.configured import VALIDATING_POLICIES
from sampan.client.api import ApiError, Unavailable
from sampan.kinds.kind import Kind
from sampan.kinds.validating_admission_policy import composed
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer
    from sampan.machinery.cel import Type

RESOURCE = f"{VALIDATING_POLICIES}.admissionregistration.k8s.io"
# The most kinds that are looked at for one policy.
MOST = 10
log = logging.getLogger(__name__)


def due(policy: Object) -> bool:
    """Whether a policy has changed since it was looked at."""
    generation = policy["metadata"].get("generation", 0)
    return bool(get(policy, "status.observedGeneration", 0) < generation)


async def settle(server: ApiServer) -> None:
    """Look at every policy that is due."""
    client = server.local("system:apiserver", ("system:masters",))
    for policy in [p for p in server.configured.objects(VALIDATING_POLICIES) if due(p)]:
        kinds = concerned(server, policy)
        found = await asyncio.to_thread(warnings, policy, kinds, _params(server, policy))
        status: Object = {"observedGeneration": policy["metadata"]["generation"], "typeChecking": {}}
        if found:
            status["typeChecking"] = {"expressionWarnings": found}
        name = policy["metadata"]["name"]
        try:
            await client.patch(RESOURCE, name, "", {"status": status}, subresource="status")
        except (ApiError, Unavailable) as e:
            log.info("the status of ValidatingAdmissionPolicy %s could not be written: %s", name, e)


def concerned(server: ApiServer, policy: Object) -> list[Kind]:
    """The kinds that a policy's rules name; rules with wildcards name none."""
    found: dict[str, Kind] = {}
    for rule in get(policy, "spec.matchConstraints.resourceRules", ()):
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if "*" in groups or "*" in versions:
            continue
        resources = [r for r in rule.get("resources") or () if "*" not in r and "/" not in r]
        for kind in server.catalog:
            if kind.group in groups and kind.version in versions and kind.plural in resources:
                found[f"{kind.api_version} {kind.kind}"] = kind
    return sorted(found.values(), key=lambda k: (k.group, k.version, k.kind))[:MOST]


def _params(server: ApiServer, policy: Object) -> Kind | None:
    said = get(policy, "spec.paramKind")
    return server.catalog.of(said.get("apiVersion", ""), said.get("kind", "")) if said else None


def warnings(policy: Object, kinds: list[Kind], params: Kind | None) -> list[Object]:
    """The warnings of a policy's expressions, each for all kinds together."""
    found: list[Object] = []
    for index, validation in enumerate(policy["spec"].get("validations") or ()):
        for field in ("expression", "messageExpression"):
            text = validation.get(field)
            told = [t for k in kinds if text and (t := _told(policy, text, k, params))]
            if told:
                where = f"spec.validations[{index}].{field}"
                found.append({"fieldRef": where, "warning": "\n".join(told)})
    return found


def _told(policy: Object, text: str, kind: Kind, params: Kind | None) -> str:
    """What is wrong with an expression for objects of a kind; empty where nothing is."""
    from sampan.kinds import policy_expressions
    from sampan.machinery.cel import CompileError, compile_, types

    object_type = _type(kind)
    if object_type is None:
        return ""
    variables = policy_expressions.variables(params=policy["spec"].get("paramKind") is not None)
    variables |= {"object": object_type, "oldObject": object_type}
    if params is not None and (found := _type(params)):
        variables["params"] = found
    known: dict[str, types.Field] = {}
    try:
        for name, expression in composed(policy["spec"]):
            variables["variables"] = types.object_of("kubernetes.variables", dict(known))
            try:
                type_ = compile_(expression, variables).type
            except CompileError:
                type_ = types.DYN
            known[name] = types.Field(type_, name)
        variables["variables"] = types.object_of("kubernetes.variables", known)
        compile_(text, variables)
    except CompileError as e:
        return f"{kind.api_version}, Kind={kind.kind}: compilation failed: {e}\n"
    return ""


@lru_cache(64)
def _type(kind: Kind) -> Type | None:
    from sampan.kinds import schemas
    from sampan.machinery.cel import openapi

    schema = kind.schema if kind.schema is not None else schemas.of(kind.group, kind.version, kind.kind)
    if schema is None:
        return None
    return openapi.type_of(schema, False, kind.kind, lambda name: schemas.definitions()[name])
