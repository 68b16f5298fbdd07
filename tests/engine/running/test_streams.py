"""Exec, attach and port-forward, in process and through the streaming server."""

from __future__ import annotations

import asyncio
import signal

import pytest
from tests.engine.running.running_pods import Pods

from sampan.engine.seams import STDERR, STDOUT, Process
from sampan.machinery.cri import CriError

pytestmark = pytest.mark.root


async def everything(process: Process) -> tuple[bytes, bytes]:
    """All output of a process, by stream."""
    found = {STDOUT: b"", STDERR: b""}
    while piece := await process.read():
        found[piece[0]] += piece[1]
    return found[STDOUT], found[STDERR]


async def until(process: Process, wanted: bytes) -> bytes:
    """Read until some text has come."""
    found = b""
    async with asyncio.timeout(20):
        while wanted not in found:
            piece = await process.read()
            assert piece, found
            found += piece[1]
    return found


async def test_exec_sync_gives_both_outputs_and_the_status(pods: Pods) -> None:
    container = await pods.run("sleep", "1000")
    done = await pods.call(
        "ExecSync", container_id=container, cmd=["sh", "-c", "echo out; echo err >&2; exit 4"]
    )
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 4)


async def test_exec_sync_ends_a_program_that_takes_too_long(pods: Pods) -> None:
    container = await pods.run("sleep", "1000")
    with pytest.raises(CriError) as late:
        await pods.call("ExecSync", container_id=container, cmd=["sleep", "77"], timeout=1)
    assert late.value.code == "DEADLINE_EXCEEDED"
    shown = await pods.call("ExecSync", container_id=container, cmd=["ps"])
    assert b"sleep 77" not in shown.stdout


async def test_exec_of_what_does_not_exist_says_so(pods: Pods) -> None:
    container = await pods.run("sleep", "1000")
    with pytest.raises(CriError, match="no such file or directory"):
        await pods.call("ExecSync", container_id=container, cmd=["/no/such"])
    with pytest.raises(CriError, match="not found"):
        await pods.call("ExecSync", container_id="unknown", cmd=["true"])


async def test_exec_copies_input_to_a_program_until_it_is_closed(pods: Pods) -> None:
    container = await pods.run("sleep", "1000")
    process = await pods.engine.exec(container, ["cat"], stdin=True)
    reading = asyncio.create_task(everything(process))
    data = bytes(range(256)) * 4000
    await process.write(data)
    await process.close_stdin()
    assert await reading == (data, b"")
    assert await process.wait() == 0
    await process.close()


async def test_exec_with_a_terminal_has_its_size_and_hangs_up_with_its_client(pods: Pods) -> None:
    container = await pods.run("sleep", "1000")
    process = await pods.engine.exec(container, ["sh"], tty=True, stdin=True)
    await process.resize(123, 45)
    await process.write(b"stty size; tty=yes; sleep 0.01; echo $tty\n")
    assert b"45 123" in await until(process, b"yes\r\n")
    await process.close()
    async with asyncio.timeout(20):
        while True:
            shown = await pods.call("ExecSync", container_id=container, cmd=["ps"])
            if b" sh\n" not in shown.stdout:
                break
            await asyncio.sleep(0.05)


async def test_a_program_can_be_signalled(pods: Pods) -> None:
    container = await pods.run("sleep", "1000")
    process = await pods.engine.exec(container, ["sleep", "1000"])
    await process.signal(signal.SIGUSR1)
    assert await process.wait() == 128 + signal.SIGUSR1
    await process.close()


async def test_attach_joins_a_containers_own_streams_for_several_clients(pods: Pods) -> None:
    container = await pods.run("cat", stdin=True)
    first, second = await pods.engine.attach(container), await pods.engine.attach(container)
    await asyncio.sleep(0.1)
    await first.write(b"hello\n")
    assert await until(second, b"hello\n") == await until(first, b"hello\n") == b"hello\n"
    await first.close()
    await second.close()
    # Its input stays open for the next.
    third = await pods.engine.attach(container)
    await asyncio.sleep(0.1)
    await third.write(b"again\n")
    await until(third, b"again\n")
    await third.close()
    assert [line[3] for line in pods.log()] == ["hello", "again"]


async def test_input_meant_once_ends_with_its_first_client(pods: Pods) -> None:
    container = await pods.run("cat", stdin=True, stdin_once=True)
    process = await pods.engine.attach(container)
    await process.write(b"only\n")
    await process.close_stdin()
    assert (await pods.ended(container)).exit_code == 0
    assert pods.log()[0][3] == "only"
    await process.close()


async def test_closing_ends_what_somebody_is_reading(pods: Pods) -> None:
    container = await pods.run("sleep", "1000")
    process = await pods.engine.attach(container)
    reading = asyncio.create_task(process.read())
    await asyncio.sleep(0.05)
    await process.close()
    assert await reading is None
    assert (await pods.status(container)).exit_code == 0


async def test_attach_to_a_terminal(pods: Pods) -> None:
    container = await pods.run("sh", stdin=True, tty=True)
    process = await pods.engine.attach(container)
    await process.write(b"echo $((6*7)); exit 5\n")
    await until(process, b"42\r\n")
    assert await process.wait() == 5
    assert (await pods.ended(container)).exit_code == 5
    await process.close()


async def test_an_attached_client_that_never_reads_does_not_stop_the_container_for_good(pods: Pods) -> None:
    container = await pods.run("sh", "-c", "sleep 0.5; seq 1 300000; echo done >&2")
    stuck = await pods.engine.attach(container)
    assert (await pods.ended(container)).exit_code == 0
    await stuck.close()
    assert {"done", "300000"} <= {line[3] for line in pods.log()}


async def test_port_forward_reaches_the_pods_loopback(pods: Pods) -> None:
    pod = await pods.pod()
    await pods.run("nc", "-l", "-p", "8080", "-e", "cat", pod=pod)
    async with asyncio.timeout(20):
        while True:
            try:
                connection = await pods.engine.port_forward(pod, 8080)
                break
            except CriError:
                await asyncio.sleep(0.05)
    await connection.write(b"ping")
    assert await connection.read() == b"ping"
    await connection.close()
    with pytest.raises(CriError, match="failed to connect to port 9"):
        await pods.engine.port_forward(pod, 9)


async def test_a_streaming_url_is_good_for_one_use(pods: Pods) -> None:
    from sampan.http.client import HttpClient

    container = await pods.run("sleep", "1000")
    url = (await pods.call("Exec", container_id=container, cmd=["echo", "hi"], stdout=True)).url
    base, _, token = url.partition("/exec/")
    client = HttpClient(base)
    headers = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"}
    headers |= {
        "sec-websocket-key": "MDEyMzQ1Njc4OTAxMjM0NQ==",
        "sec-websocket-protocol": "v5.channel.k8s.io",
    }
    response, connection = await client.upgrade("GET", f"/exec/{token}", headers)
    assert response.status == 101
    assert connection
    said = b""
    while data := await connection.read():
        said += data
    assert b"\x01hi\n" in said
    assert b"Success" in said
    again = await client.request("GET", f"/exec/{token}")
    assert again.status == 404
    await again.read()
    await client.close()
    with pytest.raises(CriError, match="tty and stderr"):
        await pods.call("Exec", container_id=container, cmd=["sh"], tty=True, stderr=True)
