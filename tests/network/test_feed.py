"""What the network knows of services, kept up to date through every trouble a watch can have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from tests.network.machine import Objects

from sampan.client.api import ApiError, Change, Unavailable
from sampan.host import trace
from sampan.machinery.objects import Key
from sampan.network.book import Book, parse_service, parse_slice
from sampan.network.feed import Feed

WEB = Key("default", "web")


class Troubled(Objects):
    """A client whose watches break as told, each time they have given the changes so far."""

    def __init__(self) -> None:
        super().__init__()
        self.break_with: list[Exception | None] = []
        self.broken = asyncio.Event()
        self.watched_since: list[str] = []

    async def watch(
        self, kind: str, namespace: str = "", *, since: str = "", **_: str
    ) -> AsyncIterator[Change]:
        if kind != "services":
            async for change in super().watch(kind, since=since):
                yield change
        self.watched_since.append(since)
        if since:
            failure = self.break_with.pop(0)
            if failure:
                raise failure
            await self.broken.wait()
        else:
            watch = super().watch(kind)
            for _i in range(len(self._objects[kind]) + 1):
                yield await anext(watch)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (a test may poll)
            await asyncio.sleep(0.005)


async def test_changes_reach_the_book_and_its_listeners() -> None:
    objects = Objects()
    heard: list[Key] = []
    feed = Feed(objects)  # type: ignore[arg-type]
    feed.listen(lambda changes: heard.extend(changes))
    running = asyncio.create_task(feed.run())
    await asyncio.wait_for(feed.synced.wait(), 5)
    objects.service("web", "10.65.0.20")
    objects.endpoints("web", "10.64.0.5")
    await until(lambda: heard == [WEB, WEB])
    objects.service("web", "10.65.0.20")  # nothing that matters here
    objects.drop("services", "web")
    await until(lambda: not feed.book.services)
    assert heard == [WEB, WEB, WEB]
    running.cancel()


async def test_causes_come_along() -> None:
    objects = Objects()
    heard: list[trace.Cause] = []
    feed = Feed(objects)  # type: ignore[arg-type]
    feed.listen(lambda changes: heard.extend(c for causes in changes.values() for c in causes))
    running = asyncio.create_task(feed.run())
    await asyncio.wait_for(feed.synced.wait(), 5)
    cause = trace.Cause("1" * 32, "2" * 16)
    obj = {
        "metadata": {"namespace": "default", "name": "web", "resourceVersion": "9"},
        "spec": {"clusterIP": "10.65.0.20"},
    }
    objects._watchers["services"][0].put_nowait(Change("ADDED", obj, cause=str(cause)))
    await until(lambda: heard == [cause])
    running.cancel()


async def test_a_watch_goes_on_where_it_broke_and_starts_anew_where_it_cannot() -> None:
    objects = Troubled()
    objects.service("web", "10.65.0.20")
    objects.service("gone", "10.65.0.21")
    expired = ApiError({"code": 410, "reason": "Expired", "message": "too old resource version"})
    objects.break_with = [Unavailable("connection lost"), expired, None]
    feed = Feed(objects)  # type: ignore[arg-type]
    running = asyncio.create_task(feed.run())
    await asyncio.wait_for(feed.synced.wait(), 5)
    objects.drop("services", "gone")  # while nobody watches
    await until(lambda: len(objects.watched_since) == 5)
    assert objects.watched_since == ["", "2", "2", "", "3"]
    assert set(feed.book.services) == {WEB}
    running.cancel()


def test_parsing_takes_what_matters() -> None:
    port = {"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080, "targetPort": "http"}
    spec = {
        "clusterIPs": ["10.65.0.20", "fd00::20"],
        "ports": [port],
        "externalIPs": ["203.0.113.7"],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "externalTrafficPolicy": "Local",
    }
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.8"}, {"ip": "203.0.113.9", "ipMode": "Proxy"}]}}
    found = parse_service(
        {"metadata": {"namespace": "default", "name": "web"}, "spec": spec, "status": status}
    )
    assert found.addresses == ("10.65.0.20",), "IPv6 is not served"
    assert found.external == ("203.0.113.7", "203.0.113.8")
    assert (found.affinity, found.external_local, found.internal_local, found.headless) == (
        60,
        True,
        False,
        False,
    )
    meta = {"namespace": "default", "name": "x", "labels": {"kubernetes.io/service-name": "web"}}
    assert parse_slice({"metadata": meta, "addressType": "IPv6", "endpoints": [], "ports": []}) is None
    unknown = {"addresses": ["10.64.0.5"], "conditions": {}}
    slice_ = parse_slice({"metadata": meta, "addressType": "IPv4", "endpoints": [unknown], "ports": None})
    assert slice_ is not None
    assert (slice_.endpoints[0].ready, slice_.endpoints[0].serving) == (True, True), "unknown counts as ready"


def test_what_no_rule_can_be_made_of_is_left_out() -> None:
    """One malformed element would make the kernel refuse the rules of every service."""
    status = {"loadBalancer": {"ingress": [{"ip": "999.0.0.1"}, {"ip": "1.2.3.4 } ; flush ruleset"}]}}
    made = parse_service({"metadata": {"name": "web"}, "spec": {"externalIPs": ["1.2.3"]}, "status": status})
    assert made.external == ()
    slice_ = parse_slice(
        {
            "metadata": {"name": "x", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["fd00::1"]}, {"addresses": ["10.64.0.5"]}],
            "ports": [{"port": 70000}, {"name": "ok", "port": 80}],
        }
    )
    assert slice_ is not None
    assert [e.address for e in slice_.endpoints] == ["10.64.0.5"]
    assert list(slice_.ports) == [("ok", "tcp")]


def test_a_slice_that_changes_hands_wakes_both_services() -> None:
    book = Book()

    def put(owner: str) -> set[Key]:
        meta = {"namespace": "default", "name": "x", "labels": {"kubernetes.io/service-name": owner}}
        return book.put_slice({"metadata": meta, "addressType": "IPv4", "endpoints": [], "ports": []})

    assert put("web") == {WEB}
    assert put("web") == set()
    assert put("other") == {WEB, Key("default", "other")}
    assert list(book.slices) == [Key("default", "other")]
