"""What a cluster of ours has beside what every Kubernetes has: a default storage class, and the DNS service.

Created where absent, at every start; whatever users change of it stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from sampan.client.api import ApiError, Client
from sampan.config import Config
from sampan.machinery.objects import Object


def objects(config: Config) -> Iterator[Object]:
    yield {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "local-path",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "sampan.io/local-path",
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": True,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    if config.nodes:
        yield _dns(config)


def _dns(config: Config) -> Object:
    """The service by which tools find the DNS. It has no endpoints: each node answers at its address itself."""
    ports = [
        {"name": name, "protocol": protocol, "port": 53}
        for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {"clusterIP": config.ranges.dns, "ports": ports},
    }


async def create(client: Client, config: Config) -> None:
    """Create what is absent."""
    for obj in objects(config):
        kind = "services" if obj["kind"] == "Service" else "storageclasses.storage.k8s.io"
        await _create(client, kind, obj)


async def _create(client: Client, kind: str, obj: Object) -> None:
    """Look first: a service whose address is taken, by itself too, is refused as invalid and not as existing."""
    try:
        await client.get(kind, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
    except ApiError as e:
        if e.reason != "NotFound":
            raise
        try:
            await client.create(kind, obj)
        except ApiError as made:
            # Another server, which shares the store, was quicker.
            if made.reason not in ("AlreadyExists", "Invalid"):
                raise
            await client.get(kind, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
