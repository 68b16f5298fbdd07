"""The checks of a pod's spec, for pods and for templates: names, references between its parts, enumerations.

Containers are checked in `containers`, volumes in `volumes`, affinity in `affinity`.
"""

from __future__ import annotations

from typing import Any

from sampan.kinds import affinity, containers, faults, metadata, volumes
from sampan.kinds.kind import Invalid
from sampan.machinery import names, sysctls
from sampan.machinery.objects import Object, get

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_INODE_POLICIES = ("Honor", "Ignore")


def validate_template(template: Object, path: str) -> list[Invalid]:
    found = metadata.common(template.get("metadata") or {}, f"{path}.metadata")
    spec = template.get("spec") or {}
    if spec.get("ephemeralContainers"):
        at = f"{path}.spec.ephemeralContainers"
        found.append(faults.forbidden(at, "ephemeral containers not allowed in pod template"))
    return found + validate(spec, f"{path}.spec")


def validate(spec: Object, path: str) -> list[Invalid]:
    found = volumes.validate(spec.get("volumes") or [], f"{path}.volumes")
    found += containers.validate(spec, path)
    found += _policies(spec, path)
    found += _names(spec, path)
    found += _dns(spec, path)
    found += _host(spec, path)
    found += security_context(spec.get("securityContext") or {}, f"{path}.securityContext")
    found += _sysctls(spec, f"{path}.securityContext.sysctls")
    found += affinity.validate(spec.get("affinity") or {}, f"{path}.affinity")
    found += tolerations(spec.get("tolerations") or [], f"{path}.tolerations")
    found += _spread(spec.get("topologySpreadConstraints") or [], f"{path}.topologySpreadConstraints")
    found += _aliases(spec.get("hostAliases") or [], f"{path}.hostAliases")
    found += _group(spec.get("schedulingGroup"), f"{path}.schedulingGroup.podGroupName")
    return found + _gates(spec, path)


def _policies(spec: Object, path: str) -> list[Invalid]:
    found = faults.one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES, needed=True)
    found += faults.one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES, needed=True)
    policy = spec.get("preemptionPolicy")
    found += faults.one_of(f"{path}.preemptionPolicy", policy, ("PreemptLowerPriority", "Never"))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and deadline < 1:
        at = f"{path}.activeDeadlineSeconds"
        found.append(faults.invalid(at, deadline, "must be between 1 and 2147483647, inclusive"))
    return found + faults.not_negative(f"{path}.terminationGracePeriodSeconds", _grace(spec))


def _group(group: Object | None, path: str) -> list[Invalid]:
    """Faults of the reference to the PodGroup that a pod is scheduled with."""
    if group is None:
        return []
    name = group.get("podGroupName")
    if name is None:
        return [faults.invalid(path, None, "must specify one of: `podGroupName`")]
    return faults.each_invalid(path, name, names.dns_subdomain(name))


def _grace(spec: Object) -> int | None:
    """The grace period; the negative ones are ended by defaulting."""
    value = spec.get("terminationGracePeriodSeconds")
    return value if isinstance(value, int) else None


