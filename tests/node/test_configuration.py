"""What containers are given: environment, resources, security, /etc."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.cri import messages
from sampan.machinery.objects import Object
from sampan.node import configs, etc, images, resources, security
from sampan.node.environment import ConfigError, Facts, environment, expand

HOST = configs.Host(
    "node-1",
    etc.ClusterDns(
        ("10.65.0.10",), "cluster.local", etc.Resolver(("192.0.2.1",), ("example.com",), ("ndots:1",))
    ),
    "sampan0",
    Path("/logs"),
    8 << 30,
)


def pod(*containers: Object, **spec: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
        "spec": {"containers": list(containers) or [{"name": "main"}], **spec},
        "status": {"podIP": "10.0.0.2"},
    }


def values(container: Object, **more: Any) -> dict[str, str]:
    facts = {
        "pod": pod(container),
        "services": (),
        "sources": {},
        "allocatable": {"cpu": "2", "memory": "1Gi"},
    }
    return environment(container, Facts(**{**facts, **more}))


CONFIG = {("configmaps", "settings"): {"data": {"COLOUR": "blue", "SIZE": "7"}}}
SECRET = {("secrets", "login"): {"data": {"password": base64.b64encode(b"hunter2").decode()}}}


def test_the_environment_has_every_source() -> None:
    container = {
        "name": "main",
        "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}},
        "envFrom": [{"prefix": "CFG_", "configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "PLAIN", "value": "1"},
            {"name": "BOTH", "value": "$(PLAIN)-$(CFG_COLOUR)-$(UNKNOWN)-$$(PLAIN)"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {
                "name": "MEM",
                "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
            },
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
            {
                "name": "MAYBE",
                "valueFrom": {"secretKeyRef": {"name": "login", "key": "no", "optional": True}},
            },
        ],
    }
    found = values(container, sources={**CONFIG, **SECRET})
    assert found == {
        "CFG_COLOUR": "blue", "CFG_SIZE": "7", "PLAIN": "1", "BOTH": "1-blue-$(UNKNOWN)-$(PLAIN)",
        "NAME": "web", "APP": "web", "IP": "10.0.0.2", "MEM": "64", "CPU": "250", "CPUS": "2", "PASS": "hunter2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "no"}}]}, 'configmap "no" not found'),
        (
            {"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no"}}}]},
            "couldn't find key no in ConfigMap shop/settings",
        ),
        (
            {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}]},
            'secret "no" not found',
        ),
    ],
)
def test_what_is_missing_is_told_as_upstream_does(container: Object, message: str) -> None:
    with pytest.raises(ConfigError) as e:
        values({"name": "main", **container}, sources=CONFIG)
    assert str(e.value) == message


def service(name: str, namespace: str, address: str) -> Object:
    ports = [{"name": "http", "port": 80}, {"port": 443, "protocol": "TCP"}]
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": address, "ports": ports},
    }


def test_services_become_variables() -> None:
    known = (
        service("kubernetes", "default", "10.65.0.1"),
        service("my-db", "shop", "10.65.0.7"),
        service("other", "elsewhere", "10.65.0.8"),
        service("headless", "shop", "None"),
    )
    found = values({"name": "main"}, services=known)
    assert found["KUBERNETES_SERVICE_HOST"] == "10.65.0.1"
    assert found["MY_DB_SERVICE_PORT_HTTP"] == "80"
    assert found["MY_DB_PORT"] == "tcp://10.65.0.7:80"
    assert found["MY_DB_PORT_443_TCP_ADDR"] == "10.65.0.7"
    assert not any(name.startswith(("OTHER", "HEADLESS")) for name in found)
    refused = values({"name": "main"}, services=known, pod=pod(enableServiceLinks=False))
    assert {name.split("_")[0] for name in refused} == {"KUBERNETES"}


@given(st.text(alphabet="a$()X", max_size=30))
def test_expansion_ends_and_leaves_what_it_does_not_know(text: str) -> None:
    assert expand(text, {"X": "value"}).count("$") <= text.count("$")
    assert expand(text.replace("$", ""), {"X": "value"}) == text.replace("$", "")


@pytest.mark.parametrize(
    ("given_resources", "wanted"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
    ],
)
def test_classes_of_service(given_resources: list[Object], wanted: str) -> None:
    containers = [{"name": f"c{i}", "resources": r} for i, r in enumerate(given_resources)]
    assert resources.qos(pod(*containers)) == wanted


def test_resources_become_the_kernels_numbers() -> None:
    c = {
        "name": "main",
        "resources": {
            "limits": {"cpu": "1500m", "memory": "1Gi"},
            "requests": {"cpu": "250m", "memory": "512Mi"},
        },
    }
    found = resources.container_resources(pod(c), c, 8 << 30)
    assert (found.cpu_shares, found.cpu_quota, found.cpu_period) == (256, 150_000, 100_000)
    assert found.memory_limit_in_bytes == 1 << 30
    assert found.oom_score_adj == 938
    assert resources.container_resources(pod(), {"name": "main"}, 8 << 30).cpu_shares == 2
    assert resources.cgroup_parent(pod(c), "sampan0") == "/sampan0/burstable/podu1"


def test_names_are_resolved_by_the_cluster_first() -> None:
    found = etc.resolver(pod(), HOST.dns)
    assert found.servers == ("10.65.0.10",)
    assert found.searches == ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com")
    assert found.options == ("ndots:5",)
    assert etc.resolver(pod(dnsPolicy="Default"), HOST.dns) == HOST.dns.host
    assert etc.resolver(pod(hostNetwork=True), HOST.dns) == HOST.dns.host
    own = {"nameservers": ["1.1.1.1"], "searches": ["own"], "options": [{"name": "ndots", "value": "2"}]}
    assert etc.resolver(pod(dnsPolicy="None", dnsConfig=own), HOST.dns) == etc.Resolver(
        ("1.1.1.1",), ("own",), ("ndots:2",)
    )
    assert etc.resolver(pod(dnsConfig=own), HOST.dns).options == ("ndots:2",)


def test_hosts_names_the_pod_and_its_aliases() -> None:
    p = pod(hostname="db-0", subdomain="db", hostAliases=[{"ip": "192.0.2.9", "hostnames": ["a", "b"]}])
    text = etc.hosts(p, ("10.0.0.2",), "node-1", "cluster.local", "")
    assert "10.0.0.2\tdb-0.db.shop.svc.cluster.local\tdb-0\n" in text
    assert "192.0.2.9\ta\tb\n" in text
    assert etc.sandbox_hostname(p, "node-1", "cluster.local") == "db-0"
    assert etc.sandbox_hostname(pod(hostNetwork=True), "node-1", "cluster.local") == ""


def test_a_container_is_configured_as_its_spec_says() -> None:
    c = {
        "name": "main",
        "image": "busybox",
        "command": ["echo", "$(WHO)"],
        "securityContext": {
            "runAsUser": 7,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
        },
    }
    p = pod(c, hostPID=True, securityContext={"runAsUser": 5, "runAsGroup": 6, "fsGroup": 99})
    made = configs.container(
        p, c, HOST, configs.Given(environment={"WHO": "me"}, mounts=(), image="sha256:1", attempt=2)
    )
    context = made.linux.security_context
    assert list(made.command) == ["echo", "me"]
    assert made.log_path == "main/2.log"
    assert (context.run_as_user.value, context.run_as_group.value) == (7, 6)
    assert list(context.supplemental_groups) == [99]
    assert context.no_new_privs
    assert context.readonly_rootfs
    assert context.namespace_options.pid == messages.NODE
    assert context.seccomp.profile_type == messages.SecurityProfile.RuntimeDefault
    box = configs.sandbox(p, HOST, 0)
    assert box.linux.cgroup_parent == "/sampan0/besteffort/podu1"
    assert box.log_directory == "/logs/shop_web_u1"


def test_run_as_non_root_is_held() -> None:
    c = {"name": "main", "securityContext": {"runAsNonRoot": True}}
    with pytest.raises(ConfigError, match="image will run as root"):
        security.check_user(pod(c), c, messages.Image())
    with pytest.raises(ConfigError, match="non-numeric user"):
        security.check_user(pod(c), c, messages.Image(username="app"))
    security.check_user(pod(c), c, messages.Image(uid=messages.Int64Value(value=1000)))


def test_pull_secrets_apply_by_registry_and_path() -> None:
    auth = base64.b64encode(b"me:secret").decode()
    auths = {"registry.example": {"auth": auth}, "registry.example/team": {"username": "t", "password": "p"}}
    text = json.dumps({"auths": auths}).encode()
    known = images.credentials([{"data": {".dockerconfigjson": base64.b64encode(text).decode()}}])
    assert [c.username for c in images.matching("registry.example/team/app:1", known)] == ["t", "me"]
    assert [c.username for c in images.matching("registry.example/other", known)] == ["me"]
    assert images.matching("busybox", known) == []
    hub = images.Credential("https://index.docker.io".removeprefix("https://"), "hub")
    assert images.matching("busybox:1", [hub]) == [hub]


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1", "IfNotPresent"),
        ("r:5000/b", "Always"),
        ("b@sha256:1", "IfNotPresent"),
    ],
)
def test_pull_policies(image: str, wanted: str) -> None:
    assert images.policy({"image": image}) == wanted
