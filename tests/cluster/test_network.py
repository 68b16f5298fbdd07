"""How pods, services, nodes and the world reach one another."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.busybox import archive
from tests.cluster.conftest import Space, load
from tests.cluster.manifests import pod
from tests.cluster.waiting import eventually

from sampan.network.addresses import host_address
from sampan.testing import Cluster, cluster

pytestmark = pytest.mark.root

# Answers with its own name and the address that it was asked from.
WHO = """
            - name: main
              image: busybox:1
              command:
              - sh
              - -c
              - |
                mkdir -p /w/cgi-bin && cd /w/cgi-bin
                printf '#!/bin/sh\\necho; echo $(hostname) $(echo $REMOTE_ADDR | sed s/.*:// | tr -d ])\\n' >who
                chmod +x who
                exec httpd -f -p 8080 -h /w
              ports: [{containerPort: 8080, name: web}]
              readinessProbe: {tcpSocket: {port: web}, periodSeconds: 1}
"""


def who(name: str, spec: str = "", labels: str = "{app: who}") -> str:
    """A pod that answers on port 8080."""
    return pod(name, f"            {spec}\n            containers:{WHO}", labels=labels)


def service(name: str, spec: str = "", selector: str = "{app: who}") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {selector}
  ports: [{{port: 80, targetPort: web, name: web}}]
{spec}
"""


def ask(address: str, port: int = 80) -> tuple[str, str]:
    """Which pod answers this machine, and from what address it was asked."""
    with urllib.request.urlopen(f"http://{address}:{port}/cgi-bin/who", timeout=5) as answer:
        name, source = answer.read().decode().split()
        return name, source


def tells(address: str, port: int = 80) -> tuple[str, str] | None:
    """The same, or None where nobody answers."""
    try:
        return ask(address, port)
    except OSError:
        return None


def ask_from(space: Space, asking: str, host: str, port: int = 80) -> str:
    """The same from a pod; also what wget says of a failure."""
    url = f"http://{host}:{port}/cgi-bin/who"
    return space.kubectl("exec", asking, "--", "timeout", "5", "wget", "-qO-", url, check=False)


def ip(space: Space, name: str) -> str:
    address: str = space.get("pod", name)["status"]["podIP"]
    return address


def cluster_ip(space: Space, name: str) -> str:
    address: str = space.get("service", name)["spec"]["clusterIP"]
    return address


@pytest.fixture
def two(space: Space) -> Space:
    """A service `who` over the pods `a` and `b`."""
    space.apply(who("a"), who("b"), service("who"))
    space.ready("a")
    space.ready("b")
    address = cluster_ip(space, "who")
    eventually(lambda: {tells(address) and ask(address)[0] for _ in range(8)} == {"a", "b"})
    return space


# Names


def lookup(space: Space, name: str) -> list[str]:
    """The addresses that a pod finds for a name."""
    said = space.kubectl("exec", "a", "--", "nslookup", "-type=a", name, check=False)
    return sorted(line.split()[-1] for line in said.split("Name:", 1)[-1].splitlines() if "Address" in line)


def test_names_of_services_and_pods(two: Space) -> None:
    two.apply(
        service("headless", "  clusterIP: None"),
        "{apiVersion: v1, kind: Service, metadata: {name: alias},\n"
        f" spec: {{type: ExternalName, externalName: who.{two.name}.svc.cluster.local}}}}",
    )
    full = f"{two.name}.svc.cluster.local"
    assert lookup(two, f"who.{full}") == [cluster_ip(two, "who")]
    pods = sorted([ip(two, "a"), ip(two, "b")])
    eventually(lambda: lookup(two, f"headless.{full}") == pods)
    for short in ("who", f"who.{two.name}", f"who.{two.name}.svc", f"who.{full}", f"alias.{full}"):
        eventually(lambda short=short: ask_from(two, "a", short)[:2] in ("a ", "b "))  # type: ignore[misc]
    assert "bad address" in ask_from(two, "a", "nobody")
    srv = two.kubectl("exec", "a", "--", "nslookup", "-type=srv", f"_web._tcp.who.{full}")
    assert f"0 100 80 who.{full}" in srv


def test_pods_of_a_stateful_set_have_names(space: Space) -> None:
    template = who("x").split("spec:\n", 1)[1].replace("\n", "\n    ")
    space.apply(
        who("a", labels="{}"),
        service("db", "  clusterIP: None"),
        f"""
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: who}}}}
  template:
    metadata: {{labels: {{app: who}}}}
    spec:
    {template}
""",
    )
    space.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    space.ready("a")
    for name in ("db-0", "db-1"):
        eventually(lambda name=name: ask_from(space, "a", f"{name}.db", 8080).startswith(name))  # type: ignore[misc]
        assert lookup(space, f"{name}.db.{space.name}.svc.cluster.local") == [ip(space, name)]


