"""The example shop, while people order and our processes are killed again and again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from tests.cluster.test_shop import fetch, sampan, url
from tests.cluster.waiting import eventually
from tests.faults.killer import Killer, chances
from tests.faults.load import items, options, settled

from sampan.lifecycle import cluster as lifecycle
from sampan.testing import Cluster, cluster

pytestmark = [pytest.mark.root, pytest.mark.campaign]

SECONDS = 40.0
WORKLOADS = ("statefulset/shop-db", "deployment/shop-api", "deployment/shop-web")


@pytest.fixture(scope="module")
def shop() -> Iterator[Cluster]:
    with cluster() as made:
        sampan(made, "demo")
        yield made


class Customers:
    """While the block runs, one order is placed after the other; `placed` are those that were acknowledged."""

    def __init__(self, address: str):
        self._address = f"{address}/api/orders"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._order, name="customers")
        self.placed: set[object] = set()
        self.failures: list[str] = []

    def _order(self) -> None:
        while not self._over.is_set():
            try:
                self.placed.add(fetch(self._address, {"product": "Oar", "quantity": 1})["id"])
            except (OSError, ValueError) as e:
                self.failures.append(repr(e))
            time.sleep(0.05)

    def __enter__(self) -> Customers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def in_the_database(shop: Cluster) -> set[object]:
    said = shop.kubectl("exec", "shop-db-0", "--", "psql", "-U", "shop", "-tAc", "SELECT id FROM orders")
    return {int(line) for line in said.split()}


def starts(shop: Cluster) -> dict[str, int]:
    """How often the containers of each pod that runs for ever were started again."""
    return {
        pod["metadata"]["name"]: sum(status["restartCount"] for status in pod["status"]["containerStatuses"])
        for pod in items(shop, "pods", "-l", "app=shop,tier in (web,api,db)")
    }


def kill_for_a_while(killer: Killer, shop: Cluster) -> None:
    """Kill and kill again; now and then, however slow the machine is, all processes have come up between two."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for _ in range(3):
            killer()
            time.sleep(0.7)
        eventually(lambda: settled(shop))
    lifecycle.start(options(shop))
    eventually(lambda: settled(shop))
    print(f"killed {json.dumps(killer.killed)}")


def test_customers_do_not_notice_that_our_processes_are_killed(shop: Cluster) -> None:
    before = starts(shop)
    killer = Killer(shop, chances(), spared=["shim"])
    with Customers(url(shop)) as customers:
        kill_for_a_while(killer, shop)
    assert len(killer.killed) > 10
    assert customers.failures == []
    assert len(customers.placed) > 20
    assert customers.placed <= in_the_database(shop)
    assert starts(shop) == before


def test_no_order_is_lost_when_containers_are_killed_too(shop: Cluster) -> None:
    killer = Killer(shop, chances())
    with Customers(url(shop)) as customers:
        eventually(lambda: len(customers.placed) > 10, 60)
        kill_for_a_while(killer, shop)
    for workload in WORKLOADS:
        shop.kubectl("rollout", "status", workload, "--timeout=120s", timeout=130)
    assert customers.placed <= in_the_database(shop)
    with Customers(url(shop)) as customers:
        eventually(lambda: customers.placed, 60)
