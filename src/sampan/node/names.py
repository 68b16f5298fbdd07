"""The labels and annotations by which pods and containers are found again in the runtime.

They are upstream's (k8s.io/kubelet, pkg/types), so that crictl and the runtimes' own tools understand them.
"""

from __future__ import annotations

import hashlib
import json

from sampan.machinery.objects import Object

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"

HASH = "io.kubernetes.container.hash"
RESTARTS = "io.kubernetes.container.restartCount"
MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
GRACE = "io.kubernetes.pod.terminationGracePeriod"


def pod_labels(pod: Object) -> dict[str, str]:
    meta = pod["metadata"]
    return {POD_NAME: meta["name"], POD_NAMESPACE: meta["namespace"], POD_UID: meta["uid"]}


def container_hash(container: Object) -> str:
    """Changes when a change to the container means that it must be restarted: its name or its image."""
    text = json.dumps([container["name"], container.get("image", "")])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def full_name(pod: Object) -> str:
    """How messages name a pod: `web_default(uid)`."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta['namespace']}({meta['uid']})"
