"""The loop on a real API server: what a controller may rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from sampan.apiserver.server import ApiServer
from sampan.apiserver.settings import Settings
from sampan.client.api import Change, Client
from sampan.client.informer import Informers
from sampan.host import trace
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile import lease, loop
from sampan.reconcile.controller import Cache, Controller, Create, Delete, Emit, Patch, Plan, Watch
from sampan.store.memory import Memory


def config(name: str, **data: str) -> Object:
    meta = {
        "name": name,
        "namespace": "default",
        "labels": {"made": "yes"} if name.startswith("made") else {},
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer(Memory(), Settings())
    await server.start()
    yield server
    await server.close()


class Slow:
    """A client whose watches lag: a controller must not act again before it has seen what it did."""

    def __init__(self, client: Client, delay: float) -> None:
        self._client, self._delay = client, delay

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    async def watch(self, *args: str, **options: str) -> AsyncIterator[Change]:
        async for change in self._client.watch(*args, **options):
            await asyncio.sleep(self._delay)
            yield change


async def running(
    api: ApiServer, controller: Controller, until: Callable[[], object], delay: float = 0.0
) -> None:
    """Run one controller until something holds, which is asked now and then."""
    admin = api.local("admin", ("system:masters",))
    informers = Informers(Slow(admin, delay))  # type: ignore[arg-type]
    tasks = [
        asyncio.create_task(informers.run()),
        asyncio.create_task(loop.run([controller], lambda name: admin, informers)),
    ]
    try:
        async with asyncio.timeout(20):
            while not until():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def admin(api: ApiServer) -> Client:
    return api.local("admin", ("system:masters",))


def to_parent(cache: Cache, obj: Object) -> Iterable[Key]:
    """Every ConfigMap wakes the one called `parent`."""
    return (Key("default", "parent"),)


async def test_a_controller_with_a_lagging_copy_does_not_create_twice(api: ApiServer) -> None:
    await admin(api).create("configmaps", config("parent"))
    decided: list[int] = []

    def observe(cache: Cache, name: Key) -> list[Object] | None:
        return [c for c in cache.list("configmaps", "default") if c["metadata"]["labels"].get("made")]

    def decide(made: list[Object], now: float) -> Plan:
        decided.append(len(made))
        names = [f"made-{now}-{i}" for i in range(3 - len(made))]
        return Plan(tuple(Create("configmaps", config(name)) for name in names))

    controller = Controller(
        name="three", watches=(Watch("configmaps", to_parent),), observe=observe, decide=decide
    )
    await running(api, controller, lambda: decided and decided[-1] == 3, delay=0.03)
    found = (await admin(api).list("configmaps", "default", labels="made=yes")).items
    assert len(found) == 3
    assert set(decided) == {0, 3}


async def test_a_conflict_is_decided_again_with_what_is_there_now(api: ApiServer) -> None:
    await admin(api).create("configmaps", config("parent", n="0"))
    tries: list[str] = []

    def decide(found: Object, now: float) -> Plan:
        tries.append(found["data"]["n"])
        if found["data"]["n"] == "2":
            return Plan()
        version = found["metadata"]["resourceVersion"] if len(tries) > 1 else "1"
        patch = {"metadata": {"resourceVersion": version}, "data": {"n": str(int(found["data"]["n"]) + 1)}}
        return Plan((Patch("configmaps", key(found), patch),))

    def observe(cache: Cache, name: Key) -> Object | None:
        return cache.get("configmaps", Key("default", "parent"))

    controller = Controller(
        name="counter", watches=(Watch("configmaps", to_parent),), observe=observe, decide=decide
    )
    await running(api, controller, lambda: tries and tries[-1] == "2")
    assert tries[:2] == ["0", "0"]
    assert (await admin(api).get("configmaps", "parent", "default"))["data"]["n"] == "2"


async def test_a_decision_that_fails_does_not_stop_the_others(api: ApiServer) -> None:
    for name in ("bad", "good"):
        await admin(api).create("configmaps", config(name))
    done: list[str] = []

    def observe(cache: Cache, name: Key) -> Object | None:
        return cache.get("configmaps", name)

    def decide(found: Object, now: float) -> Plan:
        if found["metadata"]["name"] == "bad":
            raise ValueError("a mistake of ours")
        done.append(found["metadata"]["name"])
        return Plan()

    controller = Controller(
        name="careful", watches=(Watch("configmaps"),), observe=observe, decide=decide, workers=1
    )
    await running(api, controller, lambda: "good" in done)


async def test_work_continues_the_traces_of_all_that_woke_it(api: ApiServer) -> None:
    spans: list[trace.Span] = []
    told: list[int] = []

    def observe(cache: Cache, name: Key) -> int:
        return len([c for c in cache.list("configmaps", "default") if c["metadata"]["name"].startswith("x")])

    def decide(count: int, now: float) -> Plan:
        told.append(count)
        patch = {"data": {"count": str(count)}}
        return Plan((Patch("configmaps", Key("default", "parent"), patch),) if count else ())

    await admin(api).create("configmaps", config("parent"))
    trace.export_to(spans.append)
    controller = Controller(
        name="counting", watches=(Watch("configmaps", to_parent),), observe=observe, decide=decide
    )
    try:
        running_it = asyncio.create_task(running(api, controller, lambda: told and told[-1] == 1))
        while not told:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with trace.span("kubectl create", "test") as own:
            await admin(api).create("configmaps", config("x"))
        await running_it
    finally:
        trace.export_to(None)
    (found, *_) = [s for s in spans if s.name == "reconcile configmaps default/parent"]
    assert found.service == "counting"
    assert found.cause.trace_id == own.cause.trace_id


async def test_the_same_event_is_counted_and_deletes_of_the_absent_are_fine(api: ApiServer) -> None:
    await admin(api).create("configmaps", config("parent"))
    rounds: list[int] = []

    def observe(cache: Cache, name: Key) -> Object | None:
        return cache.get("configmaps", Key("default", "parent"))

    def decide(found: Object, now: float) -> Plan:
        rounds.append(1)
        gone = Delete("configmaps", Key("default", "never"), about=found)
        again = 0.01 if len(rounds) < 3 else None
        return Plan((gone, Emit(found, "Normal", "Looked", "had a look")), again)

    async def counted() -> list[tuple[str, int]]:
        found = (await admin(api).list("events", "default")).items
        return sorted((e["reason"], e["count"]) for e in found)

    controller = Controller(
        name="looking", watches=(Watch("configmaps", to_parent),), observe=observe, decide=decide
    )
    watching = asyncio.create_task(running(api, controller, lambda: len(seen) > 0))
    seen: list[int] = []
    async with asyncio.timeout(20):
        while await counted() != [("Looked", 3), ("SuccessfulDelete", 3)]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    seen.append(1)
    await watching


async def test_one_leads_the_other_waits_and_takes_over_what_is_given_back(api: ApiServer) -> None:
    client = admin(api)
    led: asyncio.Queue[str] = asyncio.Queue()
    terms = lease.Terms(duration=15.0, deadline=5.0, period=0.02)

    def candidate(who: str) -> asyncio.Task[None]:
        async def work() -> None:
            led.put_nowait(who)
            await asyncio.Event().wait()

        return asyncio.create_task(lease.lead(client, "kube-system", "sampan", who, work, terms))

    async with asyncio.timeout(10):
        one = candidate("one")
        assert await led.get() == "one"
        two = candidate("two")
        await asyncio.sleep(0.1)
        assert led.empty()
        one.cancel()
        assert await led.get() == "two"
    found = await client.get(lease.KIND, "sampan", "kube-system")
    assert found["spec"]["holderIdentity"] == "two"
    assert found["spec"]["leaseTransitions"] == 1
    two.cancel()
    await asyncio.gather(one, two, return_exceptions=True)


def test_a_lease_that_nobody_renews_may_be_taken_by_ones_own_clock() -> None:
    fresh: Object = {"metadata": {"name": "sampan"}}
    found = lease.held(fresh, "one", "2026-01-01T00:00:00.000000Z")
    assert not lease.may_take(found, "two", 14.9)
    assert lease.may_take(found, "two", 15)
    assert lease.held(found, "two", "2026-01-01T00:00:15.000000Z")["spec"]["leaseTransitions"] == 1
    assert lease.may_take(lease.released(found, "2026-01-01T00:00:05.000000Z"), "two", 0)
