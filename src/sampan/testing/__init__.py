"""A real cluster in a test: `with sampan.testing.cluster() as c:`, and a pytest fixture.

    from sampan.testing import cluster

    with cluster() as c:
        c.kubectl("apply", "-f", "-", input=manifest)
        c.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")

Nothing is shared between two clusters, and nothing of one is left when its block ends. Start with `cluster`; the
fixtures are in `sampan.testing.fixtures`, for `pytest_plugins`.
"""

from __future__ import annotations

from sampan.testing.cluster import Cluster, cluster
from sampan.testing.leftovers import kept, leftovers

__all__ = ["Cluster", "cluster", "kept", "leftovers"]
