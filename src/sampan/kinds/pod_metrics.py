"""PodMetrics (metrics.k8s.io/v1beta1): what a pod's containers use now, for `kubectl top`. Read only, and
never stored.
"""

from __future__ import annotations

from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Kind

KIND = Kind(
    group="metrics.k8s.io",
    version="v1beta1",
    kind="PodMetrics",
    plural="pods",
    namespaced=True,
    verbs=("get", "list"),
    columns=(NAME, AGE),
)
