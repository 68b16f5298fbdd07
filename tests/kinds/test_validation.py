"""What is refused, at which field, in which words: examples of what users get wrong."""

from __future__ import annotations

from typing import Any

import pytest

from .examples import defaulted, deployment, faults, pod, service, stateful_set, template, workload, written


def container(**fields: Any) -> Any:
    return pod(containers=[{"name": "web", "image": "nginx", **fields}])


AT = "spec.containers[0]"


@pytest.mark.parametrize(
    ("obj", "field", "words"),
    [
        (pod(containers=[]), "spec.containers", "Required value"),
        (
            pod(containers=[{"name": "Web", "image": "a"}]),
            f"{AT}.name",
            'Invalid value: "Web": a lowercase RFC 1123 label',
        ),
        (pod(containers=[{"name": "web"}]), f"{AT}.image", "Required value"),
        (
            pod(restartPolicy="Sometimes"),
            "spec.restartPolicy",
            'Unsupported value: "Sometimes": supported values: "Always"',
        ),
        (container(imagePullPolicy="Maybe"), f"{AT}.imagePullPolicy", "Unsupported value"),
        (
            container(ports=[{"containerPort": 70000}]),
            f"{AT}.ports[0].containerPort",
            "must be between 1 and 65535",
        ),
        (
            container(ports=[{"containerPort": 80, "protocol": "QUIC"}]),
            f"{AT}.ports[0].protocol",
            "Unsupported value",
        ),
        (
            container(ports=[{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]),
            f"{AT}.ports[1].name",
            'Duplicate value: "a"',
        ),
        (container(env=[{"name": ""}]), f"{AT}.env[0].name", "Required value"),
        (container(env=[{"name": "A=B"}]), f"{AT}.env[0].name", "printable ASCII"),
        (
            container(
                env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
            ),
            f"{AT}.env[0].valueFrom",
            "may not be specified when `value` is not empty",
        ),
        (
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]),
            f"{AT}.env[0].valueFrom.fieldRef.fieldPath",
            "Unsupported value",
        ),
        (
            container(volumeMounts=[{"name": "data", "mountPath": "/d"}]),
            f"{AT}.volumeMounts[0].name",
            'Not found: "data"',
        ),
        (
            container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            f"{AT}.resources.requests",
            'Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            container(resources={"requests": {"gpu": "1"}}),
            f"{AT}.resources.requests[gpu]",
            "must be a standard resource for containers",
        ),
        (
            container(resources={"requests": {"memory": "-1"}}),
            f"{AT}.resources.requests[memory]",
            "must be greater than or equal to 0",
        ),
        (container(livenessProbe={}), f"{AT}.livenessProbe", "must specify a handler type"),
        (
            container(livenessProbe={"exec": {"command": ["x"]}, "successThreshold": 2}),
            f"{AT}.livenessProbe.successThreshold",
            "must be 1",
        ),
        (
            container(livenessProbe={"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}),
            f"{AT}.livenessProbe.tcpSocket",
            "may not specify more than 1 handler type",
        ),
        (
            pod(initContainers=[{"name": "i", "image": "a", "livenessProbe": {"tcpSocket": {"port": 1}}}]),
            "spec.initContainers[0].livenessProbe",
            "may not be set for init containers",
        ),
        (
            pod(initContainers=[{"name": "web", "image": "a"}]),
            "spec.initContainers[0].name",
            'Duplicate value: "web"',
        ),
        (pod(volumes=[{"name": "a"}, {"name": "a"}]), "spec.volumes[1].name", 'Duplicate value: "a"'),
        (
            pod(volumes=[{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            "spec.volumes[0].hostPath",
            "may not specify more than 1 volume type",
        ),
        (
            pod(volumes=[{"name": "a", "hostPath": {"path": "/a/../b"}}]),
            "spec.volumes[0].hostPath.path",
            "must not contain '..'",
        ),
        (pod(volumes=[{"name": "a", "secret": {}}]), "spec.volumes[0].secret.secretName", "Required value"),
        (
            pod(volumes=[{"name": "a", "configMap": {"name": "c", "items": [{"key": "k", "path": "/abs"}]}}]),
            "spec.volumes[0].configMap.items[0].path",
            "must be a relative path",
        ),
        (
            pod(tolerations=[{"key": "a", "operator": "Exists", "value": "x"}]),
            "spec.tolerations[0].operator",
            "value must be empty",
        ),
        (pod(nodeSelector={"a b": "x"}), "spec.nodeSelector", "name part must consist of"),
        (pod(dnsPolicy="None"), "spec.dnsConfig.nameservers", "must provide at least one DNS nameserver"),
        (pod(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds", "must be between 1 and 2147483647"),
        (
            pod(
                topologySpreadConstraints=[
                    {"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
                ]
            ),
            "spec.topologySpreadConstraints[0].maxSkew",
            "must be greater than zero",
        ),
    ],
)
def test_pods(obj: Any, field: str, words: str) -> None:
    found = faults(obj)
    assert list(found) == [field]
    assert words in found[field]


WITHOUT_LABELS = {"spec": {"containers": [{"name": "a", "image": "a"}]}}


@pytest.mark.parametrize(
    ("obj", "field", "words"),
    [
        (deployment(replicas=-1), "spec.replicas", "must be greater than or equal to 0"),
        (deployment(selector=None), "spec.selector", "Required value"),
        (deployment(selector={}), "spec.selector", "empty selector is invalid for deployment"),
        (stateful_set(selector={}), "spec.selector", "empty selector is invalid for statefulset"),
        (
            workload("apps/v1", "Deployment", WITHOUT_LABELS),
            "spec.template.metadata.labels",
            "`selector` does not match template `labels`",
        ),
        (
            workload("apps/v1", "Deployment", template(restartPolicy="Never")),
            "spec.template.spec.restartPolicy",
            'supported values: "Always"',
        ),
        (
            deployment(strategy={"type": "Recreate", "rollingUpdate": {}}),
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            deployment(
                strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
            ),
            "spec.strategy.rollingUpdate.maxUnavailable",
            "may not be 0 when `maxSurge` is 0",
        ),
        (
            deployment(strategy={"rollingUpdate": {"maxUnavailable": "half"}}),
            "spec.strategy.rollingUpdate.maxUnavailable",
            "a valid percent string",
        ),
        (
            deployment(progressDeadlineSeconds=5, minReadySeconds=5),
            "spec.progressDeadlineSeconds",
            "must be greater than minReadySeconds",
        ),
        (
            workload("apps/v1", "StatefulSet", podManagementPolicy="Random"),
            "spec.podManagementPolicy",
            "Unsupported value",
        ),
        (
            workload(
                "apps/v1",
                "DaemonSet",
                updateStrategy={
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1},
                },
            ),
            "spec.updateStrategy.rollingUpdate.maxSurge",
            "may not be set when maxUnavailable is non-zero",
        ),
        (
            written("batch/v1", "Job", metadata={"uid": "u"}, spec={"template": template()}),
            "spec.template.spec.restartPolicy",
            'Required value: valid values: "OnFailure", "Never"',
        ),
        (
            written(
                "batch/v1",
                "CronJob",
                spec={
                    "schedule": "* * *",
                    "jobTemplate": {"spec": {"template": template(restartPolicy="Never")}},
                },
            ),
            "spec.schedule",
            "expected exactly 5 fields, found 3",
        ),
        (service(ports=[]), "spec.ports", "Required value"),
        (service(ports=[{"port": 80}, {"port": 81, "name": "b"}]), "spec.ports[0].name", "Required value"),
        (service(ports=[{"port": 0, "targetPort": 1}]), "spec.ports[0].port", "must be between 1 and 65535"),
        (
            service(type="Public"),
            "spec.type",
            'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
        ),
        (service(clusterIP="300.1.1.1"), "spec.clusterIPs[0]", "must be a valid IP address"),
        (
            service(ports=[{"port": 80, "nodePort": 30000}]),
            "spec.ports[0].nodePort",
            "may not be used when `type` is 'ClusterIP'",
        ),
        (service(type="ExternalName"), "spec.externalName", "Required value"),
        (
            written("v1", "Service", "1web", spec={"ports": [{"port": 80}]}),
            "metadata.name",
            "a DNS-1035 label must consist of",
        ),
        (written("v1", "ConfigMap", data={"a/b": "x"}), "data[a/b]", "a valid config key must consist of"),
        (
            written("v1", "ConfigMap", data={"a": "x" * 1024 * 1025}),
            "",
            "Too long: may not be more than 1048576 bytes",
        ),
        (
            written("v1", "ConfigMap", data={"a": "x"}, binaryData={"a": "eA=="}),
            "data[a]",
            "duplicate of key present in binaryData",
        ),
        (
            written("v1", "Secret", type="kubernetes.io/tls", data={"tls.crt": "eA=="}),
            "data[tls.key]",
            "Required value",
        ),
        (
            written(
                "v1", "Secret", type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": "eA=="}
            ),
            "data[.dockerconfigjson]",
            "<secret contents redacted>",
        ),
        (written("v1", "ConfigMap", "Bad_Name"), "metadata.name", "a lowercase RFC 1123 subdomain"),
        (
            written("v1", "ConfigMap", metadata={"labels": {"a": "b c"}}),
            "metadata.labels",
            "a valid label must be",
        ),
        (
            written("v1", "ConfigMap", metadata={"finalizers": ["mine"]}),
            "metadata.finalizers[0]",
            "neither a standard finalizer name nor",
        ),
        (written("v1", "Namespace", "a.b"), "metadata.name", "must not contain dots"),
        (
            written(
                "rbac.authorization.k8s.io/v1", "Role", rules=[{"apiGroups": [""], "resources": ["pods"]}]
            ),
            "rules[0].verbs",
            "verbs must contain at least one value",
        ),
        (
            written(
                "rbac.authorization.k8s.io/v1",
                "RoleBinding",
                roleRef={"kind": "Role", "name": "r"},
                subjects=[{"kind": "Robot", "name": "r"}],
            ),
            "subjects[0].kind",
            "Unsupported value",
        ),
        (
            written(
                "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", roleRef={"kind": "Role", "name": "r"}
            ),
            "roleRef.kind",
            'supported values: "ClusterRole"',
        ),
        (
            written("v1", "PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce"]}),
            "spec.resources[storage]",
            "Required value",
        ),
        (
            written("v1", "PersistentVolumeClaim", spec={"resources": {"requests": {"storage": "1Gi"}}}),
            "spec.accessModes",
            "at least 1 access mode is required",
        ),
        (
            written(
                "v1",
                "PersistentVolume",
                spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
            ),
            "spec",
            "must specify a volume type",
        ),
        (
            written(
                "v1",
                "PersistentVolume",
                spec={
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "local": {"path": "/x"},
                },
            ),
            "spec.nodeAffinity",
            "Local volume requires node affinity",
        ),
        (written("storage.k8s.io/v1", "StorageClass"), "provisioner", "Required value"),
        (
            written("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1, "maxUnavailable": 1}),
            "spec",
            "cannot be both set",
        ),
        (
            written("networking.k8s.io/v1", "Ingress", spec={}),
            "spec",
            "either `defaultBackend` or `rules` must be specified",
        ),
        (
            written(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                spec={"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0"}}, {}]}]},
            ),
            "spec.ingress[0].from[1]",
            "must specify a peer",
        ),
        (
            written("scheduling.k8s.io/v1", "PriorityClass", value=2 * 10**9),
            "value",
            "maximum allowed value of a user defined priority",
        ),
        (
            written(
                "discovery.k8s.io/v1",
                "EndpointSlice",
                addressType="IPv4",
                endpoints=[{"addresses": ["nope"]}],
            ),
            "endpoints[0].addresses[0]",
            "must be a valid IP address",
        ),
        (
            written(
                "discovery.k8s.io/v1",
                "EndpointSlice",
                addressType="IPv4",
                endpoints=[{"addresses": ["fd00::1"]}],
            ),
            "endpoints[0].addresses[0]",
            "must be an IPv4 address",
        ),
        (
            written(
                "discovery.k8s.io/v1",
                "EndpointSlice",
                addressType="IPv4",
                endpoints=[],
                ports=[{"port": 70000}],
            ),
            "ports[0].port",
            "must be between 1 and 65535",
        ),
        (
            written("v1", "Node", spec={"taints": [{"key": "a", "effect": "Maybe"}]}),
            "spec.taints[0].effect",
            "Unsupported value",
        ),
        (
            written("coordination.k8s.io/v1", "Lease", spec={"leaseDurationSeconds": 0}),
            "spec.leaseDurationSeconds",
            "must be greater than 0",
        ),
    ],
)
def test_other_kinds(obj: Any, field: str, words: str) -> None:
    found = faults(obj)
    assert list(found) == [field]
    assert words in found[field]


