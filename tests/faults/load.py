"""What the fault tests look at while something is killed: an application under load, and a cluster's processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cluster.waiting import eventually

from sampan.lifecycle import cluster as lifecycle
from sampan.lifecycle.configure import Options
from sampan.testing import Cluster

WEB_PORT, ECHO_PORT = 80, 9000

# Serves its name by HTTP, and on another port says back what it hears, on one connection.
APPLICATION = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: web, port: 80, targetPort: 8080}, {name: echo, port: 9000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: busybox:1
        command:
        - sh
        - -c
        - >-
          mkdir /www; hostname > /www/index.html; echo serving; httpd -p 8080 -h /www;
          while :; do nc -l -p 9000 -e cat; done
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
"""


def deploy(cluster: Cluster) -> str:
    """Deploy the application, and return its service's address once it answers."""
    cluster.kubectl("apply", "-f", "-", input=APPLICATION)
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    address = cluster.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    eventually(lambda: answers(address))
    return address


def answers(address: str, timeout: float = 5.0) -> bool:
    """Whether one request to the service is answered."""
    connection = http.client.HTTPConnection(address, WEB_PORT, timeout=timeout)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().startswith(b"web-")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Clients:
    """While the block runs, one client asks the service again and again, each time on a new connection, and
    another keeps one connection open. `failures` counts the requests that were not answered.
    """

    def __init__(self, address: str):
        self.address = address
        self.requests = self.failures = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="clients")
        self._held = socket.create_connection((address, ECHO_PORT), timeout=10)

    def _ask(self) -> None:
        while not self._over.is_set():
            self.requests += 1
            self.failures += not answers(self.address)
            time.sleep(0.01)

    def check_held_connection(self) -> None:
        """What is sent on the connection that was opened first comes back."""
        word = os.urandom(16).hex().encode()
        self._held.sendall(word)
        heard = b""
        while len(heard) < len(word):
            piece = self._held.recv(100)
            assert piece, "the long connection was closed"
            heard += piece
        assert heard == word

    def __enter__(self) -> Clients:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._held.close()


# The cluster's own processes


def options(cluster: Cluster) -> Options:
    return Options(name=cluster.config.name, state=cluster.config.state)


def process(cluster: Cluster, name: str) -> int:
    """The pid of `supervisor`, `control`, or a node by its name; 0 while it does not run."""
    told = lifecycle.ask(cluster.config, "status")
    if not told or name == "supervisor":
        return int(told["pid"]) if told else 0
    return next(int(p["pid"] or 0) for p in told["processes"] if p["name"] == name)


def kill(pid: int) -> None:
    """kill -9, and wait until the process is gone."""
    assert pid, "what is to be killed does not run"
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid))


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def settled(cluster: Cluster) -> bool:
    """Whether the supervisor answers and all its processes have said that they are ready."""
    told = lifecycle.ask(cluster.config, "status")
    return told is not None and all(p["state"] == "ready" for p in told["processes"])


def shims(cluster: Cluster) -> dict[str, int]:
    """The pid of each container's shim, by the container's id."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if len(words) > 2 and words[1] == "run" and words[2].startswith(f"{cluster.config.run}/"):
            found[Path(words[2]).name] = int(directory.name)
    return found


# What Kubernetes says


def items(cluster: Cluster, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cluster.kubectl("get", *words, "-o", "json"))["items"]
    return found


def containers(cluster: Cluster) -> dict[str, tuple[str, int]]:
    """Of each pod with the label app=web: its container's id, and how often it was restarted."""
    return {
        pod["metadata"]["name"]: (status["containerID"].partition("//")[2], status["restartCount"])
        for pod in items(cluster, "pods", "-l", "app=web")
        for status in pod["status"].get("containerStatuses", [])
        if status.get("containerID")
    }
