"""Records as CRI shows them. Plain functions, save that images are looked up for their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sampan.engine import signals
from sampan.engine.containers import state_name
from sampan.engine.records import CREATING, READY, REMOVING, Container, Sandbox
from sampan.machinery.cri import messages

if TYPE_CHECKING:
    from sampan.engine.engine import Engine


def selected(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether labels have every pair of a selector."""
    return selector.items() <= labels.items()


def chosen(records: Iterable[Any], wanted: Any, state: Callable[[Any], int]) -> Iterator[Any]:
    """The records that a list with the filter `wanted` shows: those that are whole, and have its labels, id and state.

    The kubelet asks for one pod among all, often: labels first, as plain data.
    """
    labels = dict(wanted.label_selector)
    for record in records:
        if not selected(record.config.get("labels") or {}, labels):
            continue
        if record.state in (CREATING, REMOVING) or not record.id.startswith(wanted.id):
            continue
        if not wanted.HasField("state") or wanted.state.state == state(record):
            yield record


def sandbox_state(record: Sandbox) -> int:
    return int(messages.SANDBOX_READY if record.state == READY else messages.SANDBOX_NOTREADY)


def container_state(record: Container) -> int:
    return int(messages.ContainerState.Value(state_name(record)))


def sandbox_item(engine: Engine, record: Sandbox) -> Any:
    """A PodSandbox, as lists have it."""
    config = engine.sandboxes.config(record)
    return messages.PodSandbox(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=record.created,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
    )


def sandbox(engine: Engine, record: Sandbox) -> Any:
    """A PodSandboxStatus."""
    config = engine.sandboxes.config(record)
    first, *rest = record.addresses or [""]
    return messages.PodSandboxStatus(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=record.created,
        network=messages.PodSandboxNetworkStatus(
            ip=first, additional_ips=[messages.PodIP(ip=address) for address in rest]
        ),
        linux=messages.LinuxPodSandboxStatus(
            namespaces=messages.Namespace(options=config.linux.security_context.namespace_options)
        ),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
    )


def container_item(engine: Engine, record: Container) -> Any:
    """A Container, as lists have it."""
    config = engine.containers.config(record)
    return messages.Container(
        id=record.id,
        pod_sandbox_id=record.sandbox,
        metadata=config.metadata,
        image=config.image,
        image_ref=record.image,
        image_id=record.image,
        state=container_state(record),
        created_at=record.created,
        labels=config.labels,
        annotations=config.annotations,
    )


def container(engine: Engine, record: Container) -> Any:
    """A ContainerStatus."""
    config = engine.containers.config(record)
    user = messages.LinuxContainerUser(uid=record.uid, gid=record.gid, supplemental_groups=record.groups)
    resources = engine.containers.resources(record)
    return messages.ContainerStatus(
        id=record.id,
        metadata=config.metadata,
        state=container_state(record),
        created_at=record.created,
        started_at=record.started,
        finished_at=record.finished,
        exit_code=record.status,
        image=config.image,
        image_ref=record.image,
        image_id=record.image,
        reason=record.reason,
        message=record.message,
        labels=config.labels,
        annotations=config.annotations,
        mounts=config.mounts,
        log_path=record.log,
        resources=messages.ContainerResources(linux=resources),
        user=messages.ContainerUser(linux=user),
        stop_signal=signals.to_cri(record.stop),
    )


def event(engine: Engine, name: str, kind: int, now: int, pod: Sandbox | None) -> Any:
    """A ContainerEventResponse about a container or sandbox, with the state of its whole pod."""
    return messages.ContainerEventResponse(
        container_id=name,
        container_event_type=kind,
        created_at=now,
        pod_sandbox_status=sandbox(engine, pod) if pod else None,
        containers_statuses=[container(engine, c) for c in engine.containers_of(pod)] if pod else (),
    )
