"""The `sampan` command as a user types it, against clusters of the test's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.busybox import archive
from tests.cluster.conftest import SAMPAN, Space
from tests.cluster.waiting import eventually

from sampan.cli.kubectl import program
from sampan.network import addresses
from sampan.testing import Cluster

pytestmark = pytest.mark.root


def sampan(*words: str | Path, check: bool = True, timeout: float = 120) -> str:
    done = subprocess.run([*SAMPAN, *map(str, words)], capture_output=True, text=True, timeout=timeout)
    if check:
        assert done.returncode == 0, done.stderr
        return done.stdout
    return done.stdout + done.stderr


@pytest.fixture
def name(tmp_path: Path) -> Iterator[str]:
    """A cluster's name; whatever is started under it is erased."""
    chosen = f"cli{os.urandom(3).hex()}"
    yield chosen
    state = tmp_path / "state"
    if state.exists():
        sampan("down", "--name", chosen, "--state", state, "--delete", "--yes")


def test_help_and_what_is_not_there() -> None:
    said = sampan("--help")
    for command in (
        "up",
        "down",
        "status",
        "demo",
        "kubectl",
        "image",
        "trace",
        "why",
        "logs",
        "doctor",
        "run",
    ):
        assert re.search(rf"^  {command} ", said, re.M)
    assert "there is no command 'fly'" in sampan("fly", check=False)
    assert "`sampan up --name nobody` starts it" in sampan("status", "--name", "nobody", check=False)


def test_up_status_down_and_up_again(name: str, tmp_path: Path) -> None:
    state, config = tmp_path / "state", tmp_path / "kubeconfig"
    up: list[str | Path] = ["up", "--name", name, "--state", state, "--port", "0", "--kubeconfig", config]
    said = sampan(*up)
    assert f"export KUBECONFIG={config}" in said
    assert "Ready in" in said
    kubectl = [program(), "--kubeconfig", str(config)]
    subprocess.run([*kubectl, "create", "configmap", "kept"], check=True, capture_output=True)
    status = json.loads(sampan("status", "--name", name, "-o", "json"))
    assert [p["state"] for p in status["processes"]] == ["ready", "ready"]
    assert "serving https" in sampan("status", "--name", name)
    sampan(*up)  # again changes nothing
    again = json.loads(sampan("status", "--name", name, "-o", "json"))
    assert [p["pid"] for p in again["processes"]] == [p["pid"] for p in status["processes"]]
    sampan("down", "--name", name)
    assert "there is no running cluster" in sampan("status", "--name", name, check=False)
    sampan("up", "--name", name, "--state", state)
    subprocess.run([*kubectl, "get", "configmap", "kept"], check=True, capture_output=True)
    sampan("down", "--name", name, "--delete", "--yes")
    assert not state.exists()
    assert not config.exists()


def test_up_in_the_foreground_stops_on_an_interrupt(name: str, tmp_path: Path) -> None:
    words = [*SAMPAN, "up", "--name", name, "--state", str(tmp_path / "state"), "--port", "0", "--foreground"]

    def heeds_interrupts() -> None:
        # A test run in the background of a shell ignores them, and so would its children.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    child = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=heeds_interrupts
    )
    assert child.stdout
    while "Ctrl-C" not in (line := child.stdout.readline()):
        assert line, "it ended before it was up"
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert "there is no running cluster" in sampan("status", "--name", name, check=False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--name", "Not_A_Name"], "is no name for a cluster"),
        (["--nodes", "999"], "has 1 to 245 nodes"),
        (["--listen", "no-address"], "cannot listen on no-address"),
    ],
)
def test_up_says_what_it_cannot_do(words: list[str], says: str, name: str, tmp_path: Path) -> None:
    given = words if "--name" in words else ["--name", name, *words]
    assert says in sampan("up", "--state", tmp_path / "state", *given, check=False)
    assert not (tmp_path / "state").exists()


