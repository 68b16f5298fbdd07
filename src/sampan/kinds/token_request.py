"""TokenRequest (authentication.k8s.io/v1): asks for a token of a service account; posted to
`serviceaccounts/NAME/token`.
"""

from __future__ import annotations

from sampan.kinds.kind import Kind

KIND = Kind(
    group="authentication.k8s.io",
    version="v1",
    kind="TokenRequest",
    plural="tokenrequests",
    namespaced=True,
    verbs=(),
)
