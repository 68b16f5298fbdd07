"""SelfSubjectReview (authentication.k8s.io/v1): asks who the asker is, as `kubectl auth whoami` does. It is
answered, never stored.
"""

from __future__ import annotations

from sampan.kinds.kind import Kind

KIND = Kind(
    group="authentication.k8s.io",
    version="v1",
    kind="SelfSubjectReview",
    plural="selfsubjectreviews",
    namespaced=False,
    verbs=("create",),
)
