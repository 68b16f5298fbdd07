"""Questions about a Pod's spec that several modules ask."""

from __future__ import annotations

from collections.abc import Iterator

from sampan.machinery.objects import Object
from sampan.node.observed import Container


def init_containers(pod: Object) -> list[Object]:
    return pod["spec"].get("initContainers") or []


def main_containers(pod: Object) -> list[Object]:
    return pod["spec"].get("containers") or []


def containers(pod: Object) -> Iterator[Object]:
    """Init containers, main ones, ephemeral ones, in that order."""
    yield from init_containers(pod)
    yield from main_containers(pod)
    yield from pod["spec"].get("ephemeralContainers") or []


def is_sidecar(container: Object) -> bool:
    """Meaningful for init containers: one that runs on beside the main ones (KEP-753)."""
    return bool(container.get("restartPolicy") == "Always")


def named(pod: Object, name: str) -> Object | None:
    return next((c for c in containers(pod) if c["name"] == name), None)


def restarts(pod: Object, container: Object, ended: Container) -> bool:
    """Whether a main or init container that ended is to be started again.

    A container's own restartPolicyRules come first, then its own restartPolicy, then the pod's (KEP-5307).
    """
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if _matches(codes, ended.exit_code) and rule.get("action") == "Restart":
            return True
    policy = container.get("restartPolicy") or pod["spec"].get("restartPolicy", "Always")
    if any(c is container for c in init_containers(pod)) and not is_sidecar(container):
        return policy != "Never" and ended.exit_code != 0
    return policy == "Always" or (policy == "OnFailure" and ended.exit_code != 0)


def _matches(codes: Object, code: int) -> bool:
    values = codes.get("values") or []
    return (
        code in values
        if codes.get("operator") == "In"
        else codes.get("operator") == "NotIn" and code not in values
    )


def grace_period(pod: Object) -> int:
    """Seconds that its containers have to end, at least 1: the deletion's, else the pod's own."""
    meta = pod["metadata"]
    given = meta.get("deletionGracePeriodSeconds") if meta.get("deletionTimestamp") else None
    if given is None:
        given = pod["spec"].get("terminationGracePeriodSeconds", 30)
    return max(1, int(given))


def is_host_network(pod: Object) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def field_path(pod: Object, container: Object) -> str:
    """How events name a container of a pod."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        if any(c["name"] == container["name"] for c in pod["spec"].get(field) or ()):
            return f"spec.{field}{{{container['name']}}}"
    return ""


def is_terminal(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
