"""Security contexts: the pod's and the container's together, as CRI wants them. Plain functions.

Source: the SecurityContext and PodSecurityContext API reference.
"""

from __future__ import annotations

from typing import Any

from sampan.machinery.cri import messages
from sampan.machinery.objects import Object
from sampan.node import pods
from sampan.node.environment import ConfigError

MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def effective(pod: Object, container: Object) -> Object:
    """The container's context, where it does not say with the pod's."""
    own = container.get("securityContext") or {}
    shared = pod["spec"].get("securityContext") or {}
    inherited = (
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "seccompProfile",
        "appArmorProfile",
        "seLinuxOptions",
    )
    return {
        **{k: shared[k] for k in inherited if shared.get(k) is not None},
        **{k: v for k, v in own.items() if v is not None},
    }


def check_user(pod: Object, container: Object, image: Any) -> None:
    """Hold `runAsNonRoot` to what the spec or else the image (a CRI Image) says. Raises ConfigError."""
    context = effective(pod, container)
    if not context.get("runAsNonRoot"):
        return
    meta = pod["metadata"]
    about = f'(pod: "{meta["name"]}_{meta["namespace"]}({meta["uid"]})", container: {container["name"]})'
    if (user := context.get("runAsUser")) is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {about}")
    elif image.username and not image.HasField("uid"):
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
            f"cannot verify user is non-root {about}"
        )
    elif image.uid.value == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {about}")


def namespaces(pod: Object, target: str = "") -> Any:
    """A CRI NamespaceOption; `target` is the container whose processes an ephemeral container sees."""
    spec = pod["spec"]
    pid = messages.POD if spec.get("shareProcessNamespace") else messages.CONTAINER
    if target:
        pid = messages.TARGET
    # Without an answer that it can, a runtime must refuse such a pod, not run it with the node's own users.
    users = messages.UserNamespace(mode=messages.POD) if spec.get("hostUsers") is False else None
    return messages.NamespaceOption(
        userns_options=users,
        network=messages.NODE if pods.is_host_network(pod) else messages.POD,
        pid=messages.NODE if spec.get("hostPID") else pid,
        ipc=messages.NODE if spec.get("hostIPC") else messages.POD,
        target_id=target,
    )


def groups(pod: Object) -> list[int]:
    """Supplementary groups, the one that owns the volumes included."""
    shared = pod["spec"].get("securityContext") or {}
    found = list(shared.get("supplementalGroups") or ())
    return found + ([shared["fsGroup"]] if shared.get("fsGroup") is not None else [])


def profile(given: Object | None, privileged: bool) -> Any:
    """A CRI SecurityProfile; without one the runtime's default, as `seccompDefault` of a kubelet has it."""
    kind = (given or {}).get("type") or ("Unconfined" if privileged else "RuntimeDefault")
    if kind == "Localhost":
        return messages.SecurityProfile(
            profile_type=messages.SecurityProfile.Localhost,
            localhost_ref=(given or {}).get("localhostProfile", ""),
        )
    unconfined = kind == "Unconfined"
    types = messages.SecurityProfile
    return messages.SecurityProfile(profile_type=types.Unconfined if unconfined else types.RuntimeDefault)


def of_sandbox(pod: Object) -> Any:
    """A CRI LinuxSandboxSecurityContext."""
    shared = pod["spec"].get("securityContext") or {}
    privileged = any((c.get("securityContext") or {}).get("privileged") for c in pods.containers(pod))
    return messages.LinuxSandboxSecurityContext(
        namespace_options=namespaces(pod),
        run_as_user=_integer(shared.get("runAsUser")),
        run_as_group=_integer(shared.get("runAsGroup")) if shared.get("runAsUser") is not None else None,
        supplemental_groups=groups(pod),
        privileged=privileged,
        seccomp=profile(shared.get("seccompProfile"), privileged),
    )


def of_container(pod: Object, container: Object, *, target: str = "") -> Any:
    """A CRI LinuxContainerSecurityContext."""
    context = effective(pod, container)
    privileged = bool(context.get("privileged"))
    capabilities = context.get("capabilities") or {}
    unmasked = privileged or context.get("procMount") == "Unmasked"
    strict = (pod["spec"].get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict"
    return messages.LinuxContainerSecurityContext(
        capabilities=messages.Capability(
            add_capabilities=capabilities.get("add") or (), drop_capabilities=capabilities.get("drop") or ()
        ),
        privileged=privileged,
        namespace_options=namespaces(pod, target),
        run_as_user=_integer(context.get("runAsUser")),
        run_as_group=_integer(context.get("runAsGroup")),
        readonly_rootfs=bool(context.get("readOnlyRootFilesystem")),
        supplemental_groups=groups(pod),
        supplemental_groups_policy=messages.Strict if strict else messages.Merge,
        no_new_privs=context.get("allowPrivilegeEscalation") is False,
        masked_paths=() if unmasked else MASKED,
        readonly_paths=() if unmasked else READ_ONLY,
        seccomp=profile(context.get("seccompProfile"), privileged),
        selinux_options=_selinux(context.get("seLinuxOptions")),
    )


def _integer(value: int | None) -> Any:
    return None if value is None else messages.Int64Value(value=value)


def _selinux(given: Object | None) -> Any:
    return (
        messages.SELinuxOption(**{k: given[k] for k in ("user", "role", "type", "level") if given.get(k)})
        if given
        else None
    )
