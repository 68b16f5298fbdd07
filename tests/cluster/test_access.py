"""Who may do what: users, pods, nodes, and the processes of the cluster themselves."""

from __future__ import annotations

import base64
import json
import ssl
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.cluster.conftest import Space
from tests.cluster.manifests import pod
from tests.cluster.waiting import eventually

from sampan.machinery.objects import Object
from sampan.network.addresses import host_address, layout
from sampan.testing import Cluster

pytestmark = pytest.mark.root

SLEEP = "containers: [{name: main, image: 'busybox:1', command: [sleep, '600']}]"


def with_(cluster: Cluster, *credentials: str) -> tuple[str, ...]:
    """Words that make kubectl speak with these credentials alone."""
    ca = str(cluster.config.pki / "ca.crt")
    return (
        "--kubeconfig=/dev/null",
        f"--server={cluster.url}",
        f"--certificate-authority={ca}",
        *credentials,
    )


def as_node(space: Space, *words: str, input: str = "") -> str:
    """What kubectl says to the first node of the cluster."""
    pem = space.cluster.config.pki / f"{space.cluster.config.node_names[0]}.pem"
    who = with_(space.cluster, f"--client-certificate={pem}", f"--client-key={pem}")
    return space.kubectl(*who, *words, input=input, check=False)


def as_holder(space: Space, token: str, *words: str) -> str:
    return space.kubectl(*with_(space.cluster, f"--token={token}"), *words, check=False)


# Users


def test_what_is_not_allowed_is_refused_in_upstreams_words(space: Space) -> None:
    jane = "--as=jane"
    assert space.kubectl("get", "pods", jane, check=False) == (
        'Error from server (Forbidden): pods is forbidden: User "jane" cannot list resource "pods" '
        f'in API group "" in the namespace "{space.name}"\n'
    )
    assert space.cluster.kubectl("delete", "node", "n", jane, check=False) == (
        'Error from server (Forbidden): nodes "n" is forbidden: User "jane" cannot delete resource "nodes" '
        'in API group "" at the cluster scope\n'
    )
    assert 'User "jane" cannot get path "/metrics"' in space.kubectl(
        "get", "--raw", "/metrics", jane, check=False
    )
    space.kubectl("create", "rolebinding", "jane", "--clusterrole=view", "--user=jane")
    assert "No resources found" in space.kubectl("get", "pods", jane, check=False)
    assert 'cannot list resource "secrets"' in space.kubectl("get", "secrets", jane, check=False)
    assert "Forbidden" in space.kubectl("get", "pods", "-A", jane, check=False)


def test_nobody_gives_more_than_they_have(space: Space) -> None:
    space.kubectl("create", "rolebinding", "jane", "--clusterrole=admin", "--user=jane")
    space.kubectl("create", "role", "fine", "--verb=get", "--resource=pods", "--as=jane")
    said = space.kubectl("create", "role", "more", "--verb=get", "--resource=nodes", "--as=jane", check=False)
    assert "is attempting to grant RBAC permissions not currently held" in said
    bind = ["create", "rolebinding", "r", "--clusterrole=cluster-admin", "--user=jane", "--as=jane"]
    assert "is attempting to grant RBAC permissions not currently held" in space.kubectl(*bind, check=False)


def test_without_credentials_one_sees_the_version_and_no_more(space: Space) -> None:
    tls = ssl.create_default_context(cafile=str(space.cluster.config.pki / "ca.crt"))
    with urllib.request.urlopen(f"{space.cluster.url}/version", context=tls, timeout=10) as answer:
        assert "gitVersion" in json.load(answer)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{space.cluster.url}/api", context=tls, timeout=10)
    assert refused.value.code == 403
    assert json.load(refused.value)["message"] == 'forbidden: User "system:anonymous" cannot get path "/api"'
    assert "You must be logged in" in as_holder(space, "not.a.token", "get", "pods")


# Tokens


