"""The DNS server on real sockets: our own client, glibc's resolver, and a resolver outside for the rest."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from tests.network.machine import Machine, Objects, call, node, on_a_machine, written

from sampan.host import netns
from sampan.network.agent import Agent
from sampan.network.book import Book
from sampan.network.dns import server, wire
from sampan.network.dns.forward import Forwarder, nameservers
from sampan.network.dns.records import Zone
from sampan.network.dns.server import Resolver, Server, Sockets
from sampan.network.dns.wire import Answer, Query, Response
from sampan.network.pods import PodNetwork

DOMAIN = "cluster.local"


def book(*services: dict[str, object]) -> Book:
    made = Book()
    for spec in services:
        made.put_service({"metadata": {"namespace": "shop", "name": spec.pop("name")}, "spec": spec})
    return made


@dataclass(slots=True)
class Outside:
    """A resolver for all other names, which counts what it is asked."""

    answers: dict[str, Answer]
    asked: list[str] = field(default_factory=list)
    silent: bool = False

    def at_once(self, data: bytes, limit: int = 0) -> bytes | Query | None:
        query = wire.decode_query(data)
        self.asked.append(query.name)
        answer = self.answers.get(query.name, Answer(wire.NXDOMAIN))
        return None if self.silent else wire.encode_answer(query, answer, limit or query.size)


@asynccontextmanager
async def serving(resolver: object, sockets: Sockets | None = None) -> AsyncIterator[tuple[str, int]]:
    sockets = sockets or server.bind("127.0.0.1", port=0)
    own: tuple[str, int] = sockets.udp.getsockname()
    running = Server(resolver, sockets)  # type: ignore[arg-type]
    await running.start()
    yield own
    await running.close()


@asynccontextmanager
async def cluster_dns(known: Book, outside: Outside | None = None) -> AsyncIterator[tuple[str, int]]:
    """A server for a book; what is not in it goes to `outside`."""
    ready = asyncio.Event()
    ready.set()
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(serving(outside))] if outside else []
        forwarder = Forwarder(upstreams)
        stack.push_async_callback(forwarder.close)
        zone = Zone(known, DOMAIN, ("10.64.0.0/15",), "10.65.0.10")
        yield await stack.enter_async_context(serving(Resolver(zone, forwarder, ready)))


async def ask_udp(at: tuple[str, int], name: str, kind: int = wire.A, size: int = 0) -> Response:
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[bytes] = loop.create_future()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            if not reply.done():
                reply.set_result(data)

    transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=at)
    transport.sendto(wire.encode_query(77, name, kind, size=size))
    try:
        return wire.decode_response(await asyncio.wait_for(reply, 5))
    finally:
        transport.close()


async def ask_tcp(at: tuple[str, int], *names: str) -> list[Response]:
    reader, writer = await asyncio.open_connection(*at)
    for name in names:
        query = wire.encode_query(78, name, wire.A)
        writer.write(struct.pack("!H", len(query)) + query)
    found = []
    for _ in names:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        found.append(wire.decode_response(await reader.readexactly(length)))
    writer.close()
    return found


async def test_udp_and_tcp() -> None:
    known = book({"name": "web", "clusterIP": "10.65.0.20", "ports": []})
    async with cluster_dns(known) as at:
        answer = await ask_udp(at, "WEB.shop.svc.cluster.local")
        assert (answer.id, wire.addresses(answer.answers)) == (77, ["10.65.0.20"])
        both = await ask_tcp(at, "web.shop.svc.cluster.local", "nobody.shop.svc.cluster.local")
        assert [r.code for r in both] == [wire.NOERROR, wire.NXDOMAIN]


async def test_a_long_answer_goes_over_tcp() -> None:
    known = book({"name": "db", "clusterIP": "None", "ports": [{"port": 1}]})
    labels = {"kubernetes.io/service-name": "db"}
    many = [{"addresses": [f"10.64.{i // 200}.{i % 200 + 1}"]} for i in range(300)]
    known.put_slice(
        {
            "metadata": {"namespace": "shop", "name": "db-1", "labels": labels},
            "addressType": "IPv4",
            "ports": [{"port": 1}],
            "endpoints": many,
        }
    )
    async with cluster_dns(known) as at:
        short = await ask_udp(at, "db.shop.svc.cluster.local", size=4096)
        assert (short.truncated, short.answers) == (True, ())
        (whole,) = await ask_tcp(at, "db.shop.svc.cluster.local")
        assert len(whole.answers) == 300


async def test_other_names_are_asked_outside_once() -> None:
    outside = Outside({"example.org": Answer(answers=(wire.a("example.org", 60, "192.0.2.7"),))})
    async with cluster_dns(book(), outside) as at:
        answers = await asyncio.gather(*(ask_udp(at, "example.org") for _ in range(5)))
        assert {tuple(wire.addresses(a.answers)) for a in answers} == {("192.0.2.7",)}
        assert (await ask_udp(at, "nobody.org")).code == wire.NXDOMAIN
        assert (await ask_tcp(at, "example.org"))[0].answers[0].ttl == 60
    assert outside.asked.count("example.org") == 2, "once for UDP, once for TCP, however many ask"


async def test_aliases_are_followed_inside_and_outside() -> None:
    outside = Outside({"example.org": Answer(answers=(wire.a("example.org", 60, "192.0.2.7"),))})
    known = book(
        {"name": "out", "type": "ExternalName", "externalName": "example.org"},
        {"name": "in", "type": "ExternalName", "externalName": "web.shop.svc.cluster.local"},
        {"name": "loop", "type": "ExternalName", "externalName": "loop.shop.svc.cluster.local"},
        {"name": "web", "clusterIP": "10.65.0.20", "ports": []},
    )
    async with cluster_dns(known, outside) as at:
        out = await ask_udp(at, "out.shop.svc.cluster.local")
        assert [r.type for r in out.answers] == [wire.CNAME, wire.A]
        assert wire.addresses(out.answers) == ["192.0.2.7"]
        assert wire.addresses((await ask_udp(at, "in.shop.svc.cluster.local")).answers) == ["10.65.0.20"]
        assert (await ask_udp(at, "loop.shop.svc.cluster.local")).code == wire.SERVFAIL


async def test_the_next_resolver_is_asked_where_one_is_gone() -> None:
    outside = Outside({"example.org": Answer(answers=(wire.a("example.org", 60, "192.0.2.7"),))})
    gone = server.bind("127.0.0.1", port=0)
    address = gone.udp.getsockname()
    gone.close()
    async with serving(outside) as working:
        forwarder = Forwarder([address, working])
        answer = wire.decode_response(await forwarder.ask(wire.encode_query(9, "example.org", wire.A)))
        assert (answer.id, wire.addresses(answer.answers)) == (9, ["192.0.2.7"])
        await forwarder.close()


@on_a_machine
async def test_a_node_asks_the_resolver_that_only_the_host_sees(machine: Machine) -> None:
    """As systemd-resolved, which listens on the host's loopback; the node is in a namespace of its own."""
    outside = Outside({"example.org": Answer(answers=(wire.a("example.org", 60, "192.0.2.7"),))})
    host = machine.outside
    async with serving(outside, server.bind("127.0.0.1", host, port=0)) as there:
        forwarder = Forwarder([there], at=host)
        for tcp in (False, True):
            data = await forwarder.ask(wire.encode_query(9, "example.org", wire.A), tcp=tcp)
            assert wire.addresses(wire.decode_response(data).answers) == ["192.0.2.7"]
        await forwarder.close()