# Services


def test_a_service_balances_and_follows_its_pods(two: Space) -> None:
    address = cluster_ip(two, "who")
    assert {ask(address)[0] for _ in range(20)} == {"a", "b"}, "from this machine"
    assert {ask_from(two, "a", "who").split()[0] for _ in range(8)} == {"a", "b"}, (
        "from a pod, itself included"
    )
    two.kubectl("delete", "pod", "b")
    eventually(lambda: {(tells(address) or [""])[0] for _ in range(8)} == {"a"})


def test_pods_are_asked_by_their_true_address(two: Space) -> None:
    two.apply(who("c", labels="{}"))
    two.ready("c")
    assert ask_from(two, "c", ip(two, "a"), 8080).split() == ["a", ip(two, "c")]
    assert ask_from(two, "c", "who").split()[1] == ip(two, "c")


def test_a_node_port_answers_on_every_address_of_the_node(two: Space) -> None:
    two.kubectl("patch", "service", "who", "-p", '{"spec":{"type":"NodePort"}}')
    port = two.get("service", "who")["spec"]["ports"][0]["nodePort"]
    node = two.list("nodes")[0]["status"]["addresses"][0]["address"]
    for address in ("127.0.0.1", node, _own_address()):
        eventually(lambda address=address: tells(address, port))  # type: ignore[misc]
        assert {ask(address, port)[0] for _ in range(20)} == {"a", "b"}
    assert ask_from(two, "a", node, port).split()[0] in ("a", "b")
    two.kubectl("delete", "service", "who")
    eventually(lambda: tells("127.0.0.1", port) is None)


def _own_address() -> str:
    """This machine's address towards the outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("192.0.2.1", 9))
        address: str = s.getsockname()[0]
        return address


def test_session_affinity_keeps_a_client_at_its_pod(two: Space) -> None:
    two.kubectl("patch", "service", "who", "-p", '{"spec":{"sessionAffinity":"ClientIP"}}')
    address = cluster_ip(two, "who")
    eventually(lambda: len({ask(address)[0] for _ in range(10)}) == 1)
    assert len({ask(address)[0] for _ in range(20)}) == 1


def test_a_service_without_endpoints_refuses_at_once(space: Space) -> None:
    space.apply(service("none", selector="{app: nobody}"), who("a"))
    space.ready("a")
    eventually(lambda: "refused" in ask_from(space, "a", "none"))
    begun = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((cluster_ip(space, "none"), 80), timeout=5)
    assert time.monotonic() - begun < 5


def test_a_service_of_udp_with_endpoints_made_by_hand(space: Space) -> None:
    own = host_address(space.cluster.config.ranges)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((own, 0))
        server.settimeout(1)
        space.apply(
            f"""
