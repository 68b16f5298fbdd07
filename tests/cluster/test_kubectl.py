"""Every kubectl command that the README promises, run by the unmodified kubectl against a real cluster."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import urllib.request
from pathlib import Path

import pytest
from tests.cluster.conftest import Space
from tests.cluster.waiting import eventually

from sampan.cli.kubectl import program

pytestmark = pytest.mark.root

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
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
        command: [sh, -c, 'mkdir /www; hostname > /www/index.html; echo serving; exec httpd -f -p 8080 -h /www']
        ports: [{containerPort: 8080, name: http}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
"""


@pytest.fixture
def web(space: Space) -> Space:
    """A namespace where the Deployment `web` is up."""
    space.kubectl("apply", "-f", "-", input=WEB)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    return space


@pytest.fixture
def sleeper(space: Space) -> Space:
    """A namespace with a pod `box` that sleeps."""
    space.kubectl("run", "box", "--image=busybox:1", "--grace-period=1", "--", "sleep", "3600", check=False)
    if "box" not in space.kubectl("get", "pods", "-o", "name"):
        space.kubectl("run", "box", "--image=busybox:1", "--", "sleep", "3600")
    space.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
    return space


def test_apply_again_changes_only_what_changed(space: Space) -> None:
    assert "deployment.apps/web created" in space.kubectl("apply", "-f", "-", input=WEB)
    assert "unchanged" in space.kubectl("apply", "-f", "-", input=WEB)
    more = WEB.replace("replicas: 2", "replicas: 3")
    assert "configured" in space.kubectl("apply", "-f", "-", input=more)
    assert space.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "3"


def test_create(space: Space) -> None:
    space.kubectl("create", "configmap", "settings", "--from-literal=colour=blue")
    space.kubectl("create", "secret", "generic", "keys", "--from-literal=door=1234")
    space.kubectl("create", "deployment", "d", "--image=busybox:1", "--", "sleep", "60")
    space.kubectl("create", "job", "j", "--image=busybox:1", "--", "true")
    space.kubectl("create", "serviceaccount", "bot")
    space.kubectl("create", "role", "reader", "--verb=get", "--resource=pods")
    space.kubectl("create", "rolebinding", "reads", "--role=reader", f"--serviceaccount={space.name}:bot")
    bot = f"--as=system:serviceaccount:{space.name}:bot"
    assert space.kubectl("auth", "can-i", "get", "pods", bot).strip() == "yes"
    assert space.kubectl("auth", "can-i", "delete", "pods", bot, check=False).startswith("no")
    assert space.kubectl("create", "token", "bot").count(".") == 2
    assert "already exists" in space.kubectl("create", "serviceaccount", "bot", check=False)
    space.kubectl("wait", "--for=condition=complete", "job/j", "--timeout=30s")