async def test_without_any_resolver_the_answer_is_servfail() -> None:
    async with cluster_dns(book()) as at:
        assert (await ask_udp(at, "example.org")).code == wire.SERVFAIL


ERRORS: list[tuple[Callable[[bytes], bytes], int]] = [
    (lambda q: q[:14], wire.FORMERR),
    (lambda q: q[:2] + b"\x11" + q[3:], wire.NOTIMP),  # opcode 2
    (lambda q: q[:-2] + b"\0\x03", wire.REFUSED),  # class CHAOS
]


@pytest.mark.parametrize(("spoil", "code"), ERRORS)
async def test_what_cannot_be_answered(spoil: Callable[[bytes], bytes], code: int) -> None:
    loop = asyncio.get_running_loop()
    async with cluster_dns(book()) as at:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(at)
            await loop.sock_sendall(sock, b"junk")  # too short even for an error
            await loop.sock_sendall(sock, spoil(wire.encode_query(5, "web", wire.A)))
            data = await asyncio.wait_for(loop.sock_recv(sock, 600), 5)
    assert (data[:2], data[3] & 0xF) == (b"\0\x05", code)


async def test_queries_wait_while_the_server_starts_anew() -> None:
    """Whoever holds the sockets keeps the queries that come between one process and the next."""
    known = book({"name": "web", "clusterIP": "10.65.0.20", "ports": []})
    ready = asyncio.Event()
    ready.set()
    resolver = Resolver(Zone(known, DOMAIN, (), ""), Forwarder([]), ready)
    held = server.bind("127.0.0.1", port=0)
    at = held.udp.getsockname()
    async with serving(resolver, Sockets(held.udp.dup(), held.tcp.dup())):
        assert (await ask_udp(at, "web.shop.svc.cluster.local")).answers
    question = asyncio.create_task(ask_udp(at, "web.shop.svc.cluster.local"))
    await asyncio.sleep(0.05)
    async with serving(resolver, Sockets(held.udp.dup(), held.tcp.dup())):
        assert (await question).answers
    held.close()


