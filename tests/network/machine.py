"""A machine to test on: a network namespace with an uplink to an "outside" that answers, and nothing of the real host.

A test is an async function that gets a `Machine`; `on_a_machine` runs it on a thread and loop of its own inside the
namespace, whose executor's threads and children are then inside as well. Pods are namespaces, their programs
sockets made there: nothing runs but the test itself. When it ends, all of it is gone.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sampan.client.api import Change
from sampan.host import namespaces, netlink, netns
from sampan.host.netlink import End, Netlink
from sampan.machinery.objects import Key, Object, key
from sampan.network.addresses import NodeNetwork, mac
from sampan.network.pods import PodNetwork
from sampan.network.proxy import Proxy

UPLINK, OUTSIDE = "198.51.100.2", "198.51.100.1"
UPLINK_MTU = 1400
TIMEOUT = 5.0


@dataclass(slots=True)
class Machine:
    """`outside` is the namespace at the other end of the uplink, which knows no route to pods."""

    directory: Path
    outside: Path
    stack: AsyncExitStack
    pods: dict[str, Path] = field(default_factory=dict)

    def netns(self, name: str) -> Path:
        """A fresh namespace, as the engine makes one for each sandbox."""
        path = self.directory / name
        netns.create(path)
        self.stack.callback(namespaces.release, path)
        self.pods[name] = path
        return path

    async def pod(self, network: PodNetwork, name: str, **more: object) -> str:
        """Attach a fresh pod; returns its address."""
        attached = await network.attach(name, self.netns(name), **more)  # type: ignore[arg-type]
        return attached.addresses[0]

    async def says(self, text: str, port: int, at: Path | None = None, address: str = "0.0.0.0") -> None:
        """Serve on TCP and UDP: whoever asks gets `text` and the address that the server saw."""
        await serve(self.stack, text, port, at, address)

    async def background(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Run until the test ends."""
        task = asyncio.ensure_future(work)

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self.stack.push_async_callback(stop)
        return task