apiVersion: v1
kind: Service
metadata: {{name: by-hand}}
spec: {{ports: [{{port: 50, protocol: UDP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: by-hand, labels: {{kubernetes.io/service-name: by-hand}}}}
addressType: IPv4
ports: [{{port: {server.getsockname()[1]}, protocol: UDP, name: ''}}]
endpoints: [{{addresses: ['{own}']}}]
"""
        )
        address = cluster_ip(space, "by-hand")
        assert eventually(lambda: _heard(server, address)) == b"hello"


def _heard(server: socket.socket, address: str) -> bytes:
    """What the server hears when a client sends to a service."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        try:
            client.sendto(b"hello", (address, 50))
            return server.recv(100)
        except OSError:
            return b""


# Pods and the machine


def test_host_ports_lead_to_their_pod_while_it_lives(space: Space) -> None:
    port = 20000 + int.from_bytes(os.urandom(2)) % 9000
    space.apply(who("a").replace("containerPort: 8080,", f"containerPort: 8080, hostPort: {port},"))
    space.ready("a")
    assert tells("127.0.0.1", port)
    assert ask(_own_address(), port)[0] == "a"
    space.kubectl("delete", "pod", "a")
    eventually(lambda: tells("127.0.0.1", port) is None)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A machine that knows no route to pods; its address, and ours on the cable to it."""
    tag = os.urandom(3).hex()
    cable = ipaddress.ip_network((f"198.18.{int(tag[:2], 16)}.{int(tag[2:4], 16) & 252}", 30))
    ours, theirs = (str(address) for address in cable.hosts())
    run(f"ip netns add out{tag}")
    server = None
    try:
        run(f"ip link add out{tag} type veth peer name up0 netns out{tag}")
        run(f"ip address add {ours}/30 dev out{tag}")
        run(f"ip link set out{tag} up")
        run(f"ip -n out{tag} address add {theirs}/30 dev up0")
        run(f"ip -n out{tag} link set up0 up")
        (tmp_path / "cgi-bin").mkdir()
        answer = tmp_path / "cgi-bin/who"
        answer.write_text("#!/bin/sh\necho; echo outside $(echo $REMOTE_ADDR | sed s/.*:// | tr -d ])\n")
        answer.chmod(0o755)
        words = [
            "ip",
            "netns",
            "exec",
            f"out{tag}",
            "busybox",
            "httpd",
            "-f",
            "-p",
            "80",
            "-h",
            str(tmp_path),
        ]
        server = subprocess.Popen(words)
        yield theirs, ours
    finally:
        if server:
            server.kill()
            server.wait()
        run(f"ip netns delete out{tag}")


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def test_pods_reach_the_outside_under_the_machines_address(space: Space, outside: tuple[str, str]) -> None:
    theirs, ours = outside
    space.apply(who("a"))
    space.ready("a")
    assert ask_from(space, "a", theirs).split() == ["outside", ours]


# Several nodes, several clusters


def test_pods_on_two_nodes_and_the_host_reach_one_another(wide: Space, outside: tuple[str, str]) -> None:
    first, second = (n["metadata"]["name"] for n in wide.list("nodes"))
    wide.apply(
        who("a", f"nodeName: {first}"), who("b", f"nodeName: {second}"), service("who", "  type: NodePort")
    )
    wide.ready("a")
    wide.ready("b")
    assert ask_from(wide, "a", ip(wide, "b"), 8080).split() == ["b", ip(wide, "a")]
    assert ask_from(wide, "b", ip(wide, "a"), 8080).split() == ["a", ip(wide, "b")]
    assert ask(ip(wide, "b"), 8080)[0] == "b"
    for asking in ("a", "b"):
        eventually(lambda asking=asking: {ask_from(wide, asking, "who")[:1] for _ in range(6)} == {"a", "b"})  # type: ignore[misc]
        assert ask_from(wide, asking, outside[0]).split() == ["outside", outside[1]]
    port = wide.get("service", "who")["spec"]["ports"][0]["nodePort"]
    addresses = [n["status"]["addresses"][0]["address"] for n in wide.list("nodes")]
    for address in ("127.0.0.1", *addresses):
        eventually(lambda address=address: tells(address, port))  # type: ignore[misc]
    assert {ask(cluster_ip(wide, "who"))[0] for _ in range(20)} == {"a", "b"}
    for name in ("a", "b"):
        assert wide.kubectl("exec", name, "--", "hostname") == f"{name}\n"
        wide.kubectl("logs", name)


def test_local_traffic_policy_keeps_to_its_node(wide: Space) -> None:
    first, second = (n["metadata"]["name"] for n in wide.list("nodes"))
    wide.apply(
        who("a", f"nodeName: {first}"),
        who("b", f"nodeName: {second}"),
        service("who", "  internalTrafficPolicy: Local"),
    )
    wide.ready("a")
    wide.ready("b")
    for asking in ("a", "b"):
        eventually(lambda asking=asking: ask_from(wide, asking, "who").startswith(asking))  # type: ignore[misc]
        assert {ask_from(wide, asking, "who")[:1] for _ in range(6)} == {asking}


def test_a_daemon_set_has_a_pod_on_every_node(wide: Space) -> None:
    wide.apply(
        """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: 'busybox:1', command: [sleep, '600']}]
"""
    )
    wide.kubectl("rollout", "status", "daemonset/d", "--timeout=60s")
    nodes = {n["metadata"]["name"] for n in wide.list("nodes")}
    assert {p["spec"]["nodeName"] for p in wide.list("pods")} == nodes
    wide.kubectl("set", "image", "daemonset/d", "main=busybox:2")
    wide.kubectl("rollout", "status", "daemonset/d", "--timeout=60s")
    assert {p["spec"]["containers"][0]["image"] for p in wide.list("pods")} == {"busybox:2"}


def test_clusters_side_by_side_do_not_disturb_one_another(space: Space, tmp_path: Path) -> None:
    def serving(c: Cluster) -> str:
        c.kubectl("apply", "-f", "-", input=who("a") + "\n---\n" + service("who"))
        c.kubectl("wait", "--for=condition=Ready", "pod/a", "--timeout=60s")
        return c.kubectl("get", "service", "who", "-o", "jsonpath={.spec.clusterIP}")

    space.apply(who("mine"), service("who"))
    space.ready("mine")
    archive(tmp_path / "busybox.tar", ["busybox:1"])
    with cluster() as other:
        load(other, tmp_path / "busybox.tar")
        address = serving(other)
        eventually(lambda: tells(address))
        assert "mine" not in other.kubectl("get", "pods", "-A")
        eventually(lambda: tells(cluster_ip(space, "who")))
    assert tells(address) is None, "the other is gone"
    assert ask(cluster_ip(space, "who"))[0] == "mine"
    assert ask_from(space, "mine", "who").startswith("mine")
