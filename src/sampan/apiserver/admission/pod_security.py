"""Pod Security: which standard a namespace's pods must meet, and of what their writers are warned, as its labels say.

Sources: the concepts' page "Pod Security Admission"; k8s.io/pod-security-admission admission/ and api/.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.apiserver.pod_standards import PREFIX, Policy, Standard, policy
from sampan.machinery.objects import Object, get, owner

if TYPE_CHECKING:
    from sampan.apiserver.admission.pod_security_checks import Fault
    from sampan.apiserver.server import ApiServer

RESOURCES = (
    "pods replicationcontrollers podtemplates replicasets.apps deployments.apps statefulsets.apps daemonsets.apps "
    "jobs.batch cronjobs.batch"
)
# Endpoints of a pod that change nothing of its spec that is judged.
_IGNORED = ("exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status")
# A namespace with more pods than these is checked by its first ones when its level rises, and no longer than so.
MOST_PODS, MOST_SECONDS = 3000, 1.0


def _faults(standard: Standard, meta: Object, spec: Object) -> list[Fault]:
    if standard.level == "privileged":
        return []
    from sampan.apiserver.admission import pod_security_checks as checks

    minor = checks.NEWEST if standard.version == "latest" else int(standard.version.removeprefix("v1."))
    return checks.faults(standard.level, minor, meta, spec)


# Pods and what makes them


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    """Refuse a pod that breaks what is enforced; warn of pods and templates that break what is warned of."""
    pod = call.resource.resource == "pods"
    if obj is None or (call.subresource and not pod) or call.subresource in _IGNORED:
        return
    exempt = server.settings.pod_security_exempt
    if call.namespace in exempt.namespaces or call.user.name in exempt.users:
        return
    record = await server.store.get(f"/core/namespaces/{call.namespace}")
    labels = get(server.decoded(record), "metadata.labels", {}) if record else {}
    found, _ = policy(labels, server.settings.pod_security)
    modes = found if pod else found[1:]
    if all(standard.level == "privileged" for standard in modes):
        return
    template = obj if pod else _template(obj)
    if template is None or (pod and old is not None and not _changed(obj["spec"], old["spec"])):
        return
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    if spec.get("runtimeClassName") not in exempt.runtime_classes:
        _judge(call, found, meta, spec, enforced=pod)


def _judge(call: Call, found: Policy, meta: Object, spec: Object, *, enforced: bool) -> None:
    if enforced:
        call.annotations[f"{PREFIX}enforce-policy"] = str(found.enforce)
        if broken := _faults(found.enforce, meta, spec):
            raise errors.forbidden(
                call.resource, call.name, f'violates PodSecurity "{found.enforce}": {_text(broken)}'
            )
    if broken := _faults(found.audit, meta, spec):
        said = f'would violate PodSecurity "{found.audit}": {_text(broken)}'
        call.annotations[f"{PREFIX}audit-violations"] = said
    if broken := _faults(found.warn, meta, spec):
        call.warnings.append(f'would violate PodSecurity "{found.warn}": {_text(broken)}')


def _text(broken: list[Fault]) -> str:
    return ", ".join(map(str, broken))


def _template(obj: Object) -> Object | None:
    """The pod template of what makes pods, or None where it has none."""
    match obj["kind"]:
        case "PodTemplate":
            found = obj.get("template")
        case "CronJob":
            found = get(obj, "spec.jobTemplate.spec.template")
        case _:
            found = get(obj, "spec.template")
    return found if isinstance(found, dict) else None


def _changed(spec: Object, old: Object) -> bool:
    """Whether an update is worth judging: containers came, or their images changed."""

    def images(of: Object) -> list[list[tuple[str, str]]]:
        fields = ("containers", "initContainers")
        return [[("", c.get("image", "")) for c in of.get(f) or ()] for f in fields]

    before = {c.get("name"): c.get("image") for c in old.get("ephemeralContainers") or ()}
    temporary = spec.get("ephemeralContainers") or ()
    return images(spec) != images(old) or any(before.get(c.get("name")) != c.get("image") for c in temporary)


# Namespaces


async def validate_namespace(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    """Refuse labels that mean nothing; warn of pods that the new level would not have let in."""
    if obj is None or call.subresource:
        return
    defaults = server.settings.pod_security
    new, wrong = policy(get(obj, "metadata.labels", {}), defaults)
    before, earlier = policy(get(old, "metadata.labels", {}), defaults)
    if wrong and (old is None or wrong != earlier):
        raise errors.invalid(call.resource, call.name, wrong)
    if old is None or new.enforce == before.enforce or new.enforce.level == "privileged":
        return
    if new.enforce.version == before.enforce.version and new.enforce.rank <= before.enforce.rank:
        return
    if call.name not in server.settings.pod_security_exempt.namespaces:
        page = await server.store.list(f"/core/pods/{call.name}/")
        pods = [server.decoded(r) for r in page.records[:MOST_PODS]]
        call.warnings += _violators(call.name, new.enforce, pods, len(page.records))


def _violators(namespace: str, standard: Standard, pods: list[Object], total: int) -> list[str]:
    """The warnings about pods that are there, equal ones together; one pod of each owner comes first."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    first: list[Object] = []
    later: list[Object] = []
    for pod in pods:
        uid = (owner(pod) or {}).get("uid", "")
        (later if uid in seen else first).append(pod)
        seen |= {uid} - {""}
    end, checked = time.monotonic() + MOST_SECONDS, 0
    for pod in [*first, *later]:
        checked += 1
        if broken := _faults(standard, pod["metadata"], pod["spec"]):
            reasons = ", ".join(f.reason for f in broken)
            found.setdefault(reasons, []).append(pod["metadata"]["name"])
        if time.monotonic() > end:
            break
    warnings = []
    if checked < total:
        warnings.append(
            f"new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        )
    if found:
        warnings.append(
            f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
        )
    return warnings + sorted(f"{_some(names)}: {reasons}" for reasons, names in found.items())


def _some(names: list[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other pod{'s' * (others > 1)})"
