"""The built-in controllers, one file for each. Each one observes, decides, and leaves acting to `reconcile`.

They reach nothing but the API, through the `Client` that the loop gives each. Start with `replicaset`, the simplest,
then `deployment`. What several share: `pods`, `revisions`. `ALL` makes them; `build` gives them for one
cluster.
"""

from __future__ import annotations

from collections.abc import Callable

from sampan.controllers import (
    account_tokens,
    bootstrap_tokens,
    certificates,
    cronjob,
    daemonset,
    deployment,
    disruption,
    endpoint_slice_mirroring,
    endpoint_slices,
    endpoints,
    ephemeral_volumes,
    garbage,
    horizontal_pod_autoscaler,
    job,
    local_path,
    namespace,
    node_lifecycle,
    node_ranges,
    pod_garbage,
    replicaset,
    replication_controller,
    resource_claims,
    resource_quota,
    root_ca,
    service_accounts,
    service_ranges,
    statefulset,
    storage_version_migrator,
    taint_eviction,
    ttl,
    volume_binder,
    volume_protection,
)
from sampan.controllers.settings import Settings
from sampan.reconcile.controller import Controller

ALL: tuple[Callable[[Settings], Controller], ...] = (
    namespace.make,
    service_accounts.make,
    root_ca.make,
    garbage.make,
    deployment.make,
    replicaset.make,
    replication_controller.make,
    statefulset.make,
    daemonset.make,
    job.make,
    ttl.make,
    cronjob.make,
    endpoint_slices.make,
    endpoints.make,
    endpoint_slice_mirroring.make,
    disruption.make,
    horizontal_pod_autoscaler.make,
    resource_quota.make,
    certificates.make,
    account_tokens.make,
    bootstrap_tokens.make_signer,
    bootstrap_tokens.make_cleaner,
    service_ranges.make_addresses,
    service_ranges.make_ranges,
    storage_version_migrator.make,
    node_ranges.make,
    node_lifecycle.make,
    taint_eviction.make,
    pod_garbage.make,
    volume_binder.make,
    local_path.make,
    resource_claims.make_pods,
    resource_claims.make_claims,
    volume_protection.make_claims,
    volume_protection.make_volumes,
    ephemeral_volumes.make,
)


def build(settings: Settings) -> tuple[Controller, ...]:
    """Every controller, for the cluster that `settings` describe."""
    return tuple(make(settings) for make in ALL)


__all__ = ["ALL", "Settings", "build"]