def claims(token: str) -> Object:
    part = token.split(".")[1]
    found: Object = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_token_ends_with_what_it_is_bound_to(space: Space) -> None:
    space.kubectl("create", "serviceaccount", "bot")
    space.apply(pod("p", f"{SLEEP}\nserviceAccountName: bot"))
    bound = ["--bound-object-kind=Pod", "--bound-object-name=p", "--duration=20m"]
    token = space.kubectl("create", "token", "bot", *bound).strip()
    said = claims(token)
    assert said["sub"] == f"system:serviceaccount:{space.name}:bot"
    assert said["exp"] - said["iat"] == 1200
    assert said["kubernetes.io"]["pod"]["name"] == "p"
    assert f"system:serviceaccount:{space.name}:bot" in as_holder(space, token, "auth", "whoami")
    space.kubectl("delete", "pod", "p")
    eventually(lambda: "You must be logged in" in as_holder(space, token, "auth", "whoami"))
    own = space.kubectl("create", "token", "bot").strip()
    assert "system:serviceaccount" in as_holder(space, own, "auth", "whoami")
    space.kubectl("delete", "serviceaccount", "bot")
    eventually(lambda: "You must be logged in" in as_holder(space, own, "auth", "whoami"))


def test_tokens_for_others_and_for_moments_are_refused(space: Space) -> None:
    said = space.kubectl("create", "token", "default", "--duration=1m", check=False)
    assert "may not specify a duration less than 10 minutes" in said
    token = space.kubectl("create", "token", "default", "--audience=vault").strip()
    assert "You must be logged in" in as_holder(space, token, "auth", "whoami")
    head, body, signature = space.kubectl("create", "token", "default").strip().split(".")
    forged = claims(f"{head}.{body}.{signature}") | {"sub": "system:serviceaccount:kube-system:default"}
    body = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    assert "You must be logged in" in as_holder(space, f"{head}.{body}.{signature}", "auth", "whoami")


# Nodes


def test_a_node_reads_what_its_pods_use_and_nothing_else(wide: Space) -> None:
    first, second = (n["metadata"]["name"] for n in wide.list("nodes"))
    for name in ("here", "there", "unused"):
        wide.kubectl("create", "secret", "generic", name, "--from-literal=a=b")
    for name, node in (("here", first), ("there", second)):
        using = f"nodeName: {node}\nvolumes: [{{name: v, secret: {{secretName: {name}}}}}]\n"
        wide.apply(pod(name, using + SLEEP))
    assert "here" in str(eventually(lambda: as_node(wide, "get", "secret", "here", "-o", "name")))
    for name in ("there", "unused"):
        said = as_node(wide, "get", "secret", name)
        assert (
            f'secrets "{name}" is forbidden: User "system:node:{first}" cannot get resource "secrets"' in said
        )
        assert f"no relationship found between node '{first}' and this object" in said
    assert "Forbidden" in as_node(wide, "get", "secrets")
    assert "Forbidden" in as_node(wide, "get", "secrets", "-A")
    assert "pod/here" in as_node(wide, "get", "pod", "here", "-o", "name")
    assert "no relationship found" in as_node(wide, "get", "pod", "there")
    assert "can only list/watch pods with spec.nodeName field selector" in as_node(wide, "get", "pods")
    own = as_node(wide, "get", "pods", f"--field-selector=spec.nodeName={first}", "-o", "name")
    assert own == "pod/here\n"


def test_a_node_changes_itself_alone(wide: Space) -> None:
    first, second = (n["metadata"]["name"] for n in wide.list("nodes"))
    said = as_node(wide, "label", "node", second, "mine=yes")
    assert f"node '{first}' cannot read '{second}', only its own Node object" in said
    patch = as_node(wide, "replace", "-f", "-", input=json.dumps(wide.get("node", second)))
    assert f'node "{first}" is not allowed to modify node "{second}"' in patch
    assert "is not allowed to modify labels" in as_node(
        wide, "label", "node", first, "node-restriction.kubernetes.io/x=y"
    )
    wide.apply(pod("there", f"nodeName: {second}\n{SLEEP}"))
    assert "Forbidden" in as_node(wide, "delete", "pod", "there", "--wait=false")
    assert "can only read resources of this type" in as_node(wide, "create", "configmap", "c")


