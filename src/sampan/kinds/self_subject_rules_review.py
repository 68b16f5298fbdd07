"""SelfSubjectRulesReview (authorization.k8s.io/v1): asks for all that the asker may do in a namespace. It is
answered, never stored.
"""

from __future__ import annotations

from sampan.kinds.kind import Kind

KIND = Kind(
    group="authorization.k8s.io",
    version="v1",
    kind="SelfSubjectRulesReview",
    plural="selfsubjectrulesreviews",
    namespaced=False,
    verbs=("create",),
)
