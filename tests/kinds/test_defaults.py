"""What objects get where their writer was silent, as upstream gives it."""

from __future__ import annotations

import pytest

from sampan.machinery.objects import get

from .examples import defaulted, deployment, pod, service, workload, written


def test_a_pod() -> None:
    spec = defaulted(pod())["spec"]
    assert spec == {
        "containers": [
            {
                "name": "web", "image": "nginx:1.27", "imagePullPolicy": "IfNotPresent", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("a@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    found = defaulted(pod(containers=[{"name": "web", "image": image}]))
    assert found["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_requests_follow_limits_in_pods_but_not_in_templates() -> None:
    container = {
        "name": "web",
        "image": "a",
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": 0.5}},
    }
    found = defaulted(pod(containers=[container]))["spec"]["containers"][0]["resources"]
    assert found["requests"] == {"cpu": "500m", "memory": "1Gi"}
    pods = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    template = defaulted(workload("apps/v1", "Deployment", pods))
    assert get(template, "spec.template.spec")["containers"][0]["resources"]["requests"] == {"cpu": "500m"}


def test_probes_ports_and_volumes() -> None:
    container = {
        "name": "web", "image": "a", "ports": [{"containerPort": 80}],
        "readinessProbe": {"httpGet": {"port": 80}},
        "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    }  # fmt: skip
    volumes = [
        {"name": "a"},
        {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c", "hostPath": {"path": "/x"}},
        {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ]
    spec = defaulted(pod(containers=[container], volumes=volumes))["spec"]
    found = spec["containers"][0]
    assert found["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert found["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert found["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert spec["volumes"] == [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}},
        {"name": "c", "hostPath": {"path": "/x", "type": ""}},
        {
            "name": "d",
            "projected": {
                "defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}],
            },
        },
    ]  # fmt: skip


def test_a_deployment() -> None:
    spec = defaulted(deployment())["spec"]
    del spec["template"], spec["selector"]
    assert spec == {
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    }  # fmt: skip


def test_a_stateful_set_and_its_claims() -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
    }
    spec = defaulted(workload("apps/v1", "StatefulSet", serviceName="web", volumeClaimTemplates=[claim]))[
        "spec"
    ]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    found = spec["volumeClaimTemplates"][0]
    assert (found["kind"], found["spec"]["volumeMode"], found["status"]) == (
        "PersistentVolumeClaim", "Filesystem", {"phase": "Pending"},
    )  # fmt: skip
    assert found["spec"]["resources"]["requests"]["storage"] == "1Gi"


def test_a_daemon_set() -> None:
    spec = defaulted(workload("apps/v1", "DaemonSet"))["spec"]
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }


def test_a_job_selects_its_pods_by_its_uid() -> None:
    pods = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}
    found = defaulted(written("batch/v1", "Job", metadata={"uid": "u1"}, spec={"template": pods}))
    spec = found["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (1, 1, 6)
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}
    assert spec["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "web"


def test_a_service() -> None:
    found = defaulted(service(type="NodePort"))["spec"]
    assert found == {
        "type": "NodePort", "sessionAffinity": "None", "externalTrafficPolicy": "Cluster",
        "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
    }  # fmt: skip


def test_a_secret_takes_text() -> None:
    found = defaulted(written("v1", "Secret", stringData={"a": "x"}, data={"b": "eQ=="}))
    assert found["data"] == {"a": "eA==", "b": "eQ=="}
    assert found["type"] == "Opaque"
    assert "stringData" not in found


def test_a_namespace_knows_its_name() -> None:
    found = defaulted(written("v1", "Namespace", "shop"))
    assert found["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert found["spec"] == {"finalizers": ["kubernetes"]}
    assert found["status"] == {"phase": "Active"}


def test_the_host_network_takes_the_containers_ports() -> None:
    container = {"name": "web", "image": "a", "ports": [{"containerPort": 80}]}
    found = defaulted(pod(hostNetwork=True, containers=[container]))
    assert found["spec"]["containers"][0]["ports"][0]["hostPort"] == 80
