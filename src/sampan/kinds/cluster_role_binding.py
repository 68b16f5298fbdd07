"""ClusterRoleBinding (rbac.authorization.k8s.io/v1): grants a ClusterRole everywhere."""

from __future__ import annotations

from sampan.kinds import metadata, rbac_rules
from sampan.kinds.kind import Kind
from sampan.machinery import names

KIND = Kind(
    group=rbac_rules.GROUP,
    version="v1",
    kind="ClusterRoleBinding",
    plural="clusterrolebindings",
    namespaced=False,
    columns=rbac_rules.BINDING_COLUMNS,
    default=rbac_rules.default_binding,
    validate=metadata.checked(
        rbac_rules.binding(namespaced=False), name=names.path_segment, namespaced=False
    ),
)