def test_up_refuses_a_port_that_is_taken(name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        said = sampan("up", "--name", name, "--state", tmp_path / "state", "--port", port, check=False)
    assert f"port {port} is in use; give another with --port" in said
    assert name not in (addresses.LEASES / "leases.json").read_text()


def test_kubeconfig_is_printed_and_merged(
    shared: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared.url in sampan("kubeconfig", "--name", shared.config.name)
    target = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(target))
    assert "use-context" in sampan("kubeconfig", "--merge", "--name", shared.config.name)
    context = f"sampan-{shared.config.name}"
    done = subprocess.run([program(), "--context", context, "get", "ns"], capture_output=True, text=True)
    assert "kube-system" in done.stdout


def test_images_are_built_listed_saved_loaded_and_removed(shared: Cluster, tmp_path: Path) -> None:
    name = ["--name", shared.config.name]
    (tmp_path / "Dockerfile").write_text("FROM busybox:1\nRUN echo built > /greeting\nCMD cat /greeting\n")
    assert "Successfully" in sampan("image", "build", *name, "-t", "greeter:1", tmp_path)
    assert re.search(r"^greeter:1 +[0-9a-f]{12} ", sampan("image", "ls", *name), re.M)
    saved = tmp_path / "greeter.tar"
    sampan("image", "save", *name, "-o", saved, "greeter:1")
    sampan("image", "rm", *name, "greeter:1")
    assert "greeter:1" not in sampan("image", "ls", *name)
    assert "greeter:1" in sampan("image", "load", *name, "-i", saved)
    said = shared.kubectl("run", "greeter", "--image=greeter:1", "--rm", "-i", "--restart=Never")
    assert "built" in said
    assert "no such image" in sampan("image", "rm", *name, "nobody:1", check=False).lower()
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "Dockerfile").write_text("FROM busybox:1\nCOPPY a b\n")
    assert "COPPY" in sampan("image", "build", *name, wrong, check=False)


def test_logs_show_what_our_processes_printed(shared: Cluster) -> None:
    name = ["--name", shared.config.name]
    log = shared.config.logs / "control.log"
    with log.open("a") as f:
        f.write("a line for the test\n")
    assert "a line for the test" in sampan("logs", "control", *name)
    assert "nothing is logged under that name" in sampan("logs", "nobody", *name, check=False)


def test_doctor_names_each_check_and_its_fix() -> None:
    said = sampan("doctor", check=False)
    for what in ("runc", "nft", "overlayfs", "cgroups"):
        assert what in said
    empty = {**os.environ, "PATH": "/nowhere"}
    done = subprocess.run([*SAMPAN, "doctor"], capture_output=True, text=True, env=empty)
    assert done.returncode == 1
    assert "package manager" in done.stdout + done.stderr


def test_why_says_who_changed_an_object_and_how(space: Space) -> None:
    space.kubectl("run", "box", "--image=nobody/nothing:1", "--image-pull-policy=Never")
    name = ["--name", space.cluster.config.name]
    said = eventually(lambda: _if("ErrImageNeverPull", sampan("why", "pod/box", "-n", space.name, *name)))
    assert "Container box waits: ErrImageNeverPull" in str(said)
    eventually(lambda: "kubectl run" in sampan("why", "pod/box", "-n", space.name, *name))
    assert "is not KIND/NAME" in sampan("why", "box", *name, check=False)
    assert "not found" in sampan("why", "pod/nobody", *name, check=False)


def _if(word: str, text: str) -> str:
    return text if word in text else ""