async def test_queries_wait_for_the_first_list_of_services() -> None:
    known, ready = book(), asyncio.Event()
    async with serving(Resolver(Zone(known, DOMAIN, (), ""), Forwarder([]), ready)) as at:
        question = asyncio.create_task(ask_udp(at, "web.shop.svc.cluster.local"))
        await asyncio.sleep(0.05)
        known.put_service(
            {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"clusterIP": "10.65.0.20"}}
        )
        ready.set()
        assert wire.addresses((await question).answers) == ["10.65.0.20"]


def test_resolv_conf() -> None:
    text = "# comment\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver 10.65.0.10\nsearch x\noptions edns0\n"
    assert nameservers(text, own="10.65.0.10") == [("127.0.0.53", 53)]


@on_a_machine
async def test_a_pod_s_programs_resolve_and_reach_services(machine: Machine) -> None:
    """The whole agent: glibc in a pod's namespace asks the cluster DNS, then the service answers."""
    network, objects = PodNetwork(node()), Objects()
    await network.start()
    own = await machine.pod(network, "a")
    await machine.says("a", 8080, machine.pods["a"])
    objects.service("web", "10.65.0.20")
    objects.endpoints("web", own)
    agent = Agent(objects, network.node)  # type: ignore[arg-type]
    await machine.background(agent.run())
    await agent.feed.synced.wait()
    await written(*(proxy for _, proxy, _ in agent._proxies))
    resolv = machine.directory / "resolv.conf"
    resolv.write_text(
        "nameserver 10.65.0.10\nsearch default.svc.cluster.local svc.cluster.local\noptions ndots:5\n"
    )

    async def getent(*words: str) -> str:
        script = f"mount --bind {resolv} /etc/resolv.conf && exec getent {' '.join(words)}"
        done = await asyncio.to_thread(
            netns.command, machine.pods["a"], ["unshare", "-m", "sh", "-c", script]
        )
        return done.stdout.decode()

    assert (await getent("ahostsv4", "web")).split()[0] == "10.65.0.20"
    assert (await getent("ahosts", "web.default")).split()[0] == "10.65.0.20"
    assert (await getent("hosts", "10.65.0.20")).split()[1] == "web.default.svc.cluster.local"
    assert await getent("ahostsv4", "nobody.default.svc.cluster.local.") == ""
    assert await call("10.65.0.20", 80) == f"a {network.node.gateway}"
    assert agent.problem() == ""
