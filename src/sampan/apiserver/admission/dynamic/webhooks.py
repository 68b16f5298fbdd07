"""Admission webhooks: programs that may change what is written, and programs that may refuse it.

Those that mutate are asked one after the other, and those that want it once more where a later one changed the object;
those that validate are asked all at once. Source: k8s.io/apiserver pkg/admission/plugin/webhook.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING, Any

import orjson

from sampan.apiserver import codec, errors
from sampan.apiserver.admission.dynamic import matching
from sampan.apiserver.admission.dynamic.configured import (
    EXEMPT,
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
)
from sampan.apiserver.admission.dynamic.request import Attributes, request
from sampan.apiserver.call import Call, prefix
from sampan.apiserver.hooks import HookError
from sampan.client.api import ApiError
from sampan.kinds.kind import Kind
from sampan.machinery import patches
from sampan.machinery.objects import Object
from sampan.machinery.patches import PatchError

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

_API = "admission.k8s.io/v1"
_HARMLESS = ("None", "NoneOnDryRun")


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    """Let each webhook that concerns the request change the object."""
    hooks = server.configured.webhooks(MUTATING_WEBHOOKS)
    if not hooks or call.resource.resource in EXEMPT:
        return
    found = Attributes(call, call.resource, obj, old)
    asked: list[tuple[str, Object]] = []
    changed_after: set[int] = set()
    for name, hook in hooks:
        kind = await concerned(server, hook, found)
        if kind is None:
            continue
        if await _mutated(server, name, hook, found, kind):
            changed_after = set(range(len(asked)))
        asked.append((name, hook))
    for index in sorted(changed_after):
        name, hook = asked[index]
        if hook.get("reinvocationPolicy") == "IfNeeded" and (kind := await concerned(server, hook, found)):
            await _mutated(server, name, hook, found, kind)


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    """Raises what the first of the webhooks says that refuses."""
    hooks = server.configured.webhooks(VALIDATING_WEBHOOKS)
    if not hooks or call.resource.resource in EXEMPT:
        return
    found = Attributes(call, call.resource, obj, old)
    asked = [(n, h, k) for n, h in hooks if (k := await concerned(server, h, found))]
    if not asked:
        return
    answers = await asyncio.gather(
        *(_validated(server, name, hook, found, kind) for name, hook, kind in asked), return_exceptions=True
    )
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer


async def concerned(server: ApiServer, hook: Object, found: Attributes) -> Kind | None:
    """The kind by which a webhook sees a request; None where it does not concern it. Raises 403."""
    if not matching.by_selectors(hook, found, await server.namespace_of(found.call)):
        return None
    kind = matching.by_rules(
        hook.get("rules") or (), hook.get("matchPolicy", "Equivalent"), found, equivalents(server, found.kind)
    )
    conditions = hook.get("matchConditions")
    if kind is None or not conditions:
        return kind
    from sampan.apiserver.admission.dynamic import expressions

    evaluation = expressions.Evaluation(
        server, found, kind, await server.namespace_of(found.call), budget=expressions.CONDITIONS_BUDGET
    )
    try:
        met = expressions.conditions_met(evaluation, conditions, hook.get("failurePolicy", "Fail"))
    except expressions.Problem as e:
        raise errors.forbidden(found.kind, found.name, str(e)) from e
    return kind if met else None


def equivalents(server: ApiServer, kind: Kind) -> list[Kind]:
    """The kinds that are the same objects in other versions or groups."""
    own = prefix(kind)
    return [k for k in server.catalog if k.stored and prefix(k) == own]


async def _answer(
    server: ApiServer, name: str, hook: Object, found: Attributes, kind: Kind
) -> tuple[Object, Object]:
    """The response of a webhook, with the request as it saw it. Raises HookError, and 400 for a dry run."""
    if found.call.dry_run and hook.get("sideEffects") not in _HARMLESS:
        raise errors.bad_request(f'admission webhook "{hook["name"]}" does not support dry run')
    versions = [v for v in hook.get("admissionReviewVersions") or () if v in ("v1", "v1beta1")]
    if not versions:
        raise HookError("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
    obj, old = found.as_(kind)
    asked = {**request(found, kind), "object": obj, "oldObject": old}
    review = {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{versions[0]}", "request": asked}
    try:
        answer = await server.hooks.post(
            hook["clientConfig"], review, float(hook.get("timeoutSeconds") or 10)
        )
    except HookError as e:
        raise HookError(f"failed to call webhook: {e}") from e
    response = answer.get("response")
    if not isinstance(response, dict):
        raise HookError("received invalid webhook response: webhook response was absent")
    if versions[0] == "v1":
        _check(answer, response, asked["uid"])
    for key, value in (response.get("auditAnnotations") or {}).items():
        found.call.annotations[f"{hook['name']}/{key}"] = str(value)
    found.call.warnings += [str(w) for w in response.get("warnings") or ()]
    return response, asked


def _check(answer: Object, response: Object, uid: str) -> None:
    begin = "received invalid webhook response: "
    if response.get("uid") != uid:
        raise HookError(f'{begin}expected response.uid="{uid}", got "{response.get("uid", "")}"')
    if (answer.get("apiVersion"), answer.get("kind")) != (_API, "AdmissionReview"):
        got = f"{answer.get('apiVersion', '')}, Kind={answer.get('kind', '')}"
        raise HookError(f"{begin}expected webhook response of {_API}, Kind=AdmissionReview, got {got}")


def _refused(hook: Object, response: Object) -> ApiError:
    """What a webhook that refuses says, as a Status."""
    status = {"metadata": {}, **(response.get("status") or {})}
    denied = f'admission webhook "{hook["name"]}" denied the request'
    if (status.get("code") or 0) < 400:
        status["code"] = 400
    if status.get("status") in (None, "", "Success"):
        status["status"] = "Failure"
    said = status.get("message") or status.get("reason")
    status["message"] = f"{denied}: {said}" if said else f"{denied} without explanation"
    return ApiError({"kind": "Status", "apiVersion": "v1", **status})


def _failed(hook: Object, problem: HookError, found: Attributes, key: str) -> None:
    """A webhook that cannot be asked: where it is to be ignored, that is noted. Raises 500."""
    if hook.get("failurePolicy") == "Ignore":
        found.call.annotations[key] = hook["name"]
        return
    raise errors.internal(f'failed calling webhook "{hook["name"]}": {problem}') from problem


async def _validated(server: ApiServer, name: str, hook: Object, found: Attributes, kind: Kind) -> None:
    try:
        response, _ = await _answer(server, name, hook, found, kind)
        for field in ("patch", "patchType"):
            if response.get(field):
                raise HookError(
                    f"received invalid webhook response: validating webhook may not return response.{field}"
                )
    except HookError as e:
        _failed(hook, e, found, "failed-open.validating.webhook.admission.k8s.io/round_0_index_0")
        return
    if not response.get("allowed"):
        raise _refused(hook, response)


async def _mutated(server: ApiServer, name: str, hook: Object, found: Attributes, kind: Kind) -> bool:
    """Whether a webhook changed the object."""
    try:
        response, _ = await _answer(server, name, hook, found, kind)
        if not response.get("allowed"):
            raise _refused(hook, response)
        patch = _patch(response)
    except HookError as e:
        _failed(hook, e, found, "failed-open.mutation.webhook.admission.k8s.io/round_0_index_0")
        return False
    if not patch:
        return False
    obj, _ = found.as_(kind)
    if obj is None or found.object is None:
        said = f'admission webhook "{hook["name"]}" attempted to modify the object, which is not supported for this'
        raise errors.internal(f"{said} operation")
    try:
        made = patches.json_patch(codec.copied(obj), patch)
    except PatchError as e:
        raise errors.internal(str(e)) from e
    return replaced(found, kind, made)


def replaced(found: Attributes, kind: Kind, made: Object) -> bool:
    """Put a changed object in place of the one that is written; whether it differs."""
    assert found.object is not None
    own = made if kind is found.kind else found.kind.from_storage(kind.to_storage(made))
    from sampan.kinds import schemas

    try:
        own = schemas.decode_of(found.kind, own).obj
    except schemas.DecodeError as e:
        raise errors.internal(str(e)) from e
    found.kind.default(own)
    if own == found.object:
        return False
    found.object.clear()
    found.object.update(own)
    return True


def _patch(response: Object) -> list[Any]:
    patch, kind = response.get("patch"), response.get("patchType")
    begin = "received invalid webhook response: "
    if patch and not kind:
        raise HookError(f"{begin}webhook returned response.patch but not response.patchType")
    if kind and not patch:
        raise HookError(f"{begin}webhook returned response.patchType but not response.patch")
    if not patch:
        return []
    if kind != "JSONPatch":
        raise HookError(f'unsupported patch type "{kind}"')
    try:
        found = orjson.loads(base64.b64decode(patch))
    except (binascii.Error, ValueError) as e:
        raise HookError(f"received undecodable patch in webhook response: {e}") from e
    return found if isinstance(found, list) else []
