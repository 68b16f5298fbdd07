"""The Pod Security Standards as checks: each looks at a pod and says what is forbidden of it, or nothing.

A check has an id, a level, and versions: from which minor version of Kubernetes which function holds, since policies
may be pinned to a version. A restricted check may stand in for a weaker baseline one.
Source: the concepts' page "Pod Security Standards"; k8s.io/pod-security-admission policy/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import NamedTuple

from sampan.machinery.objects import Object, get

BASELINE, RESTRICTED = "baseline", "restricted"
# The version whose checks `latest` means, and every later one.
NEWEST = 37


class Fault(NamedTuple):
    """`reason` is always told; `detail` where one pod is judged."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


# Metadata and spec of a pod or of a template.
Judge = Callable[[Object, Object], Fault | None]


class Check(NamedTuple):
    """`versions` pairs a minor version with the judge from then on; `replaces` is a baseline check's id."""

    id: str
    level: str
    versions: tuple[tuple[int, Judge], ...]
    replaces: str = ""


def faults(level: str, minor: int, meta: Object, spec: Object) -> list[Fault]:
    """Everything that a level forbids of a pod, as of a minor version of Kubernetes, in the checks' order."""
    found = (judge(meta, spec) for judge in judges(level, min(minor, NEWEST)))
    return [f for f in found if f]


@cache
def judges(level: str, minor: int) -> tuple[Judge, ...]:
    """What is asked at a level: baseline checks by their ids, then restricted ones by theirs."""
    if level not in (BASELINE, RESTRICTED):
        return ()
    chosen = [c for c in CHECKS if c.level == BASELINE or level == RESTRICTED]
    held = {c.id: judge for c in chosen if (judge := _as_of(c, minor))}
    replaced = {c.replaces for c in chosen if c.id in held}
    ordered = sorted(chosen, key=lambda c: (c.level, c.id))
    return tuple(held[c.id] for c in ordered if c.id in held and c.id not in replaced)


def _as_of(check: Check, minor: int) -> Judge | None:
    found = None
    for since, judge in check.versions:
        if since <= minor:
            found = judge
    return found


# Words