@pytest.mark.parametrize(
    "obj",
    [
        pod(),
        deployment(),
        service(),
        service(type="ExternalName", externalName="example.com", ports=[]),
        service(clusterIP="None", ports=[]),
        workload("apps/v1", "StatefulSet"),
        workload("apps/v1", "ReplicaSet"),
        workload("apps/v1", "DaemonSet"),
        written("v1", "ConfigMap", data={"a.b-c_d": "x"}),
        written(
            "v1", "Service", "web", spec={"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]}
        ),
        written(
            "batch/v1",
            "CronJob",
            spec={
                "schedule": "*/5 0-6 * JAN-MAR mon,fri",
                "jobTemplate": {"spec": {"template": template(restartPolicy="OnFailure")}},
            },
        ),
        written(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "system:x:y",
            rules=[{"nonResourceURLs": ["/x"], "verbs": ["get"]}],
        ),
    ],
)
def test_what_is_right_passes(obj: Any) -> None:
    assert faults(obj) == {}


# Updates: each changes one field of an object that is there.


def update(obj: Any, change: Any) -> dict[str, str]:
    old = defaulted(obj)
    new = defaulted(obj)
    change(new)
    return faults(new, old)


def test_a_stateful_set_mounts_its_claims() -> None:
    mount = {"name": "data", "mountPath": "/data"}
    pods = template(containers=[{"name": "db", "image": "postgres", "volumeMounts": [mount]}])
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claims = [{"metadata": {"name": "data"}, "spec": spec}]
    assert faults(workload("apps/v1", "StatefulSet", pods, volumeClaimTemplates=claims)) == {}
    assert "Not found" in next(iter(faults(workload("apps/v1", "StatefulSet", pods)).values()))


def test_what_may_change_of_a_pod() -> None:
    assert update(pod(), lambda p: p["spec"]["containers"][0].update(image="nginx:2")) == {}
    assert update(pod(), lambda p: p["spec"].update(tolerations=[{"operator": "Exists"}])) == {}
    assert update(pod(), lambda p: p["metadata"].update(labels={"a": "b"})) == {}
    found = update(pod(), lambda p: p["spec"].update(hostname="other"))
    assert found["spec"].startswith(
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    )
    assert "spec.containers" in update(
        pod(), lambda p: p["spec"]["containers"].append({"name": "b", "image": "b"})
    )


def test_selectors_stay() -> None:
    other = {"matchLabels": {"app": "web", "tier": "x"}}

    def change(obj: Any) -> None:
        obj["spec"]["selector"] = other
        obj["spec"]["template"]["metadata"]["labels"]["tier"] = "x"

    for kind in ("Deployment", "ReplicaSet", "DaemonSet"):
        assert "field is immutable" in update(workload("apps/v1", kind), change)["spec.selector"]
    assert "for fields other than 'replicas'" in update(workload("apps/v1", "StatefulSet"), change)["spec"]


def test_what_else_stays() -> None:
    secret = written("v1", "Secret", immutable=True, data={"a": "eA=="})
    assert update(secret, lambda s: s.update(data={"a": "eQ=="})) == {
        "data": "Forbidden: field is immutable when `immutable` is set"
    }
    binding = written("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef={"kind": "Role", "name": "a"})
    assert "cannot change roleRef" in update(binding, lambda b: b["roleRef"].update(name="b"))["roleRef"]
    fixed = service(clusterIP="10.0.0.1")
    changed = update(fixed, lambda s: s["spec"].update(clusterIP="10.0.0.2", clusterIPs=["10.0.0.2"]))
    assert "may not change once set" in changed["spec.clusterIPs[0]"]
    storage = written("storage.k8s.io/v1", "StorageClass", provisioner="x.io/y")
    assert "field is immutable" in update(storage, lambda s: s.update(provisioner="x.io/z"))["provisioner"]


def test_no_finalizer_joins_an_object_that_is_being_deleted() -> None:
    old = defaulted(written("v1", "ConfigMap", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    new = defaulted(written("v1", "ConfigMap", metadata={"finalizers": ["a.io/b"]}))
    assert '[]string{"a.io/b"}' in faults(new, old)["metadata.finalizers"]
