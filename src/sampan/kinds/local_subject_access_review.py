"""LocalSubjectAccessReview (authorization.k8s.io/v1): asks whether someone may do something in one namespace.
It is answered, never stored.
"""

from __future__ import annotations

from sampan.kinds.kind import Kind

KIND = Kind(
    group="authorization.k8s.io",
    version="v1",
    kind="LocalSubjectAccessReview",
    plural="localsubjectaccessreviews",
    namespaced=True,
    verbs=("create",),
)
