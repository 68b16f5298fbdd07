"""What objects use of a ResourceQuota, which quotas they fall under, and whether they fit. Plain functions.

The API server asks before it stores an object (`charge`), the controller counts what is there (`total`).
Sources: the concepts' page "Resource Quotas"; k8s.io/kubernetes pkg/quota/v1/evaluator/core, k8s.io/apiserver
pkg/admission/plugin/resourcequota.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.machinery import amounts, qos, quantities, times
from sampan.machinery.amounts import Amounts
from sampan.machinery.objects import Object, get
from sampan.machinery.selectors import Requirement

ONE = quantities.parse("1")
ZERO = quantities.ZERO
# Resources that are counted under their bare name too, as the first quotas had them.
_LEGACY = frozenset({"configmaps", "resourcequotas", "replicationcontrollers", "secrets"})
# Never counted: what is not stored, and events.
IGNORED = frozenset({
    "bindings", "componentstatuses", "tokenreviews.authentication.k8s.io",
    "selfsubjectreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io",
    "selfsubjectaccessreviews.authorization.k8s.io", "localsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io", "events", "events.events.k8s.io",
})  # fmt: skip
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_POD_NAMES = frozenset(
    ["pods", "count/pods", *_COMPUTE]
    + [f"{prefix}.{name}" for prefix in ("requests", "limits") for name in _COMPUTE]
)
# What every container must say where a quota counts it.
_DEMANDED = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
_SERVICE_NAMES = frozenset({"services", "count/services", "services.nodeports", "services.loadbalancers"})
_CLAIM_NAMES = ("persistentvolumeclaims", "requests.storage")
_CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
_LEGACY_CLASS = "volume.beta.kubernetes.io/storage-class"
_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


class Refused(Exception):
    """A quota does not let an object be; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write to be judged: `resource` as a client names it, `old` None for a create."""

    resource: str
    object: Object
    old: Object | None = None
    subresource: str = ""


# Which names of a quota a resource counts under


def count_name(resource: str) -> str:
    return f"count/{resource}"


def tracked(resource: str, names: Iterable[str]) -> list[str]:
    """Those of a quota's names that objects of a resource are counted under, sorted."""
    match resource:
        case "pods":
            return sorted(n for n in names if n in _POD_NAMES or _huge(n) or _extended(n))
        case "services":
            return sorted(n for n in names if n in _SERVICE_NAMES)
        case "persistentvolumeclaims":
            return sorted(n for n in names if _of_claims(n))
    own = {count_name(resource), *({resource} & _LEGACY)}
    return sorted(n for n in names if n in own)


def resource_of(name: str) -> str:
    """The resource that one of a quota's names counts."""
    if name.startswith("count/"):
        return name.removeprefix("count/")
    if name in _SERVICE_NAMES:
        return "services"
    if _of_claims(name):
        return "persistentvolumeclaims"
    return name if name in _LEGACY else "pods"


def _huge(name: str) -> bool:
    return name.startswith(("hugepages-", "requests.hugepages-"))


def _extended(name: str) -> bool:
    bare = name.removeprefix("requests.")
    return bare != name and ("/" in bare and "kubernetes.io/" not in bare)


def _of_claims(name: str) -> bool:
    if name == "count/persistentvolumeclaims" or name in _CLAIM_NAMES:
        return True
    return any(name.endswith(_CLASS_SUFFIX + n) for n in _CLAIM_NAMES)


# What one object uses


def usage(resource: str, obj: Object, now: float) -> Amounts:
    """What an object uses under every name; `now` in seconds, for pods that should be gone by now."""
    match resource:
        case "pods":
            return {"count/pods": ONE} | (_pod(obj) if _alive(obj, now) else {})
        case "services":
            return _service(obj)
        case "persistentvolumeclaims":
            return _claim(obj)
    return {count_name(resource): ONE} | ({resource: ONE} if resource in _LEGACY else {})


def _alive(pod: Object, now: float) -> bool:
    """A pod that has ended, or is stuck in ending on a node that is lost, is not charged."""
    if get(pod, "status.phase") in ("Succeeded", "Failed"):
        return False
    meta = pod["metadata"]
    grace = meta.get("deletionGracePeriodSeconds")
    if not meta.get("deletionTimestamp") or grace is None:
        return True
    return now <= times.seconds(meta["deletionTimestamp"]) + float(grace)