def _listed(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _count(singular: str, names: list[str]) -> str:
    return singular if len(names) == 1 else f"{singular}s"


def _named(noun: str, names: list[str]) -> str:
    """`container "a"`, `containers "a", "b"`."""
    return f"{_count(noun, names)} {_listed(names)}"


def _setters(pod: bool, containers: list[str]) -> str:
    """Who set what is forbidden: the pod, containers, or both."""
    parts = ["pod"] if pod else []
    if containers:
        parts.append(_named("container", containers))
    return " and ".join(parts)


# Access


def _containers(spec: Object) -> Iterator[Object]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _where(spec: Object, wrong: Callable[[Object], object]) -> list[str]:
    return [c.get("name", "") for c in _containers(spec) if wrong(c)]


def _security(holder: Object, path: str) -> object:
    return get(holder, f"securityContext.{path}")


def _windows(spec: Object) -> bool:
    return bool(get(spec, "os.name") == "windows")


def _own_users(spec: Object) -> bool:
    """Whether the pod has a user namespace, in which root is nobody outside."""
    return spec.get("hostUsers") is False


def _unless(exempt: Callable[[Object], bool], judge: Judge) -> Judge:
    return lambda meta, spec: None if exempt(spec) else judge(meta, spec)


# Baseline


_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"


def _app_armor(meta: Object, spec: Object) -> Fault | None:
    def wrong(holder: Object) -> str:
        profile = _security(holder, "appArmorProfile")
        kind = profile.get("type", "") if isinstance(profile, dict) else "RuntimeDefault"
        return "" if kind in ("RuntimeDefault", "Localhost") else kind or '""'

    pod, containers = wrong(spec), _where(spec, wrong)
    values = sorted({v for v in (pod, *map(wrong, _containers(spec))) if v})
    annotations = sorted(
        f'{k}="{v}"'
        for k, v in (meta.get("annotations") or {}).items()
        if k.startswith(_APP_ARMOR) and v and v != "runtime/default" and not v.startswith("localhost/")
    )
    who = _setters(bool(pod), containers)
    if annotations:
        who = " and ".join(w for w in (who, _count("annotation", annotations)) if w)
    if not who:
        return None
    values += annotations
    reason = _count("forbidden AppArmor profile", values)
    return Fault(reason, f"{who} must not set AppArmor profile type to {_listed(values)}")


_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip


def _added(allowed: frozenset[str], container: Object) -> list[str]:
    found = _security(container, "capabilities.add")
    return [c for c in found if c not in allowed] if isinstance(found, list) else []


def _capabilities(meta: Object, spec: Object) -> Fault | None:
    added = partial(_added, _CAPABILITIES)
    where = _where(spec, added)
    which = sorted({c for container in _containers(spec) for c in added(container)})
    detail = (
        f"{_named('container', where)} must not include {_listed(which)} in securityContext.capabilities.add"
    )
    return Fault("non-default capabilities", detail) if where else None


def _host_namespaces(meta: Object, spec: Object) -> Fault | None:
    shared = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return Fault("host namespaces", ", ".join(shared)) if shared else None


def _host_paths(meta: Object, spec: Object) -> Fault | None:
    names = [v.get("name", "") for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return Fault("hostPath volumes", _named("volume", names)) if names else None


def _host_ports(meta: Object, spec: Object) -> Fault | None:
    def taken(container: Object) -> list[str]:
        return [str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")]

    where = _where(spec, taken)
    ports = sorted({p for c in _containers(spec) for p in taken(c)})
    use = "uses" if len(where) == 1 else "use"
    detail = f"{_named('container', where)} {use} {_count('hostPort', ports)} {', '.join(ports)}"
    return Fault("hostPort", detail) if where else None


_PROBES = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop")


def _probed_hosts(meta: Object, spec: Object) -> Fault | None:
    def hosts(container: Object) -> list[str]:
        paths = (f"{probe}.{way}.host" for probe in _PROBES for way in ("httpGet", "tcpSocket"))
        return [host for path in paths if (host := get(container, path))]

    where = sorted(set(_where(spec, hosts)))
    named = sorted({h for c in _containers(spec) for h in hosts(c)})
    use, noun = "uses" if len(where) == 1 else "use", "probe or lifecycle host"
    return Fault(noun, f"{_named('container', where)} {use} {_named(noun, named)}") if where else None


def _privileged(meta: Object, spec: Object) -> Fault | None:
    where = _where(spec, lambda c: _security(c, "privileged"))
    detail = f"{_named('container', where)} must not set securityContext.privileged=true"
    return Fault("privileged", detail) if where else None


def _proc_mount(meta: Object, spec: Object) -> Fault | None:
    def wrong(container: Object) -> object:
        kind = _security(container, "procMount")
        return kind if kind not in (None, "Default") else None

    where = _where(spec, wrong)
    kinds = sorted({str(k) for c in _containers(spec) if (k := wrong(c))})
    detail = f"{_named('container', where)} must not set securityContext.procMount to {_listed(kinds)}"
    return Fault("procMount", detail) if where else None


_SELINUX = ("", "container_t", "container_init_t", "container_kvm_t")


def _selinux(allowed: tuple[str, ...], meta: Object, spec: Object) -> Fault | None:
    def options(holder: Object) -> Object:
        found = _security(holder, "seLinuxOptions")
        return found if isinstance(found, dict) else {}

    def wrong(holder: Object) -> bool:
        found = options(holder)
        return (found.get("type") or "") not in allowed or bool(found.get("user") or found.get("role"))

    who = _setters(wrong(spec), _where(spec, wrong))
    if not who:
        return None
    every = [options(holder) for holder in (spec, *_containers(spec))]
    types = sorted({o["type"] for o in every if (o.get("type") or "") not in allowed})
    data = [f"{_named('type', types)}"] if types else []
    data += [f"{f} may not be set" for f in ("user", "role") if any(o.get(f) for o in every)]
    detail = f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
    return Fault("seLinuxOptions", detail)


_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


def _seccomp_annotations(meta: Object, spec: Object) -> Fault | None:
    annotations = meta.get("annotations") or {}
    keys = {_SECCOMP_POD, *(f"{_SECCOMP_CONTAINER}{c.get('name', '')}" for c in _containers(spec))}
    wrong = sorted(
        f'{k}="{annotations[k]}"'
        for k in keys & set(annotations)
        if annotations[k] not in ("runtime/default", "docker/default")
        and not annotations[k].startswith("localhost/")
    )
    if not wrong:
        return None
    return Fault("seccompProfile", f"forbidden {_count('annotation', wrong)} {', '.join(wrong)}")


def _seccomp_type(holder: Object) -> str | None:
    """The profile's type, None where there is no profile."""
    found = _security(holder, "seccompProfile")
    return str(found.get("type", "")) if isinstance(found, dict) else None


def _bad_seccomp(holder: Object) -> bool:
    return _seccomp_type(holder) not in (None, "RuntimeDefault", "Localhost")


def _seccomp(meta: Object, spec: Object) -> Fault | None:
    who = _setters(_bad_seccomp(spec), _where(spec, _bad_seccomp))
    if not who:
        return None
    values = sorted({str(_seccomp_type(h)) for h in (spec, *_containers(spec)) if _bad_seccomp(h)})
    detail = f"{who} must not set securityContext.seccompProfile.type to {_listed(values)}"
    return Fault("seccompProfile", detail)


_SYSCTLS = {
    0: (
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
    ),
    27: ("net.ipv4.ip_local_reserved_ports",),
    29: (
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ),
    32: ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
    37: ("net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"),
}  # fmt: skip


def _sysctls(minor: int, meta: Object, spec: Object) -> Fault | None:
    allowed = {name for since, names in _SYSCTLS.items() if since <= minor for name in names}
    wrong = [s["name"] for s in get(spec, "securityContext.sysctls", ()) if s.get("name") not in allowed]
    return Fault("forbidden sysctls", ", ".join(wrong)) if wrong else None


def _host_process(meta: Object, spec: Object) -> Fault | None:
    def wrong(holder: Object) -> bool:
        return _security(holder, "windowsOptions.hostProcess") is True

    who = _setters(wrong(spec), _where(spec, wrong))
    detail = f"{who} must not set securityContext.windowsOptions.hostProcess=true"
    return Fault("hostProcess", detail) if who else None


# Restricted


def _escalation(meta: Object, spec: Object) -> Fault | None:
    where = _where(spec, lambda c: _security(c, "allowPrivilegeEscalation") is not False)
    detail = f"{_named('container', where)} must set securityContext.allowPrivilegeEscalation=false"
    return Fault("allowPrivilegeEscalation != false", detail) if where else None


def _dropped_capabilities(meta: Object, spec: Object) -> Fault | None:
    added = partial(_added, frozenset({"NET_BIND_SERVICE"}))
    kept = _where(spec, lambda c: "ALL" not in (get(c, "securityContext.capabilities.drop") or ()))
    adding = _where(spec, added)
    details = []
    if kept:
        details.append(f'{_named("container", kept)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        which = sorted({c for container in _containers(spec) for c in added(container)})
        details.append(
            f"{_named('container', adding)} must not include {_listed(which)} in securityContext.capabilities.add"
        )
    return Fault("unrestricted capabilities", "; ".join(details)) if details else None


_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip


def _volume_types(meta: Object, spec: Object) -> Fault | None:
    def kinds(volume: Object) -> set[str]:
        return {k for k, v in volume.items() if k != "name" and v is not None}

    wrong = [v for v in spec.get("volumes") or () if not kinds(v) & _VOLUMES]
    if not wrong:
        return None
    names = [v.get("name", "") for v in wrong]
    types = sorted({kind for v in wrong for kind in kinds(v) or {"unknown"}})
    use = "uses" if len(names) == 1 else "use"
    detail = f"{_named('volume', names)} {use} {_named('restricted volume type', types)}"
    return Fault("restricted volume types", detail)


def _non_root(meta: Object, spec: Object) -> Fault | None:
    reason, pod = "runAsNonRoot != true", _security(spec, "runAsNonRoot")
    who = _setters(pod is False, _where(spec, lambda c: _security(c, "runAsNonRoot") is False))
    if who:
        return Fault(reason, f"{who} must not set securityContext.runAsNonRoot=false")
    silent = [] if pod else _where(spec, lambda c: _security(c, "runAsNonRoot") is None)
    detail = f"pod or {_named('container', silent)} must set securityContext.runAsNonRoot=true"
    return Fault(reason, detail) if silent else None


def _user(meta: Object, spec: Object) -> Fault | None:
    def root(holder: Object) -> bool:
        return _security(holder, "runAsUser") == 0

    who = _setters(root(spec), _where(spec, root))
    return Fault("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def _set_seccomp(meta: Object, spec: Object) -> Fault | None:
    if found := _seccomp(meta, spec):
        return found
    silent = [] if _seccomp_type(spec) else _where(spec, lambda c: _seccomp_type(c) is None)
    if not silent:
        return None
    detail = (
        f"pod or {_named('container', silent)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost"'
    )
    return Fault("seccompProfile", detail)


CHECKS: tuple[Check, ...] = (
    Check("appArmorProfile", BASELINE, ((0, _app_armor),)),
    Check("capabilities_baseline", BASELINE, ((0, _capabilities),)),
    Check("hostNamespaces", BASELINE, ((0, _host_namespaces),)),
    Check("hostPathVolumes", BASELINE, ((0, _host_paths),)),
    Check("hostPorts", BASELINE, ((0, _host_ports),)),
    Check("hostProbesAndHostLifecycle", BASELINE, ((34, _probed_hosts),)),
    Check("privileged", BASELINE, ((0, _privileged),)),
    Check("procMount", BASELINE, ((0, _proc_mount), (35, _unless(_own_users, _proc_mount)))),
    Check(
        "seLinuxOptions",
        BASELINE,
        ((0, partial(_selinux, _SELINUX)), (31, partial(_selinux, (*_SELINUX, "container_engine_t")))),
    ),
    Check("seccompProfile_baseline", BASELINE, ((0, _seccomp_annotations), (19, _seccomp))),
    Check("sysctls", BASELINE, tuple((since, partial(_sysctls, since)) for since in _SYSCTLS)),
    Check("windowsHostProcess", BASELINE, ((0, _host_process),)),
    Check("allowPrivilegeEscalation", RESTRICTED, ((8, _escalation), (25, _unless(_windows, _escalation)))),
    Check(
        "capabilities_restricted",
        RESTRICTED,
        ((22, _dropped_capabilities), (25, _unless(_windows, _dropped_capabilities))),
        "capabilities_baseline",
    ),
    Check("procMount_restricted", RESTRICTED, ((35, _proc_mount),), "procMount"),
    Check("restrictedVolumes", RESTRICTED, ((0, _volume_types),), "hostPathVolumes"),
    Check("runAsNonRoot", RESTRICTED, ((0, _non_root), (35, _unless(_own_users, _non_root)))),
    Check("runAsUser", RESTRICTED, ((23, _user), (35, _unless(_own_users, _user)))),
    Check(
        "seccompProfile_restricted",
        RESTRICTED,
        ((19, _set_seccomp), (25, _unless(_windows, _set_seccomp))),
        "seccompProfile_baseline",
    ),
)
