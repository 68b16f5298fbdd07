"""What a namespace's LimitRanges, quotas and labels give to pods, and refuse of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sampan.apiserver.admission import pod_security_checks as checks
from sampan.apiserver.pod_standards import Policy, Standard, policy
from sampan.client.api import ApiError
from sampan.machinery.objects import Object

from .conftest import Cluster
from .test_access import pod, refused


def of(kind: str, name: str, **fields: Any) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, **fields}


def asking(name: str, requests: Object | None = None, limits: Object | None = None, **spec: Any) -> Object:
    resources = {k: v for k, v in (("requests", requests), ("limits", limits)) if v}
    return pod(name, containers=[{"name": "c", "image": "x", "resources": resources}], **spec)


# LimitRange


async def test_a_limit_range_fills_in_what_containers_leave_out(cluster: Cluster) -> None:
    await cluster.account()
    limits = [{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}}]
    await cluster.admin.create("limitranges", of("LimitRange", "l", spec={"limits": limits}))
    made = await cluster.admin.create("pods", pod("p"))
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m"},
        "limits": {"cpu": "500m"},
    }
    assert made["status"]["qosClass"] == "Burstable"
    said = made["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
    assert said == "LimitRanger plugin set: cpu request for container c; cpu limit for container c"


@pytest.mark.parametrize(
    ("limit", "resources", "why"),
    [
        ({"type": "Container", "min": {"cpu": "1"}}, {"requests": {"cpu": "500m"}},
         "minimum cpu usage per Container is 1, but request is 500m"),
        ({"type": "Pod", "max": {"memory": "1Gi"}}, {"limits": {"memory": "2Gi"}},
         "maximum memory usage per Pod is 1Gi, but limit is 2Gi"),
        ({"type": "Pod", "max": {"memory": "1Gi"}}, {"requests": {"memory": "1Gi"}},
         "maximum memory usage per Pod is 1Gi.  No limit is specified"),
        ({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}},
         {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}},
         "cpu max limit to request ratio per Container is 2, but provided ratio is 5.000000"),
    ],
)  # fmt: skip
async def test_a_limit_range_bounds_pods(cluster: Cluster, limit: Object, resources: Any, why: str) -> None:
    await cluster.account()
    await cluster.admin.create("limitranges", of("LimitRange", "l", spec={"limits": [limit]}))
    error = await refused(cluster.admin.create("pods", asking("p", **resources)))
    assert str(error) == f'pods "p" is forbidden: {why}'


# ResourceQuota


def quota(hard: Object, used: Object, **spec: Any) -> Object:
    status = {"hard": hard, "used": used}
    return of("ResourceQuota", "q", spec={"hard": hard, **spec}, status=status)


async def limited(cluster: Cluster, hard: Object, used: Object, **spec: Any) -> None:
    """A quota whose use was counted; the controller is played."""
    await cluster.account()
    made = await cluster.admin.create("resourcequotas", quota(hard, used, **spec))
    await cluster.admin.update(
        "resourcequotas", {**made, "status": {"hard": hard, "used": used}}, subresource="status"
    )


async def used(cluster: Cluster) -> Object:
    found = await cluster.admin.get("resourcequotas", "q", "default")
    taken: Object = found["status"]["used"]
    return taken


async def test_a_quota_is_charged_and_then_refuses(cluster: Cluster) -> None:
    await limited(cluster, {"pods": "2", "requests.cpu": "1"}, {"pods": "0", "requests.cpu": "0"})
    await cluster.admin.create("pods", asking("a", {"cpu": "600m"}))
    assert await used(cluster) == {"pods": "1", "requests.cpu": "600m"}
    error = await refused(cluster.admin.create("pods", asking("b", {"cpu": "500m"})))
    assert str(error) == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, '
        "limited: requests.cpu=1"
    )
    error = await refused(cluster.admin.create("pods", asking("c")))
    assert str(error) == 'pods "c" is forbidden: failed quota: q: must specify requests.cpu for: c'
    assert await used(cluster) == {"pods": "1", "requests.cpu": "600m"}


async def test_of_many_writers_at_once_as_many_succeed_as_the_quota_allows(cluster: Cluster) -> None:
    await limited(cluster, {"count/configmaps": "7"}, {"count/configmaps": "0"})
    each = (cluster.admin.create("configmaps", of("ConfigMap", f"c{i}")) for i in range(20))
    done = await asyncio.gather(*each, return_exceptions=True)
    assert sum(not isinstance(d, ApiError) for d in done) == 7
    assert await used(cluster) == {"count/configmaps": "7"}


async def test_a_dry_run_is_judged_and_not_charged(cluster: Cluster) -> None:
    await limited(cluster, {"services.nodeports": "1"}, {"services.nodeports": "0"})
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    spec = {"type": "NodePort", "ports": [{"port": 1}]}
    path = "/api/v1/namespaces/default/services?dryRun=All"
    status, _ = await cluster.ask("POST", path, {**service, "spec": spec})
    assert (status, await used(cluster)) == (201, {"services.nodeports": "0"})
    two = {**spec, "ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "b"}]}
    status, answer = await cluster.ask("POST", path, {**service, "spec": two})
    assert status == 403
    assert "exceeded quota: q, requested: services.nodeports=2" in answer["message"]


async def test_a_quota_with_a_scope_concerns_only_pods_in_it(cluster: Cluster) -> None:
    await limited(cluster, {"pods": "0"}, {"pods": "0"}, scopes=["BestEffort"])
    await cluster.admin.create("pods", asking("burstable", {"cpu": "1m"}))
    error = await refused(cluster.admin.create("pods", asking("best-effort")))
    assert "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0" in str(error)


# Pod Security


RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


async def labelled(cluster: Cluster, **labels: str) -> list[str]:
    """Label the namespace, over HTTP for the warnings' sake; returns them."""
    changed = {f"pod-security.kubernetes.io/{k.replace('_', '-')}": v for k, v in labels.items()}
    words = ["label", "--overwrite", "namespace", "default", *(f"{k}={v}" for k, v in changed.items())]
    ran = await cluster.kubectl(*words)
    return [line for line in ran.err.splitlines() if line.startswith("Warning")]


