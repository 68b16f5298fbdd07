"""Who may write what: users the wish, controllers the status, and generations count wishes."""

from __future__ import annotations

import copy
from typing import Any

from sampan.kinds import registry

from .examples import defaulted, deployment, pod, service, written


def put(new: Any, old: Any, subresource: str = "") -> Any:
    kind = registry.of(new["apiVersion"], new["kind"])
    found = copy.deepcopy(new)
    assert kind.prepare
    kind.prepare(found, old, subresource)
    return found


def test_a_new_object_has_no_status_and_the_first_generation() -> None:
    found = defaulted({**deployment(), "status": {"replicas": 9}})
    assert "status" not in found
    assert found["metadata"]["generation"] == 1


def test_a_users_write_keeps_status_and_counts_a_changed_wish() -> None:
    old = {**defaulted(deployment()), "status": {"replicas": 1}}
    found = put({**old, "spec": {**old["spec"], "replicas": 3}, "status": {"replicas": 9}}, old)
    assert found["status"] == {"replicas": 1}
    assert found["metadata"]["generation"] == 2
    labelled = put({**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}, old)
    assert labelled["metadata"]["generation"] == 1


def test_a_write_of_status_changes_nothing_else() -> None:
    old = defaulted(deployment())
    new = {
        **old,
        "spec": {},
        "status": {"replicas": 2},
        "metadata": {**old["metadata"], "labels": {"x": "y"}},
    }
    found = put(new, old, "status")
    assert found == {**old, "status": {"replicas": 2}}


def test_a_pod_starts_pending_with_its_class_of_service() -> None:
    assert defaulted(pod())["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    limits = {"limits": {"cpu": "1", "memory": "1Gi"}}
    guaranteed = pod(containers=[{"name": "a", "image": "a", "resources": limits}])
    assert defaulted(guaranteed)["status"]["qosClass"] == "Guaranteed"


def test_ephemeral_containers_come_by_their_own_endpoint() -> None:
    old = defaulted(pod())
    new = {**old, "spec": {**old["spec"], "hostname": "x", "ephemeralContainers": [{"name": "debug"}]}}
    assert "ephemeralContainers" not in put(new, old)["spec"]
    found = put(new, old, "ephemeralcontainers")
    assert found["spec"] == {**old["spec"], "ephemeralContainers": [{"name": "debug"}]}
    assert found["metadata"]["generation"] == 2


def test_an_update_of_a_service_keeps_its_addresses() -> None:
    old = defaulted(service(type="NodePort", clusterIP="10.0.0.1", ports=[{"port": 80, "nodePort": 30001}]))
    found = put(defaulted(service(type="NodePort", ports=[{"port": 80}])), old)
    assert found["spec"]["clusterIP"] == "10.0.0.1"
    assert found["spec"]["ports"][0]["nodePort"] == 30001


def test_a_service_that_leaves_node_ports_drops_them() -> None:
    old = defaulted(service(type="NodePort", ports=[{"port": 80, "nodePort": 30001}]))
    found = put({**old, "spec": {**copy.deepcopy(old["spec"]), "type": "ClusterIP"}}, old)
    assert "nodePort" not in found["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in found["spec"]


def test_only_finalize_takes_a_namespaces_finalizers() -> None:
    old = defaulted(written("v1", "Namespace", "shop"))
    new = {**old, "spec": {"finalizers": []}}
    assert put(new, old)["spec"] == {"finalizers": ["kubernetes"]}
    assert put(new, old, "finalize")["spec"] == {"finalizers": []}


def test_a_node_speaks_for_itself_when_it_registers() -> None:
    node = defaulted(written("v1", "Node", "n1", status={"capacity": {"cpu": "4"}}))
    assert node["status"] == {"capacity": {"cpu": "4"}, "allocatable": {"cpu": "4"}}


def test_approval_sets_conditions_only() -> None:
    old = written("certificates.k8s.io/v1", "CertificateSigningRequest", spec={"signerName": "a/b"})
    new = {
        **old,
        "spec": {},
        "status": {"conditions": [{"type": "Approved", "status": "True"}], "certificate": "eA=="},
    }
    found = put(new, old, "approval")
    assert found["spec"] == {"signerName": "a/b"}
    assert set(found["status"]) == {"conditions"}
