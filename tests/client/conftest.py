"""The contract suite runs against a real server, through each of the two clients."""

from tests.apiserver.conftest import Cluster, certificates, cluster

__all__ = ["Cluster", "certificates", "cluster"]
