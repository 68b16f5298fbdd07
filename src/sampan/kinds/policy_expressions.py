"""The CEL expressions of admission policies and match conditions: their variables, and how they are compiled.

Loaded with the first of them only. Source: k8s.io/apiserver pkg/admission/plugin/cel.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from sampan.machinery.cel import CompileError, Program, Type, compile_, types
from sampan.machinery.cel.types import Field

_TEXT = types.STRING
_STRINGS = types.list_of(types.STRING)


def _object(kind: str, /, **fields: Type) -> Type:
    return types.object_of(kind, {n: Field(t, n) for n, t in fields.items()})


_KIND = _object("kubernetes.GroupVersionKind", group=_TEXT, version=_TEXT, kind=_TEXT)
_RESOURCE = _object("kubernetes.GroupVersionResource", group=_TEXT, version=_TEXT, resource=_TEXT)
_USER = _object(
    "kubernetes.UserInfo",
    username=_TEXT,
    uid=_TEXT,
    groups=_STRINGS,
    extra=types.map_of(types.STRING, _STRINGS),
)
REQUEST = _object(
    "kubernetes.AdmissionRequest",
    kind=_KIND,
    resource=_RESOURCE,
    subResource=_TEXT,
    requestKind=_KIND,
    requestResource=_RESOURCE,
    requestSubResource=_TEXT,
    name=_TEXT,
    namespace=_TEXT,
    operation=_TEXT,
    userInfo=_USER,
    dryRun=types.BOOL,
    options=types.DYN,
)
_META = _object(
    "kubernetes.NamespaceMetadata",
    name=_TEXT,
    generateName=_TEXT,
    namespace=_TEXT,
    labels=types.map_of(types.STRING, types.STRING),
    annotations=types.map_of(types.STRING, types.STRING),
    UID=_TEXT,
    creationTimestamp=types.TIMESTAMP,
    deletionGracePeriodSeconds=types.INT,
    deletionTimestamp=types.TIMESTAMP,
    generation=types.INT,
    resourceVersion=_TEXT,
    finalizers=_STRINGS,
)
NAMESPACE = _object(
    "kubernetes.Namespace",
    metadata=_META,
    status=_object("kubernetes.NamespaceStatus", phase=_TEXT),
    spec=_object("kubernetes.NamespaceSpec", finalizers=_STRINGS),
)
_AUTHORIZER = Type("kubernetes.authorization.Authorizer")
_CHECK = Type("kubernetes.authorization.ResourceCheck")


class _AnyFields(Mapping[str, Field]):
    """Every name is a field: an object that an apply configuration makes is checked when it is applied."""

    def __init__(self, path: str):
        self._path = path

    def __getitem__(self, name: str) -> Field:
        return Field(types.DYN, name)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(())

    def __len__(self) -> int:
        return 0


def structs(name: str) -> Type | None:
    """The objects that mutations make: `Object`, with any path below it, and `JSONPatch`."""
    if name == "JSONPatch":
        return PATCH
    if name == "Object" or name.startswith("Object."):
        return types.object_of(name, _AnyFields(name))
    return None


PATCH = types.object_of(
    "JSONPatch",
    {
        "op": Field(types.STRING, "op"),
        "path": Field(types.STRING, "path"),
        "from": Field(types.STRING, "from"),
        "value": Field(types.DYN, "value"),
    },
)


def variables(
    *, params: bool, authorizer: bool = True, composed: Mapping[str, Type] | None = None
) -> dict[str, Type]:
    found = {
        "object": types.DYN,
        "oldObject": types.DYN,
        "request": REQUEST,
        "namespaceObject": NAMESPACE,
    }
    if params:
        found["params"] = types.DYN
    if authorizer:
        found |= {"authorizer": _AUTHORIZER, "authorizer.requestResource": _CHECK}
    if composed is not None:
        found["variables"] = types.object_of(
            "kubernetes.variables", {n: Field(t, n) for n, t in composed.items()}
        )
    return found


def compiled(
    text: str,
    *,
    params: bool,
    authorizer: bool = True,
    composed: tuple[tuple[str, str], ...] = (),
    made: bool = False,
) -> Program:
    """A program of an expression; `composed` are the policy's variables before it, as names and expressions.

    With `made`, it may make objects. Raises CompileError.
    """
    return _compiled(text, params, authorizer, composed, made)


@lru_cache(2000)
def _compiled(
    text: str, params: bool, authorizer: bool, composed: tuple[tuple[str, str], ...], made: bool
) -> Program:
    known: dict[str, Type] = {}
    for index, (name, expression) in enumerate(composed):
        known[name] = _compiled(expression, params, True, composed[:index], made).type
    found = variables(params=params, authorizer=authorizer, composed=known if composed else None)
    return compile_(text, found, structs if made else (lambda name: None))


def fault(
    text: str,
    *,
    params: bool,
    wanted: tuple[Type, ...] = (types.BOOL,),
    authorizer: bool = True,
    composed: tuple[tuple[str, str], ...] = (),
    made: bool = False,
) -> str:
    """What is wrong with an expression, as a Status tells it; empty where nothing is."""
    try:
        program = compiled(text, params=params, authorizer=authorizer, composed=composed, made=made)
    except CompileError as e:
        return f"compilation failed: {e}"
    if program.type.name == "dyn" or any(program.type == w for w in wanted):
        return ""
    if not wanted:
        return ""
    if len(wanted) == 1:
        return f"must evaluate to {_named(wanted[0])}"
    return f"must evaluate to one of [{' '.join(_named(w) for w in wanted)}]"


def _named(found: Type) -> str:
    return "null_type" if found == types.NULL else str(found)
