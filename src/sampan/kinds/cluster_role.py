"""ClusterRole (rbac.authorization.k8s.io/v1): what may be done in any namespace, or with what lies in none."""

from __future__ import annotations

from sampan.kinds import faults, metadata, rbac_rules
from sampan.kinds.columns import CREATED_AT, NAME
from sampan.kinds.kind import Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    found = rbac_rules.rules(obj.get("rules") or [], namespaced=False)
    rule = obj.get("aggregationRule")
    if rule is not None and not rule.get("clusterRoleSelectors"):
        text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        found.append(faults.required("aggregationRule.clusterRoleSelectors", text))
    return found


KIND = Kind(
    group=rbac_rules.GROUP,
    version="v1",
    kind="ClusterRole",
    plural="clusterroles",
    namespaced=False,
    columns=(NAME, CREATED_AT),
    validate=metadata.checked(_validate, name=names.path_segment, namespaced=False),
)