async def serve(stack: AsyncExitStack, text: str, port: int, at: Path | None, address: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A line for each line, the first at once."""
        seen = writer.get_extra_info("peername")[0]
        try:
            while True:
                writer.write(f"{text} {seen}\n".encode())
                await writer.drain()
                if not await reader.readline():
                    break
        except OSError:
            pass
        writer.close()

    class Datagrams(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(f"{text} {addr[0]}\n".encode(), addr)

    loop = asyncio.get_running_loop()
    with netns.entered(at):
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    for sock in (tcp, udp):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
    server = await asyncio.start_server(answer, sock=tcp)
    transport, _ = await loop.create_datagram_endpoint(Datagrams, sock=udp)
    stack.callback(transport.close)
    stack.callback(server.close)


def on_a_machine(test: Callable[[Machine], Awaitable[None]]) -> Callable[[Path], None]:
    """Run an async test inside a machine of its own."""

    @pytest.mark.root
    @functools.wraps(test)
    def run(tmp_path: Path) -> None:
        def inside() -> None:
            if ctypes.CDLL(None).unshare(0x40000000):
                raise OSError("cannot make a network namespace")
            asyncio.run(_with_machine(test, tmp_path))

        namespaces.in_thread(inside)

    del run.__wrapped__  # or pytest would look at the signature of the test
    return run


async def _with_machine(test: Callable[[Machine], Awaitable[None]], directory: Path) -> None:
    async with AsyncExitStack() as stack:
        machine = Machine(directory, directory / "outside", stack)
        machine.netns("outside")
        _uplink(machine.outside)
        await asyncio.wait_for(test(machine), 60)


def _uplink(outside: Path) -> None:
    far = os.open(outside, os.O_RDONLY)
    with Netlink() as kernel:
        kernel.send(netlink.veth(End("eth0", mac(UPLINK)), End("eth0", mac(OUTSIDE)), far, UPLINK_MTU))
        kernel.send(netlink.link("lo", up=True), netlink.link("eth0", up=True))
        kernel.send(netlink.address(netlink.index("eth0"), f"{UPLINK}/24"))
        with netns.entered(outside), Netlink() as there:
            there.send(netlink.link("lo", up=True), netlink.link("eth0", up=True))
            there.send(netlink.address(netlink.index("eth0"), f"{OUTSIDE}/24"))
        kernel.send(netlink.route("0.0.0.0/0", netlink.index("eth0"), gateway=OUTSIDE))
    os.close(far)


async def call(address: str, port: int, at: Path | None = None, source: str = "") -> str:
    """What a server says over TCP to a client in the namespace at `at`. Raises OSError or TimeoutError."""
    reader, writer = await connect(address, port, at, source)
    async with asyncio.timeout(TIMEOUT):
        said = await reader.readline()
    writer.close()
    return said.decode().strip()


async def connect(
    address: str, port: int, at: Path | None = None, source: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with netns.entered(at):
        sock = socket.socket()
    sock.setblocking(False)
    try:
        if source:
            sock.bind((source, 0))
        async with asyncio.timeout(TIMEOUT):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
            return await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise


@asynccontextmanager
async def datagrams(at: Path | None = None) -> AsyncIterator[Callable[[str, int], Awaitable[str]]]:
    """One UDP socket, and a function that asks a server with it."""
    loop = asyncio.get_running_loop()
    with netns.entered(at):
        sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setblocking(False)

    async def ask(address: str, port: int, timeout: float = TIMEOUT) -> str:
        await loop.sock_sendto(sock, b"?\n", (address, port))
        async with asyncio.timeout(timeout):
            return (await loop.sock_recv(sock, 1000)).decode().strip()

    with sock:
        yield ask


class Objects:
    """A `Client` of three kinds that a test writes to; it can only be watched."""

    def __init__(self) -> None:
        kinds = ("services", "endpointslices.discovery.k8s.io", "nodes")
        self._objects: dict[str, dict[Key, Object]] = {kind: {} for kind in kinds}
        self._watchers: dict[str, list[asyncio.Queue[Change]]] = {kind: [] for kind in self._objects}
        self._revision = 0

    def put(self, kind: str, obj: Object) -> None:
        self._change(kind, obj, "MODIFIED" if key(obj) in self._objects[kind] else "ADDED")
        self._objects[kind][key(obj)] = obj

    def drop(self, kind: str, name: str, namespace: str = "default") -> None:
        self._change(kind, self._objects[kind].pop(Key(namespace, name)), "DELETED")

    def _change(self, kind: str, obj: Object, type: str) -> None:
        self._revision += 1
        obj["metadata"]["resourceVersion"] = str(self._revision)
        for queue in self._watchers[kind]:
            queue.put_nowait(Change(type, obj))  # type: ignore[arg-type]

    async def watch(
        self, kind: str, namespace: str = "", *, since: str = "", **_: str
    ) -> AsyncIterator[Change]:
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self._watchers[kind].append(queue)
        for obj in list(self._objects[kind].values()):
            yield Change("ADDED", obj)
        yield Change("BOOKMARK", {"metadata": {"resourceVersion": str(self._revision)}}, synced=True)
        while True:
            yield await queue.get()

    def service(
        self, name: str, address: str = "", ports: tuple[object, ...] = (80,), **spec: object
    ) -> None:
        """Put a service. A port is a number, or a dictionary as in the API."""
        full = [p if isinstance(p, dict) else {"port": p, "protocol": "TCP", "name": ""} for p in ports]
        spec = {"clusterIP": address or "None", "ports": full, **spec}
        self.put("services", {"metadata": {"namespace": "default", "name": name}, "spec": spec})

    def endpoints(self, name: str, *endpoints: object, ports: tuple[object, ...] = (8080,)) -> None:
        """Put the service's only slice. An endpoint is an address, or a dictionary as in the API."""
        meta = {"namespace": "default", "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}}
        full = [p if isinstance(p, dict) else {"port": p, "protocol": "TCP", "name": ""} for p in ports]
        each = [e if isinstance(e, dict) else {"addresses": [e]} for e in endpoints]
        slice_ = {"metadata": meta, "addressType": "IPv4", "ports": full, "endpoints": each}
        self.put("endpointslices.discovery.k8s.io", slice_)


async def written(*proxies: Proxy) -> None:
    """Wait until the proxies have written all changes so far."""
    async with asyncio.timeout(TIMEOUT):
        await asyncio.sleep(0.02)
        while any(p.problem or not p.idle for p in proxies):  # noqa: ASYNC110 (a test may poll)
            await asyncio.sleep(0.005)


def node(name: str = "node", **more: str) -> NodeNetwork:
    from sampan.config import Ranges
    from sampan.network.addresses import single

    return single(name, Ranges(**more))
