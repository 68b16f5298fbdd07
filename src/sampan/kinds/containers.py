"""The checks of a pod's containers: names, images, ports, environment, mounts, probes, resources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.machinery import names, quantities
from sampan.machinery.objects import Object

PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations",
    "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_SIDECAR_ONLY = "may not be set for init containers without restartPolicy=Always"


def validate(spec: Object, path: str) -> list[Invalid]:
    mountable = {v.get("name") for v in spec.get("volumes") or ()}
    claims = {c.get("name", ""): c for c in spec.get("resourceClaims") or ()}
    if not spec.get("containers"):
        return [faults.required(f"{path}.containers")]
    found: list[Invalid] = []
    seen: set[str] = set()
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            at = f"{path}.{field}[{index}]"
            if container.get("name") in seen:
                found.append(faults.duplicate(f"{at}.name", container["name"]))
            seen.add(container.get("name", ""))
            found += _container(container, at, mountable)
            found += _resize_policy(container, f"{at}.resizePolicy", spec.get("restartPolicy"))
            found += _claims(container, at, claims)
            found += _life(container, at, field)
    return found + _host_ports(spec["containers"], f"{path}.containers")


def _container(container: Object, path: str, mountable: set[Any]) -> list[Invalid]:
    name, image = container.get("name") or "", container.get("image") or ""
    found = (
        faults.each_invalid(f"{path}.name", name, names.dns_label(name))
        if name
        else [faults.required(f"{path}.name")]
    )
    if not image:
        found.append(faults.required(f"{path}.image"))
    elif image != image.strip():
        found.append(faults.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy")
    messages = ("File", "FallbackToLogsOnError")
    found += faults.one_of(f"{path}.terminationMessagePolicy", policy, messages, needed=True)
    found += faults.one_of(
        f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES, needed=True
    )
    found += _ports(container.get("ports") or [], f"{path}.ports")
    found += _environment(container, path)
    found += _mounts(container, path, mountable)
    found += resources(container.get("resources") or {}, f"{path}.resources")
    return found + _security(container.get("securityContext") or {}, f"{path}.securityContext")


def _ports(ports: list[Object], path: str) -> list[Invalid]:
    found: list[Invalid] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        at, name = f"{path}[{index}]", port.get("name") or ""
        if name:
            found += faults.each_invalid(f"{at}.name", name, names.port_name(name))
            if name in seen:
                found.append(faults.duplicate(f"{at}.name", name))
            seen.add(name)
        if not port.get("containerPort"):
            found.append(faults.required(f"{at}.containerPort"))
        for field in ("containerPort", "hostPort"):
            if number := port.get(field):
                found += faults.each_invalid(f"{at}.{field}", number, names.port_number(number))
        found += faults.one_of(f"{at}.protocol", port.get("protocol"), PROTOCOLS, needed=True)
    return found


def _host_ports(containers: Iterable[Object], path: str) -> list[Invalid]:
    found: list[Invalid] = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if text in seen:
                found.append(faults.duplicate(f"{path}[{index}].ports[{number}].hostPort", text))
            seen.add(text)
    return found


def _environment(container: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for index, variable in enumerate(container.get("env") or ()):
        at, name = f"{path}.env[{index}]", variable.get("name") or ""
        if not name:
            found.append(faults.required(f"{at}.name"))
        else:
            found += faults.each_invalid(f"{at}.name", name, names.environment_name(name))
        if variable.get("valueFrom") is not None:
            found += _value_from(variable, f"{at}.valueFrom")
    for index, source in enumerate(container.get("envFrom") or ()):
        at = f"{path}.envFrom[{index}]"
        present = [f for f in ("configMapRef", "secretRef") if source.get(f) is not None]
        if not present:
            found.append(faults.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(present) > 1:
            found.append(faults.invalid(at, "", "may not have more than one field specified at a time"))
        found += [faults.required(f"{at}.{f}.name") for f in present if not source[f].get("name")]
    return found


def _value_from(variable: Object, path: str) -> list[Invalid]:
    source = {k: v for k, v in variable["valueFrom"].items() if v is not None}
    if not source:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        return [faults.invalid(path, "", text)]
    if variable.get("value"):
        return [faults.invalid(path, "", "may not be specified when `value` is not empty")]
    if len(source) > 1:
        return [faults.invalid(path, "", "may not have more than one field specified at a time")]
    found: list[Invalid] = []
    for field in ("configMapKeyRef", "secretKeyRef"):
        if field in source:
            found += [
                faults.required(f"{path}.{field}.{f}") for f in ("name", "key") if not source[field].get(f)
            ]
    if "fieldRef" in source:
        found += field_reference(source["fieldRef"], f"{path}.fieldRef", _FIELDS)
    if "resourceFieldRef" in source and not source["resourceFieldRef"].get("resource"):
        found.append(faults.required(f"{path}.resourceFieldRef.resource"))
    return found


def field_reference(reference: Object, path: str, supported: tuple[str, ...]) -> list[Invalid]:
    """Faults of a `fieldRef`; labels and annotations may have a key in brackets."""
    field = reference.get("fieldPath") or ""
    if not field:
        return [faults.required(f"{path}.fieldPath")]
    base, bracket, key = field.partition("['")
    if bracket and base in ("metadata.labels", "metadata.annotations") and key.endswith("']"):
        return faults.each_invalid(path, key[:-2], names.qualified(key[:-2].lower()))
    return [] if field in supported else [faults.unsupported(f"{path}.fieldPath", field, sorted(supported))]


def _mounts(container: Object, path: str, mountable: set[Any]) -> list[Invalid]:
    found: list[Invalid] = []
    points: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        at, point = f"{path}.volumeMounts[{index}]", mount.get("mountPath") or ""
        if not mount.get("name"):
            found.append(faults.required(f"{at}.name"))
        if mount.get("name") not in mountable:
            found.append(faults.not_found(f"{at}.name", mount.get("name") or ""))
        if not point:
            found.append(faults.required(f"{at}.mountPath"))
        elif point in points:
            found.append(faults.invalid(f"{at}.mountPath", point, "must be unique"))
        points.add(point)
        if mount.get("subPath") and mount.get("subPathExpr"):
            text = "subPathExpr and subPath are mutually exclusive"
            found.append(faults.invalid(f"{at}.subPathExpr", mount["subPathExpr"], text))
        for field in ("subPath", "subPathExpr"):
            found += descending(mount.get(field) or "", f"{path}.volumeMounts.{field}")
    for index, device in enumerate(container.get("volumeDevices") or ()):
        if device.get("name") not in mountable:
            found.append(faults.not_found(f"{path}.volumeDevices[{index}].name", device.get("name") or ""))
    return found


def descending(text: str, path: str) -> list[Invalid]:
    """Faults of a path that must stay below where it starts."""
    if text.startswith("/"):
        return [faults.invalid(path, text, "must be a relative path")]
    if ".." in text.split("/"):
        return [faults.invalid(path, text, "must not contain '..'")]
    return []


def resources(found_resources: Object, path: str) -> list[Invalid]:
    requests, limits = found_resources.get("requests") or {}, found_resources.get("limits") or {}
    found: list[Invalid] = []
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            found += resource(name, amount, f"{path}.{field}")
    for name in requests.keys() & limits.keys():
        try:
            least, most = quantities.parse(requests[name]), quantities.parse(limits[name])
        except ValueError:
            continue
        if least > most:
            text = f"must be less than or equal to {name} limit of {limits[name]}"
            found.append(faults.invalid(f"{path}.requests", requests[name], text))
        elif least != most and name not in _RESOURCES:
            text = f"must be equal to {name} limit of {limits[name]}"
            found.append(faults.invalid(f"{path}.requests", requests[name], text))
    return found


def _resize_policy(container: Object, path: str, restart: str | None) -> list[Invalid]:
    found: list[Invalid] = []
    seen: set[str] = set()
    for index, policy in enumerate(container.get("resizePolicy") or ()):
        name, action = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if name in seen:
            found.append(faults.duplicate(f"{path}[{index}]", name))
        seen.add(name)
        found += faults.one_of(path, name, ("cpu", "memory"), needed=True)
        found += faults.one_of(path, action, ("NotRequired", "RestartContainer"), needed=True)
        if restart == "Never" and action != "NotRequired":
            text = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            found.append(faults.invalid(path, action, text))
    return found


def resource(name: str, amount: Any, path: str) -> list[Invalid]:
    """Faults of one resource's name and amount in a list at `path`."""
    at = f"{path}[{name}]"
    found = faults.each_invalid(at, name, names.qualified(name))
    if "/" not in name and name not in _RESOURCES and not name.startswith("hugepages-"):
        found.append(faults.invalid(at, name, "must be a standard resource for containers"))
    return found + positive(amount, at)


