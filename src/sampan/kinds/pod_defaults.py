"""What a pod's spec gets where its writer was silent. Source: the API reference of PodSpec and Container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sampan.machinery import images
from sampan.machinery.objects import Object, get

_PROBE = (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3))
_MODE = 0o644
_VOLUMES_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")


def default_template(template: Object) -> None:
    """A workload's `template`: less is filled in here than in a pod."""
    template["metadata"] = template.get("metadata") or {}
    template["spec"] = template.get("spec") or {}
    default_spec(template["spec"])


def default_spec(spec: Object) -> None:
    for name, value in (
        ("dnsPolicy", "ClusterFirst"),
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("schedulerName", "default-scheduler"),
    ):
        _fill(spec, name, value)
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in containers(spec):
        _container(container, spec)
    for volume in spec.get("volumes") or ():
        _volume(volume)
    _spread(spec)


def default_pod(spec: Object) -> None:
    """What a pod gets beyond what a template gets."""
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container["resources"]
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def containers(spec: Object) -> Iterator[Object]:
    """Every container of a pod: init, main and ephemeral."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _fill(obj: Object, name: str, value: Any) -> None:
    if obj.get(name) in (None, ""):
        obj[name] = value


def _container(container: Object, spec: Object) -> None:
    latest = images.tag(container.get("image") or "") == "latest"
    _fill(container, "imagePullPolicy", "Always" if latest else "IfNotPresent")
    _fill(container, "terminationMessagePath", "/dev/termination-log")
    _fill(container, "terminationMessagePolicy", "File")
    container["resources"] = container.get("resources") or {}
    for port in container.get("ports") or ():
        _fill(port, "protocol", "TCP")
        if spec.get("hostNetwork") and not port.get("hostPort"):
            port["hostPort"] = port.get("containerPort")
    for variable in container.get("env") or ():
        _reference(get(variable, "valueFrom.fieldRef"))
        _divisor(get(variable, "valueFrom.resourceFieldRef"))
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        _probe(container.get(name))
    for name in ("postStart", "preStop"):
        _http(get(container, f"lifecycle.{name}.httpGet"))


def _reference(field: Object | None) -> None:
    if field is not None:
        _fill(field, "apiVersion", "v1")


def _divisor(field: Object | None) -> None:
    if field is not None:
        _fill(field, "divisor", "0")


def _probe(probe: Object | None) -> None:
    if probe is None:
        return
    for name, value in _PROBE:
        if not probe.get(name):
            probe[name] = value
    _http(probe.get("httpGet"))
    if probe.get("grpc") is not None and probe["grpc"].get("service") is None:
        probe["grpc"]["service"] = ""


def _http(action: Object | None) -> None:
    if action is not None:
        _fill(action, "path", "/")
        _fill(action, "scheme", "HTTP")


def _volume(volume: Object) -> None:
    if not any(v is not None for k, v in volume.items() if k != "name"):
        volume["emptyDir"] = {}
    for name in _VOLUMES_WITH_MODE:
        source = volume.get(name)
        if source is not None and source.get("defaultMode") is None:
            source["defaultMode"] = _MODE
    if volume.get("hostPath") is not None and volume["hostPath"].get("type") is None:
        volume["hostPath"]["type"] = ""
    for item in get(volume, "downwardAPI.items", ()):
        _reference(item.get("fieldRef"))
        _divisor(item.get("resourceFieldRef"))
    for source in get(volume, "projected.sources", ()):
        token = source.get("serviceAccountToken")
        if token is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = 3600
        certificate = source.get("podCertificate")
        if certificate is not None and certificate.get("maxExpirationSeconds") is None:
            certificate["maxExpirationSeconds"] = 86400
        for item in get(source, "downwardAPI.items", ()):
            _reference(item.get("fieldRef"))
            _divisor(item.get("resourceFieldRef"))


def _spread(spec: Object) -> None:
    for constraint in spec.get("topologySpreadConstraints") or ():
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(name) == "":
                constraint.pop(name)