def test_the_kubelets_api_asks_who_is_there(space: Space) -> None:
    config = space.cluster.config
    node = layout(config)[0]
    tls = ssl.create_default_context(cafile=str(config.pki / "ca.crt"))

    def status(token: str = "") -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"https://{node.address}:10250/pods", headers=headers)
        try:
            with urllib.request.urlopen(request, context=tls, timeout=10) as answer:
                code: int = answer.status
                return code
        except urllib.error.HTTPError as e:
            return e.code

    token = space.kubectl("create", "token", "default").strip()
    assert (status(), status("no.such.token"), status(token)) == (401, 401, 403)
    name = f"looks-{space.name}"
    space.kubectl("create", "serviceaccount", "looker")
    space.kubectl("create", "clusterrole", name, "--verb=get", "--resource=nodes/proxy")
    who = f"--serviceaccount={space.name}:looker"
    space.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", who)
    try:
        assert status(space.kubectl("create", "token", "looker").strip()) == 200
    finally:
        space.kubectl("delete", "clusterrole,clusterrolebinding", name)


# Our own processes


def pids(cluster: Cluster) -> dict[str, int]:
    """The cluster's processes by their names."""
    known = json.loads((cluster.config.run / "pids.json").read_text())
    return {name: pid for name, (pid, _) in known.items()}


def test_the_control_process_is_an_ordinary_user_without_capabilities(shared: Cluster) -> None:
    pid = pids(shared)["control"]
    said = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    uid = str(shared.config.uid)
    assert uid != "0"
    assert said["Uid"].split() == said["Gid"].split() == [uid] * 4
    assert said["Groups"].strip() in ("", uid)
    assert [int(said[c], 16) for c in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0, 0, 0, 0]
    assert said["NoNewPrivs"].strip() == "1"


def test_keys_are_readable_by_their_one_reader(shared: Cluster) -> None:
    config = shared.config
    # The authority's key too: as kube-controller-manager does, the control process signs certificate requests.
    own = {"apiserver.pem", "kubelet-client.pem", "sa.key", "ca.pem"}
    for path in [*config.pki.iterdir(), config.kubeconfig]:
        found = path.stat()
        if b"PRIVATE KEY" in path.read_bytes() or path == config.kubeconfig:
            assert stat.S_IMODE(found.st_mode) == 0o600, path
            assert found.st_uid == (config.uid if path.name in own else 0), path
    assert stat.S_IMODE(config.store.stat().st_mode) & 0o077 == 0


def test_nothing_listens_beyond_this_machine(shared: Cluster) -> None:
    config = shared.config
    own = "|".join(f"pid={pid}," for pid in pids(shared).values())
    listening = subprocess.run(["ss", "-Hltnup"], check=True, capture_output=True, text=True).stdout
    seen = {line.split()[4] for line in listening.splitlines() if any(p in line for p in own.split("|"))}
    node = layout(config)[0]
    gateway = host_address(config.ranges)
    assert {f"127.0.0.1:{config.port}", f"{gateway}:{config.port}", f"{node.address}:10250"} <= seen
    assert {address.rsplit(":", 1)[0] for address in seen} <= {
        "127.0.0.1",
        gateway,
        node.address,
        config.ranges.dns,
    }


def test_sockets_are_closed_to_ordinary_users(shared: Cluster) -> None:
    """All but the one for readiness, where the kernel says who speaks."""
    found = {path.name: path.stat().st_mode for path in shared.config.run.rglob("*.sock")}
    assert {"supervisor.sock", "cri.sock", "engine.sock"} <= set(found)
    assert [n for n, mode in found.items() if mode & (stat.S_IWOTH | stat.S_IWGRP)] == ["notify.sock"]
