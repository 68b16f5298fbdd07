"""The example shop, as `sampan demo` deploys it: it works, explains itself, and its orders survive anything."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
from tests.cluster.conftest import SAMPAN
from tests.cluster.waiting import eventually

from sampan.lifecycle import cluster as lifecycle
from sampan.lifecycle.configure import Options
from sampan.testing import Cluster, cluster

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def deployed() -> Iterator[tuple[Cluster, str]]:
    """The shop as `sampan demo` leaves it, and what that printed. Each test finds it so, in whatever order they run."""
    with cluster() as made:
        yield made, sampan(made, "demo")


@pytest.fixture
def shop(deployed: tuple[Cluster, str]) -> Cluster:
    return deployed[0]


def sampan(c: Cluster, command: str, *words: str, timeout: float = 600) -> str:
    words = (command, "--name", c.config.name, *words)
    done = subprocess.run([*SAMPAN, *words], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def url(c: Cluster) -> str:
    port = c.kubectl("get", "service", "shop-web", "-o", "jsonpath={.spec.ports[0].nodePort}")
    return f"http://127.0.0.1:{port}"


def fetch(address: str, body: object = None) -> dict[str, object]:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(address, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, object] = json.loads(answer.read())
        return found


def orders(c: Cluster) -> list[object]:
    found = fetch(f"{url(c)}/api/orders")["orders"]
    assert isinstance(found, list)
    return found


def order(c: Cluster) -> list[object]:
    """Place an order; all that are there then."""
    eventually(lambda: _answers(c), 60)
    fetch(f"{url(c)}/api/orders", {"product": "Oar", "quantity": 2})
    return orders(c)


def test_the_demo_prints_its_address_and_its_drawn_operation(deployed: tuple[Cluster, str]) -> None:
    shop, said = deployed
    assert f"The shop is at {url(shop)}/" in said
    for told in ("kubectl → kube-apiserver", "kube-apiserver ⇢ kube-scheduler", "create deployments"):
        assert told in said
    with urllib.request.urlopen(url(shop), timeout=10) as page:
        assert b"<!doctype html>" in page.read()


def test_an_order_can_be_placed_and_survives_the_database_pod(shop: Cluster) -> None:
    before = orders(shop)
    placed = order(shop)
    assert len(placed) == len(before) + 1
    shop.kubectl("delete", "pod", "shop-db-0", "--timeout=60s")
    shop.kubectl("rollout", "status", "statefulset/shop-db", "--timeout=60s")
    eventually(lambda: _answers(shop) and orders(shop) == placed, 60)


def _answers(c: Cluster) -> bool:
    """Whether the shop shows its orders, be there any or none."""
    try:
        orders(c)
    except OSError:
        return False
    return True


def test_why_and_trace_explain_a_broken_image(shop: Cluster) -> None:
    shop.kubectl("set", "image", "deployment/shop-web", "web=shop-web:typo")
    eventually(lambda: "ImagePull" in sampan(shop, "why", "deployment/shop-web"), 60)
    shop.kubectl("rollout", "undo", "deployment/shop-web")
    shop.kubectl("rollout", "status", "deployment/shop-web", "--timeout=60s")
    assert "shop-web" in sampan(shop, "trace")


def test_orders_survive_a_restart_of_everything(shop: Cluster) -> None:
    before = order(shop)
    lifecycle.stop(shop.config)
    lifecycle.start(Options(name=shop.config.name, state=shop.config.state))
    for workload in ("statefulset/shop-db", "deployment/shop-api", "deployment/shop-web"):
        shop.kubectl("rollout", "status", workload, "--timeout=120s", timeout=130)
    eventually(lambda: _answers(shop) and orders(shop) == before, 60)