def extended(name: str) -> bool:
    """Whether a resource is neither Kubernetes' own nor one that a quota spells with `requests.`."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def positive(amount: Any, path: str, *, zero: bool = True) -> list[Invalid]:
    """Faults of a quantity that may not be negative, nor zero unless that is allowed."""
    try:
        value = quantities.parse(amount)
    except ValueError as error:
        return [faults.invalid(path, amount, str(error))]
    if value.nano < 0:
        return [faults.invalid(path, amount, "must be greater than or equal to 0")]
    return [] if zero or value.nano else [faults.invalid(path, amount, "must be greater than zero")]


def _claims(container: Object, path: str, known: dict[str, Any]) -> list[Invalid]:
    found: list[Invalid] = []
    for index, claim in enumerate((container.get("resources") or {}).get("claims") or ()):
        at = f"{path}.resources.claims[{index}]"
        if claim.get("name") not in known:
            found.append(faults.not_found(f"{at}.name", claim.get("name", "")))
    return found


def _security(context: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for field in ("runAsUser", "runAsGroup"):
        number = context.get(field)
        if number is not None and not 0 <= number < 2**31:
            text = "must be between 0 and 2147483647, inclusive"
            found.append(faults.invalid(f"{path}.{field}", number, text))
    mount = context.get("procMount")
    found += faults.one_of(f"{path}.procMount", mount, ("Default", "Unmasked"))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            found.append(faults.invalid(path, context, text))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            found.append(faults.invalid(path, context, text))
    return found


def _life(container: Object, path: str, field: str) -> list[Invalid]:
    """Faults of what runs at a container's start and end, and of its probes."""
    given = [f for f in ("lifecycle", *_PROBES) if container.get(f) is not None]
    policy = container.get("restartPolicy")
    if field == "ephemeralContainers":
        return [faults.forbidden(f"{path}.{f}", "cannot be set for an Ephemeral Container") for f in given]
    if field == "initContainers":
        if policy is not None and policy not in ("Always", "OnFailure", "Never"):
            return [faults.unsupported(f"{path}.restartPolicy", policy, ("Always", "Never", "OnFailure"))]
        if policy != "Always":
            return [faults.forbidden(f"{path}.{f}", _SIDECAR_ONLY) for f in given]
    found: list[Invalid] = []
    for name in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(name)
        if handler is not None:
            found += _handler(handler, f"{path}.lifecycle.{name}")
    for name in _PROBES:
        if container.get(name) is not None:
            found += _probe(container[name], f"{path}.{name}", once=name != "readinessProbe")
    return found


