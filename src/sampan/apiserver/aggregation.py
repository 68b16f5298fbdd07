"""Keeps the rules of ClusterRoles that are made of others, such as `admin`, `edit` and `view`, for people to read.

Authorization does not wait for this: `rbac` looks through an aggregation by itself.
"""

from __future__ import annotations

import logging

from sampan.apiserver.rbac import Rbac
from sampan.client.api import ApiError, Client, Unavailable

KIND = "clusterroles.rbac.authorization.k8s.io"
log = logging.getLogger(__name__)


async def run(rbac: Rbac, client: Client) -> None:
    """Write each aggregated role's rules whenever a role has changed, for ever."""
    while True:
        await rbac.changed.wait()
        await aggregate(rbac, client)


async def aggregate(rbac: Rbac, client: Client) -> None:
    """Write the rules of each aggregated role that has others."""
    rbac.changed.clear()
    for name, rules in rbac.stale():
        try:
            await client.patch(KIND, name, "", {"rules": rules})
        except (ApiError, Unavailable) as e:
            log.warning("the rules of ClusterRole %s could not be aggregated: %s", name, e)
