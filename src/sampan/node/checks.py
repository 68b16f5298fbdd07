"""What a probe or a hook does: run a program in the container, ask over HTTP, TCP or gRPC, or sleep.

Each returns an `Answer`, and never raises for what the container does wrong. Sources: the Pod API reference
(Probe, LifecycleHandler); the gRPC health checking protocol (grpc/grpc, doc/health-checking.md).
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

from sampan.machinery.cri import CriError, messages
from sampan.machinery.objects import Object
from sampan.node import pods
from sampan.node.runtime import Runtime

MOST_OUTPUT = 10 * 1024
AGENT = "kube-probe/1.37"


@dataclass(frozen=True, slots=True)
class Answer:
    ok: bool
    output: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask: the container, and the address of its pod."""

    pod: Object
    container: Object
    id: str
    ip: str

    def port(self, given: int | str) -> int:
        """A port by its number or name. Raises ValueError."""
        if isinstance(given, int):
            return given
        for port in self.container.get("ports") or ():
            if port.get("name") == given:
                return int(port["containerPort"])
        if given.isdigit():
            return int(given)
        raise ValueError(f"couldn't find port: {given!r} in container {self.container['name']}")


async def check(runtime: Runtime, target: Target, handler: Object, timeout: float) -> Answer:
    """Do what `handler` (a Probe or a LifecycleHandler) says."""
    try:
        if "exec" in handler:
            return await _exec(runtime, target, handler["exec"].get("command") or [], timeout)
        if "sleep" in handler:
            await asyncio.sleep(handler["sleep"]["seconds"])
            return Answer(True)
        for name, ask in (("httpGet", _http), ("tcpSocket", _tcp), ("grpc", _grpc)):
            if name in handler:
                return await ask(target, handler[name], timeout)
    except ValueError as e:
        return Answer(False, str(e))
    return Answer(True)


async def _exec(runtime: Runtime, target: Target, command: list[str], timeout: float) -> Answer:
    request = messages.ExecSyncRequest(container_id=target.id, cmd=command, timeout=int(timeout))
    try:
        done = await runtime.cri.call("ExecSync", request, timeout=timeout + 5)
    except CriError as e:
        if e.code == "DEADLINE_EXCEEDED":
            return Answer(False, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s')
        return Answer(False, str(e))
    said = (done.stdout + done.stderr)[:MOST_OUTPUT].decode(errors="replace")
    return Answer(done.exit_code == 0, said)


async def _tcp(target: Target, given: Object, timeout: float) -> Answer:
    host, port = given.get("host") or target.ip, target.port(given["port"])
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as e:
        return Answer(False, _dial(host, port, e))
    writer.close()
    return Answer(True)


def _dial(host: str, port: int, e: BaseException) -> str:
    what = "i/o timeout" if isinstance(e, TimeoutError) else f"connect: {_plain(e)}"
    return f"dial tcp {_bracket(host)}:{port}: {what}"


def _plain(e: BaseException) -> str:
    import os

    number = getattr(e, "errno", None)
    return os.strerror(number).lower() if number else str(e)


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _http(target: Target, given: Object, timeout: float) -> Answer:
    """Any status from 200 to 399 is well; certificates are not checked."""
    host, port = given.get("host") or target.ip, target.port(given["port"])
    path = given.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    secure = given.get("scheme", "HTTP") == "HTTPS"
    url = f"http{'s' * secure}://{_bracket(host)}:{port}{path}"
    headers = {"User-Agent": AGENT, "Accept": "*/*"}
    headers |= {h["name"]: h.get("value", "") for h in given.get("httpHeaders") or ()}
    named = {name.lower() for name in headers}
    lines = [f"GET {path} HTTP/1.1", *([] if "host" in named else [f"Host: {_bracket(host)}:{port}"])]
    lines += [f"{k}: {v}" for k, v in headers.items() if v] + ["Connection: close", "", ""]
    try:
        async with asyncio.timeout(timeout):
            status, body = await _fetch(host, port, "\r\n".join(lines).encode(), secure)
    except TimeoutError:
        return Answer(
            False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        )
    except OSError as e:
        return Answer(False, f'Get "{url}": {_dial(host, port, e)}')
    if not 200 <= status < 400:
        return Answer(
            False,
            f"HTTP probe failed with statuscode: {status}"
            if status
            else f'Get "{url}": malformed HTTP response',
        )
    return Answer(True, body)


async def _fetch(host: str, port: int, request: bytes, secure: bool) -> tuple[int, str]:
    """The status (0: not HTTP) and the beginning of the body."""
    tls = _unchecked() if secure else None
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        writer.write(request)
        first = (await reader.readline()).split()
        if len(first) < 2 or not first[0].startswith(b"HTTP/") or not first[1].isdigit():
            return 0, ""
        head_and_body = await reader.read(MOST_OUTPUT)
        return int(first[1]), head_and_body.partition(b"\r\n\r\n")[2].decode(errors="replace")
    finally:
        writer.close()


def _unchecked() -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname = False
    found.verify_mode = ssl.CERT_NONE
    return found


class _Raw:
    """A gRPC codec for messages that are encoded already."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


async def _grpc(target: Target, given: Object, timeout: float) -> Answer:
    from grpclib.client import Channel, UnaryUnaryMethod
    from grpclib.exceptions import GRPCError, StreamTerminatedError

    name = (given.get("service") or "").encode()
    # HealthCheckRequest has one field, `service`, a string (1); HealthCheckResponse one, `status`, an
    # enumeration (1).
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    raw: Any = _Raw()
    channel = Channel(target.ip, given["port"], codec=raw)
    try:
        call: Any = UnaryUnaryMethod(channel, "/grpc.health.v1.Health/Check", bytes, bytes)
        reply = await call(request, timeout=timeout)
    except (TimeoutError, OSError) as e:
        late = isinstance(e, TimeoutError)
        text = (
            f"within {timeout:g}s: context deadline exceeded"
            if late
            else f": {_dial(target.ip, given['port'], e)}"
        )
        return Answer(
            False, f'timeout: failed to connect service "{_bracket(target.ip)}:{given["port"]}" {text}'
        )
    except (GRPCError, StreamTerminatedError) as e:
        return Answer(False, f"error: health rpc failed: {e}")
    finally:
        channel.close()
    status = {b"": "UNKNOWN", b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING"}.get(
        reply, "SERVICE_UNKNOWN"
    )
    return Answer(
        status == "SERVING", "" if status == "SERVING" else f'service unhealthy (responded with "{status}")'
    )


def hook_timeout(pod: Object) -> float:
    """postStart hooks have no deadline of their own upstream; ours is the longest that a pod's end may take,
    at least a minute.
    """
    return float(max(60, pods.grace_period(pod)))
