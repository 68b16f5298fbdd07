"""Priority and fairness: who is asked to wait, for how long, and that the others do not notice."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.apiserver.call import User
from sampan.apiserver.fairness import levels, schemas, suggested
from sampan.apiserver.fairness.levels import Full, Level, Queue
from sampan.apiserver.rbac import Attributes
from sampan.http.client import HttpClient
from sampan.http.tls import client_context
from sampan.machinery.objects import Object

from .conftest import Cluster

SCHEMAS = schemas.ordered(schemas.read(o) for o in suggested.schemas())
BASE = "/api/v1/namespaces/default/configmaps"
FLOWS, LEVELS = (
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
)


@pytest.mark.parametrize(
    ("user", "groups", "asked", "schema"),
    [
        ("admin", ("system:masters",), Attributes("get", "", "pods"), "exempt"),
        ("ann", ("system:authenticated",), Attributes("get", path="/readyz"), "probes"),
        ("ann", ("system:authenticated",), Attributes("get", path="/version"), "global-default"),
        ("ann", ("system:authenticated",), Attributes("list", "", "pods", "", "default"), "global-default"),
        ("system:node:n", ("system:nodes",), Attributes("update", "coordination.k8s.io", "leases", "", "x"),
         "system-node-high"),
        ("system:node:n", ("system:nodes",), Attributes("patch", "", "nodes", "status"), "system-node-high"),
        ("system:node:n", ("system:nodes",), Attributes("list", "", "pods"), "system-nodes"),
        ("system:kube-scheduler", (), Attributes("update", "coordination.k8s.io", "leases", "", "kube-system"),
         "system-leader-election"),
        ("system:serviceaccount:kube-system:x", (), Attributes("list", "", "pods"), "kube-system-service-accounts"),
        ("system:serviceaccount:default:x", ("system:serviceaccounts",), Attributes("list", "", "pods"),
         "service-accounts"),
    ],
)  # fmt: skip
def test_the_suggested_schemas(user: str, groups: tuple[str, ...], asked: Attributes, schema: str) -> None:
    found = schemas.match(SCHEMAS, User(user, groups), asked)
    assert found is not None
    assert found.name == schema


def test_seats_are_shared_by_shares() -> None:
    made: dict[str, Level[str]] = levels.read(list(suggested.levels()), 600)
    assert {n: m.seats for n, m in made.items()} == {
        "exempt": 0, "catch-all": 13, "system": 74, "node-high": 98, "leader-election": 25, "workload-high": 98,
        "workload-low": 245, "global-default": 49,
    }  # fmt: skip
    assert made["workload-low"].lendable == 220


def level(queues: int = 8, hand: int = 2, longest: int = 50) -> Level[str]:
    return Level("l", seats=1, hand=hand, longest=longest, queues=[Queue() for _ in range(queues)])


def test_a_flow_that_asks_for_much_waits_behind_one_that_asks_for_little() -> None:
    one = level()
    for n in range(20):
        one.enqueue("wild", f"wild {n}", 1)
    order = []
    for n in range(6):
        if n == 2:
            one.enqueue("calm", "calm", 1)
        item, width, queue = one.next() or pytest.fail("somebody waits")
        order.append(item)
        one.sit(queue, width)
        one.stand(queue, width, 1.0)
    assert "calm" in order[2:5]


def test_no_more_wait_than_there_are_places() -> None:
    one = level(queues=2, hand=1, longest=3)
    for n in range(3):
        one.enqueue("flow", str(n), 1)
    with pytest.raises(Full):
        one.enqueue("flow", "3", 1)
    with pytest.raises(Full):
        level(queues=0).enqueue("flow", "x", 1)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 10)), max_size=40), st.data())
def test_everybody_who_waits_has_a_turn(items: list[tuple[str, int]], data: st.DataObject) -> None:
    one = level(longest=100)
    waiting = {}
    for n, (flow, width) in enumerate(items):
        item = f"{n}"
        waiting[item] = one.enqueue(flow, item, width)
    gone = data.draw(st.sets(st.sampled_from(sorted(waiting) or ["none"]), max_size=5)) - {"none"}
    assert all(one.forget(waiting[item], item) for item in gone)
    came = set()
    while found := one.next():
        item, width, queue = found
        one.sit(queue, width)
        one.stand(queue, width, 0.1)
        came.add(item)
    assert came == set(waiting) - gone
    assert (one.used, one.waiting) == (0, 0)


# The whole


def client(cluster: Cluster, user: str) -> HttpClient:
    pair = cluster.pki.client(user, user, ("people",))
    made = HttpClient(cluster.url, tls=client_context(ca=cluster.pki.ca, pair=pair))
    cluster.clients.append(made)
    return made


async def allow_people(cluster: Cluster) -> None:
    api = "rbac.authorization.k8s.io"
    await cluster.admin.create(
        f"clusterrolebindings.{api}",
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "people"},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "Group", "name": "people", "apiGroup": api}],
        },
    )


async def get(http: HttpClient, target: str) -> tuple[int, dict[str, str]]:
    async with await http.request("GET", target) as response:
        await response.read()
        return response.status, dict(response.headers)


async def test_a_wild_client_does_not_starve_others(cluster: Cluster) -> None:
    await allow_people(cluster)
    for n in range(200):
        meta = {"name": f"m{n}", "namespace": "default"}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "x" * 1000}}
        await cluster.admin.create("configmaps", obj)
    wild, calm = client(cluster, "wild"), client(cluster, "calm")
    await asyncio.gather(get(calm, f"{BASE}/m0"), *(get(wild, f"{BASE}/m0") for _ in range(30)))
    done: list[int] = []
    begun = asyncio.Event()

    async def rage() -> None:
        for _ in range(6):
            done.append((await get(wild, BASE))[0])
            begun.set()

    asked = [asyncio.create_task(rage()) for _ in range(30)]
    await begun.wait()
    for _ in range(3):
        assert (await get(calm, f"{BASE}/m0"))[0] == 200
    assert len(done) < 70, "the calm one waited for the wild one"
    await asyncio.gather(*asked)
    assert set(done) == {200}


async def settled(cluster: Cluster, level: str, there: bool = True) -> None:
    """Wait until the gate knows a level."""
    for _ in range(1000):
        if (level in cluster.api.gate.levels) is there:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"the gate did not hear of {level}")


def a_level(name: str, response: Object) -> Object:
    limited = {"nominalConcurrencyShares": 0, "limitResponse": response}
    spec = {"type": "Limited", "limited": limited}
    return {
        "apiVersion": suggested.VERSION,
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name},
        "spec": spec,
    }


async def test_whoever_comes_too_often_is_told_to_come_again(cluster: Cluster) -> None:
    await allow_people(cluster)
    await cluster.admin.create(LEVELS, a_level("narrow", {"type": "Reject"}))
    rules = [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    ]
    subjects = [{"kind": "User", "user": {"name": "wild"}}]
    spec = {
        "priorityLevelConfiguration": {"name": "narrow"},
        "matchingPrecedence": 50,
        "rules": [{"subjects": subjects, "resourceRules": rules}],
    }
    made = await cluster.admin.create(
        FLOWS,
        {"apiVersion": suggested.VERSION, "kind": "FlowSchema", "metadata": {"name": "wild"}, "spec": spec},
    )
    await settled(cluster, "narrow")
    wild = client(cluster, "wild")
    status, headers = await get(wild, BASE)
    assert (status, headers["x-kubernetes-pf-flowschema-uid"]) == (200, made["metadata"]["uid"])
    watches = [asyncio.create_task(get(wild, BASE)) for _ in range(30)]
    answers = [await t for t in watches]
    refused = [h for s, h in answers if s == 429]
    assert all(h["retry-after"] == "1" for h in refused)
    assert {s for s, _ in answers} <= {200, 429}
    await cluster.admin.delete(LEVELS, "narrow")
    await settled(cluster, "narrow", there=False)
    assert (await get(wild, BASE))[0] == 200


async def test_the_suggested_objects_are_there(cluster: Cluster) -> None:
    found = await cluster.admin.list(FLOWS)
    assert {o["metadata"]["name"] for o in found.items} == {
        o["metadata"]["name"] for o in suggested.schemas()
    }
    wrong = a_level("odd", {"type": "Queue", "queuing": {"queues": 2, "handSize": 3}})
    status, said = await cluster.ask("POST", f"/apis/{suggested.VERSION}/prioritylevelconfigurations", wrong)
    assert (status, "should not be greater than queues (2)" in said["message"]) == (422, True)