def _pod(pod: Object) -> Amounts:
    return _compute(amounts.requests(pod, running=True), amounts.limits(pod, running=True))


def _compute(requests: Amounts, limits: Amounts) -> Amounts:
    found: Amounts = {"pods": ONE}
    for name, amount in requests.items():
        if name in _COMPUTE or name.startswith("hugepages-"):
            found |= {name: amount, f"requests.{name}": amount}
        elif "/" in name and "kubernetes.io/" not in name:
            found[f"requests.{name}"] = amount
    return found | {f"limits.{name}": amount for name, amount in limits.items() if name in _COMPUTE}


def _service(service: Object) -> Amounts:
    spec = service.get("spec") or {}
    kind, ports = spec.get("type"), spec.get("ports") or ()
    taken = len(ports) if kind in ("NodePort", "LoadBalancer") else 0
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        taken = sum(1 for p in ports if p.get("nodePort"))
    return {
        "services": ONE,
        "count/services": ONE,
        "services.nodeports": quantities.parse(str(taken)),
        "services.loadbalancers": ONE if kind == "LoadBalancer" else ZERO,
    }


def _claim(claim: Object) -> Amounts:
    spec = claim.get("spec") or {}
    legacy = get(claim, "metadata.annotations", {}).get(_LEGACY_CLASS)
    name = legacy if legacy is not None else spec.get("storageClassName") or ""
    found: Amounts = {"persistentvolumeclaims": ONE, "count/persistentvolumeclaims": ONE}
    sizes = [get(spec, "resources.requests", {}), get(claim, "status.allocatedResources", {})]
    wanted = amounts.most(*(amounts.only(amounts.parse(s), ["storage"]) for s in sizes))
    if "storage" in wanted:
        whole = wanted["storage"]
        found["requests.storage"] = quantities.Quantity(whole.value * 10**9, whole.form)
    if name:
        found |= {f"{name}{_CLASS_SUFFIX}{n}": found[n] for n in _CLAIM_NAMES if n in found}
    return found


# Scopes


def scopes(quota: Object) -> list[Object]:
    """A quota's scopes in their long form."""
    found = [{"scopeName": s, "operator": "Exists"} for s in get(quota, "spec.scopes", ())]
    return found + list(get(quota, "spec.scopeSelector.matchExpressions", ()))


def in_scope(quota: Object, resource: str, obj: Object) -> bool:
    """Whether an object meets all of a quota's scopes; of most kinds nothing does."""
    return all(_meets(scope, resource, obj) for scope in scopes(quota))


def _meets(scope: Object, resource: str, obj: Object) -> bool:
    name = scope.get("scopeName", "")
    if resource == "persistentvolumeclaims":
        return name == "VolumeAttributesClass" and _selected(scope, _attribute_classes(obj))
    if resource != "pods":
        return False
    spec = obj["spec"]
    match name:
        case "Terminating" | "NotTerminating":
            return bool(_terminating(obj) == (name == "Terminating"))
        case "BestEffort" | "NotBestEffort":
            return bool((qos.qos(obj) == "BestEffort") == (name == "BestEffort"))
        case "PriorityClass":
            return _selected(scope, {spec.get("priorityClassName") or ""} - {""})
        case "CrossNamespacePodAffinity":
            return _looks_elsewhere(spec.get("affinity") or {})
    return False


def _terminating(pod: Object) -> bool:
    return int(get(pod, "spec.activeDeadlineSeconds", -1)) >= 0


def _selected(scope: Object, values: set[str]) -> bool:
    """Whether one of an object's classes meets a scope; an object of no class may meet NotIn."""
    name = scope["scopeName"]
    asked = Requirement(name, _OPERATORS.get(scope.get("operator", ""), ""), tuple(scope.get("values") or ()))
    return any(asked.matches({name: v}) for v in values) if values else asked.matches({})


def _attribute_classes(claim: Object) -> set[str]:
    paths = (
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    )
    return {get(claim, path, "") for path in paths} - {""}


def _looks_elsewhere(affinity: Object) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        found = affinity.get(kind) or {}
        terms = list(found.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        weighted = found.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [w.get("podAffinityTerm") or {} for w in weighted]
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms):
            return True
    return False


# Before a write


