"""IngressClass (networking.k8s.io/v1): who implements an Ingress."""

from __future__ import annotations

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, NONE, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get

DEFAULT = "ingressclass.kubernetes.io/is-default-class"


def _name(obj: Object, now: float) -> str:
    name = str(get(obj, "metadata.name", ""))
    return f"{name} (default)" if get(obj, "metadata.annotations", {}).get(DEFAULT) == "true" else name


def _parameters(obj: Object, now: float) -> str:
    found = get(obj, "spec.parameters")
    if not found:
        return NONE
    kind = f"{found.get('kind', '')}.{found['apiGroup']}" if found.get("apiGroup") else found.get("kind", "")
    return f"{kind}/{found.get('name', '')}"


def _default(obj: Object) -> None:
    parameters = get(obj, "spec.parameters")
    if parameters is not None and not parameters.get("scope"):
        parameters["scope"] = "Cluster"


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    controller = get(obj, "spec.controller", "")
    if len(controller) > 250:
        return [faults.too_long("spec.controller", 250)]
    if controller and "/" not in controller:
        text = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [faults.invalid("spec.controller", controller, text)]
    if old is not None:
        return faults.immutable("spec.controller", controller, get(old, "spec.controller", ""))
    return [] if controller else [faults.required("spec.controller")]


KIND = Kind(
    group="networking.k8s.io",
    version="v1",
    kind="IngressClass",
    plural="ingressclasses",
    namespaced=False,
    columns=(
        Column("Name", _name, format="name", description=NAME.description),
        Column("Controller", at("spec.controller"), description="The controller that handles it."),
        Column("Parameters", _parameters, description="Where its parameters stand."),
        AGE,
    ),
    default=_default,
    prepare=strategy.counted_whole,
    validate=metadata.checked(_validate, namespaced=False),
)
