"""CRI on a unix socket, spoken to by an unrelated gRPC client."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engine.running.running_pods import Pods, eventually

pytestmark = pytest.mark.root

# grpcio as the client, in a process of its own: it knows nothing of our server, nor of our loop.
CLIENT = """
import sys, grpc
from sampan.machinery.cri import messages, methods
path, container = sys.argv[1:]
with grpc.insecure_channel(f"unix:{path}") as channel:
    def call(name, request):
        m = methods()[name]
        make = channel.unary_stream if m.stream else channel.unary_unary
        return make(m.path, request_serializer=m.request.SerializeToString,
        response_deserializer=m.response.FromString)(
            request, timeout=10)
    print(call("Version", messages.VersionRequest()).runtime_name)
    print([c.id for c in call("ListContainers", messages.ListContainersRequest()).containers] == [container])
    print([len(r.containers) for r in call("StreamContainers", messages.StreamContainersRequest())])
    print(call("ExecSync", messages.ExecSyncRequest(container_id=container, cmd=["echo", "hi"])).stdout)
    events = call("GetContainerEvents", messages.GetEventsRequest())
    call("Version", messages.VersionRequest())
    call("StopContainer", messages.StopContainerRequest(container_id=container))
    print(next(events).container_event_type == messages.CONTAINER_STOPPED_EVENT)
    try:
        call("ContainerStatus", messages.ContainerStatusRequest(container_id="none"))
    except grpc.RpcError as e:
        print(e.code().name)
"""


async def test_another_grpc_client_is_served(pods: Pods, home: Path) -> None:
    container = await pods.run("sleep", "1000")
    serving = asyncio.create_task(pods.engine.serve())
    path = home / "run" / "cri.sock"
    await eventually(path.exists)
    argv = [sys.executable, "-c", CLIENT, str(path), container]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert done.stdout.splitlines() == ["sampan", "True", "[1]", "b'hi\\n'", "True", "NOT_FOUND"], done.stderr