def concerns(write: Write) -> bool:
    """Whether a write can change what is used."""
    if write.resource in IGNORED:
        return False
    if write.resource == "pods":
        if write.old is not None and not write.subresource:
            return _terminating(write.old) != _terminating(write.object)
        return write.subresource == ("resize" if write.old is not None else "")
    if write.resource == "persistentvolumeclaims" and write.subresource == "status":
        before = get(write.old, "status.allocatedResources")
        return bool(before != get(write.object, "status.allocatedResources"))
    if write.subresource:
        return False
    return write.old is None or write.resource in ("services", "persistentvolumeclaims")


def charge(quotas: Sequence[Object], write: Write, now: float) -> dict[str, Amounts]:
    """What each quota's use will be after a write, for those that it changes, by the quota's name. Raises Refused."""
    matching = [q for q in quotas if _matches(q, write.resource, write.object)]
    for quota in matching:
        _demand(quota, write)
    if not matching:
        return {}
    used = usage(write.resource, write.object, now)
    if negative := sorted(n for n, amount in used.items() if amount.nano < 0):
        raise Refused(f"quota usage is negative for resource(s): {','.join(negative)}")
    before = usage(write.resource, write.old, now) if write.old is not None else {}
    more = {n: a - before[n] if n in before else a for n, a in used.items()}
    more = {n: a if a.nano > 0 else ZERO for n, a in more.items()}
    charged: dict[str, Amounts] = {}
    for quota in matching:
        known = write.old is not None and _matches(quota, write.resource, write.old)
        delta = {n: a for n, a in (more if known else used).items() if a}
        if found := _charged(quota, delta, strict=write.subresource != "status"):
            charged[quota["metadata"]["name"]] = found
    return charged


def _matches(quota: Object, resource: str, obj: Object) -> bool:
    return bool(tracked(resource, get(quota, "status.hard", {}))) and in_scope(quota, resource, obj)


def _demand(quota: Object, write: Write) -> None:
    """Raises Refused where the object does not say what the quota counts, or nothing is counted yet."""
    name, hard = quota["metadata"]["name"], get(quota, "status.hard", {})
    names = tracked(write.resource, hard)
    if write.resource == "pods" and not amounts.pod_level(write.object):
        missing = _missing(set(names) & _DEMANDED, write.object)
        if missing:
            listed = [f"{n} for: {','.join(sorted(missing[n]))}" for n in sorted(missing)]
            raise Refused(f"failed quota: {name}: must specify {'; '.join(listed)}")
    known = get(quota, "status.used", {})
    if any(n not in known for n in names):
        raise Refused(f"status unknown for quota: {name}, resources: {','.join(names)}")


def _missing(demanded: set[str], pod: Object) -> dict[str, set[str]]:
    """The containers that leave out what they must say, by what they leave out."""
    found: dict[str, set[str]] = {}
    spec = pod["spec"]
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        said = _compute(amounts.parse(resources.get("requests")), amounts.parse(resources.get("limits")))
        for name in demanded - set(said):
            found.setdefault(name, set()).add(container.get("name", ""))
    return found


def _charged(quota: Object, delta: Amounts, *, strict: bool) -> Amounts:
    """The quota's use with `delta`, or nothing where that is none of its concern. Raises Refused."""
    hard, used = amounts.parse(get(quota, "status.hard")), amounts.parse(get(quota, "status.used"))
    asked = amounts.only(delta, hard)
    if not asked:
        return {}
    after = amounts.add(used, asked)
    exceeded = [n for n in asked if after[n] > hard[n]]
    if exceeded and strict:
        parts = (amounts.text(amounts.only(part, exceeded)) for part in (asked, used, hard))
        requested, before, limited = parts
        name = quota["metadata"]["name"]
        raise Refused(f"exceeded quota: {name}, requested: {requested}, used: {before}, limited: {limited}")
    return after


# Counting afresh


def total(quota: Object, objects: dict[str, Iterable[Object]], now: float) -> Amounts:
    """What all objects of a quota's namespace use of it; `objects` are those of each resource that it names."""
    hard: Sequence[str] = list(get(quota, "spec.hard", {}))
    used: Amounts = dict.fromkeys(hard, ZERO)
    for resource, found in objects.items():
        names = tracked(resource, hard)
        plain = not scopes(quota)
        for obj in found:
            if plain or in_scope(quota, resource, obj):
                used = amounts.add(used, amounts.only(usage(resource, obj, now), names))
    return used
