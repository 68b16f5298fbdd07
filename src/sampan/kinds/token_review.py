"""TokenReview (authentication.k8s.io/v1): asks whom a token belongs to. It is answered, never stored."""

from __future__ import annotations

from sampan.kinds.kind import Kind

KIND = Kind(
    group="authentication.k8s.io",
    version="v1",
    kind="TokenReview",
    plural="tokenreviews",
    namespaced=False,
    verbs=("create",),
)
