"""Admission: what the cluster adds to an object that is written, and what it refuses.

A plugin is a function `async (server, call, obj, old)`; `obj` is None for a delete. `MUTATING` ones may change `obj`,
in this order; `VALIDATING` ones raise. Each is asked only for the resources and verbs that its row names. To add one,
write its file and its row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from sampan.apiserver.admission import (
    certificate_requester,
    certificates,
    claim_resize,
    default_ingress_class,
    default_storage_class,
    limit_ranger,
    namespace_lifecycle,
    node_restriction,
    node_taint,
    pod_priority,
    pod_resize,
    pod_security,
    pod_tolerations,
    pod_topology,
    resource_quota,
    role_escalation,
    runtime_class,
    service_account,
    service_addresses,
    storage_protection,
)
from sampan.apiserver.admission.dynamic import mutating, validating, webhooks
from sampan.apiserver.call import Call
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Plugin = Callable[["ApiServer", Call, Object, Object | None], Awaitable[None]]
Check = Callable[["ApiServer", Call, Object | None, Object | None], Awaitable[None]]


class Row(NamedTuple):
    """`resources` empty means all."""

    run: Plugin | Check
    resources: str
    verbs: str


_CERTIFICATES = "certificatesigningrequests.certificates.k8s.io"

MUTATING: tuple[Row, ...] = (
    Row(namespace_lifecycle.validate, "", "create"),
    Row(limit_ranger.mutate, "pods", "create update patch"),
    Row(service_account.mutate, "pods", "create"),
    Row(pod_priority.mutate, "pods", "create"),
    Row(pod_priority.mutate_group, "podgroups.scheduling.k8s.io", "create"),
    Row(pod_tolerations.mutate, "pods", "create update patch"),
    Row(pod_topology.mutate, "pods", "create"),
    Row(node_taint.mutate, "nodes", "create"),
    Row(default_storage_class.mutate, "persistentvolumeclaims", "create"),
    Row(storage_protection.mutate, "persistentvolumeclaims persistentvolumes", "create"),
    Row(runtime_class.mutate, "pods", "create"),
    Row(certificate_requester.mutate, _CERTIFICATES, "create update patch"),
    Row(default_ingress_class.mutate, "ingresses.networking.k8s.io", "create"),
    Row(service_addresses.mutate, "services", "create update patch"),
    Row(mutating.mutate, "", "create update patch"),
    Row(webhooks.mutate, "", "create update patch"),
)
VALIDATING: tuple[Row, ...] = (
    Row(namespace_lifecycle.protect, "namespaces", "delete"),
    Row(limit_ranger.validate, "pods persistentvolumeclaims", "create update patch"),
    Row(service_account.validate, "pods", "create"),
    Row(node_restriction.validate, "", "create update patch delete"),
    Row(pod_security.validate_namespace, "namespaces", "create update patch"),
    Row(pod_security.validate, pod_security.RESOURCES, "create update patch"),
    Row(pod_resize.validate, "pods", "update patch"),
    Row(claim_resize.validate, "persistentvolumeclaims", "update patch"),
    Row(runtime_class.validate, "pods", "create"),
    Row(certificates.validate, _CERTIFICATES, "create update patch"),
    Row(certificates.validate_bundle, "clustertrustbundles.certificates.k8s.io", "create update patch"),
    Row(certificates.validate_pod_request, "podcertificaterequests.certificates.k8s.io", "update patch"),
    Row(
        role_escalation.validate,
        "roles.rbac.authorization.k8s.io clusterroles.rbac.authorization.k8s.io "
        "rolebindings.rbac.authorization.k8s.io clusterrolebindings.rbac.authorization.k8s.io",
        "create update patch",
    ),
    Row(validating.validate, "", "create update patch delete"),
    Row(webhooks.validate, "", "create update patch delete"),
    # The last: what it charges is stored, unless the store itself fails.
    Row(resource_quota.validate, "", "create update patch"),
)


class Admission:
    """Asks the plugins; those without subresources are skipped for a subresource by themselves."""

    def __init__(self, server: ApiServer):
        self._server = server
        self._chosen: dict[tuple[bool, str, str], list[Plugin | Check]] = {}

    async def mutate(self, call: Call, obj: Object, old: Object | None) -> None:
        for plugin in self._plugins(True, call, old is None):
            await plugin(self._server, call, obj, old)

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None:
        for plugin in self._plugins(False, call, old is None):
            await plugin(self._server, call, obj, old)  # type: ignore[arg-type]

    def _plugins(self, mutating: bool, call: Call, new: bool) -> list[Plugin | Check]:
        verb = "create" if new else call.verb
        question = (mutating, call.resource.resource, verb)
        found = self._chosen.get(question)
        if found is None:
            rows = MUTATING if mutating else VALIDATING
            found = [
                r.run
                for r in rows
                if verb in r.verbs.split()
                and (not r.resources or call.resource.resource in r.resources.split())
            ]
            self._chosen[question] = found
        return found
