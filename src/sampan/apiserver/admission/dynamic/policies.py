"""What policies that validate and those that mutate have alike: which concern a request, and with which parameters.

Source: k8s.io/apiserver pkg/admission/plugin/policy/generic.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sampan.apiserver.admission.dynamic import matching
from sampan.apiserver.admission.dynamic.expressions import Evaluation, conditions_met
from sampan.apiserver.admission.dynamic.request import Attributes
from sampan.apiserver.admission.dynamic.webhooks import equivalents
from sampan.apiserver.call import key, prefix
from sampan.kinds.kind import Kind
from sampan.kinds.validating_admission_policy import composed
from sampan.machinery import selectors
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer


@dataclass(slots=True)
class Bound:
    """A policy with one of its bindings and one of its parameters, for one request.

    `problem` says why it cannot be evaluated; then there is no evaluation.
    """

    policy: Object
    binding: Object | None
    kind: Kind
    evaluation: Evaluation | None
    problem: str = ""

    @property
    def name(self) -> str:
        return str(self.policy["metadata"]["name"])

    @property
    def strict(self) -> bool:
        return bool(self.policy["spec"].get("failurePolicy", "Fail") == "Fail")

    def met(self) -> bool:
        """Whether the match conditions hold. Raises Problem."""
        assert self.evaluation is not None
        spec: Object = self.policy["spec"]
        conditions = spec.get("matchConditions") or []
        return conditions_met(self.evaluation, conditions, spec.get("failurePolicy", "Fail"))


async def concerned(
    server: ApiServer, plural: str, found: Attributes, *, made: bool = False
) -> AsyncIterator[Bound]:
    """Each policy that concerns a request, once for each parameter of each binding."""
    namespace = await server.namespace_of(found.call)
    same = equivalents(server, found.kind)
    for policy, bindings in server.configured.policies(plural):
        spec = policy["spec"]
        kind = matching.by_resources(spec.get("matchConstraints"), found, namespace, same)
        if kind is None:
            continue
        for binding in bindings:
            resources = binding["spec"].get("matchResources")
            if matching.by_resources(resources, found, namespace, same) is None:
                continue
            try:
                params = await _params(server, spec.get("paramKind"), binding["spec"].get("paramRef"), found)
            except LookupError as e:
                yield Bound(policy, binding, kind, None, f"failed to configure binding: {e.args[0]}")
                continue
            for param in params:
                evaluation = Evaluation(
                    server,
                    found,
                    kind,
                    None if found.kind.resource == "namespaces" else namespace,
                    params=param,
                    with_params=spec.get("paramKind") is not None,
                    composed=composed(spec),
                    made=made,
                )
                yield Bound(policy, binding, kind, evaluation)


async def _params(server: ApiServer, kind: Object | None, ref: Object | None, found: Attributes) -> list[Any]:
    """The parameters that a binding names; LookupError says why there are none where there must be."""
    if not kind or not ref:
        return [None]
    known = server.catalog.of(kind["apiVersion"], kind["kind"])
    if known is None:
        raise LookupError(f"paramKind kind `{kind['apiVersion']}, Kind={kind['kind']}` not known")
    namespace = ""
    if known.namespaced:
        namespace = ref.get("namespace") or found.namespace
        if not namespace:
            raise LookupError(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    elif ref.get("namespace"):
        raise LookupError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    params = await _found(server, known, ref, namespace)
    if not params and ref.get("parameterNotFoundAction") == "Deny":
        raise LookupError("no params found for policy binding with `Deny` parameterNotFoundAction")
    return params


async def _found(server: ApiServer, kind: Kind, ref: Object, namespace: str) -> list[Any]:
    if name := ref.get("name"):
        record = await server.store.get(key(kind, namespace, name))
        return [kind.from_storage(server.decoded(record))] if record else []
    chosen = selectors.of(ref.get("selector") or {})
    page = await server.store.list(prefix(kind, namespace))
    objects = [kind.from_storage(server.decoded(r)) for r in page.records]
    return [o for o in objects if chosen.matches(o["metadata"].get("labels"))]
