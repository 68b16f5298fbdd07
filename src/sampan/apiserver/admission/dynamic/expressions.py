"""The variables of expressions, and how match conditions decide.

Source: k8s.io/apiserver pkg/admission/plugin/cel and webhook/matchconditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sampan.apiserver.admission.dynamic.request import Attributes, request
from sampan.apiserver.call import Call, User
from sampan.apiserver.rbac import Attributes as Asked
from sampan.kinds import policy_expressions
from sampan.kinds.kind import Kind
from sampan.machinery.cel import PER_CALL, CostExceeded, EvaluationError, Program
from sampan.machinery.cel.kubernetes import Authorizer, Decision, Question
from sampan.machinery.cel.program import Failed
from sampan.machinery.cel.values import timestamp
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

# What all expressions of a policy, and all match conditions, may cost together.
BUDGET, CONDITIONS_BUDGET = 10_000_000, 2_500_000
_OUT = "validation failed due to running out of cost budget, no further validation rules will be run"


class Problem(Exception):
    """An expression that could not be evaluated, or that cost too much."""


class Evaluation:
    """One request, as the expressions of one policy see it, with one budget."""

    def __init__(
        self,
        server: ApiServer,
        found: Attributes,
        kind: Kind,
        namespace: Object | None,
        *,
        params: Any = None,
        with_params: bool = False,
        composed: tuple[tuple[str, str], ...] = (),
        made: bool = False,
        budget: int = BUDGET,
    ):
        obj, old = found.as_(kind)
        self.left = budget
        self._known = {"params": with_params, "composed": composed, "made": made}
        self.variables: dict[str, Any] = {
            "object": obj,
            "oldObject": old,
            "request": _filled(request(found, kind)),
            "namespaceObject": _namespace(namespace),
            "authorizer": _authorizer(server, found.call),
            "authorizer.requestResource": _authorizer(server, found.call, found),
        }
        if with_params:
            self.variables["params"] = params
        if composed:
            self.variables["variables"] = _Composed(self, composed)

    def program(self, text: str, authorizer: bool = True) -> Program:
        composed: Any = self._known["composed"]
        return policy_expressions.compiled(
            text,
            params=bool(self._known["params"]),
            authorizer=authorizer,
            composed=composed,
            made=bool(self._known["made"]),
        )

    def composed(self, index: int, composed: tuple[tuple[str, str], ...]) -> Any:
        """The value of a policy's variable."""
        program = policy_expressions.compiled(
            composed[index][1],
            params=bool(self._known["params"]),
            composed=composed[:index],
            made=bool(self._known["made"]),
        )
        return self._run(program)

    def value(self, text: str, authorizer: bool = True) -> Any:
        """Raises Problem."""
        try:
            return self._run(self.program(text, authorizer))
        except EvaluationError as e:
            raise Problem(f"expression '{text.strip()}' resulted in error: {e}") from e

    def _run(self, program: Program) -> Any:
        if self.left <= 0:
            raise Problem(_OUT)
        try:
            result = program.run(self.variables, PER_CALL)
        except CostExceeded:
            self.left = 0
            raise
        except Failed as e:
            self.left -= e.cost
            raise
        self.left -= result.cost
        if self.left < 0:
            raise Problem(_OUT)
        return result.value


class _Composed(dict[str, Any]):
    """The variables of a policy, each evaluated when it is first asked for."""

    def __init__(self, evaluation: Evaluation, composed: tuple[tuple[str, str], ...]):
        super().__init__()
        self._evaluation = evaluation
        self._composed = composed
        self._places = {name: index for index, (name, _) in enumerate(composed)}

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __missing__(self, name: str) -> Any:
        place = self._places[name]
        value = self._evaluation.composed(place, self._composed)
        self[name] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)


def _filled(found: Object) -> Object:
    """Expressions see what is empty too."""
    empty = {"subResource": "", "requestSubResource": "", "name": "", "namespace": ""}
    user = {"username": "", "uid": "", "groups": [], "extra": {}, **found["userInfo"]}
    return {**empty, **found, "userInfo": user}


def _namespace(namespace: Object | None) -> Object | None:
    if namespace is None:
        return None
    meta = {k: v for k, v in namespace["metadata"].items() if k not in ("managedFields", "ownerReferences")}
    if "uid" in meta:
        meta["UID"] = meta.pop("uid")
    for name in ("creationTimestamp", "deletionTimestamp"):
        if name in meta:
            meta[name] = timestamp(meta[name])
    phase = get(namespace, "status.phase", "")
    finalizers = get(namespace, "spec.finalizers", [])
    return {"metadata": meta, "status": {"phase": phase}, "spec": {"finalizers": finalizers}}


def _authorizer(server: ApiServer, call: Call, found: Attributes | None = None) -> Authorizer:
    def ask(asked: Question) -> Decision:
        user = call.user
        if asked.account:
            namespace = asked.account.split(":")[2]
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
            user = User(asked.account, groups)
        if asked.path:
            question = Asked(asked.verb, path=asked.path)
        else:
            question = Asked(
                asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace, asked.name
            )
        return Decision(server.rbac.allows(user, question))

    if found is None:
        return Authorizer(ask)
    kind = found.kind
    asked = Question(
        group=kind.group,
        resource=kind.plural,
        subresource=call.subresource,
        namespace=found.namespace,
        name=found.name,
    )
    return Authorizer(ask, asked, "kubernetes.authorization.ResourceCheck")


def conditions_met(evaluation: Evaluation, conditions: list[Mapping[str, Any]], failure_policy: str) -> bool:
    """Whether match conditions hold. One that is false decides; else a failure does. Raises Problem."""
    problems: list[str] = []
    for condition in conditions:
        try:
            if evaluation.value(condition["expression"]) is not True:
                return False
        except Problem as e:
            problems.append(str(e))
    if not problems:
        return True
    if failure_policy == "Ignore":
        return False
    raise Problem(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
