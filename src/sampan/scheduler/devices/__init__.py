"""Dynamic allocation of devices: which devices of a node satisfy the claims of a pod, all of them together.

Start with `allocator`, the search; `pools` says which devices there are for a node, `requests` what a claim asks for,
`selectors`, `constraints`, `capacities` and `counters` what keeps a device out, `state` what is taken already, and
`results` what is written into a claim. The plugin is `plugins/dynamic_resources`.

Sources: KEP-4381 (structured parameters), KEP-4816 (prioritized alternatives), KEP-4815 (partitionable devices),
KEP-5055 (device taints), KEP-5075 (consumable capacity), KEP-5018 (admin access); k8s.io/dynamic-resource-allocation
of 1.37 (structured, with what is on by default).
"""

from __future__ import annotations

# The driver, the pool and the name of a device.
DeviceId = tuple[str, str, str]


class AllocationError(Exception):
    """The claims or the devices do not allow a search; the text says why."""


def shown(device: DeviceId) -> str:
    return "/".join(device)