async def test_what_is_enforced_is_refused_and_workloads_are_warned_of(cluster: Cluster) -> None:
    await cluster.account()
    await cluster.admin.create("pods", pod("old", hostNetwork=True))
    warned = await labelled(cluster, enforce="restricted")
    assert warned == [
        'Warning: existing pods in namespace "default" violate the new PodSecurity enforce level "restricted:latest"',
        "Warning: old: host namespaces, allowPrivilegeEscalation != false, unrestricted capabilities, "
        "runAsNonRoot != true, seccompProfile",
    ]
    good = pod("good", containers=[{"name": "c", "image": "x", "securityContext": RESTRICTED}])
    await cluster.admin.create("pods", good)
    context = RESTRICTED | {"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}}
    bad = pod("bad", containers=[{"name": "c", "image": "x", "securityContext": context}])
    error = await refused(cluster.admin.create("pods", bad))
    assert str(error) == (
        'pods "bad" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities (container "c" '
        'must not include "SYS_TIME" in securityContext.capabilities.add)'
    )
    ran = await cluster.kubectl("create", "deployment", "web", "--image=x")
    assert (
        'Warning: would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false' in ran.err
    )


async def test_labels_that_mean_nothing_are_refused(cluster: Cluster) -> None:
    words = ("label", "namespace", "default", "pod-security.kubernetes.io/enforce=strict")
    ran = await cluster.kubectl(*words, check=False)
    assert "must be one of privileged, baseline, restricted" in ran.err


def test_a_pinned_version_keeps_its_checks() -> None:
    spec = {"containers": [{"name": "c"}], "securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}}
    assert checks.faults("baseline", 37, {}, spec) == []
    assert str(checks.faults("baseline", 31, {}, spec)[0]) == "forbidden sysctls (net.ipv4.tcp_rmem)"
    probed = {"containers": [{"name": "c", "livenessProbe": {"httpGet": {"port": 1, "host": "h"}}}]}
    assert [f.reason for f in checks.faults("baseline", 34, {}, probed)] == ["probe or lifecycle host"]
    assert checks.faults("baseline", 33, {}, probed) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"hostPID": True, "hostIPC": True}, "host namespaces (hostPID=true, hostIPC=true)"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
        ({"containers": [{"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 81}]}]},
         'hostPort (container "c" uses hostPorts 80, 81)'),
        ({"containers": [{"name": "c", "securityContext": {"privileged": True}}]},
         'privileged (container "c" must not set securityContext.privileged=true)'),
        ({"containers": [{"name": "c", "securityContext": {"procMount": "Unmasked"}}]},
         'procMount (container "c" must not set securityContext.procMount to "Unmasked")'),
        ({"securityContext": {"seLinuxOptions": {"type": "t", "user": "u"}}},
         'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "t"; user may not be set)'),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
         'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'),
        ({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
         'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")'),
        ({"securityContext": {"windowsOptions": {"hostProcess": True}}},
         "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"),
    ],
)  # fmt: skip
def test_what_the_baseline_forbids(spec: Object, said: str) -> None:
    assert [str(f) for f in checks.faults("baseline", 37, {}, spec)] == [said]


def test_a_user_namespace_lets_root_be_root() -> None:
    context = RESTRICTED | {"runAsNonRoot": False, "runAsUser": 0}
    spec = {"containers": [{"name": "c", "securityContext": context}]}
    assert [f.reason for f in checks.faults("restricted", 37, {}, spec)] == [
        "runAsNonRoot != true",
        "runAsUser=0",
    ]
    assert checks.faults("restricted", 37, {}, {**spec, "hostUsers": False}) == []


def test_labels_say_the_policy() -> None:
    found, wrong = policy({"pod-security.kubernetes.io/enforce": "baseline"}, Policy())
    assert found == Policy(enforce=Standard("baseline"), warn=Standard("baseline"))
    found, wrong = policy({"pod-security.kubernetes.io/enforce-version": "v2"}, Policy())
    assert found.enforce.version == "latest"
    assert [w.field for w in wrong] == ["metadata.labels[pod-security.kubernetes.io/enforce-version]"]


# Others


async def test_a_runtime_class_says_its_pods_overhead(cluster: Cluster) -> None:
    await cluster.account()
    kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "vm"}}
    scheduling = {"nodeSelector": {"vm": "yes"}}
    fields = {"handler": "vm", "overhead": {"podFixed": {"cpu": "250m"}}, "scheduling": scheduling}
    await cluster.admin.create("runtimeclasses.node.k8s.io", {**kind, **fields})
    made = await cluster.admin.create("pods", pod("p", runtimeClassName="vm"))
    assert made["spec"]["overhead"] == {"cpu": "250m"}
    assert made["spec"]["nodeSelector"] == {"vm": "yes"}
    for spec, why in (
        ({"runtimeClassName": "none"}, 'pod rejected: RuntimeClass "none" not found'),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
    ):
        assert why in str(await refused(cluster.admin.create("pods", pod("q", **spec))))


async def test_a_claim_grows_where_its_class_allows_it(cluster: Cluster) -> None:
    meta = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p"}
    for name, grows in (("grows", True), ("fixed", False)):
        made = {**meta, "metadata": {"name": name}, "allowVolumeExpansion": grows}
        await cluster.admin.create("storageclasses.storage.k8s.io", made)

        def size(amount: str, name: str = name) -> Object:
            modes = ["ReadWriteOnce"]
            resources = {"requests": {"storage": amount}}
            return {"storageClassName": name, "accessModes": modes, "resources": resources}

        claims = "persistentvolumeclaims"
        await cluster.admin.create(claims, of("PersistentVolumeClaim", name, spec=size("1Gi")))
        larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        bound = {"status": {"phase": "Bound"}}
        await cluster.admin.patch(claims, name, "default", bound, subresource="status")
        if grows:
            await cluster.admin.patch(claims, name, "default", larger)
        else:
            error = await refused(cluster.admin.patch(claims, name, "default", larger))
            assert "the storageclass that provisions the pvc must support resize" in str(error)