def _names(spec: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    checks = (
        ("nodeName", names.dns_subdomain), ("serviceAccountName", names.dns_subdomain),
        ("hostname", names.dns_label), ("subdomain", names.dns_label), ("priorityClassName", names.dns_subdomain),
        ("runtimeClassName", names.dns_subdomain), ("schedulerName", names.qualified),
    )  # fmt: skip
    for field, check in checks:
        if value := spec.get(field):
            found += faults.each_invalid(f"{path}.{field}", value, check(value))
    found += metadata.labels(spec.get("nodeSelector") or {}, f"{path}.nodeSelector")
    return found


def _dns(spec: Object, path: str) -> list[Invalid]:
    config = spec.get("dnsConfig") or {}
    found: list[Invalid] = []
    if spec.get("dnsPolicy") == "None" and not config.get("nameservers"):
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        found.append(faults.required(f"{path}.dnsConfig.nameservers", text))
    for index, server in enumerate(config.get("nameservers") or ()):
        found += faults.each_invalid(f"{path}.dnsConfig.nameservers[{index}]", server, names.ip(server))
    if len(config.get("nameservers") or ()) > 3:
        at = f"{path}.dnsConfig.nameservers"
        found.append(faults.invalid(at, config["nameservers"], "must not have more than 3 nameservers"))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            found.append(faults.required(f"{path}.dnsConfig.options[{index}]", "must not be empty"))
    return found


def _host(spec: Object, path: str) -> list[Invalid]:
    """What a pod in the host's namespaces must say, and may not."""
    found: list[Invalid] = []
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(faults.invalid(f"{path}.shareProcessNamespace", True, text))
    if not spec.get("hostNetwork"):
        return found
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            for number, port in enumerate(container.get("ports") or ()):
                if port.get("hostPort") != port.get("containerPort"):
                    at = f"{path}.{field}[{index}].ports[{number}].hostPort"
                    text = "must match `containerPort` when `hostNetwork` is true"
                    found.append(faults.invalid(at, port.get("hostPort", 0), text))
    return found


def _sysctls(spec: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    seen: set[str] = set()
    for index, sysctl in enumerate((spec.get("securityContext") or {}).get("sysctls") or ()):
        name, at = sysctl.get("name", ""), f"{path}[{index}].name"
        if not name:
            found.append(faults.required(at))
        elif not sysctls.valid(name):
            text = f"must have at most {sysctls.MOST} characters and match regex ^{sysctls.PATTERN}$"
            found.append(faults.invalid(at, name, text))
        elif name in seen:
            found.append(faults.duplicate(at, name))
        seen.add(name)
        for field, space in (("hostNetwork", "Net"), ("hostIPC", "IPC")):
            if spec.get(field) and sysctls.namespace(name) == space:
                found.append(faults.invalid(at, name, f"may not be specified when '{field}' is true"))
    return found


def security_context(context: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        found += _id(context.get(field), f"{path}.{field}")
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        found += _id(group, f"{path}.supplementalGroups[{index}]")
    policy = context.get("fsGroupChangePolicy")
    found += faults.one_of(f"{path}.fsGroupChangePolicy", policy, ("OnRootMismatch", "Always"))
    return found + seccomp(context.get("seccompProfile"), f"{path}.seccompProfile")


def _id(value: int | None, path: str) -> list[Invalid]:
    if value is None or 0 <= value < 2**31:
        return []
    return [faults.invalid(path, value, "must be between 0 and 2147483647, inclusive")]


def seccomp(profile: Object | None, path: str) -> list[Invalid]:
    if profile is None:
        return []
    found = faults.one_of(
        f"{path}.type", profile.get("type"), ("Localhost", "RuntimeDefault", "Unconfined"), needed=True
    )
    if profile.get("type") == "Localhost" and not profile.get("localhostProfile"):
        found.append(
            faults.required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
        )
    return found


def tolerations(found_tolerations: list[Any], path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for index, toleration in enumerate(found_tolerations):
        at = f"{path}[{index}]"
        key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
        if key:
            found += faults.each_invalid(f"{at}.key", key, names.qualified(key))
        elif operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(faults.invalid(f"{at}.operator", toleration.get("operator") or "", text))
        if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(faults.invalid(f"{at}.effect", toleration.get("effect") or "", text))
        if operator == "Exists" and toleration.get("value"):
            text = "value must be empty when `operator` is 'Exists'"
            found.append(faults.invalid(f"{at}.operator", toleration, text))
        elif operator not in ("Exists", "Equal"):
            found.append(faults.unsupported(f"{at}.operator", operator, ("Equal", "Exists")))
        found += faults.one_of(f"{at}.effect", toleration.get("effect"), _EFFECTS)
    return found


def _spread(constraints: list[Any], path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for index, constraint in enumerate(constraints):
        at = f"{path}[{index}]"
        if constraint.get("maxSkew", 0) <= 0:
            found.append(
                faults.invalid(f"{at}.maxSkew", constraint.get("maxSkew", 0), "must be greater than zero")
            )
        if not constraint.get("topologyKey"):
            found.append(faults.required(f"{at}.topologyKey", "can not be empty"))
        when = constraint.get("whenUnsatisfiable")
        found += faults.one_of(f"{at}.whenUnsatisfiable", when, _UNSATISFIABLE, needed=True)
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            found += faults.one_of(f"{at}.{field}", constraint.get(field), _INODE_POLICIES)
        least = constraint.get("minDomains")
        if least is not None and least <= 0:
            found.append(faults.invalid(f"{at}.minDomains", least, "must be greater than zero"))
    return found


def _aliases(aliases: list[Any], path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for index, alias in enumerate(aliases):
        at = f"{path}[{index}]"
        found += faults.each_invalid(f"{at}.ip", alias.get("ip", ""), names.ip(alias.get("ip", "")))
        for number, name in enumerate(alias.get("hostnames") or ()):
            found += faults.each_invalid(f"{at}.hostnames[{number}]", name, names.dns_subdomain(name))
    return found


def _gates(spec: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType", "")
        found += faults.each_invalid(
            f"{path}.readinessGates[{index}].conditionType", kind, names.qualified(kind)
        )
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        name = gate.get("name", "")
        found += faults.each_invalid(f"{path}.schedulingGates[{index}]", name, names.qualified(name))
        if name in seen:
            found.append(faults.duplicate(f"{path}.schedulingGates[{index}]", name))
        seen.add(name)
    for index, secret in enumerate(get(spec, "imagePullSecrets", ())):
        if not secret.get("name"):
            found.append(faults.required(f"{path}.imagePullSecrets[{index}].name"))
    return found