def test_run_control_alone_serves_the_api(tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    words = [
        "run",
        "control",
        "--state",
        str(tmp_path / "s"),
        "--listen",
        "127.0.0.1:0",
        "--kubeconfig",
        str(config),
    ]
    child = subprocess.Popen([*SAMPAN, *words], stderr=subprocess.PIPE, text=True)
    try:
        eventually(config.exists)
        kubectl = [program(), "--kubeconfig", str(config)]
        eventually(
            lambda: subprocess.run([*kubectl, "get", "--raw", "/readyz"], capture_output=True).stdout == b"ok"
        )
        subprocess.run([*kubectl, "create", "deployment", "d", "--image=x"], check=True, capture_output=True)
        eventually(
            lambda: (
                b"pod/d-"
                in subprocess.run([*kubectl, "get", "pods", "-o", "name"], capture_output=True).stdout
            )
        )
    finally:
        child.terminate()
        child.communicate(timeout=20)


def test_run_node_alone_joins_a_control_that_runs_alone(tmp_path: Path) -> None:
    """As beside a real cluster: the node knows it only by a kubeconfig."""
    state, config = tmp_path / "s", tmp_path / "kubeconfig"
    common = ["--state", str(state), "--kubeconfig", str(config)]
    control = subprocess.Popen([*SAMPAN, "run", "control", *common, "--listen", "127.0.0.1:0"])
    node_name = f"alone{os.urandom(3).hex()}"
    node = None
    try:
        eventually(config.exists)
        kubectl = [program(), "--kubeconfig", str(config)]
        eventually(
            lambda: subprocess.run([*kubectl, "get", "--raw", "/readyz"], capture_output=True).stdout == b"ok"
        )
        node = subprocess.Popen([*SAMPAN, "run", "node", *common, "--node-name", node_name])
        wait = [*kubectl, "wait", "--for=condition=Ready", f"node/{node_name}", "--timeout=30s"]
        eventually(lambda: subprocess.run(wait, capture_output=True).returncode == 0)
        assert "needs --kubeconfig" in sampan("run", "node", "--state", tmp_path / "x", check=False)
    finally:
        for child in filter(None, (node, control)):
            child.terminate()
            child.communicate(timeout=20)
        _forget(f"alone-{node_name}")


def _forget(lease: str) -> None:
    """Take away the network of a node that ran alone."""
    import asyncio

    from sampan.config import Config
    from sampan.network import addresses, nodes

    config = Config(name=lease, run=Path("/run/sampan") / lease, ranges=addresses.lease(lease))
    asyncio.run(nodes.teardown(config))
    addresses.release(lease)
    shutil.rmtree(config.run, ignore_errors=True)


def test_run_cri_alone_serves_its_socket(tmp_path: Path) -> None:
    """The socket speaks gRPC: a client of its own asks for the version."""
    from sampan.machinery.cri import messages
    from sampan.node.grpc_cri import GrpcCri

    path = tmp_path / "cri.sock"
    state = tmp_path / f"cri{os.urandom(3).hex()}"
    child = subprocess.Popen([*SAMPAN, "run", "cri", "--state", str(state), "--listen", f"unix://{path}"])
    try:
        eventually(path.exists)

        async def version() -> str:
            client = GrpcCri(path)
            try:
                answer = await client.call("Version", messages.VersionRequest(version="v1"))
                return str(answer.runtime_name)
            finally:
                await client.close()

        import asyncio

        assert asyncio.run(version()) == "sampan"
    finally:
        child.terminate()
        child.communicate(timeout=20)
        _forget(f"alone-{state.name}")


def test_archives_for_tests_load(shared: Cluster, tmp_path: Path) -> None:
    archive(tmp_path / "b.tar", ["again:1"])
    sampan("image", "load", "--name", shared.config.name, "-i", tmp_path / "b.tar")
    assert "again:1" in sampan("image", "ls", "--name", shared.config.name)


def test_status_answers_while_nothing_else_does(shared: Cluster) -> None:
    """The supervisor answers even while the API server is stopped."""
    control = next(
        p
        for p in json.loads(sampan("status", "--name", shared.config.name, "-o", "json"))["processes"]
        if p["name"] == "control"
    )
    os.kill(control["pid"], signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert "control" in sampan("status", "--name", shared.config.name)
        assert time.monotonic() - begun < 5
    finally:
        os.kill(control["pid"], signal.SIGCONT)