def test_get_in_all_forms(web: Space) -> None:
    table = web.kubectl("get", "pods")
    assert re.search(r"^web-\S+ +1/1 +Running +0 +\d+s$", table, re.M), table
    wide = web.kubectl("get", "pods", "-o", "wide")
    assert re.search(r"10\.\d+\.\d+\.\d+ +sampan", wide), wide
    assert "kind: Deployment" in web.kubectl("get", "deploy", "web", "-o", "yaml")
    assert web.kubectl("get", "deploy", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"
    names = web.kubectl("get", "pods", "-l", "app=web", "-o", "name").split()
    assert len(names) == 2
    assert "replicaset.apps/web" in web.kubectl("get", "all")
    assert "NotFound" in web.kubectl("get", "pod", "nobody", check=False)
    assert web.kubectl("get", "pods", "--field-selector=status.phase=Failed", "-o", "name") == ""


def test_get_watch_follows_changes(space: Space) -> None:
    space.kubectl("create", "configmap", "c")
    watch = space.popen("get", "configmap", "c", "-w", "-o", "jsonpath={.data.n}{'\\n'}")
    try:
        assert watch.stdout
        assert watch.stdout.readline() == "\n"
        space.kubectl("patch", "configmap", "c", "-p", '{"data":{"n":"2"}}')
        assert watch.stdout.readline() == "2\n"
    finally:
        watch.kill()
        watch.communicate()


def test_describe(web: Space) -> None:
    pod = web.kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    said = web.kubectl("describe", "pod", pod)
    for words in (
        "Status: ",
        "Running",
        "Successfully assigned",
        "Container image",
        "Container created",
        "Container started",
    ):
        assert words in said, said
    assert "2 desired | 2 updated | 2 total | 2 available" in web.kubectl("describe", "deployment", "web")
    assert "Ready" in web.kubectl("describe", "node")


def test_edit(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    space.kubectl("create", "configmap", "c", "--from-literal=colour=blue")
    monkeypatch.setenv("KUBE_EDITOR", "sed -i s/blue/green/")
    space.kubectl("edit", "configmap", "c")
    assert space.kubectl("get", "configmap", "c", "-o", "jsonpath={.data.colour}") == "green"


def test_delete_ends_the_pods_too(web: Space) -> None:
    web.kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=30s")
    eventually(lambda: not web.kubectl("get", "pods", "-o", "name"))
    assert "not found" in web.kubectl("delete", "deployment", "web", check=False)


def test_logs_follow(space: Space) -> None:
    script = "for i in 1 2 3; do echo line $i; sleep 0.3; done"
    space.kubectl("run", "talker", "--image=busybox:1", "--restart=Never", "--", "sh", "-c", script)
    eventually(lambda: "line" in space.kubectl("logs", "talker", check=False))
    assert space.kubectl("logs", "-f", "talker") == "line 1\nline 2\nline 3\n"
    assert space.kubectl("logs", "--tail=1", "talker") == "line 3\n"
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z line 1", space.kubectl("logs", "--timestamps", "talker"))


def test_exec(sleeper: Space) -> None:
    assert sleeper.kubectl("exec", "box", "--", "echo", "hello") == "hello\n"
    assert sleeper.kubectl("exec", "-i", "box", "--", "cat", input="through\n") == "through\n"
    assert "exit code 3" in sleeper.kubectl("exec", "box", "--", "sh", "-c", "exit 3", check=False)


def test_exec_with_a_terminal(sleeper: Space) -> None:
    words = [program(), "-n", sleeper.name, "exec", "-it", "box", "--", "sh"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, sleeper.cluster.environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    seen = b""
    try:
        for typed, wanted in ((b"tty\n", b"/dev/pts/"), (b"stty size\n", b"30 100"), (b"exit 7\n", b"")):
            os.write(terminal, typed)
            while wanted and wanted not in seen:
                assert select.select([terminal], [], [], 10)[0], seen
                seen += os.read(terminal, 4096)
        eventually(lambda: _drain(terminal), 10)
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def _drain(terminal: int) -> bool:
    """Read what is left; true at the end."""
    try:
        return not os.read(terminal, 4096)
    except OSError:
        return True


def test_cp_both_ways(sleeper: Space, tmp_path: Path) -> None:
    there = tmp_path / "there.bin"
    there.write_bytes(os.urandom(300_000))
    sleeper.kubectl("cp", str(there), "box:/tmp/file")
    back = tmp_path / "back.bin"
    sleeper.kubectl("cp", "box:/tmp/file", str(back))
    assert back.read_bytes() == there.read_bytes()


def test_port_forward(web: Space) -> None:
    forward = web.popen("port-forward", "deployment/web", ":8080")
    try:
        assert forward.stdout
        port = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
        assert port
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/", timeout=10) as answer:
                assert answer.read().startswith(b"web-")
    finally:
        forward.kill()
        forward.communicate()


def test_run_attached(space: Space) -> None:
    said = space.kubectl(
        "run", "once", "--image=busybox:1", "--rm", "-i", "--restart=Never", "--", "echo", "hello"
    )
    assert "hello" in said
    assert space.kubectl("get", "pods", "-o", "name") == ""


def test_expose_and_reach_the_service_by_name_address_and_port(web: Space) -> None:
    web.kubectl("expose", "deployment", "web", "--port=80", "--target-port=http", "--type=NodePort")
    address, port = web.kubectl(
        "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP} {.spec.ports[0].nodePort}"
    ).split()
    eventually(lambda: len(_endpoints(web)) == 2)
    for url in (f"http://{address}/", f"http://127.0.0.1:{port}/"):
        seen = {_fetch(url) for _ in range(20)}
        assert len(seen) == 2, f"{url} reached only {seen}"
    said = web.kubectl(
        "run",
        "client",
        "--image=busybox:1",
        "--rm",
        "-i",
        "--restart=Never",
        "--",
        "wget",
        "-qO-",
        f"http://web.{web.name}/",
    )
    assert said.startswith("web-")


def _endpoints(space: Space) -> list[object]:
    slices = json.loads(
        space.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "json")
    )
    return [e for s in slices["items"] for e in s["endpoints"] or [] if e["conditions"]["ready"]]


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


def test_scale(web: Space) -> None:
    web.kubectl("scale", "deployment/web", "--replicas=4")
    web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert len(web.kubectl("get", "pods", "-o", "name").split()) == 4
    web.kubectl("scale", "deployment/web", "--replicas=0")
    eventually(lambda: not web.kubectl("get", "pods", "-o", "name"))


def test_set_image_and_rollout(web: Space) -> None:
    web.kubectl("set", "image", "deployment/web", "web=busybox:2")
    web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert _image(web) == "busybox:2"
    assert re.search(r"^1 .*\n2 ", web.kubectl("rollout", "history", "deployment/web"), re.M)
    web.kubectl("rollout", "undo", "deployment/web")
    web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert _image(web) == "busybox:1"
    before = set(web.kubectl("get", "pods", "-o", "name").split())
    web.kubectl("rollout", "restart", "deployment/web")
    web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    eventually(lambda: not before & set(web.kubectl("get", "pods", "-o", "name").split()))


def _image(space: Space) -> str:
    return space.kubectl(
        "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"
    )


def test_rollout_pause_holds_a_change_back_until_resume(web: Space) -> None:
    web.kubectl("rollout", "pause", "deployment/web")
    web.kubectl("set", "image", "deployment/web", "web=busybox:2")
    time.sleep(1)
    assert len(web.kubectl("get", "replicasets", "-o", "name").split()) == 1
    web.kubectl("rollout", "resume", "deployment/web")
    web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert len(web.kubectl("get", "replicasets", "-o", "name").split()) == 2


def test_label_and_annotate(space: Space) -> None:
    space.kubectl("create", "configmap", "c")
    space.kubectl("label", "configmap", "c", "tier=front")
    assert space.kubectl("get", "configmap", "-l", "tier=front", "-o", "name") == "configmap/c\n"
    assert "already has a value" in space.kubectl("label", "configmap", "c", "tier=back", check=False)
    space.kubectl("label", "--overwrite", "configmap", "c", "tier=back")
    space.kubectl("label", "configmap", "c", "tier-")
    space.kubectl("annotate", "configmap", "c", "note=kept")
    assert space.kubectl("get", "configmap", "c", "-o", "jsonpath={.metadata.annotations.note}") == "kept"


def test_patch_of_each_type(web: Space) -> None:
    web.kubectl(
        "patch",
        "deployment",
        "web",
        "-p",
        '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}',
    )
    web.kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"replicas":1}}')
    web.kubectl(
        "patch",
        "deployment",
        "web",
        "--type=json",
        "-p",
        '[{"op":"add","path":"/metadata/labels/x","value":"y"}]',
    )
    spec = json.loads(web.kubectl("get", "deployment", "web", "-o", "json"))
    container = spec["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["env"]) == ("busybox:1", [{"name": "A", "value": "1"}])
    assert (spec["spec"]["replicas"], spec["metadata"]["labels"]) == (1, {"app": "web", "x": "y"})


def test_wait(space: Space) -> None:
    space.kubectl("run", "box", "--image=busybox:1", "--", "sleep", "60")
    assert "condition met" in space.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=30s")
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/box", "--timeout=30s")
    space.kubectl("delete", "pod", "box", "--wait=false", "--grace-period=1")
    space.kubectl("wait", "--for=delete", "pod/box", "--timeout=30s")


def test_events(space: Space) -> None:
    space.kubectl("run", "box", "--image=busybox:1", "--", "sleep", "60")
    space.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=30s")
    eventually(lambda: "Started" in space.kubectl("events", "--for=pod/box"))
    said = space.kubectl("events", "--for=pod/box")
    assert [r for r in ("Scheduled", "Pulled", "Created", "Started") if r not in said] == []


def test_top(sleeper: Space) -> None:
    eventually(lambda: re.search(r"box +\d+m +\d+Mi", sleeper.kubectl("top", "pod", check=False)), 60)
    assert re.search(r"sampan\S* +\d+m +\d+% +\d+Mi +\d+%", sleeper.kubectl("top", "node"))


def test_explain_and_api_resources(space: Space) -> None:
    assert "replicas" in space.kubectl("explain", "deployment.spec")
    assert re.search(
        r"^deployments +deploy +apps/v1 +true +Deployment$", space.kubectl("api-resources"), re.M
    )
    assert "apps/v1" in space.kubectl("api-versions")


def test_what_is_wrong_is_said_plainly(space: Space) -> None:
    wrong = WEB.replace("replicas: 2", "replicas: two")
    assert "replicas" in space.kubectl("apply", "-f", "-", input=wrong, check=False)
    unknown = WEB.replace("replicas: 2", "replcas: 2")
    assert 'unknown field "spec.replcas"' in space.kubectl("apply", "-f", "-", input=unknown, check=False)
    mismatch = WEB.replace("metadata: {labels: {app: web}}", "metadata: {labels: {app: other}}")
    assert "`selector` does not match template `labels`" in space.kubectl(
        "apply", "-f", "-", input=mismatch, check=False
    )


def test_kubectl_session_is_one_operation_with_a_picture(web: Space, tmp_path: Path) -> None:
    from tests.cluster.conftest import SAMPAN

    name = ["--name", web.cluster.config.name]

    def listed() -> str:
        return subprocess.run([*SAMPAN, "trace", *name], check=True, capture_output=True, text=True).stdout

    line = eventually(lambda: re.search(r"^(\S+) .*kubectl apply deployments.apps/web$", listed(), re.M))
    assert isinstance(line, re.Match)
    picture = tmp_path / "apply.svg"
    subprocess.run([*SAMPAN, "trace", *name, line[1], "-f", str(picture)], check=True, capture_output=True)
    text = picture.read_text()
    for who in (
        "kubectl",
        "kube-apiserver",
        "deployment-controller",
        "replicaset-controller",
        "kube-scheduler",
        "kubelet",
        "runc",
    ):
        assert who in text, who


def test_cordon_and_drain() -> None:
    """On a cluster of two nodes of its own: what is drained moves to the other node."""
    from tests.cluster.busybox import archive
    from tests.cluster.conftest import load

    from sampan.testing import cluster

    with cluster(nodes=2) as c:
        tar = c.config.state / "busybox.tar"
        archive(tar, ["busybox:1"])
        load(c, tar)
        first, second = c.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
        c.kubectl("apply", "-f", "-", input=WEB)
        c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        c.kubectl("cordon", first)
        assert "SchedulingDisabled" in c.kubectl("get", "node", first)
        c.kubectl("drain", first, "--ignore-daemonsets", "--timeout=60s")
        c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        on = c.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").split()
        assert set(on) == {second}
        c.kubectl("uncordon", first)
        assert "SchedulingDisabled" not in c.kubectl("get", "node", first)