def _probe(probe: Object, path: str, *, once: bool) -> list[Invalid]:
    found = _handler(probe, path)
    for field in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        found += faults.not_negative(f"{path}.{field}", probe.get(field))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and not once:
        text = "must not be set for readinessProbes"
        found.append(faults.invalid(f"{path}.terminationGracePeriodSeconds", grace, text))
    elif grace is not None and grace <= 0:
        found.append(faults.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if once and probe.get("successThreshold", 1) != 1:
        found.append(faults.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return found


def _handler(handler: Object, path: str) -> list[Invalid]:
    given = [h for h in _HANDLERS if handler.get(h) is not None]
    if not given:
        return [faults.required(path, "must specify a handler type")]
    found = [faults.forbidden(f"{path}.{h}", "may not specify more than 1 handler type") for h in given[1:]]
    kind = given[0]
    action = handler[kind]
    at = f"{path}.{kind}"
    if kind == "exec" and not action.get("command"):
        found.append(faults.required(f"{at}.command"))
    if kind == "httpGet":
        found += [] if action.get("path") else [faults.required(f"{at}.path")]
        found += faults.one_of(f"{at}.scheme", action.get("scheme"), ("HTTP", "HTTPS"), needed=True)
        for index, header in enumerate(action.get("httpHeaders") or ()):
            name = header.get("name", "")
            found += faults.each_invalid(f"{at}.httpHeaders[{index}].name", name, names.header_name(name))
    if kind in ("httpGet", "tcpSocket", "grpc"):
        found += port(action.get("port"), f"{at}.port")
    return found


def port(value: int | str | None, path: str) -> list[Invalid]:
    """Faults of a port that may be a number or a name."""
    if isinstance(value, str):
        return faults.each_invalid(path, value, names.port_name(value))
    return faults.each_invalid(path, value or 0, names.port_number(value or 0))
