"""Every kind that is built in. A new kind adds one line here; see `docs/adding-a-kind.md`."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from sampan.kinds.kind import Kind

# In the order in which discovery lists groups; each is a module of this package that defines KIND.
MODULES = (
    # core
    "binding", "component_status", "config_map", "endpoints", "event", "limit_range", "namespace", "node",
    "persistent_volume",
    "persistent_volume_claim", "pod", "pod_template", "replication_controller", "resource_quota", "secret",
    "service", "service_account",
    # admissionregistration.k8s.io
    "mutating_admission_policy", "mutating_admission_policy_binding", "mutating_webhook_configuration",
    "validating_admission_policy", "validating_admission_policy_binding", "validating_webhook_configuration",
    # apiextensions.k8s.io, apiregistration.k8s.io, apps
    "custom_resource_definition", "api_service",
    "controller_revision", "daemon_set", "deployment", "replica_set", "stateful_set",
    # authentication.k8s.io, authorization.k8s.io
    "self_subject_review", "token_review",
    "local_subject_access_review", "self_subject_access_review", "self_subject_rules_review", "subject_access_review",
    # autoscaling, batch
    "horizontal_pod_autoscaler", "horizontal_pod_autoscaler_v1", "cron_job", "job",
    # certificates.k8s.io, coordination.k8s.io, discovery.k8s.io, events.k8s.io
    "certificate_signing_request", "cluster_trust_bundle", "pod_certificate_request", "lease",
    "endpoint_slice", "event_v1",
    # flowcontrol.apiserver.k8s.io
    "flow_schema", "priority_level_configuration",
    # metrics.k8s.io, networking.k8s.io, node.k8s.io, policy
    "node_metrics", "pod_metrics", "ingress", "ingress_class", "ip_address", "network_policy", "service_cidr",
    "runtime_class",
    "pod_disruption_budget",
    # rbac.authorization.k8s.io, resource.k8s.io, scheduling.k8s.io
    "cluster_role", "cluster_role_binding", "role", "role_binding",
    "device_class", "device_taint_rule", "resource_claim", "resource_claim_template", "resource_slice",
    "priority_class", "pod_group",
    "workload",
    # storage.k8s.io
    "csi_driver", "csi_node", "csi_storage_capacity", "storage_class", "volume_attachment",
    "volume_attributes_class",
    # storagemigration.k8s.io
    "storage_version_migration",
)  # fmt: skip
# Kinds of the bodies of subresources, which have no resource of their own.
BODIES = ("eviction", "scale", "token_request")


def _load(names: tuple[str, ...]) -> tuple[Kind, ...]:
    return tuple(import_module(f"sampan.kinds.{name}").KIND for name in names)


@cache
def builtin() -> tuple[Kind, ...]:
    """Every kind that has a resource."""
    return _load(MODULES)


@cache
def bodies() -> tuple[Kind, ...]:
    """The kinds that only subresources take."""
    return _load(BODIES)


@cache
def _by_resource() -> dict[str, Kind]:
    # Of several versions, the first is meant by the resource alone.
    return {k.resource: k for k in reversed(builtin())}


@cache
def _by_name() -> dict[tuple[str, str], Kind]:
    return {(k.api_version, k.kind): k for k in (*builtin(), *bodies())}


def find(resource: str) -> Kind:
    """The kind behind a resource, such as `pods` or `deployments.apps`. Raises KeyError."""
    return _by_resource()[resource]


def of(api_version: str, kind: str) -> Kind:
    """The kind by its names in an object, such as `apps/v1` and `Deployment`. Raises KeyError."""
    return _by_name()[(api_version, kind)]
