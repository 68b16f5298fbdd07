"""What the runtime is asked to make: CRI's PodSandboxConfig and ContainerConfig. Plain functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.machinery import sysctls
from sampan.machinery.cri import messages
from sampan.machinery.objects import Object
from sampan.node import etc, names, pods, resources, security
from sampan.node.environment import expand

_INTERNAL = ("kubectl.kubernetes.io/last-applied-configuration",)


@dataclass(frozen=True, slots=True)
class Host:
    """What configurations need to know of the node: `cgroup` is the parent of all its pods', `logs` where pods log."""

    name: str
    dns: etc.ClusterDns
    cgroup: str
    logs: Path
    memory: int


def log_directory(host: Host, pod: Object) -> Path:
    meta = pod["metadata"]
    return host.logs / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"


def sandbox(pod: Object, host: Host, attempt: int) -> Any:
    """A PodSandboxConfig."""
    meta = pod["metadata"]
    resolver = etc.resolver(pod, host.dns)
    return messages.PodSandboxConfig(
        metadata=messages.PodSandboxMetadata(
            name=meta["name"], uid=meta["uid"], namespace=meta["namespace"], attempt=attempt
        ),
        hostname=etc.sandbox_hostname(pod, host.name, host.dns.domain),
        log_directory=str(log_directory(host, pod)),
        dns_config=messages.DNSConfig(
            servers=resolver.servers, searches=resolver.searches, options=resolver.options
        ),
        port_mappings=list(_ports(pod)),
        labels={**(meta.get("labels") or {}), **names.pod_labels(pod)},
        annotations={k: v for k, v in (meta.get("annotations") or {}).items() if k not in _INTERNAL},
        linux=messages.LinuxPodSandboxConfig(
            cgroup_parent=resources.cgroup_parent(pod, host.cgroup),
            security_context=security.of_sandbox(pod),
            sysctls={
                sysctls.dotted(s["name"]): s["value"]
                for s in (pod["spec"].get("securityContext") or {}).get("sysctls") or ()
            },
            resources=resources.pod_resources(pod),
        ),
    )


def _ports(pod: Object) -> list[Any]:
    if pods.is_host_network(pod):
        return []
    return [
        messages.PortMapping(
            protocol=messages.Protocol.Value(port.get("protocol", "TCP")),
            container_port=port["containerPort"],
            host_port=port["hostPort"],
            host_ip=port.get("hostIP", ""),
        )
        for c in (*pods.init_containers(pod), *pods.main_containers(pod))
        for port in c.get("ports") or ()
        if port.get("hostPort")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was prepared for a container: its environment, its mounts, and the image (by the runtime's id)."""

    environment: Mapping[str, str]
    mounts: Sequence[Any]
    image: str
    attempt: int
    target: str = ""


def container(pod: Object, c: Object, host: Host, given: Given) -> Any:
    """A ContainerConfig."""
    env = given.environment
    return messages.ContainerConfig(
        metadata=messages.ContainerMetadata(name=c["name"], attempt=given.attempt),
        image=messages.ImageSpec(image=given.image, user_specified_image=c.get("image", "")),
        command=[expand(word, env) for word in c.get("command") or ()],
        args=[expand(word, env) for word in c.get("args") or ()],
        working_dir=c.get("workingDir", ""),
        envs=[messages.KeyValue(key=k, value=v.encode(errors="surrogateescape")) for k, v in env.items()],
        mounts=given.mounts,
        labels={**names.pod_labels(pod), names.CONTAINER_NAME: c["name"]},
        annotations=_annotations(pod, c, given.attempt),
        log_path=f"{c['name']}/{given.attempt}.log",
        stdin=bool(c.get("stdin")),
        stdin_once=bool(c.get("stdinOnce")),
        tty=bool(c.get("tty")),
        linux=messages.LinuxContainerConfig(
            resources=resources.container_resources(pod, c, host.memory),
            security_context=security.of_container(pod, c, target=given.target),
        ),
        stop_signal=_signal(c),
    )


def _signal(c: Object) -> int:
    name = (c.get("lifecycle") or {}).get("stopSignal")
    return int(messages.Signal.Value(f"SIGNAL_{name}")) if name else 0


def _annotations(pod: Object, c: Object, attempt: int) -> dict[str, str]:
    grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
    return {
        names.HASH: names.container_hash(c),
        names.RESTARTS: str(attempt),
        names.MESSAGE_PATH: c.get("terminationMessagePath", "/dev/termination-log"),
        names.MESSAGE_POLICY: c.get("terminationMessagePolicy", "File"),
        names.GRACE: str(grace),
    }
