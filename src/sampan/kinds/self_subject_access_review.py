"""SelfSubjectAccessReview (authorization.k8s.io/v1): asks whether the asker may do something, as `kubectl
auth can-i` does. It is answered, never stored.
"""

from __future__ import annotations

from sampan.kinds.kind import Kind

KIND = Kind(
    group="authorization.k8s.io",
    version="v1",
    kind="SelfSubjectAccessReview",
    plural="selfsubjectaccessreviews",
    namespaced=False,
    verbs=("create",),
)
