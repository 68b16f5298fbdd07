"""Role (rbac.authorization.k8s.io/v1): what may be done with objects of one namespace."""

from __future__ import annotations

from sampan.kinds import metadata, rbac_rules
from sampan.kinds.columns import CREATED_AT, NAME
from sampan.kinds.kind import Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    return rbac_rules.rules(obj.get("rules") or [], namespaced=True)


KIND = Kind(
    group=rbac_rules.GROUP,
    version="v1",
    kind="Role",
    plural="roles",
    namespaced=True,
    columns=(NAME, CREATED_AT),
    validate=metadata.checked(_validate, name=names.path_segment),
)
