"""Scale (autoscaling/v1): how many pods a workload wants and has; the body of `scale` subresources."""

from __future__ import annotations

from sampan.kinds.kind import Kind

KIND = Kind(group="autoscaling", version="v1", kind="Scale", plural="scales", namespaced=True, verbs=())
