"""CRI: what the runtime is, whether it is ready, how it is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sampan
from sampan.host.process import ProcessError
from sampan.machinery.cri import CriError, messages

if TYPE_CHECKING:
    from sampan.engine.engine import Engine


async def version(engine: Engine, request: Any) -> Any:
    return messages.VersionResponse(
        version="0.1.0", runtime_name="sampan", runtime_version=sampan.__version__, runtime_api_version="v1"
    )


async def status(engine: Engine, request: Any) -> Any:
    """The conditions RuntimeReady and NetworkReady, each with what is wrong and how to put it right."""
    if engine.problem:
        await engine.check()
    problems = {"RuntimeReady": engine.problem, "NetworkReady": engine.context.network.problem()}
    conditions = [
        messages.RuntimeCondition(
            type=kind,
            status=not problem,
            reason=f"{kind.removesuffix('Ready')}NotReady" if problem else "",
            message=problem,
        )
        for kind, problem in problems.items()
    ]
    features = messages.RuntimeHandlerFeatures(recursive_read_only_mounts=True, user_namespaces=False)
    response = messages.StatusResponse(
        status=messages.RuntimeStatus(conditions=conditions),
        runtime_handlers=[messages.RuntimeHandler(name=name, features=features) for name in ("", "runc")],
        features=messages.RuntimeFeatures(supplemental_groups_policy=True, mount_options=True),
    )
    if request.verbose:
        from sampan.engine.engine import info

        context = engine.context
        try:
            said = await context.runtime.version()
        except ProcessError as e:
            said = str(e)
        facts = {
            "runtime": context.runtime.command,
            "runtimeVersion": said,
            "cgroupVersion": context.cgroups.version,
        }
        response.info.update(info({**facts, "root": context.root, "run": context.run}))
    return response


def _condition(kind: str, problem: str) -> Any:
    reason = f"{kind.removesuffix('Ready')}NotReady" if problem else ""
    return messages.RuntimeCondition(type=kind, status=not problem, reason=reason, message=problem)


async def update_config(engine: Engine, request: Any) -> Any:
    """The pod range belongs to the network, which was told when it started: nothing to do."""
    return messages.UpdateRuntimeConfigResponse()


async def config(engine: Engine, request: Any) -> Any:
    return messages.RuntimeConfigResponse(
        linux=messages.LinuxRuntimeConfiguration(cgroup_driver=messages.CGROUPFS)
    )


async def unsupported(engine: Engine, request: Any) -> Any:
    raise CriError("UNIMPLEMENTED", "checkpoints are not supported by this runtime")


METHODS = {
    "Version": version,
    "Status": status,
    "UpdateRuntimeConfig": update_config,
    "RuntimeConfig": config,
    "CheckpointContainer": unsupported,
    "CheckpointPod": unsupported,
    "RestorePod": unsupported,
}
